// System physical memory that the hypervisor has to give: ranges of whole pages, the lowest that fits first, joined again when they come back.

import { PAGE_SIZE } from '../util/address.ts';
import { assert } from '../util/errors.ts';

type FreeRange = { start: number; end: number };

export class MemoryHeap {
  /** Ascending, with a gap between each two. */
  readonly #free: FreeRange[] = [];

  /** Bytes that are free. */
  get free(): number {
    return this.#free.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** The longest piece that could be taken. */
  get longest(): number {
    return this.#free.reduce((most, { start, end }) => Math.max(most, end - start), 0);
  }

  /** Adds a range, or takes one back. */
  give(start: number, size: number): void {
    assert(size > 0 && start % PAGE_SIZE === 0 && size % PAGE_SIZE === 0, 'whole pages only');
    const free = this.#free;
    let at = free.findIndex((range) => range.start > start);
    if (at < 0) at = free.length;
    const before = free[at - 1];
    const after = free[at];
    const end = start + size;
    assert((before === undefined || before.end <= start) && (after === undefined || end <= after.start), 'memory is free already');
    free.splice(at, 0, { start, end });
    if (after !== undefined && after.start === end) this.#join(at);
    if (before !== undefined && before.end === start) this.#join(at - 1);
  }

  /** null: there is no piece of this size from address `lowest` on. */
  take(size: number, alignment: number = PAGE_SIZE, lowest = 0): number | null {
    assert(size > 0 && size % PAGE_SIZE === 0 && alignment % PAGE_SIZE === 0, 'whole pages only');
    const free = this.#free;
    for (let at = 0; at < free.length; at++) {
      const range = free[at]!;
      const start = Math.ceil(Math.max(range.start, lowest) / alignment) * alignment;
      if (start + size > range.end) continue;
      const rest = { start: start + size, end: range.end };
      range.end = start;
      if (rest.end > rest.start) free.splice(at + 1, 0, rest);
      if (range.end === range.start) free.splice(at, 1);
      return start;
    }
    return null;
  }

  /** Makes one of a range and the next. */
  #join(at: number): void {
    const [next] = this.#free.splice(at + 1, 1);
    this.#free[at]!.end = next!.end;
  }
}
