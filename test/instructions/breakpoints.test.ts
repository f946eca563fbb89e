// Debug registers, TF and RF. APM vol. 2, 13.1 and 8.5.1. Exceptions are intercepted, so that each #DB shows where it strikes.

import { beforeEach, describe, expect, test } from 'vitest';
import { Vector } from '../../src/arch/exception.ts';
import { Cr4, Rflags } from '../../src/arch/registers.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { Gpr, Segment, State } from '../../src/memory/state.ts';
import { Bench, type Ending, Flat, Permission } from './bench.ts';

const CODE = 0x1_0000;
const DATA = 0x2_0000;
const STACK = 0x3_1000;
const FLAT = 0xffff_ffff;
const { WRITE } = Permission;
/** Bits of DR6 that are set at reset. */
const DR6_FIXED = 0xffff_0ff0;
const BS = 1 << 14;
const BD = 1 << 13;

const bench = new Bench();
for (const page of [CODE, CODE + 0x1000, DATA, DATA + 0x1000, STACK - 0x1000]) bench.map(page, page, WRITE);

/** What a breakpoint watches: R/W and LEN fields of DR7. */
const Watch = { execute: 0, write1: 0x1, write4: 0xd, write8: 0x9, access4: 0xf, access1: 0x3, io1: 0x2 } as const;

/** Breakpoint n of DR7, enabled. */
const dr7 = (n: number, watch: number): bigint => BigInt(0x400 | (1 << (2 * n)) | (watch << (16 + 4 * n)));

function start(source: string): void {
  bench.write(CODE, new Uint8Array(0x2000).fill(0xf4));
  bench.write(CODE, assemble(source, { bits: 64, origin: BigInt(CODE) }).bytes);
  bench.write(DATA, new Uint8Array(0x2000));
  bench.settle();
}

/** The #DB that ends a run: its RIP relative to the code, and the new bits of DR6. */
function breaks(budget = 100): { readonly at: number; readonly dr6: number } | Ending {
  const ending = bench.run(budget);
  if (ending.kind !== 'exception' || ending.vector !== Vector.DB) return ending;
  return { at: Number(bench.rip) - CODE, dr6: bench.u32(State.DR6) & ~DR6_FIXED };
}

beforeEach(() => {
  bench.reset();
  bench.setSegment(Segment.CS, 0x08, Flat.code64(0), FLAT, 0);
  bench.setSegment(Segment.SS, 0x10, Flat.data32(0), FLAT, 0);
  bench.setU64(State.RIP, BigInt(CODE));
  bench.setGpr(Gpr.RSP, BigInt(STACK));
  bench.setGpr(Gpr.RBX, BigInt(DATA));
});

