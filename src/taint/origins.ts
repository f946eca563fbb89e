// What the hypervisor has said, by when it was read: each load from memory that it can write, or of its MSR, is an origin. A value may depend on
// several, so labels name sets of them. A comparison that decides something validates all origins of the set that it depends on, and with them every copy.
// Numbers of sets are 15 bits; when they run out those that nobody holds any more are taken back.

import { SHARED } from '../x86/label-table.ts';

/** Where something of the hypervisor's came in. */
export type Origin = {
  /** The instruction that read it. */
  readonly rip: bigint;
  /** What it read, in words. */
  readonly what: string;
  validated: boolean;
  /** It tells where the C-bit is, and nothing private has been found again behind it yet (c-bit.ts): a comparison is not enough. */
  unproven: boolean;
};

const isOpen = ({ validated, unproven }: Origin): boolean => !validated || unproven;

/** More origins than this are not told apart: the set keeps the first of them. */
const MOST_IN_SET = 64;
/** So many sets may stay when numbers run out; if more do, all become one. */
const MOST_KEPT = 24_000;
/** So many unions are remembered; then it begins anew. */
const MOST_UNIONS = 1 << 18;

export type OriginsState = {
  readonly sets: ReadonlyMap<number, readonly Origin[]>;
  readonly validated: ReadonlySet<Origin>;
  readonly unproven: ReadonlySet<Origin>;
  readonly unions: ReadonlyMap<number, number>;
  readonly free: readonly number[];
  readonly next: number;
};

export class Origins {
  readonly #sets = new Map<number, readonly Origin[]>();
  readonly #unions = new Map<number, number>();
  readonly #free: number[] = [];
  #next = 1;
  /** Calls back with every number that labels hold; what is returned takes its place. */
  sweep: (visit: (number: number) => number) => void = () => undefined;

  /** The number of a set of one new origin. */
  add(rip: bigint, what: string, unproven = false): number {
    return this.#take([{ rip, what, validated: false, unproven }]);
  }

  /** The number of both; 0 counts as validated. */
  union(a: number, b: number): number {
    if (a === b) return a;
    const x = this.open(a);
    const y = this.open(b);
    if (x === 0 || y === 0 || x === y) return x | y;
    const key = x < y ? x * 0x8000 + y : y * 0x8000 + x;
    const known = this.#unions.get(key);
    if (known !== undefined && this.#sets.has(known)) return known;
    const first = this.#sets.get(x)!;
    const all = [...first, ...this.#sets.get(y)!.filter((origin) => !first.includes(origin))];
    const left = all.filter(isOpen).slice(0, MOST_IN_SET);
    const number = left.length === first.length && left.every((origin) => first.includes(origin)) ? x : this.#take(left);
    if (this.#unions.size >= MOST_UNIONS) this.#unions.clear();
    if (this.#sets.has(x) && this.#sets.has(y)) this.#unions.set(key, number);
    return number;
  }

  /** The number if anything in its set is not validated or not proven, else 0. */
  open(number: number): number {
    const set = this.#sets.get(number);
    return set?.some(isOpen) ? number : 0;
  }

  /** What is not validated. */
  of(number: number): readonly Origin[] {
    return this.#sets.get(number)?.filter((origin) => !origin.validated) ?? [];
  }

  /** What tells where the C-bit is without proof. */
  unproven(number: number): readonly Origin[] {
    return this.#sets.get(number)?.filter((origin) => origin.unproven) ?? [];
  }

  validate(number: number): void {
    for (const origin of this.#sets.get(number) ?? []) origin.validated = true;
  }

  capture(): OriginsState {
    const sets = new Map(this.#sets);
    const all = [...sets.values()].flat();
    const validated = new Set(all.filter((origin) => origin.validated));
    const unproven = new Set(all.filter((origin) => origin.unproven));
    return { sets, validated, unproven, unions: new Map(this.#unions), free: [...this.#free], next: this.#next };
  }

  restore({ sets, validated, unproven, unions, free, next }: OriginsState): void {
    this.clear();
    for (const [number, set] of sets) {
      this.#sets.set(number, set);
      for (const origin of set) {
        origin.validated = validated.has(origin);
        origin.unproven = unproven.has(origin);
      }
    }
    for (const [key, number] of unions) this.#unions.set(key, number);
    for (const number of free) this.#free.push(number);
    this.#next = next;
  }

  clear(): void {
    this.#sets.clear();
    this.#unions.clear();
    this.#free.length = 0;
    this.#next = 1;
  }

  #take(set: readonly Origin[]): number {
    if (this.#free.length === 0 && this.#next >= SHARED) this.#collect();
    const number = this.#free.pop() ?? this.#next++;
    this.#sets.set(number, set);
    return number;
  }

  #collect(): void {
    const held = new Set<number>();
    this.sweep((number) => {
      const left = this.open(number);
      if (left !== 0) held.add(left);
      return left;
    });
    this.#unions.clear();
    if (held.size > MOST_KEPT) {
      // Too much was read and never looked at: from now on all of it is one thing.
      const origins = [...held].flatMap((number) => this.#sets.get(number)!.filter(isOpen)).slice(0, MOST_IN_SET);
      this.sweep((number) => (number === 0 ? 0 : 1));
      this.clear();
      this.#sets.set(1, origins);
      this.#next = 2;
      return;
    }
    for (const number of [...this.#sets.keys()])
      if (!held.has(number)) {
        this.#sets.delete(number);
        this.#free.push(number);
      }
  }
}
