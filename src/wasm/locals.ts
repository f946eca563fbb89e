// The locals of a function beyond its parameters, by number. A temporary comes from a pool and goes back to it at the end of the `scope` that took it,
// because V8's baseline compiler works in (locals x merges) and a local for each temporary takes seconds and gigabytes.

import type { Type } from './function.ts';

export class Locals {
  readonly types: Type[] = [];
  readonly #parameters: number;
  readonly #free = new Map<Type, number[]>();
  #taken: { readonly type: Type; readonly index: number }[] = [];

  constructor(parameters: number) {
    this.#parameters = parameters;
  }

  /** One that no scope gives back. */
  add(type: Type): number {
    return this.#parameters + this.types.push(type) - 1;
  }

  /** A temporary. */
  take(type: Type): number {
    const index = this.#pool(type).pop() ?? this.add(type);
    this.#taken.push({ type, index });
    return index;
  }

  /** Temporaries taken inside go back to the pool at the end. */
  scope(body: () => void): void {
    const outer = this.#taken;
    this.#taken = [];
    body();
    for (const { type, index } of this.#taken) this.#pool(type).push(index);
    this.#taken = outer;
  }

  #pool(type: Type): number[] {
    let pool = this.#free.get(type);
    if (!pool) this.#free.set(type, (pool = []));
    return pool;
  }
}