describe('data breakpoints', () => {
  test('a write traps behind the instruction', () => {
    bench.setU64(State.DR0, BigInt(DATA + 4));
    bench.setU64(State.DR7, dr7(0, Watch.write4));
    start('mov eax, [rbx+4]\nmov [rbx], eax\nmov [rbx+4], eax\nnop\nnop');
    expect(breaks()).toEqual({ at: 8, dr6: 1 });
  });

  test('an access traps for reads, too, wherever it overlaps', () => {
    bench.setU64(State.DR0 + 16, BigInt(DATA + 8));
    bench.setU64(State.DR7, dr7(2, Watch.access4));
    start('mov rax, [rbx]\nmov rax, [rbx+12]\nmov rax, [rbx+5]\nnop');
    expect(breaks()).toEqual({ at: 11, dr6: 4 });
  });

  test('an access across pages is looked at in both', () => {
    bench.setU64(State.DR0, BigInt(DATA + 0x1000));
    bench.setU64(State.DR7, dr7(0, Watch.access1));
    start('mov rax, [rbx+0xff8]\nmov rax, [rbx+0xffc]\nnop');
    expect(breaks()).toEqual({ at: 14, dr6: 1 });
  });

  test('the address is aligned to its length', () => {
    bench.setU64(State.DR0, BigInt(DATA + 7));
    bench.setU64(State.DR7, dr7(0, Watch.write4));
    start('mov byte [rbx+3], 1\nmov byte [rbx+4], 1\nnop');
    expect(breaks()).toEqual({ at: 8, dr6: 1 });
  });

  test('several strike together', () => {
    bench.setU64(State.DR0, BigInt(DATA));
    bench.setU64(State.DR0 + 8, BigInt(DATA + 4));
    bench.setU64(State.DR7, dr7(0, Watch.write4) | dr7(1, Watch.write4));
    start('mov [rbx], rax\nnop');
    expect(breaks()).toEqual({ at: 3, dr6: 3 });
  });

  test('each element of a repeated string instruction traps', () => {
    bench.setU64(State.DR0, BigInt(DATA + 2));
    bench.setU64(State.DR7, dr7(0, Watch.write1));
    bench.setGpr(Gpr.RDI, BigInt(DATA));
    bench.setGpr(Gpr.RCX, 10n);
    start('rep stosb\nnop');
    expect(breaks()).toEqual({ at: 0, dr6: 1 });
    expect(bench.gpr(Gpr.RCX)).toBe(7n);
  });

  test('the instruction behind runs when the trap was taken', () => {
    bench.setU64(State.DR0, BigInt(DATA));
    bench.setU64(State.DR7, dr7(0, Watch.write1));
    start('mov [rbx], al\nmov ecx, 5\nmov [rbx], al\nnop');
    expect(breaks()).toEqual({ at: 2, dr6: 1 });
    expect(breaks()).toEqual({ at: 9, dr6: 1 });
    expect(bench.gpr(Gpr.RCX)).toBe(5n);
  });

  test('an instruction that faults after its access does not trap', () => {
    bench.setU64(State.DR0, BigInt(DATA));
    bench.setU64(State.DR7, dr7(0, Watch.access1));
    bench.setGpr(Gpr.RSI, BigInt(DATA));
    bench.setGpr(Gpr.RDI, 0x9_0000n);
    start('movsb\nnop');
    expect(breaks()).toMatchObject({ kind: 'exception', vector: Vector.PF });
    expect(bench.u32(State.DR6)).toBe(DR6_FIXED);
  });

  test('they take effect at MOV to DR7, for pages with translations in use', () => {
    start('mov [rbx], al\nmov dr0, rbx\nmov dr7, rdx\nmov [rbx], al\nmov dr7, rcx\nmov [rbx], al\nnop');
    bench.setGpr(Gpr.RDX, dr7(0, Watch.write1));
    bench.setGpr(Gpr.RCX, 0x400n);
    expect(breaks()).toEqual({ at: 10, dr6: 1 });
    expect(bench.run(3).kind).toBe('limit');
  });

  test('MOV SS holds the trap off for one instruction', () => {
    bench.setU64(State.DR0, BigInt(DATA));
    bench.setU64(State.DR7, dr7(0, Watch.access1));
    start('mov ss, [rbx]\nnop\nnop');
    expect(breaks()).toEqual({ at: 3, dr6: 1 });
  });

  test('ports are watched with CR4.DE', () => {
    bench.setU64(State.CR4, BigInt(Cr4.PAE | Cr4.DE));
    bench.setU64(State.DR0, 0x71n);
    bench.setU64(State.DR7, dr7(0, Watch.io1));
    start('in al, 0x70\nin ax, 0x70\nnop');
    expect(breaks()).toEqual({ at: 5, dr6: 1 });
  });
});

