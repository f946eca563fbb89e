// Linear addresses of the host's own program, the hypervisor, through the page tables that its CR3 names: the walk of any other
// program, apart from the guest that runs. What it gives holds until `generation` changes.

import type { Frames } from '../memory/frames.ts';
import { Access } from './access.ts';
import type { Environment } from './environment.ts';
import { isCanonical } from './linear-address.ts';
import type { Nested } from './nested.ts';
import { type Tables, TableUse } from './tables.ts';
import { Walk } from './walk.ts';

const ATTEMPTS = 3;
/** The host has one address space. */
const SPACE = 1;

export class HostTables {
  /** Grows whenever a linear address may have come to mean another page or key. */
  generation = 1;
  readonly #frames: Frames;
  readonly #walk: Walk;

  constructor(frames: Frames, nested: Nested, tables: Tables) {
    this.#frames = frames;
    this.#walk = new Walk(frames, nested, tables, TableUse.ALWAYS | TableUse.HOST);
    this.#walk.space = SPACE;
  }

  /** Without nested paging: memory encryption was turned on or off. */
  select(environment: Environment): void {
    this.#walk.select(environment);
    this.changed();
  }

  /** A table or a control register is another one. */
  changed(): void {
    this.generation++;
    this.#walk.clearCache();
  }

  /** Page of system physical memory and key slot of the last `translate`. */
  get page(): number {
    return this.#walk.page;
  }
  get key(): number {
    return this.#walk.key;
  }

  /** `state`: the block with the host's control registers. False: page fault, or no canonical address. */
  translate(state: number, lo: number, hi: number, write: boolean): boolean {
    if (!isCanonical(hi)) return false;
    const access = write ? Access.WRITE : Access.READ;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const before = this.#frames.losses;
      if (!this.#walk.translate(state, lo, hi, access)) return false;
      if (this.#frames.losses !== before) continue;
      this.#walk.note(lo, hi, access);
      return true;
    }
    this.generation++; // nobody would tell of a change
    return true;
  }
}
