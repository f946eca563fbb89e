// The one clock of the product. Its readings are printed and paint progress; nothing that a guest can see depends on them.

import { performance } from 'node:perf_hooks';

export class Stopwatch {
  readonly #start = performance.now();

  get seconds(): number {
    return (performance.now() - this.#start) / 1000;
  }
}
