// How often each of some codes came: a plain array for the small ones, since every exit is counted.

const SMALL = 0x800;

export class CodeCounts implements Iterable<readonly [code: number, count: number]> {
  readonly #small = new Float64Array(SMALL);
  readonly #others = new Map<number, number>();

  add(code: number): void {
    if (code >= 0 && code < SMALL) this.#small[code]!++;
    else this.#others.set(code, (this.#others.get(code) ?? 0) + 1);
  }

  /** Those that came, in ascending order. */
  *[Symbol.iterator](): Generator<readonly [code: number, count: number]> {
    const others = [...this.#others].sort(([a], [b]) => a - b);
    yield* others.filter(([code]) => code < 0);
    for (let code = 0; code < SMALL; code++) if (this.#small[code] !== 0) yield [code, this.#small[code]!];
    yield* others.filter(([code]) => code >= 0);
  }
}
