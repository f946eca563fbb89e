// Environments by number, so that contexts and walks can tell them apart by a comparison. Those that mean the same have the same one.

import { type Environment, sameEnvironment } from './environment.ts';

const MOST = 1024;

export class EnvironmentNumbers {
  readonly #known: Environment[] = [];

  /** From 1 on; 0: there is room for no more until `clear`. */
  of(environment: Environment): number {
    const known = this.#known;
    let index = known.indexOf(environment);
    if (index < 0) index = known.findIndex((other) => sameEnvironment(other, environment));
    if (index < 0 && known.length === MOST) return 0;
    return index < 0 ? known.push(environment) : index + 1;
  }

  clear(): void {
    this.#known.length = 0;
  }
}
