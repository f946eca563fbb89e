// An interrupt line that several devices share: active while at least one of them asks, as open-drain outputs on one wire.

import type { Line } from './device.ts';
import { assert } from '../util/errors.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const MOST_INPUTS = 32;

export class SharedLine implements Stateful {
  readonly #line: Line;
  /** The inputs that ask: a bit each. */
  #asking = 0;
  #inputs = 0;

  constructor(line: Line) {
    this.#line = line;
  }

  /** One more device on the line. */
  input(): Line {
    assert(this.#inputs < MOST_INPUTS, 'more devices on an interrupt line than it has inputs');
    const mine = 1 << this.#inputs++;
    return (level) => {
      const before = this.#asking;
      this.#asking = level ? before | mine : before & ~mine;
      if ((before === 0) !== (this.#asking === 0)) this.#line(level);
    };
  }

  exchange(fields: Fields): void {
    this.#asking = fields.value(this.#asking);
  }
}
