// Things as they were, by number (pages of memory, blocks of a disk), for snapshots. What one was before it changed for the first time is kept once for
// all snapshots, and a snapshot shares with the one before it what has not changed since: so taking one costs what changed since the last one, and going
// back to one costs what differs. Images never change.

const SHIFT = 5;
const WIDTH = 1 << SHIFT;
type Node<T> = readonly (Node<T> | T | undefined)[];

/** From numbers to images: a tree of which a changed set copies only the way to what changed. */
export class Images<T> {
  readonly #root: Node<T>;
  /** Bits of a number that select below the root. */
  readonly #shift: number;

  constructor(root: Node<T> = [], shift = 0) {
    this.#root = root;
    this.#shift = shift;
  }

  get(n: number): T | undefined {
    if (n >>> this.#shift >= WIDTH) return undefined;
    let node: Node<T> | undefined = this.#root;
    for (let shift = this.#shift; shift > 0 && node !== undefined; shift -= SHIFT)
      node = node[(n >>> shift) & (WIDTH - 1)] as Node<T> | undefined;
    return node?.[n & (WIDTH - 1)] as T | undefined;
  }

  with(n: number, image: T): Images<T> {
    let { root, shift } = { root: this.#root, shift: this.#shift };
    while (n >>> shift >= WIDTH) {
      root = [root];
      shift += SHIFT;
    }
    return new Images(changed(root, shift, n, image), shift);
  }

  /** The numbers whose images differ between two sets. */
  static differing<T>(a: Images<T>, b: Images<T>, each: (n: number) => void): void {
    if (a.#root === b.#root) return;
    const shift = Math.max(a.#shift, b.#shift);
    compare(a.#raised(shift), b.#raised(shift), shift, 0, each);
  }

  #raised(to: number): Node<T> {
    let root = this.#root;
    for (let shift = this.#shift; shift < to; shift += SHIFT) root = [root];
    return root;
  }
}

function changed<T>(node: Node<T> | undefined, shift: number, n: number, image: T): Node<T> {
  const copy = node === undefined ? [] : node.slice();
  const k = (n >>> shift) & (WIDTH - 1);
  copy[k] = shift === 0 ? image : changed(copy[k] as Node<T> | undefined, shift - SHIFT, n, image);
  return copy;
}

function compare<T>(a: Node<T>, b: Node<T>, shift: number, first: number, each: (n: number) => void): void {
  for (let k = 0; k < Math.max(a.length, b.length); k++) {
    if (a[k] === b[k]) continue;
    const n = first + k * 2 ** shift;
    if (shift === 0) each(n);
    else compare((a[k] as Node<T> | undefined) ?? [], (b[k] as Node<T> | undefined) ?? [], shift - SHIFT, n, each);
  }
}

/** What the things are. */
export interface Kept<T> {
  image(n: number): T;
  putBack(n: number, image: T): void;
}

/** An image that is made when the thing is about to change: as long as it has not changed, it is its own image. */
type Held<T> = { image: T | undefined };

/** Things as they were at one moment. */
export type Moment<T> = Images<Held<T>>;
export const NO_MOMENT: Moment<never> = new Images();

export class History<T> {
  readonly #things: Kept<T>;
  /** Those that changed since the last snapshot or restore. */
  readonly #changed = new Set<number>();
  /** As they were before they ever changed. */
  readonly #originals = new Map<number, T>();
  /** As they were at the last snapshot or restore, as far as they are not the originals. */
  #base: Moment<T> = NO_MOMENT;

  constructor(things: Kept<T>) {
    this.#things = things;
  }

  /** One is about to change. */
  touch(n: number): void {
    if (this.#changed.has(n)) return;
    this.#changed.add(n);
    this.#keep(n);
  }

  /** `settled`: told of each that had changed. */
  capture(settled: (n: number) => void = () => {}): Moment<T> {
    let moment = this.#base;
    for (const n of this.#changed) moment = moment.with(n, { image: undefined });
    this.#begin(moment, settled);
    return moment;
  }

  /** All are as at a moment that `capture` gave. */
  restore(moment: Moment<T>, settled: (n: number) => void = () => {}): void {
    Images.differing(this.#base, moment, (n) => this.touch(n));
    // Putting one back may touch others, which then come later.
    for (const n of this.#changed) {
      const image = moment.get(n)?.image ?? this.#originals.get(n);
      if (image !== undefined) this.#things.putBack(n, image);
    }
    this.#begin(moment, settled);
  }

  #keep(n: number): void {
    const held = this.#base.get(n);
    if (held !== undefined) held.image ??= this.#things.image(n);
    else if (!this.#originals.has(n)) this.#originals.set(n, this.#things.image(n));
  }

  #begin(base: Moment<T>, settled: (n: number) => void): void {
    this.#base = base;
    for (const n of this.#changed) settled(n);
    this.#changed.clear();
  }
}
