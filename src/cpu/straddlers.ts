// Records of instructions that begin on one page and end on another. They belong to two frames, in this order, and go when either does.

import type { Mode } from '../x86/form.ts';

type Straddler = { readonly first: number; readonly second: number; readonly record: number };

const nameOf = (first: number, second: number, offset: number, mode: Mode): string => `${first}/${second}/${offset}/${mode}`;

export class Straddlers {
  readonly #byName = new Map<string, Straddler>();
  readonly #records = new Set<number>();

  /** The record of the instruction at an offset of the first frame, 0 if there is none. */
  find(first: number, second: number, offset: number, mode: Mode): number {
    return this.#byName.get(nameOf(first, second, offset, mode))?.record ?? 0;
  }

  add(first: number, second: number, offset: number, mode: Mode, record: number): void {
    this.#byName.set(nameOf(first, second, offset, mode), { first, second, record });
    this.#records.add(record);
  }

  has(record: number): boolean {
    return this.#records.has(record);
  }

  /** Forgets those that have to do with a frame, and gives their records. */
  take(frame: number): number[] {
    const taken: number[] = [];
    for (const [name, { first, second, record }] of this.#byName) {
      if (first !== frame && second !== frame) continue;
      this.#byName.delete(name);
      this.#records.delete(record);
      taken.push(record);
    }
    return taken;
  }

  /** Every frame that one of them has to do with, possibly more than once. */
  get frames(): number[] {
    return [...this.#byName.values()].flatMap(({ first, second }) => [first, second]);
  }

  clear(): void {
    this.#byName.clear();
    this.#records.clear();
  }
}
