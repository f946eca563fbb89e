// What changes while a machine runs, component by component, for snapshots. A component names its fields once, and the same list takes them and
// puts them back: no field can be in one direction only.

import { assert } from './errors.ts';

export interface Stateful {
  /** Shows every field that changes in a run and is no cache, in an order that never depends on `fields`. */
  exchange(fields: Fields): void;
}

/** Components by name, in the order in which they are put back. */
export type Components = ReadonlyMap<string, Stateful>;

/** A component's fields as they were; only what is never changed in place is in it. */
export type Captured = readonly unknown[];

type Numbers = Uint8Array | Uint16Array | Int32Array | Uint32Array | Float64Array | BigUint64Array;

/** Takes the fields of components one after the other, or gives them back in the same order. */
export class Fields {
  readonly #taken: unknown[] | null;
  readonly #given: Captured;
  #at = 0;

  private constructor(given: Captured | null) {
    this.#taken = given === null ? [] : null;
    this.#given = given ?? [];
  }

  static capture(component: Stateful): Captured {
    const fields = new Fields(null);
    component.exchange(fields);
    return fields.#taken ?? [];
  }

  static restore(component: Stateful, captured: Captured): void {
    const fields = new Fields(captured);
    component.exchange(fields);
    assert(fields.#at === captured.length, 'a component takes back as many fields as it gave');
  }

  /** Are fields being put back? What follows from them can then be made to follow. */
  get restoring(): boolean {
    return this.#taken === null;
  }

  /** A value that is replaced and never changed in place: `this.#field = fields.value(this.#field)`. */
  value<T>(present: T): T {
    if (this.#taken === null) return this.#given[this.#at++] as T;
    this.#taken.push(present);
    return present;
  }

  /** An array of numbers of constant length, changed in place. */
  numbers(array: Numbers): void {
    if (this.#taken !== null) this.#taken.push(array.slice());
    else (array as Uint8Array).set(this.#given[this.#at++] as Uint8Array);
  }

  /** A list, map or set of values, changed in place. */
  list<T>(list: T[]): void {
    const known = this.value<readonly T[]>(this.restoring ? list : list.slice());
    if (!this.restoring) return;
    list.length = 0;
    for (const value of known) list.push(value);
  }

  map<K, V>(map: Map<K, V>): void {
    const known = this.value<readonly (readonly [K, V])[]>(this.restoring ? [] : [...map]);
    if (!this.restoring) return;
    map.clear();
    for (const [key, value] of known) map.set(key, value);
  }

  set<T>(set: Set<T>): void {
    const known = this.value<readonly T[]>(this.restoring ? [] : [...set]);
    if (!this.restoring) return;
    set.clear();
    for (const value of known) set.add(value);
  }

  /** The fields of a component within this one. */
  part(component: Stateful): void {
    component.exchange(this);
  }
}
