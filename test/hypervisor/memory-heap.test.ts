import { describe, expect, it } from 'vitest';
import { HostPages } from '../../src/hypervisor/host-pages.ts';
import { MemoryHeap } from '../../src/hypervisor/memory-heap.ts';
import { spa } from '../../src/util/address.ts';
import { InternalError, UserError } from '../../src/util/errors.ts';
import { RandomSource } from '../../src/util/random.ts';
import { FakeHost } from './fake-host.ts';

const PAGE = 0x1000;
const heapOf = (...ranges: readonly (readonly [start: number, pages: number])[]): MemoryHeap => {
  const heap = new MemoryHeap();
  for (const [start, pages] of ranges) heap.give(start, pages * PAGE);
  return heap;
};

describe('memory that the hypervisor has to give', () => {
  it('is taken from the lowest range that is long enough', () => {
    const heap = heapOf([0x10_0000, 8], [0x1000, 2]);
    expect(heap.take(3 * PAGE)).toBe(0x10_0000);
    expect(heap.take(PAGE)).toBe(0x1000);
    expect(heap.take(2 * PAGE)).toBe(0x10_3000);
    expect(heap.take(PAGE)).toBe(0x2000);
    expect(heap.free).toBe(3 * PAGE);
  });

  it('is not there when no single piece is long enough', () => {
    const heap = heapOf([0x1000, 2], [0x8000, 2]);
    expect(heap.take(3 * PAGE)).toBeNull();
    expect(heap.longest).toBe(2 * PAGE);
    expect(heap.free).toBe(4 * PAGE);
  });

  it('begins at a multiple of the alignment, and what lies before and behind stays free', () => {
    const heap = heapOf([0x1000, 64]);
    expect(heap.take(2 * PAGE, 0x1_0000)).toBe(0x1_0000);
    expect(heap.free).toBe(62 * PAGE);
    expect(heap.take(15 * PAGE)).toBe(0x1000);
    expect(heap.take(PAGE)).toBe(0x1_2000);
  });

  it('begins at the lowest address that is asked for', () => {
    const heap = heapOf([0x1000, 64]);
    expect(heap.take(PAGE, PAGE, 0x2_0000)).toBe(0x2_0000);
    expect(heap.take(PAGE, 0x1_0000, 0x2_1000)).toBe(0x3_0000);
    expect(heap.take(64 * PAGE, PAGE, 0x2_0000)).toBeNull();
  });

  it('is one piece again when what lay between comes back', () => {
    const heap = heapOf([0x1000, 6]);
    const [a, b, c] = [heap.take(2 * PAGE)!, heap.take(2 * PAGE)!, heap.take(2 * PAGE)!];
    expect(heap.free).toBe(0);
    expect(heap.longest).toBe(0);
    heap.give(a, 2 * PAGE);
    heap.give(c, 2 * PAGE);
    expect(heap.longest).toBe(2 * PAGE);
    heap.give(b, 2 * PAGE);
    expect(heap.longest).toBe(6 * PAGE);
    expect(heap.take(6 * PAGE)).toBe(a);
  });

  it.each([
    ['twice', 0x1000, PAGE],
    ['in part twice', 0x2000, 2 * PAGE],
    ['around what is free', 0x0, 16 * PAGE],
    ['in pieces of a page', 0x9000, 100],
  ])('cannot be given back %s', (_, start, size) => {
    expect(() => heapOf([0x1000, 1], [0x3000, 2]).give(start, size)).toThrow(InternalError);
  });

  it('after any number of takings and givings is exactly what it was', () => {
    const chance = new RandomSource('heap').stream('takes');
    const heap = heapOf([0x1000, 500], [0x100_0000, 3000]);
    const taken: { at: number; size: number }[] = [];
    const owner = new Map<number, object>();
    for (let n = 0; n < 5000; n++) {
      if (chance.below(2) === 0 || taken.length === 0) {
        const size = PAGE * (1 + chance.below(40));
        const alignment = PAGE << chance.below(10);
        const at = heap.take(size, alignment);
        if (at === null) continue;
        expect(at % alignment).toBe(0);
        const piece = { at, size };
        for (let page = at; page < at + size; page += PAGE) {
          if (owner.has(page)) expect.fail(`page ${page} is taken twice`);
          owner.set(page, piece);
        }
        taken.push(piece);
      } else {
        const [piece] = taken.splice(chance.below(taken.length), 1);
        for (let page = piece!.at; page < piece!.at + piece!.size; page += PAGE) owner.delete(page);
        heap.give(piece!.at, piece!.size);
      }
      expect(heap.free).toBe((3500 - owner.size) * PAGE);
    }
    for (const { at, size } of taken) heap.give(at, size);
    expect(heap.longest).toBe(3000 * PAGE);
    expect(heap.take(500 * PAGE)).toBe(0x1000);
  });
});

describe('pages of the hypervisor’s own', () => {
  const ready = () => {
    const host = new FakeHost();
    host.bytes.fill(0xcc);
    const heap = heapOf([0x1000, 8]);
    return { host, heap, pages: new HostPages(host.memory, heap) };
  };

  it('hold zeros, whatever was there before', () => {
    const { host, pages } = ready();
    const at = pages.take(2);
    expect(host.bytes.subarray(at, at + 2 * PAGE).every((byte) => byte === 0)).toBe(true);
    expect(host.bytes[at + 2 * PAGE]).toBe(0xcc);
  });

  it('all come back together, and can be taken again', () => {
    const { host, heap, pages } = ready();
    const other = new HostPages(host.memory, heap);
    pages.take();
    other.take();
    pages.take(3);
    pages.giveBack();
    expect(heap.free).toBe(7 * PAGE);
    pages.giveBack();
    expect(heap.free).toBe(7 * PAGE);
    expect(pages.take(6)).toBe(spa(0x3000));
    expect(pages.take()).toBe(spa(0x1000));
  });

  it('come back with nothing in them: they may be some guest’s RAM next', () => {
    const { host, pages } = ready();
    const at = pages.take(2);
    host.bytes.fill(0xcc);
    pages.giveBack();
    expect(host.bytes.subarray(at, at + 2 * PAGE).every((byte) => byte === 0)).toBe(true);
    expect(host.bytes[at + 2 * PAGE]).toBe(0xcc);
  });

  it('that are not there are a person’s problem', () => {
    const { pages } = ready();
    expect(() => pages.take(9)).toThrow(UserError);
    expect(() => pages.take(9)).toThrow('the host has no memory left: end a guest, or give the host more');
  });
});
