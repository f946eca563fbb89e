// Where the records of a page are. Each page has a chain for every 64 bytes of it, in numbers apart from the JavaScript heap: a
// boot leaves 2,000 pages with some 400,000 records, and a Map of them costs 36 bytes a record instead of 5 (measured: Node 20).

import type { EngineMemory } from '../memory/map.ts';
import { Record, RECORD_SIZE } from '../x86/record.ts';

const LINES = 64;
const LINE_SHIFT = 6;
const PLACE_SHIFT = 16;
const OFFSET = 0xfff;
const FIRST_PAGES = 64;

/** A page's chains are named by a number, which `open` gives out and `close` takes back. */
export class RecordIndex {
  readonly #i32: Int32Array;
  readonly #records: number;
  /** For each record the next one of its line, in the same memory. */
  readonly #chains: number;
  /** For each line of each page the number of its first record, counted from 1; 0: none. */
  #heads = new Int32Array(FIRST_PAGES * LINES);
  #end = 0;
  readonly #free: number[] = [];

  constructor({ i32, records, chains }: EngineMemory) {
    this.#i32 = i32;
    this.#records = records;
    this.#chains = (chains >>> 2) - 1;
  }

  /** Chains for another page, all of them empty. */
  open(): number {
    const page = this.#free.pop() ?? this.#end++;
    if ((page + 1) * LINES > this.#heads.length) this.#heads = longer(this.#heads);
    return page;
  }

  close(page: number): void {
    this.#heads.fill(0, page * LINES, (page + 1) * LINES);
    this.#free.push(page);
  }

  /** Closes all. */
  clear(): void {
    this.#heads.fill(0, 0, this.#end * LINES);
    this.#end = 0;
    this.#free.length = 0;
  }

  /** The record of the instruction at an offset, 0 if there is none. */
  find(page: number, offset: number): number {
    for (let n = this.#heads[headOf(page, offset)]!; n !== 0; n = this.#i32[this.#chains + n]!)
      if (this.#offset(n) === offset) return this.#records + (n - 1) * RECORD_SIZE;
    return 0;
  }

  /** Adds a record that is written already. */
  add(page: number, offset: number, record: number): void {
    const n = (record - this.#records) / RECORD_SIZE + 1;
    const head = headOf(page, offset);
    this.#i32[this.#chains + n] = this.#heads[head]!;
    this.#heads[head] = n;
  }

  /** Takes out the record at an offset, if there is one. */
  remove(page: number, offset: number): void {
    const head = headOf(page, offset);
    let before = 0;
    for (let n = this.#heads[head]!; n !== 0; n = this.#i32[this.#chains + n]!) {
      if (this.#offset(n) === offset) {
        const after = this.#i32[this.#chains + n]!;
        if (before === 0) this.#heads[head] = after;
        else this.#i32[this.#chains + before] = after;
        return;
      }
      before = n;
    }
  }

  #offset(n: number): number {
    return (this.#i32[(this.#records + (n - 1) * RECORD_SIZE + Record.FORM) >>> 2]! >>> PLACE_SHIFT) & OFFSET;
  }
}

const headOf = (page: number, offset: number): number => page * LINES + (offset >>> LINE_SHIFT);

function longer(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const copy = new Int32Array(2 * array.length);
  copy.set(array);
  return copy;
}
