// Programs that change the mapping of the very pages they run on. TLBs are coherent here, so that the next instruction already comes from
// the new page; and code of the old page is as it was when it is mapped again.

import { beforeEach, describe, expect, test } from 'vitest';
import { assemble } from '../../src/asm/assemble.ts';
import { Gpr, Segment, State } from '../../src/memory/state.ts';
import { Bench, Flat, Permission } from '../instructions/bench.ts';

const CODE = 0x1_0000;
const NEXT = 0x1_1000;
const FIRST = 0x5_0000;
const SECOND = 0x5_1000;
const THIRD = 0x5_2000;
const STACK = 0x3_1000;
const TABLE = 0x2_0000;
const FLAT = 0xffff_ffff;
const bench = new Bench();
bench.map(STACK - 0x1000, STACK - 0x1000, Permission.WRITE);

const entryOf = (physical: number): bigint => BigInt(physical) | 0x63n;
/** Where the linear page's lowest table has its entry; the table itself is mapped at TABLE. */
const slot = (linear: number): string => `[${TABLE + 8 * ((linear >>> 12) & 511)}]`;

/** Physical address of the lowest table of the first 2 MiB. */
function lowestTable(): number {
  let table = Number(bench.u64(State.CR3) & 0xff_ffff_f000n);
  for (let level = 4; level > 1; level--) table = Number(bench.physical(table, 8).getBigUint64(0, true) & 0xff_ffff_f000n);
  return table;
}

function put(physical: number, linear: number, source: string): void {
  bench.write(physical, assemble(source, { bits: 64, origin: BigInt(linear) }).bytes);
}

beforeEach(() => {
  bench.reset();
  bench.setSegment(Segment.CS, 0x08, Flat.code64(0), FLAT, 0);
  bench.setSegment(Segment.SS, 0x10, Flat.data32(0), FLAT, 0);
  bench.setGpr(Gpr.RSP, BigInt(STACK));
  bench.setGpr(Gpr.RAX, 0n);
  bench.setGpr(Gpr.RCX, 0n);
  bench.setU64(State.RIP, BigInt(CODE));
  bench.map(CODE, FIRST, Permission.WRITE);
  bench.map(NEXT, THIRD, Permission.WRITE);
  bench.map(TABLE, lowestTable(), Permission.WRITE);
  for (const page of [FIRST, SECOND, THIRD]) bench.write(page, new Uint8Array(0x1000).fill(0x90));
  bench.settle();
});

const halted = (budget = 2000): void => {
  bench.run(budget);
  expect(bench.u32(State.HALTED)).toBe(1);
};

describe('a store into the table', () => {
  test.each(['mov', 'xchg', 'push'])('by %s: the next instruction is that of the new page', (how) => {
    const store = {
      mov: `mov ${slot(CODE)}, rbx`,
      xchg: `xchg ${slot(CODE)}, rbx`,
      push: `mov rsp, ${TABLE + 8 * ((CODE >>> 12) & 511) + 8}\n push rbx`,
    }[how] as string;
    const source = (value: number): string => `mov rbx, ${entryOf(SECOND)}\n ${store}\n mov eax, ${value}\n hlt`;
    put(FIRST, CODE, source(1));
    put(SECOND, CODE, source(2));
    halted();
    expect(bench.gpr(Gpr.RAX)).toBe(2n);
  });

  test('by a call: its target is on the new page', () => {
    const source = (value: number): string =>
      `mov rbx, ${entryOf(SECOND)}\n mov rsp, ${TABLE + 8 * ((CODE >>> 12) & 511) + 8}\n call there\n there: mov eax, ${value}\n hlt`;
    put(FIRST, CODE, source(1));
    // What the call pushes, CODE and some bits of which the lowest is set, maps the page to itself.
    put(CODE, CODE, source(3));
    halted();
    expect(bench.gpr(Gpr.RAX)).toBe(3n);
  });

  test('within a loop: each turn runs on the page that is mapped then', () => {
    // Both pages count in their own register and map the other one.
    const source = (register: string, other: number): string =>
      `mov rbx, ${entryOf(other)}\n again: mov ${slot(CODE)}, rbx\n inc ${register}\n mov rbx, ${entryOf(other)}\n dec rdx\n jnz again\n hlt`;
    put(FIRST, CODE, source('rcx', SECOND));
    put(SECOND, CODE, source('rax', FIRST));
    bench.setGpr(Gpr.RDX, 100n);
    halted();
    expect([bench.gpr(Gpr.RAX), bench.gpr(Gpr.RCX)]).toEqual([50n, 50n]);
  });

  test('by a string instruction: its next element is of the instruction that is there now', () => {
    // REP STOSQ on the old page; on the new one the same place has NOPs, and RCX shows how far it came.
    put(FIRST, CODE, `mov edi, ${TABLE + 8 * ((CODE >>> 12) & 511)}\n rep stosq\n hlt`);
    put(SECOND, CODE, `mov edi, ${TABLE + 8 * ((CODE >>> 12) & 511)}\n nop\n nop\n nop\n hlt`);
    bench.setGpr(Gpr.RAX, entryOf(SECOND));
    bench.setGpr(Gpr.RCX, 3n);
    halted();
    expect(bench.gpr(Gpr.RCX)).toBe(2n);
  });

  test('for another page leaves the code of this one alone', () => {
    bench.map(0x1_2000, SECOND, Permission.WRITE);
    put(
      FIRST,
      CODE,
      `mov rbx, ${entryOf(THIRD)}\n again: mov ${slot(0x1_2000)}, rbx\n cmp rax, [0x12000]\n inc ecx\n cmp ecx, 50\n jne again\n hlt`,
    );
    halted();
    expect(bench.gpr(Gpr.RCX)).toBe(50n);
  });
});

test('an instruction across two pages follows a change of the second', () => {
  // mov eax, imm32 with its last two bytes on the next page; a branch on its own page leads to it each time.
  put(
    FIRST,
    CODE,
    `back: inc ecx\n cmp ecx, 2\n jb there\n mov rbx, ${entryOf(SECOND)}\n mov ${slot(NEXT)}, rbx\n there: jmp ${CODE + 0xffd}`,
  );
  bench.write(FIRST + 0xffd, Uint8Array.of(0xb8, 0x11, 0x22));
  const tail = (high: number) => [high, high, ...assemble(`cmp ecx, 4\n jb ${CODE}\n hlt`, { bits: 64, origin: BigInt(NEXT + 2) }).bytes];
  bench.write(THIRD, Uint8Array.from(tail(0x33)));
  bench.write(SECOND, Uint8Array.from(tail(0x44)));
  bench.run(5);
  expect(bench.gpr(Gpr.RAX)).toBe(0x3333_2211n);
  halted();
  expect(bench.gpr(Gpr.RAX)).toBe(0x4444_2211n);
});
