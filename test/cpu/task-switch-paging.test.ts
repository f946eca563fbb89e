// Task switches with paging on: CR3 comes from a 32-bit TSS, and what the new task's segments name is read through its tables. APM vol. 2,
// 12.2.4, 12.3; PAE: 5.2.3 and, for directory pointers under nested paging, 15.25.10.

import { describe, expect, test } from 'vitest';
import { Vector } from '../../src/arch/exception.ts';
import { Cr0, Cr4, Rflags } from '../../src/arch/registers.ts';
import { Segment, SegmentPart, segmentAt, State } from '../../src/memory/state.ts';
import { descriptor } from './mode-bench.ts';
import { At, code, Sel, TransferBench } from './transfer-bench.ts';

const b = new TransferBench();
const { HANDLER, CODE, INNER, OTHER } = At;
const P_RW_US = 7;
/** Physical places: tables of the two tasks, and the page that the new one sees in the place of the GDT. */
const OLD_TABLES = 0x50_0000;
const NEW_TABLES = 0x51_0000;
const SECOND_GDT = 0x52_0000;
const jump = 'jmp 0x50:0';
const kinds = ['32-bit paging', 'PAE paging'] as const;
type Kind = (typeof kinds)[number];

/** Maps the first 256 KiB one to one, but for the GDT. Gives CR3. */
function tables(kind: Kind, root: number, gdt: number): number {
  const pages = Array.from({ length: At.END >> 12 }, (_, n) => (n === At.GDT >> 12 ? gdt : n << 12) | P_RW_US);
  b.write(root, new Uint8Array(0x3000));
  if (kind === '32-bit paging') {
    b.put32(root, (root + 0x1000) | P_RW_US);
    b.put32(root + 0x1000, ...pages);
    return root;
  }
  // Pointers lie at any multiple of 32.
  b.put64(root + 0x60, BigInt(root + 0x1000) | 1n);
  b.put64(root + 0x1000, BigInt(root + 0x2000) | 7n);
  b.put64(root + 0x2000, ...pages.map(BigInt));
  return root + 0x60;
}

function start(kind: Kind, source = jump): number {
  b.start('protected', source, { deliver: [] });
  const next = tables(kind, NEW_TABLES, SECOND_GDT);
  b.write(SECOND_GDT, b.read(At.GDT, 0x1000));
  b.put64(SECOND_GDT + Sel.CODE, descriptor(code(0), 0x100, 0xf_ffff));
  b.put32(OTHER + 0x1c, next);
  b.put32(OTHER + 0x20, HANDLER, Rflags.ALWAYS_1, 0, 0, 0, 0, INNER, 0, 0, 0, Sel.DATA, Sel.CODE, Sel.DATA, Sel.DATA, 0, 0, 0);
  b.setU64(State.CR3, BigInt(tables(kind, OLD_TABLES, At.GDT)));
  b.setU64(State.CR4, BigInt(kind === 'PAE paging' ? Cr4.PAE : 0));
  b.setU64(State.CR0, b.u64(State.CR0) | BigInt(Cr0.PG >>> 0) | BigInt(Cr0.WP));
  b.settle();
  return next;
}

const csBase = (): number => b.u32(segmentAt(Segment.CS) + SegmentPart.BASE);

describe.each(kinds)('with %s', (kind) => {
  test('CR3 is loaded from the TSS, and segments are read through the new tables', () => {
    const next = start(kind);
    expect(b.go()).toBe('');
    expect(b.u64(State.CR3)).toBe(BigInt(next));
    expect(csBase()).toBe(0x100);
    expect(b.rip).toBe(BigInt(HANDLER));
    // The new task fetches by its own tables.
    expect(b.go()).toBe('');
  });

  test('the old CR3 is not saved', () => {
    start(kind);
    b.put32(At.TASK + 0x1c, 0x1234_5000);
    expect(b.go()).toBe('');
    expect(b.words(At.TASK + 0x1c, 1)).toEqual([0x1234_5000]);
  });

  test('the busy bits are set in the table of the old task', () => {
    start(kind);
    expect(b.go()).toBe('');
    const types = (table: number): (number | undefined)[] =>
      [Sel.TASK, Sel.OTHER].map((selector) => b.words(table + selector + 4, 1)[0]).map((word) => ((word ?? 0) >> 8) & 0xf);
    expect(types(At.GDT)).toEqual([0x9, 0xb]);
    expect(types(SECOND_GDT)).toEqual([0xb, 0x9]);
  });

  test('tables that map nothing: the page fault is the new task’s', () => {
    const next = start(kind);
    b.write(NEW_TABLES, new Uint8Array(0x3000));
    expect(b.go()).toBe('#PF(0)');
    expect(b.u64(State.STOP_INFO2)).toBe(BigInt(At.GDT + Sel.CODE));
    expect(b.u64(State.CR3)).toBe(BigInt(next));
    expect(b.selectorOf(Segment.TR)).toBe(Sel.OTHER);
    expect(b.rip).toBe(BigInt(HANDLER));
    expect(b.words(At.TASK + 0x20, 1)).toEqual([CODE + 7]);
  });

  test('a TSS that the old task does not map is #PF in the old task', () => {
    start(kind);
    const leaf = kind === 'PAE paging' ? OLD_TABLES + 0x2000 + 8 * (OTHER >> 12) : OLD_TABLES + 0x1000 + 4 * (OTHER >> 12);
    b.put32(leaf, 0);
    expect(b.go()).toBe('#PF(0)');
    expect(b.selectorOf(Segment.TR)).toBe(Sel.TASK);
    expect(b.u64(State.CR0) & BigInt(Cr0.TS)).toBe(0n);
  });

  test('an old TSS that cannot be written is #PF(3) before anything changes', () => {
    start(kind);
    const leaf = kind === 'PAE paging' ? OLD_TABLES + 0x2000 + 8 * (At.TASK >> 12) : OLD_TABLES + 0x1000 + 4 * (At.TASK >> 12);
    b.put32(leaf, At.TASK | 5);
    expect(b.go()).toBe('#PF(3)');
    expect(b.selectorOf(Segment.TR)).toBe(Sel.TASK);
    expect(b.words(At.GDT + Sel.OTHER + 4, 1)[0]! & 0x200).toBe(0);
  });

  test('a 16-bit TSS has no CR3: it stays', () => {
    start(kind, 'jmp 0x58:0');
    const before = b.u64(State.CR3);
    b.put16(OTHER + 0x0e, HANDLER & 0xffff, 2, 1, 2, 3, 4, 0x8000, 6, 7, 8, Sel.DATA, Sel.CODE, Sel.DATA, Sel.DATA, 0);
    expect(b.go()).toBe('');
    expect([b.u64(State.CR3), csBase()]).toEqual([before, 0]);
  });
});

test('with PAE paging a reserved bit in a directory pointer is a page fault of the new task', () => {
  start('PAE paging');
  b.put64(NEW_TABLES + 0x60, BigInt(NEW_TABLES + 0x1000) | 7n);
  expect(b.go()).toBe('#PF(9)');
  expect(b.selectorOf(Segment.TR)).toBe(Sel.OTHER);
});

test('without paging CR3 stays', () => {
  start('32-bit paging');
  b.setU64(State.CR0, b.u64(State.CR0) & ~BigInt(Cr0.PG >>> 0));
  b.setU64(State.CR3, 0x1_2345_6000n);
  b.settle();
  expect(b.go()).toBe('');
  expect(b.u64(State.CR3)).toBe(0x1_2345_6000n);
  expect(Vector.PF).toBe(14);
});