describe('instruction breakpoints', () => {
  test('fault before the instruction, once RF is clear', () => {
    bench.setU64(State.DR0 + 24, BigInt(CODE + 2));
    bench.setU64(State.DR7, dr7(3, Watch.execute));
    start('nop\nnop\ninc eax\nnop');
    expect(breaks()).toEqual({ at: 2, dr6: 8 });
    expect(bench.gpr(Gpr.RAX)).toBe(0n);
    bench.rflags |= Rflags.RF;
    expect(bench.run(1)).toEqual({ kind: 'limit' });
    expect(bench.gpr(Gpr.RAX)).toBe(1n);
    expect(bench.rflags & Rflags.RF).toBe(0);
  });

  test('strike in a loop that was running before, each time', () => {
    start('again:\ninc eax\ncmp eax, 100\njne again\nmov dr0, rdx\nmov dr7, rsi\nxor eax, eax\njmp again');
    bench.setGpr(Gpr.RDX, BigInt(CODE + 2));
    bench.setGpr(Gpr.RSI, dr7(0, Watch.execute));
    expect(breaks(1000)).toEqual({ at: 2, dr6: 1 });
    bench.rflags |= Rflags.RF;
    expect(breaks(1000)).toEqual({ at: 2, dr6: 1 });
    expect(bench.gpr(Gpr.RAX)).toBe(2n);
  });

  test('strike at a branch from another page', () => {
    bench.setU64(State.DR0, BigInt(CODE + 0x1010));
    bench.setU64(State.DR7, dr7(0, Watch.execute));
    start(`jmp ${CODE + 0x1010}`);
    expect(breaks()).toEqual({ at: 0x1010, dr6: 1 });
  });

  test('an instruction that faults keeps RF', () => {
    bench.setU64(State.DR0, BigInt(CODE));
    bench.setU64(State.DR7, dr7(0, Watch.execute));
    bench.rflags |= Rflags.RF;
    bench.setGpr(Gpr.RBX, 0x9_0000n);
    start('mov eax, [rbx]');
    expect(bench.run(1)).toMatchObject({ vector: Vector.PF });
    expect(bench.rflags & Rflags.RF).toBe(Rflags.RF);
  });
});

describe('TF', () => {
  test('traps behind each instruction', () => {
    bench.rflags |= Rflags.TF;
    start('nop\nmov eax, 1\nnop');
    expect(breaks()).toEqual({ at: 1, dr6: BS });
    expect(breaks()).toEqual({ at: 6, dr6: BS });
  });

  test('set by POPF traps behind the instruction that follows', () => {
    start('push 0x102\npopf\nnop\nnop');
    expect(breaks()).toEqual({ at: 7, dr6: BS });
  });

  test('waits for one instruction behind MOV SS', () => {
    bench.rflags |= Rflags.TF;
    start('mov ss, eax\nnop\nnop');
    expect(breaks()).toEqual({ at: 3, dr6: BS });
  });

  test('set by SYSRET traps at its target, cleared by SYSRET not at all', () => {
    bench.setU64(State.STAR, 0x0013_0008_0000_0000n);
    bench.setU64(State.EFER, bench.u64(State.EFER) | 1n);
    for (const flags of [Rflags.TF, 0]) {
      bench.setU64(State.RIP, BigInt(CODE));
      bench.setU32(State.CPL, 0);
      bench.setGpr(Gpr.RCX, BigInt(CODE + 0x40));
      bench.setGpr(11, BigInt(flags | Rflags.ALWAYS_1));
      bench.rflags = flags === 0 ? Rflags.TF | Rflags.ALWAYS_1 : Rflags.ALWAYS_1;
      start('sysretq');
      if (flags !== 0) expect(breaks()).toEqual({ at: 0x40, dr6: BS });
      else expect(breaks()).toMatchObject({ kind: 'exception', vector: Vector.PF }); // the page is the supervisor's
      bench.setSegment(Segment.CS, 0x08, Flat.code64(0), FLAT, 0);
      bench.setU32(State.DR6, DR6_FIXED);
    }
  });

  test('joins a data breakpoint', () => {
    bench.setU64(State.DR0, BigInt(DATA));
    bench.setU64(State.DR7, dr7(0, Watch.write1));
    bench.rflags |= Rflags.TF;
    start('mov [rbx], al\nnop');
    expect(breaks()).toEqual({ at: 2, dr6: BS | 1 });
  });
});

