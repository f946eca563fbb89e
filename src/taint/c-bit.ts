// A C-bit whose position the hypervisor told is believed if page tables that were made with it take effect, and nothing shows before the next VMGEXIT
// that what was private still is. The proof is a witness: something private that was stored before is found again behind, by a comparison that decides. A
// comparison with numbers that are known proves nothing, for the hypervisor can put those where they are looked for (GHCB 2.3.1; APM vol. 2, 15.34.1).

import type { Origin, Origins } from './origins.ts';

/** Tables that took effect and are not proven. */
export type Unproven = { readonly rip: bigint; readonly at: number; readonly origins: readonly Origin[] };

export class CBitProof {
  readonly #origins: Origins;
  /** By state block of the processor that uses them. */
  readonly #waiting = new Map<number, Unproven>();

  constructor(origins: Origins) {
    this.#origins = origins;
  }

  /** Translations on the processor changed: the labels of the entries that it uses now. */
  tables(state: number, rip: bigint, at: number, numbers: Iterable<number>): void {
    if (this.#waiting.has(state)) return;
    const origins = [...new Set([...numbers].flatMap((number) => this.#origins.unproven(number)))];
    if (origins.length > 0) this.#waiting.set(state, { rip, at, origins });
  }

  /** Something private decided. */
  witnessed(state: number): void {
    this.#end(state);
  }

  /** VMGEXIT, or the end: what was believed until then. */
  believed(state: number): Unproven | undefined {
    return this.#end(state);
  }

  /** State blocks of processors that wait for a proof. */
  get states(): Iterable<number> {
    return [...this.#waiting.keys()];
  }

  capture(): ReadonlyMap<number, Unproven> {
    return new Map(this.#waiting);
  }

  restore(waiting: ReadonlyMap<number, Unproven>): void {
    this.#waiting.clear();
    for (const [state, unproven] of waiting) this.#waiting.set(state, unproven);
  }

  /** Either way it is said once: those tables, and what else was made with that answer. */
  #end(state: number): Unproven | undefined {
    const unproven = this.#waiting.get(state);
    if (unproven === undefined) return undefined;
    this.#waiting.delete(state);
    for (const origin of unproven.origins) origin.unproven = false;
    return unproven;
  }
}
