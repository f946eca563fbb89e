// Delivery of exceptions and interrupts in legacy protected, virtual-8086 and real mode. APM vol. 2, 8.7, 8.8, 8.10; table 8-3.

import { describe, expect, test } from 'vitest';
import { Vector } from '../../src/arch/exception.ts';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Cr0, Cr4, Rflags, SegmentAttribute as A } from '../../src/arch/registers.ts';
import { Gpr, Segment, SegmentPart, segmentAt, State } from '../../src/memory/state.ts';
import { Flat } from '../instructions/bench.ts';
import { descriptor } from './mode-bench.ts';
import { At, code, flat, gate, Sel, TransferBench } from './transfer-bench.ts';

const b = new TransferBench();
const INTERRUPT = 0xe;
const TRAP = 0xf;
const INTERRUPT_16 = 6;
const { HANDLER, CODE, STACK, INNER } = At;
const ONE = Rflags.ALWAYS_1;

describe('an interrupt gate of protected mode', () => {
  test('to the same privilege pushes EFLAGS, CS and EIP and clears IF', () => {
    b.start('protected', 'int 0x40', { flags: Rflags.IF | Rflags.CF | Rflags.NT });
    b.interrupt(0x40, gate(INTERRUPT, Sel.CODE, HANDLER));
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:${HANDLER.toString(16)} 10:${(STACK - 12).toString(16)}`);
    expect(b.words(STACK - 12, 3)).toEqual([CODE + 2, Sel.CODE, Rflags.IF | Rflags.CF | Rflags.NT | ONE]);
    expect(b.rflags).toBe(Rflags.CF | ONE);
  });

  test('of 16 bits pushes words, and its offset has 16 bits', () => {
    b.start('protected', 'int 0x40');
    b.interrupt(0x40, gate(INTERRUPT_16, Sel.CODE, 0xffff_8000));
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:8000 10:${(STACK - 6).toString(16)}`);
    expect(b.words(STACK - 6, 3, 2)).toEqual([(CODE + 2) & 0xffff, Sel.CODE, ONE]);
  });

  test('a trap gate leaves IF', () => {
    b.start('protected', 'int 0x40', { flags: Rflags.IF });
    b.interrupt(0x40, gate(TRAP, Sel.CODE, HANDLER));
    expect(b.go()).toBe('');
    expect(b.rflags).toBe(Rflags.IF | ONE);
  });

  test('to an inner privilege takes SS:ESP from the TSS and pushes the old ones', () => {
    b.start('protected', 'int 0x40', { cpl: 3 });
    b.interrupt(0x40, gate(INTERRUPT, Sel.CODE, HANDLER, { dpl: 3 }));
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:${HANDLER.toString(16)} 10:${(INNER - 20).toString(16)}`);
    expect(b.words(INNER - 20, 5)).toEqual([CODE + 2, Sel.USER_CODE, ONE, STACK, Sel.USER_DATA]);
    expect(b.u32(State.CPL)).toBe(0);
  });

  test('takes SS:SP from a 16-bit TSS', () => {
    b.start('protected', 'int 0x40', { cpl: 3 });
    b.interrupt(0x40, gate(INTERRUPT, Sel.CODE, HANDLER, { dpl: 3 }));
    b.setSegment(Segment.TR, Sel.TASK, A.P | 3, 0x2b, At.TASK);
    b.put16(At.TASK + 2, 0x8000, Sel.DATA);
    b.entry(Sel.DATA, flat(Flat.data16(0)));
    expect(b.go()).toBe('');
    expect(b.gpr(Gpr.RSP)).toBe(BigInt((STACK & 0xffff_0000) | (0x8000 - 20)));
  });

  test('to a conforming segment stays at CPL 3 and on its stack', () => {
    b.start('protected', 'int 0x40', { cpl: 3 });
    b.interrupt(0x40, gate(INTERRUPT, Sel.CONFORMING, HANDLER, { dpl: 3 }));
    expect(b.go()).toBe('');
    expect(b.place).toBe(`2b:${HANDLER.toString(16)} 1b:${(STACK - 12).toString(16)}`);
  });

  test('a fault pushes its error code, and RF in EFLAGS', () => {
    b.start('protected', 'mov ds, ax', { deliver: [Vector.GP] });
    b.setGpr(Gpr.RAX, 0x99n << 4n);
    b.interrupt(Vector.GP, gate(INTERRUPT, Sel.CODE, HANDLER));
    expect(b.go()).toBe('');
    expect(b.words(STACK - 16, 4)).toEqual([0x990, CODE, Sel.CODE, Rflags.RF | ONE]);
    expect(b.rip).toBe(BigInt(HANDLER + 1));
  });

  type Spoil = () => void;
  const user = (raw = gate(INTERRUPT, Sel.CODE, HANDLER, { dpl: 3 })): void => b.interrupt(0x40, raw);
  const refusals: readonly (readonly [string, string, Spoil])[] = [
    ['#GP(gate): a vector beyond the table', '#GP(202)', () => b.setSegment(Segment.IDTR, 0, 0, 8 * 0x40 + 6, At.IDT)],
    ['#GP(gate): no gate', '#GP(202)', () => user(gate(0xc, Sel.CODE, HANDLER, { dpl: 3 }))],
    ['#GP(gate): INT n above the DPL of the gate', '#GP(202)', () => user(gate(INTERRUPT, Sel.CODE, HANDLER))],
    ['#NP(gate): a gate that is absent', '#NP(202)', () => user(gate(INTERRUPT, Sel.CODE, HANDLER, { dpl: 3, present: false }))],
    ['#GP(0): a null code selector', '#GP(0)', () => user(gate(INTERRUPT, 3, HANDLER, { dpl: 3 }))],
    ['#GP(selector): a code selector beyond the GDT', '#GP(a8)', () => user(gate(INTERRUPT, 0xa8, HANDLER, { dpl: 3 }))],
    ['#GP(selector): a data segment as target', '#GP(10)', () => user(gate(INTERRUPT, Sel.DATA, HANDLER, { dpl: 3 }))],
    ['#NP(selector): a code segment that is absent', '#NP(8)', () => b.entry(Sel.CODE, flat(code(0) & ~A.P))],
    [
      '#GP(0): an offset beyond the limit of the code segment',
      '#GP(0)',
      () => b.entry(Sel.CODE, flat(code(0)) & ~(0xfn << 48n) & ~0xfff8n),
    ],
    ['#TS(TSS): a TSS without room for the stack', '#TS(40)', () => b.setSegment(Segment.TR, Sel.TASK, A.P | 0xb, 10, At.TASK)],
    ['#TS(0): a null stack selector', '#TS(0)', () => b.put32(At.TASK + 8, 0)],
    ['#TS(selector): a stack selector beyond the GDT', '#TS(a8)', () => b.put32(At.TASK + 8, 0xa8)],
    ['#TS(selector): a stack of another privilege', '#TS(18)', () => b.put32(At.TASK + 8, Sel.USER_DATA)],
    ['#TS(selector): the RPL of another privilege', '#TS(10)', () => b.put32(At.TASK + 8, Sel.DATA | 1)],
    ['#TS(selector): code as stack', '#TS(8)', () => b.put32(At.TASK + 8, Sel.CODE)],
    ['#TS(selector): a stack that is read-only', '#TS(10)', () => b.entry(Sel.DATA, flat(Flat.data32(0) & ~A.WRITABLE))],
    ['#SS(selector): a stack that is absent', '#SS(10)', () => b.entry(Sel.DATA, flat(Flat.data32(0) & ~A.P))],
    ['#SS(selector): an inner stack without room', '#SS(10)', () => b.entry(Sel.DATA, descriptor(Flat.data32(0), 0, 0x21))],
  ];
  test.each(refusals)('%s', (_, ending, spoil) => {
    b.start('protected', 'int 0x40', { cpl: 3 });
    user();
    spoil();
    const before = b.place;
    expect(b.go()).toBe(ending);
    expect(b.place).toBe(before);
  });

  test('#SS(0): no room on the present stack', () => {
    b.start('protected', 'int 0x40');
    b.interrupt(0x40, gate(INTERRUPT, Sel.CODE, HANDLER));
    b.setGpr(Gpr.RSP, 8n);
    b.setU32(segmentAt(Segment.SS) + SegmentPart.LIMIT, 0xffff_fff0);
    expect(b.go()).toBe('#SS(0)');
    expect(b.gpr(Gpr.RSP)).toBe(8n);
  });

  test('EXT is set in the error code unless INT n, INT3 or INTO is delivered', () => {
    b.start('protected', 'ud2', { deliver: [Vector.UD] });
    expect(b.go()).toBe('#GP(33)');
    expect(b.interrupted).toBe('80000306:0');
    b.start('protected', 'nop');
    expect(b.cpu.inject(0x41, 0, -1)).toBe(true);
    expect([b.u32(State.STOP), b.u32(State.STOP_INFO1)]).toEqual([ExitCode.EXCEPTION + Vector.GP, (0x41 << 3) | 3]);
    expect(b.interrupted).toBe('80000041:0');
    b.start('protected', 'int3', { deliver: [Vector.BP] });
    expect(b.go()).toBe('#GP(1a)');
  });
});

describe('from virtual-8086 mode', () => {
  const start = (source: string, flags: number = Rflags.IOPL, cr4 = 0): void => {
    b.start('virtual8086', source, { flags, cr4 });
    b.interrupt(0x40, gate(INTERRUPT, Sel.CODE, HANDLER, { dpl: 3 }));
  };

  test('GS, FS, DS and ES are pushed first and become null', () => {
    start('int 0x40');
    expect(b.go()).toBe('');
    const s = (STACK - 0x1000) >> 4;
    expect(b.words(INNER - 36, 9)).toEqual([2, CODE >> 4, Rflags.VM | Rflags.IOPL | ONE, 0x1000, s, s, s, s, s]);
    expect([Segment.ES, Segment.DS, Segment.FS, Segment.GS].map((segment) => b.selectorOf(segment))).toEqual([0, 0, 0, 0]);
    expect(b.rflags & Rflags.VM).toBe(0);
    expect(b.place).toBe(`8:${HANDLER.toString(16)} 10:${(INNER - 36).toString(16)}`);
  });

  test('#GP(selector): a handler that does not run at CPL 0', () => {
    start('int 0x40');
    b.interrupt(0x40, gate(INTERRUPT, Sel.USER_CODE, HANDLER, { dpl: 3 }));
    expect(b.go()).toBe('#GP(20)');
    b.interrupt(0x40, gate(INTERRUPT, Sel.CONFORMING, HANDLER, { dpl: 3 }));
    expect(b.go()).toBe('#GP(28)');
  });

  test('#GP(0): INT n with IOPL below 3; INT3 does not depend on it', () => {
    start('int 0x40', 0);
    expect(b.go()).toBe('#GP(0)');
    b.start('virtual8086', 'int3', { deliver: [Vector.BP] });
    b.interrupt(Vector.BP, gate(INTERRUPT, Sel.CODE, HANDLER, { dpl: 3 }));
    expect(b.go()).toBe('');
    expect(b.rip).toBe(BigInt(HANDLER));
  });

  const ownVector = (): void => {
    b.put16(At.TASK + 0x66, 0x88);
    b.put32(4 * 0x40, 0x1234_5678);
  };

  test('CR4.VME: a clear bit of the redirection bitmap sends INT n to the vector table at 0', () => {
    start('int 0x40', Rflags.IOPL | Rflags.IF, Cr4.VME);
    ownVector();
    expect(b.go()).toBe('');
    expect(b.place).toBe(`1234:5678 ${((STACK - 0x1000) >> 4).toString(16)}:ffa`);
    expect(b.words(STACK - 6, 3, 2)).toEqual([2, CODE >> 4, Rflags.IOPL | Rflags.IF | ONE]);
    expect(b.rflags & (Rflags.VM | Rflags.IF)).toBe(Rflags.VM);
  });

  test('CR4.VME below IOPL 3: VIF stands for IF, and the image has IOPL 3', () => {
    start('int 0x40', Rflags.VIF, Cr4.VME);
    ownVector();
    expect(b.go()).toBe('');
    expect(b.words(STACK - 2, 1, 2)).toEqual([Rflags.IOPL | Rflags.IF | ONE]);
    expect(b.rflags & Rflags.VIF).toBe(0);
  });

  test('CR4.VME: a set bit leaves INT n to IOPL; a bitmap beyond the TSS is #GP(0)', () => {
    start('int 0x40', 0, Cr4.VME);
    ownVector();
    b.put16(At.TASK + 0x68 + 8, 1);
    expect(b.go()).toBe('#GP(0)');
    start('int 0x40', Rflags.IOPL, Cr4.VME);
    b.put16(At.TASK + 0x66, 0x7000);
    expect(b.go()).toBe('#GP(0)');
  });
});

describe('real mode', () => {
  test('FLAGS, CS and IP are pushed; IF, TF and AC are cleared', () => {
    b.start('real', 'int 0x40', { flags: Rflags.IF | Rflags.CF | Rflags.AC });
    b.put32(4 * 0x40, 0x1234_5678);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`1234:5678 ${((STACK - 0x1000) >> 4).toString(16)}:ffa`);
    expect(b.words(STACK - 6, 3, 2)).toEqual([2, CODE >> 4, Rflags.IF | Rflags.CF | ONE]);
    expect(b.rflags).toBe(Rflags.CF | ONE);
  });

  test('a fault pushes no error code', () => {
    b.start('real', 'mov ax, [0xffff]', { deliver: [Vector.GP] });
    b.put32(4 * Vector.GP, 0x1234_5678);
    expect(b.go(0)).toBe('');
    b.run(1);
    expect(b.words(STACK - 6, 2, 2)).toEqual([0, CODE >> 4]);
  });

  test('with SS.B set ESP is the stack pointer', () => {
    b.start('real', 'int 0x40');
    b.put32(4 * 0x40, 0x1234_5678);
    b.setSegment(Segment.SS, 0, 0x93 | A.DB | A.G, 0xffff_ffff, 0);
    b.setGpr(Gpr.RSP, BigInt(INNER));
    b.settle();
    expect(b.go()).toBe('');
    expect(b.gpr(Gpr.RSP)).toBe(BigInt(INNER - 6));
    expect(b.words(INNER - 6, 3, 2)).toEqual([2, CODE >> 4, ONE]);
  });

  test('a vector beyond the table is #GP', () => {
    b.start('real', 'int 0x40');
    b.setSegment(Segment.IDTR, 0, 0, 0xff, 0);
    expect(b.go()).toBe('#GP(0)');
  });

  test('a table too short for #GP and #DF is shutdown', () => {
    b.start('real', 'int 0x40', { deliver: [Vector.GP, Vector.DF] });
    b.setSegment(Segment.IDTR, 0, 0, 3, 0);
    expect(b.go()).toBe('exit 7fh');
    expect(b.rip).toBe(0n);
    expect(b.gpr(Gpr.RSP)).toBe(0x1000n);
    expect(b.interrupted).toBe('80000b08:0');
  });

  test('no room on the stack is #SS', () => {
    b.start('real', 'int 0x40');
    b.setGpr(Gpr.RSP, 1n);
    expect(b.go()).toBe('#SS(0)');
  });
});

describe('a second exception while a first is delivered (table 8-3)', () => {
  test('benign, then contributory: the second is delivered', () => {
    b.start('protected', 'ud2', { deliver: [Vector.UD, Vector.GP] });
    b.interrupt(Vector.GP, gate(INTERRUPT, Sel.CODE, HANDLER));
    expect(b.go()).toBe('');
    expect(b.words(STACK - 16, 2)).toEqual([0x33, CODE]);
  });

  test('contributory twice: #DF with error code 0', () => {
    b.start('protected', 'mov ds, ax', { deliver: [Vector.GP, Vector.NP, Vector.DF] });
    b.setGpr(Gpr.RAX, 0x990n);
    b.interrupt(Vector.GP, gate(INTERRUPT, Sel.CODE, HANDLER, { present: false }));
    b.interrupt(Vector.DF, gate(INTERRUPT, Sel.CODE, HANDLER));
    expect(b.go()).toBe('');
    expect(b.words(STACK - 16, 2)).toEqual([0, CODE]);
  });

  test('the intercept of the second comes before #DF, and EXITINTINFO names the first', () => {
    b.start('protected', 'mov ds, ax', { deliver: [Vector.GP, Vector.DF] });
    b.setGpr(Gpr.RAX, 0x990n);
    b.interrupt(Vector.GP, gate(INTERRUPT, Sel.CODE, HANDLER, { present: false }));
    expect(b.go()).toBe('#NP(6b)');
    expect(b.interrupted).toBe('80000b0d:990');
    expect(b.place).toBe(`8:${CODE.toString(16)} 10:${STACK.toString(16)}`);
  });

  test('a fault while #DF is delivered: shutdown, with registers as before', () => {
    b.start('protected', 'mov ds, ax', { deliver: [Vector.GP, Vector.NP, Vector.DF] });
    b.setGpr(Gpr.RAX, 0x990n);
    expect(b.go()).toBe('exit 7fh');
    expect(b.place).toBe(`8:${CODE.toString(16)} 10:${STACK.toString(16)}`);
    expect(b.interrupted).toBe('80000b08:0');
  });

  test('an interrupt is benign whatever its vector', () => {
    b.start('protected', 'nop', { deliver: [Vector.NP] });
    b.interrupt(Vector.GP, gate(INTERRUPT, Sel.CODE, HANDLER, { present: false }));
    b.interrupt(Vector.NP, gate(INTERRUPT, Sel.CODE, HANDLER));
    expect(b.cpu.inject(Vector.GP, 0, -1)).toBe(false);
    expect(b.rip).toBe(BigInt(HANDLER));
    expect(b.words(STACK - 16, 1)).toEqual([0x6b]);
  });

  test('#VC in the place of an exit is contributory, too', () => {
    b.start('protected', 'nop', { deliver: [Vector.GP, Vector.DF] });
    b.interrupt(Vector.DF, gate(INTERRUPT, Sel.CODE, HANDLER));
    b.interrupt(Vector.VC, gate(INTERRUPT, Sel.CODE, HANDLER + 1));
    b.setU32(State.EXIT_INT_INFO, 0x8000_0b0d);
    expect(b.cpu.raise(Vector.VC, 0x72)).toBe(false);
    expect(b.rip).toBe(BigInt(HANDLER));
    b.start('protected', 'nop');
    b.setU32(State.EXIT_INT_INFO, 0x8000_0b08);
    expect(b.cpu.raise(Vector.VC, 0x72)).toBe(true);
    expect(b.u32(State.STOP)).toBe(0x7f);
  });

  test('#AC and #TS can call each other up for ever: nothing is delivered, the instruction faults again, and time passes', () => {
    const exceptions = [Vector.UD, Vector.AC, Vector.TS];
    b.start('protected', 'ud2', { cpl: 3, flags: Rflags.AC, deliver: exceptions });
    b.setU64(State.CR0, b.u64(State.CR0) | BigInt(Cr0.AM));
    // On a stack that is not aligned every frame of CPL 3 is #AC, whose own handler has no stack to go to: #TS.
    b.setGpr(Gpr.RSP, BigInt(STACK - 2));
    for (const vector of [Vector.UD, Vector.TS]) b.interrupt(vector, gate(INTERRUPT, Sel.USER_CODE, HANDLER));
    b.interrupt(Vector.AC, gate(INTERRUPT, Sel.CODE, HANDLER));
    b.put32(At.TASK + 8, 0);
    b.settle();
    const before = b.cpu.retired;
    expect(b.go(100)).toBe('');
    expect(b.place).toBe(`${Sel.USER_CODE.toString(16)}:${CODE.toString(16)} ${Sel.USER_DATA.toString(16)}:${(STACK - 2).toString(16)}`);
    expect(b.cpu.retired - before).toBe(100);
    expect(b.interrupted).toBe('0:0');
    // One that is intercepted ends it.
    b.setU32(State.INTERCEPTS + 8, 1 << Vector.TS);
    expect(b.go(100)).toBe('#TS(1)');
    expect(b.interrupted).toBe('80000b11:0');
  });
});
