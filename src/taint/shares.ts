// Private bytes that lie where the hypervisor can read them, until it is known whether the protocol asks for them: a VMGEXIT asks for fields of the GHCB
// and for the scratch area of its event, a device for what it takes by DMA. What is left when a page turns private, and at the end of the run, nobody asked for.

import { PAGE_SIZE } from '../util/address.ts';

/** Who stored a private byte, in which event, and how many instructions had been retired at the first of them that still lies there. */
export type Leak = { readonly rip: bigint; readonly exit: string; readonly at: number };

/** Of each byte of a page the number of its leak, 0 for none, and how many have one. */
type Page = { readonly numbers: Uint16Array; bytes: number };
/** A leak, and how many bytes have its number. */
type Numbered = { readonly leak: Leak; readonly key: string; bytes: number };

export type SharesState = {
  readonly pages: ReadonlyMap<number, Readonly<Page>>;
  readonly leaks: ReadonlyMap<number, Readonly<Numbered>>;
};

/** A guest can fill all of its memory, from as many instructions as fit there: what is beyond this is forgotten. */
const MOST_LEAKS = 0xffff;

export class Shares {
  /** By system physical page. */
  readonly #pages = new Map<number, Page>();
  readonly #leaks = new Map<number, Numbered>();
  /** Numbers by RIP and event. */
  readonly #numbers = new Map<string, number>();
  readonly #free: number[] = [];

  /** Bytes are stored; `mask` has a bit for each that is private. The others are harmless from now on. */
  store(page: number, offset: number, size: number, mask: number, leak: () => Leak): void {
    let bytes = this.#pages.get(page);
    if (mask === 0 && bytes === undefined) return;
    if (bytes === undefined) this.#pages.set(page, (bytes = { numbers: new Uint16Array(PAGE_SIZE), bytes: 0 }));
    const number = mask === 0 ? 0 : this.#numberOf(leak());
    // The private ones first: a number that nobody has is given away.
    for (let k = 0; k < size; k++) if (((mask >>> k) & 1) !== 0) this.#put(bytes, offset + k, number);
    for (let k = 0; k < size; k++) if (((mask >>> k) & 1) === 0) this.#put(bytes, offset + k, 0);
    if (bytes.bytes === 0) this.#pages.delete(page);
  }

  has(page: number): boolean {
    return this.#pages.has(page);
  }

  /** Somebody who may has taken them. */
  taken(page: number, offset: number, length: number): void {
    const bytes = this.#pages.get(page);
    if (bytes === undefined) return;
    for (let k = 0; k < length; k++) this.#put(bytes, offset + k, 0);
    if (bytes.bytes === 0) this.#pages.delete(page);
  }

  /** What lies in a page and nobody asked for, in stretches that one instruction stored; it is forgotten. */
  judge(page: number, report: (leak: Leak, offset: number, length: number) => void): void {
    const bytes = this.#pages.get(page);
    if (bytes === undefined) return;
    this.#pages.delete(page);
    let start = -1;
    let number = 0;
    let last = null as Leak | null;
    for (let offset = 0; offset <= PAGE_SIZE; offset++) {
      const next = bytes.numbers[offset] ?? 0;
      if (next === number) continue;
      number = next;
      const leak = this.#leaks.get(number)?.leak ?? null;
      if (leak?.rip === last?.rip) continue;
      if (last !== null) report(last, start, offset - start);
      [start, last] = [offset, leak];
    }
    for (let offset = 0; offset < PAGE_SIZE && bytes.bytes > 0; offset++) this.#put(bytes, offset, 0);
  }

  pages(): number[] {
    return [...this.#pages.keys()].sort((a, b) => a - b);
  }

  clear(): void {
    this.#pages.clear();
    this.#leaks.clear();
    this.#numbers.clear();
    this.#free.length = 0;
  }

  capture(): SharesState {
    return {
      pages: new Map([...this.#pages].map(([page, { numbers, bytes }]) => [page, { numbers: numbers.slice(), bytes }])),
      leaks: new Map([...this.#leaks].map(([number, leak]) => [number, { ...leak }])),
    };
  }

  restore({ pages, leaks }: SharesState): void {
    this.clear();
    for (const [page, { numbers, bytes }] of pages) this.#pages.set(page, { numbers: numbers.slice(), bytes });
    let next = 1;
    for (const [number, leak] of leaks) {
      this.#leaks.set(number, { ...leak });
      this.#numbers.set(leak.key, number);
      next = Math.max(next, number + 1);
    }
    for (let number = 1; number < next; number++) if (!leaks.has(number)) this.#free.push(number);
  }

  /** 0: there are too many. */
  #numberOf(leak: Leak): number {
    const key = `${leak.rip} ${leak.exit}`;
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    if (this.#leaks.size >= MOST_LEAKS) return 0;
    const number = this.#free.pop() ?? this.#leaks.size + 1;
    this.#numbers.set(key, number);
    this.#leaks.set(number, { leak, key, bytes: 0 });
    return number;
  }

  #put(page: Page, offset: number, number: number): void {
    const before = page.numbers[offset]!;
    if (before === number) return;
    page.numbers[offset] = number;
    if (number !== 0) {
      page.bytes++;
      this.#leaks.get(number)!.bytes++;
    }
    if (before === 0) return;
    page.bytes--;
    const leak = this.#leaks.get(before)!;
    if (--leak.bytes > 0) return;
    this.#leaks.delete(before);
    this.#numbers.delete(leak.key);
    this.#free.push(before);
  }
}