test('INT1 behind MOV SS takes the trap along that MOV SS held back', () => {
  bench.setU64(State.DR0, BigInt(DATA));
  bench.setU64(State.DR7, dr7(0, Watch.access4));
  start('mov ss, [rbx]\nint1\nnop');
  // There is no interrupt table: its own delivery fails, with the gate of vector 1.
  expect(breaks()).toMatchObject({ kind: 'exception', vector: Vector.GP, errorCode: 0xa });
  expect(bench.u32(State.DR6) & ~DR6_FIXED).toBe(1);
});

describe('TF with DebugCtl.BTF', () => {
  const BTF = 2n;
  const step = (source: string, budget = 100): ReturnType<typeof breaks> => {
    bench.rflags |= Rflags.TF;
    bench.setU64(State.DEBUGCTL, BTF);
    start(source);
    return breaks(budget);
  };

  test.each([
    ['a jump', 'nop\ninc eax\njmp there\nnop\nthere: nop', 6],
    ['a jump to the next instruction', 'nop\njmp next\nnext: nop\nnop', 3],
    ['a jump to itself', 'nop\nhere: jmp here', 1],
    ['a call', 'nop\ncall there\nnop\nthere: nop', 7],
    ['a return', 'mov rcx, rsp\npush rbx\nret', Number(BigInt(DATA) - BigInt(CODE))],
    ['an indirect jump to another page', `mov eax, ${CODE + 0x1000}\njmp rax`, 0x1000],
    ['a conditional jump that is taken', 'xor eax, eax\njnz wrong\njz right\nwrong: nop\nnop\nright: nop', 8],
    ['LOOP that is taken', 'mov ecx, 2\nagain: nop\nloop again\nnop', 5],
  ])('traps behind %s', (_, source, at) => {
    expect(step(source)).toEqual({ at, dr6: BS });
  });

  test('does not trap behind other instructions, branches that are not taken among them', () => {
    bench.setGpr(Gpr.RDI, BigInt(DATA));
    expect(step('mov ecx, 3\nrep stosb\nxor eax, eax\njnz there\nmov ecx, 1\nloop there\nmov ss, eax\nnop\nthere: hlt', 11)).toEqual({
      kind: 'limit',
    });
    expect(bench.gpr(Gpr.RDI)).toBe(BigInt(DATA + 3));
  });

  test('joins a data breakpoint only if the instruction is a branch', () => {
    bench.setU64(State.DR0, BigInt(DATA));
    bench.setU64(State.DR7, dr7(0, Watch.access1));
    expect(step('mov [rbx], al\nnop')).toEqual({ at: 2, dr6: 1 });
  });

  test('#DB that is delivered clears BTF and LBR; an intercepted one does not', () => {
    expect(step('jmp there\nthere: nop')).toEqual({ at: 2, dr6: BS });
    expect(bench.u64(State.DEBUGCTL)).toBe(BTF);
    bench.deliverExceptions();
    bench.setSegment(Segment.IDTR, 0, 0, 0xfff, DATA);
    bench.setSegment(Segment.GDTR, 0, 0, 0xff, DATA + 0x1000);
    bench.setU64(State.DEBUGCTL, 0x3fn);
    bench.write(DATA + 16, Uint8Array.of((CODE + 64) & 0xff, ((CODE + 64) >> 8) & 0xff, 8, 0, 0, 0x8e, (CODE >> 16) & 0xff, 0));
    bench.write(DATA + 0x1008, Uint8Array.of(0xff, 0xff, 0, 0, 0, 0x9b, 0xaf, 0));
    bench.rflags &= ~Rflags.TF;
    bench.cpu.inject(Vector.DB, 3, -1);
    expect(bench.rip).toBe(BigInt(CODE + 64));
    expect(bench.u64(State.DEBUGCTL)).toBe(0x3cn);
  });
});

describe('DR7.GD', () => {
  test('any access to a debug register is #DB with BD', () => {
    bench.setU64(State.DR7, 0x2400n);
    start('nop\nmov rax, dr0');
    expect(breaks()).toEqual({ at: 1, dr6: BD });
  });
});
