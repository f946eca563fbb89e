// Which ASID the host gives a guest: software, in the manner of KVM's sev_asid_new(). An ASID whose guest has gone may have lines left in
// caches, so it is handed out again only after WBINVD on every processor and DF_FLUSH (APM 15.34.9). That costs all processors dear: ASIDs
// that came back wait together until none else is left. What the AMD-SP thinks of an ASID is asid-ownership.ts; nothing here has a key.

import type { Technology } from '../arch/boot-page.ts';
import { assert } from '../util/errors.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** As CPUID has them. */
export type AsidLimits = {
  /** ASIDs of guests with a key: 1 to this (Fn8000_001F ECX). 0: none. */
  readonly lastEncrypted: number;
  /** The lowest for a guest without SEV-ES; those below are for guests with it (EDX). */
  readonly firstWithoutEs: number;
  /** Number of ASIDs, 0 among them (Fn8000_000A EBX). */
  readonly count: number;
};

/** First and last; none if `last` is below `first`. */
export type AsidRange = { readonly first: number; readonly last: number };

/** WBINVD on every processor, then DF_FLUSH. null: done; otherwise the status that DF_FLUSH gave. */
export type AsidFlush = () => string | null;

/** `problem`: one line for people, with the mend. */
export type AsidAnswer = { readonly asid: number } | { readonly problem: string };

export const AsidUse = { FREE: 'free', IN_USE: 'in use', WAITING: 'waiting for a flush' } as const;
export type AsidUse = (typeof AsidUse)[keyof typeof AsidUse];

const FREE = 0;
const IN_USE = 1;
const WAITING = 2;
const names = [AsidUse.FREE, AsidUse.IN_USE, AsidUse.WAITING] as const;

const kinds: Readonly<Record<Technology, string>> = {
  none: 'guests without encryption',
  sev: 'SEV guests without SEV-ES',
  'sev-es': 'SEV-ES guests',
};

export class AsidAllocator implements Stateful {
  readonly #model: string;
  readonly #limits: AsidLimits;
  readonly #flush: AsidFlush;
  readonly #use: Uint8Array;
  #flushes = 0;

  /** `model`: the processor's name, for people. ASIDs count as flushed: whoever sends INIT, which leaves all of them dirty, flushes after it. */
  constructor(model: string, limits: AsidLimits, flush: AsidFlush) {
    this.#model = model;
    this.#limits = limits;
    this.#flush = flush;
    this.#use = new Uint8Array(Math.max(limits.count, limits.lastEncrypted + 1));
  }

  /**
   * A guest without a key may have any ASID that tells its TLB entries from others' (15.16); those above the last of encrypted guests can never be
   * in an encrypted guest's way.
   */
  range(technology: Technology): AsidRange {
    const { lastEncrypted, firstWithoutEs, count } = this.#limits;
    switch (technology) {
      case 'sev-es':
        return { first: 1, last: Math.min(firstWithoutEs - 1, lastEncrypted) };
      case 'sev':
        return { first: Math.max(firstWithoutEs, 1), last: lastEncrypted };
      case 'none':
        return { first: lastEncrypted + 1, last: count - 1 };
    }
  }

  /** An ASID that no other guest has. The first VMRUN with it on each processor has to flush the TLB: WBINVD does not. */
  allocate(technology: Technology): AsidAnswer {
    const range = this.range(technology);
    const { first, last } = range;
    if (last < first) return { problem: `${this.#model} has no ASID for ${kinds[technology]}: choose another processor with --cpu` };
    let asid = this.#find(range, FREE);
    if (asid === 0 && this.#find(range, WAITING) !== 0) {
      const refused = this.#flush();
      if (refused !== null)
        return {
          problem: `${this.#all(technology)} in use or wait for a DF_FLUSH, which the AMD-SP answers with ${refused}: end all guests`,
        };
      this.#reclaim();
      asid = this.#find(range, FREE);
    }
    if (asid === 0) return { problem: `${this.#all(technology)} in use: end one of those guests, or choose another processor with --cpu` };
    this.#use[asid] = IN_USE;
    return { asid };
  }

  /** The guest has gone, deactivated if it ever was active. */
  release(asid: number): void {
    assert(this.#use[asid] === IN_USE, 'an ASID comes back that nobody has');
    this.#use[asid] = asid <= this.#limits.lastEncrypted ? WAITING : FREE; // without a key no line of it is tagged
  }

  use(asid: number): AsidUse {
    return names[this.#use[asid] ?? FREE] ?? AsidUse.FREE;
  }

  /** How many of a technology's ASIDs are put to this use. */
  count(technology: Technology, use: AsidUse): number {
    const { first, last } = this.range(technology);
    let count = 0;
    for (let asid = first; asid <= last; asid++) if (this.use(asid) === use) count++;
    return count;
  }

  /** Flushes so far. */
  get flushes(): number {
    return this.#flushes;
  }

  /** The lowest one put to this use, or 0. */
  #find({ first, last }: AsidRange, use: number): number {
    const found = this.#use.indexOf(use, first);
    return found > last ? 0 : Math.max(found, 0);
  }

  /** One flush is for all ASIDs, whatever their range. */
  #reclaim(): void {
    this.#flushes++;
    for (let asid = 1; asid < this.#use.length; asid++) if (this.#use[asid] === WAITING) this.#use[asid] = FREE;
  }

  #all(technology: Technology): string {
    const { first, last } = this.range(technology);
    return first === last
      ? `the one ASID that ${this.#model} has for ${kinds[technology]} (${first}) is`
      : `all ${last - first + 1} ASIDs that ${this.#model} has for ${kinds[technology]} (${first} to ${last}) are`;
  }

  exchange(fields: Fields): void {
    fields.numbers(this.#use);
    this.#flushes = fields.value(this.#flushes);
  }
}
