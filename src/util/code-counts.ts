// How often each of some codes came: a plain array for the small ones, since every exit is counted.

import type { Fields, Stateful } from './stateful.ts';

const SMALL = 0x800;

export class CodeCounts implements Iterable<readonly [code: number, count: number]>, Stateful {
  readonly #small = new Float64Array(SMALL);
  /** Codes that came, of the small ones. */
  readonly #seen: number[] = [];
  readonly #others = new Map<number, number>();

  add(code: number): void {
    if (code >= 0 && code < SMALL) {
      if (this.#small[code]!++ === 0) this.#seen.push(code);
    } else this.#others.set(code, (this.#others.get(code) ?? 0) + 1);
  }

  /** Those that came, in ascending order. */
  *[Symbol.iterator](): Generator<readonly [code: number, count: number]> {
    const others = [...this.#others].sort(([a], [b]) => a - b);
    yield* others.filter(([code]) => code < 0);
    for (let code = 0; code < SMALL; code++) if (this.#small[code] !== 0) yield [code, this.#small[code]!];
    yield* others.filter(([code]) => code >= 0);
  }

  exchange(fields: Fields): void {
    const counts = fields.value<readonly (readonly [number, number])[]>(
      fields.restoring ? [] : this.#seen.map((code) => [code, this.#small[code]!]),
    );
    if (fields.restoring) {
      for (const code of this.#seen) this.#small[code] = 0;
      for (const [code, count] of counts) this.#small[code] = count;
      this.#seen.splice(0, this.#seen.length, ...counts.map(([code]) => code));
    }
    fields.map(this.#others);
  }
}
