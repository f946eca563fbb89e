// Who owns which ASID, as the chips know it. An ASID is also the number of its key slot (0: the host, no key). The AMD-SP binds an ASID to a
// guest (ACTIVATE) and takes it back (DEACTIVATE). A guest whose launch was finished may run on every processor, so when it goes it leaves the
// ASID dirty on all of them: until each has executed WBINVD and the AMD-SP DF_FLUSH (APM 15.34.9; publication 55766, DF_FLUSH; states and
// their changes after the published firmware). Hands out numbers and states, never keys. Which ASID the host chooses: asid.ts.

import { assert } from '../util/errors.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

export const FlushResult = { DONE: 'done', WBINVD_REQUIRED: 'wbinvd-required' } as const;
export type FlushResult = (typeof FlushResult)[keyof typeof FlushResult];

/** Guest handles are positive; 0 owns nothing. */
const NOBODY = 0;

/** What one processor's caches may hold. */
type Caches = {
  /** ASIDs of former guests with lines left. */
  readonly dirty: Uint8Array;
  /** WBINVD was executed since an ASID last became dirty. */
  writtenBack: boolean;
};

function soil(caches: Caches, asid: number): void {
  caches.dirty[asid] = 1;
  caches.writtenBack = false;
}

export class Asids implements Stateful {
  /** Highest ASID (CPUID Fn8000_001F ECX). */
  readonly count: number;
  /** Lowest ASID for a SEV guest without SEV-ES (EDX). */
  readonly firstWithoutEs: number;
  readonly #owner: Uint32Array;
  readonly #pending: Uint8Array;
  readonly #caches: readonly Caches[];

  constructor(count: number, firstWithoutEs: number, processors = 1) {
    this.count = count;
    this.firstWithoutEs = firstWithoutEs;
    this.#owner = new Uint32Array(count + 1);
    this.#pending = new Uint8Array(count + 1);
    this.#caches = Array.from({ length: processors }, () => ({
      dirty: new Uint8Array(count + 1),
      writtenBack: false,
    }));
    this.initialise();
  }

  valid(asid: number): boolean {
    return Number.isInteger(asid) && asid >= 1 && asid <= this.count;
  }

  /** Handle of the guest that an ASID is bound to, 0 if none. */
  owner(asid: number): number {
    return this.#owner[asid] ?? NOBODY;
  }

  /** The ASID a guest is bound to, 0 if none. */
  of(handle: number): number {
    return handle === NOBODY ? 0 : Math.max(this.#owner.indexOf(handle), 0);
  }

  /** The guest is bound, but its launch is not finished: VMRUN must fail. */
  pending(asid: number): boolean {
    return this.#pending[asid] === 1;
  }

  /** Somebody has the ASID, and may run. */
  runs(asid: number): boolean {
    return this.#owner[asid] !== NOBODY && this.#pending[asid] === 0;
  }

  /** Lines of an earlier owner may be left: DF_FLUSH first. */
  needsFlush(asid: number): boolean {
    return this.#caches.some(({ dirty }) => dirty[asid] === 1);
  }

  /** `pending`: the guest may not run before `finish`. */
  bind(asid: number, handle: number, pending = false): void {
    assert(this.valid(asid) && handle > NOBODY && this.owner(asid) === NOBODY, 'ASID bound twice');
    this.#owner[asid] = handle;
    this.#pending[asid] = pending ? 1 : 0;
  }

  /** LAUNCH_FINISH: the guest may run. */
  finish(asid: number): void {
    this.#pending[asid] = 0;
  }

  /** DEACTIVATE. A guest that never came as far as running leaves nothing. */
  release(asid: number): void {
    if (!this.valid(asid) || this.owner(asid) === NOBODY) return;
    const ran = !this.pending(asid);
    this.#owner[asid] = NOBODY;
    this.#pending[asid] = 0;
    if (ran) for (const caches of this.#caches) soil(caches, asid);
  }

  /** VMRUN entered a guest with this ASID on a processor. If nobody has it, its lines are there all the same. */
  entered(asid: number, processor = 0): void {
    if (this.#owner[asid] !== NOBODY || asid === 0) return;
    const caches = this.#caches[processor];
    if (caches) soil(caches, asid);
  }

  /** WBINVD was executed on a processor. */
  wbinvd(processor = 0): void {
    const caches = this.#caches[processor];
    if (caches) caches.writtenBack = true;
  }

  /** Where WBINVD was executed all ASIDs are clean from now on, even if another processor has yet to do it. */
  dfFlush(): FlushResult {
    for (const { dirty, writtenBack } of this.#caches) if (writtenBack) dirty.fill(0);
    return this.#caches.every(({ writtenBack }) => writtenBack) ? FlushResult.DONE : FlushResult.WBINVD_REQUIRED;
  }

  /** INIT: nothing is bound, everything may have lines left. */
  initialise(): void {
    this.#owner.fill(NOBODY);
    this.#pending.fill(0);
    for (const caches of this.#caches) {
      caches.dirty.fill(1, 1);
      caches.writtenBack = false;
    }
  }

  exchange(fields: Fields): void {
    fields.numbers(this.#owner);
    fields.numbers(this.#pending);
    for (const caches of this.#caches) {
      fields.numbers(caches.dirty);
      caches.writtenBack = fields.value(caches.writtenBack);
    }
  }
}
