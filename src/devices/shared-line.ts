// An interrupt line that several devices share: active while at least one of them asks, as open-drain outputs on one wire.

import type { Line } from './device.ts';

export class SharedLine {
  readonly #line: Line;
  #asking = 0;

  constructor(line: Line) {
    this.#line = line;
  }

  /** One more device on the line. */
  input(): Line {
    let mine = false;
    return (level) => {
      if (level === mine) return;
      mine = level;
      this.#asking += level ? 1 : -1;
      if (this.#asking === (level ? 1 : 0)) this.#line(level);
    };
  }
}
