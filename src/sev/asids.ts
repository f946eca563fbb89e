// Who owns which ASID. An ASID is also the number of its key slot (0: the host, no key). The AMD-SP binds an ASID to a
// guest (ACTIVATE) and takes it back (DEACTIVATE); in between it may have lines in caches: it is dirty until a WBINVD on all
// processors where it ran and a DF_FLUSH (APM 15.34.9; firmware API 0.24, DF_FLUSH). Hands out numbers and states, never keys.

import { assert } from '../util/errors.ts';

export const FlushResult = { DONE: 'done', WBINVD_REQUIRED: 'wbinvd-required' } as const;
export type FlushResult = (typeof FlushResult)[keyof typeof FlushResult];

/** Guest handles are positive; 0 owns nothing. */
const NOBODY = 0;

/** What one processor's caches may hold. */
type Caches = {
  /** ASIDs that executed guest code there since ACTIVATE. */
  readonly ran: Uint8Array;
  /** ASIDs of former guests with lines left. */
  readonly dirty: Uint8Array;
  /** WBINVD was executed since an ASID last became dirty. */
  writtenBack: boolean;
};

export class Asids {
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
      ran: new Uint8Array(count + 1),
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

  /** Lines of an earlier owner may be left: DF_FLUSH first. */
  needsFlush(asid: number): boolean {
    return this.#caches.some(({ dirty }) => dirty[asid] === 1);
  }

  /** `pending`: the guest may not run before `finish`. */
  bind(asid: number, handle: number, pending = false): void {
    assert(this.valid(asid) && handle > NOBODY && this.owner(asid) === NOBODY, 'ASID bound twice');
    this.#owner[asid] = handle;
    this.#pending[asid] = pending ? 1 : 0;
    for (const { ran } of this.#caches) ran[asid] = 0;
  }

  /** LAUNCH_FINISH: the guest may run. */
  finish(asid: number): void {
    this.#pending[asid] = 0;
  }

  release(asid: number): void {
    if (!this.valid(asid) || this.owner(asid) === NOBODY) return;
    this.#owner[asid] = NOBODY;
    this.#pending[asid] = 0;
    for (const caches of this.#caches) {
      if (caches.ran[asid] === 0) continue; // never ran here: nothing of it is in these caches
      caches.dirty[asid] = 1;
      caches.writtenBack = false;
    }
  }

  /** VMRUN entered a guest with this ASID on a processor. */
  entered(asid: number, processor = 0): void {
    const caches = this.#caches[processor];
    if (caches && this.valid(asid)) caches.ran[asid] = 1;
  }

  /** WBINVD was executed on a processor. */
  wbinvd(processor = 0): void {
    const caches = this.#caches[processor];
    if (caches) caches.writtenBack = true;
  }

  /** All or nothing: a processor with dirty ASIDs and without WBINVD refuses the flush. */
  dfFlush(): FlushResult {
    const missing = this.#caches.some(({ dirty, writtenBack }) => !writtenBack && dirty.includes(1));
    if (missing) return FlushResult.WBINVD_REQUIRED;
    for (const { dirty } of this.#caches) dirty.fill(0);
    return FlushResult.DONE;
  }

  /** INIT: nothing is bound, everything may have lines left. */
  initialise(): void {
    this.#owner.fill(NOBODY);
    this.#pending.fill(0);
    for (const caches of this.#caches) {
      caches.ran.fill(0);
      caches.dirty.fill(1, 1);
      caches.writtenBack = false;
    }
  }
}
