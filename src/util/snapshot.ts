// A run at one moment, component by component. It holds everything that later decides what the run does, keys and memory included, so nothing prints it.

import { assert } from './errors.ts';
import { type Captured, type Components, Fields } from './stateful.ts';

export class Snapshot {
  /** By the names of components; what they hold is known to them alone. */
  readonly components: ReadonlyMap<string, Captured>;

  private constructor(components: ReadonlyMap<string, Captured>) {
    this.components = components;
  }

  static of(components: Components): Snapshot {
    const captured = new Map<string, Captured>();
    for (const [name, component] of components) captured.set(name, Fields.capture(component));
    return new Snapshot(captured);
  }

  /** Components that came after the snapshot are left as they are. */
  restore(components: Components): void {
    for (const [name, captured] of this.components) {
      const component = components.get(name);
      assert(component, 'a snapshot of another run');
      Fields.restore(component, captured);
    }
  }
}
