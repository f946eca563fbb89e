// Hardware task switches. APM vol. 2, 12.2 to 12.4; their intercept: 15.14.1.

import { describe, expect, test } from 'vitest';
import { Vector } from '../../src/arch/exception.ts';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Cr0, Rflags, SegmentAttribute as A } from '../../src/arch/registers.ts';
import { Gpr, Segment, State } from '../../src/memory/state.ts';
import { Flat } from '../instructions/bench.ts';
import { descriptor } from './mode-bench.ts';
import { At, code, flat, gate, type Mode, Sel, TransferBench } from './transfer-bench.ts';

const b = new TransferBench();
const { HANDLER, CODE, STACK, INNER, OTHER, TASK } = At;
const ONE = Rflags.ALWAYS_1;
const TASK_GATE = 5;
const jump = 'jmp 0x50:0';
const call = 'call 0x50:0';

type Fields = { readonly ip?: number; readonly flags?: number; readonly cs?: number; readonly ss?: number; readonly ds?: number };

/** The 32-bit TSS that waits: EIP, EFLAGS, EAX.. = 100h.., ESP, segments. */
function task({ ip = HANDLER, flags = ONE, cs = Sel.CODE, ss = Sel.DATA, ds = Sel.DATA }: Fields = {}): void {
  b.put32(OTHER + 0x20, ip, flags, 0x100, 0x101, 0x102, 0x103, INNER, 0x105, 0x106, 0x107, Sel.DATA, cs, ss, ds, 0, 0, 0);
}

function start(source: string, fields: Fields = {}, mode: Mode = 'protected', flags = 0): void {
  b.start(mode, source, { flags });
  task(fields);
}

const busy = (selector: number): boolean => (b.words(At.GDT + selector + 4, 1)[0]! & 0x200) !== 0;

describe('a task switch', () => {
  test('by JMP saves the old task and loads the new; the busy bit moves', () => {
    start(jump, {}, 'protected', Rflags.CF);
    b.setGpr(Gpr.RAX, 0xabcdn);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:${HANDLER.toString(16)} 10:${INNER.toString(16)}`);
    expect([b.gpr(Gpr.RAX), b.gpr(Gpr.RDI)]).toEqual([0x100n, 0x107n]);
    expect(b.words(TASK + 0x20, 3)).toEqual([CODE + 7, Rflags.CF | ONE, 0xabcd]);
    expect(b.words(TASK + 0x38, 1)).toEqual([STACK]);
    expect(b.words(TASK + 0x48, 4)).toEqual([Sel.DATA, Sel.CODE, Sel.DATA, Sel.DATA]);
    expect([busy(Sel.TASK), busy(Sel.OTHER), b.selectorOf(Segment.TR)]).toEqual([false, true, Sel.OTHER]);
    expect(b.u32(State.CR0) & Cr0.TS).toBe(Cr0.TS);
    expect(b.rflags).toBe(ONE);
  });

  test('by CALL links back, sets NT and leaves both busy; IRET returns', () => {
    start(call);
    b.write(HANDLER, Uint8Array.of(0xcf));
    expect(b.go()).toBe('');
    expect(b.words(OTHER, 1)).toEqual([Sel.TASK]);
    expect(b.rflags & Rflags.NT).toBe(Rflags.NT);
    expect([busy(Sel.TASK), busy(Sel.OTHER)]).toEqual([true, true]);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:${(CODE + 7).toString(16)} 10:${STACK.toString(16)}`);
    expect([busy(Sel.TASK), busy(Sel.OTHER)]).toEqual([true, false]);
    expect(b.words(OTHER + 0x24, 1)).toEqual([ONE]);
    expect(b.rflags & Rflags.NT).toBe(0);
  });

  test('through a task gate of the GDT takes the selector of the gate', () => {
    start('jmp 0x60:0x1234');
    b.entry(Sel.GATE, gate(TASK_GATE, Sel.OTHER, 0));
    expect(b.go()).toBe('');
    expect(b.selectorOf(Segment.TR)).toBe(Sel.OTHER);
  });

  test('by an exception pushes the error code on the new stack', () => {
    start('mov ds, ax');
    b.setU32(State.INTERCEPTS + 8, 0);
    b.setGpr(Gpr.RAX, 0x990n);
    b.interrupt(Vector.GP, gate(TASK_GATE, Sel.OTHER, 0));
    expect(b.go()).toBe('');
    expect(b.rip).toBe(BigInt(HANDLER + 1));
    expect(b.gpr(Gpr.RSP)).toBe(BigInt(INNER - 4));
    expect(b.words(INNER - 4, 1)).toEqual([0x990]);
    expect(b.words(TASK + 0x20, 2)).toEqual([CODE, Rflags.RF | ONE]);
    expect(b.rflags & Rflags.NT).toBe(Rflags.NT);
  });

  test('to a 16-bit TSS', () => {
    start('jmp 0x58:0');
    b.put16(OTHER + 0x0e, HANDLER & 0xffff, ONE, 1, 2, 3, 4, 0x8000, 6, 7, 8, Sel.DATA, Sel.CODE, Sel.DATA, Sel.DATA, 0);
    expect(b.go()).toBe('');
    expect(b.place).toBe(`8:${(HANDLER & 0xffff).toString(16)} 10:ffff8000`);
    expect([b.selectorOf(Segment.FS), b.selectorOf(Segment.GS)]).toEqual([0, 0]);
  });

  test('to virtual-8086 mode', () => {
    start(jump, { ip: 0x10, flags: Rflags.VM | ONE, cs: 0x1234, ss: 0x2000 });
    expect(b.go()).toBe('');
    expect(b.place).toBe(`1234:10 2000:${INNER.toString(16)}`);
    expect([b.u32(State.CPL), b.u32(State.MODE)]).toEqual([3, 16]);
  });

  test('loads the LDT, and clears the local enables of DR7', () => {
    start(jump);
    b.put32(OTHER + 0x60, Sel.LDT);
    b.setU32(State.DR7, 0x755);
    expect(b.go()).toBe('');
    expect(b.selectorOf(Segment.LDTR)).toBe(Sel.LDT);
    expect(b.u32(State.DR7)).toBe(0x600);
  });

  test('with the T bit of the TSS raises #DB before the first instruction, with DR6.BT', () => {
    start(jump);
    b.put32(OTHER + 0x64, 1);
    expect(b.go(2)).toBe('#DB');
    expect(b.rip).toBe(BigInt(HANDLER));
    expect(b.u32(State.DR6) & 0x8000).toBe(0x8000);
  });
});

describe('refusals in the old task', () => {
  const refusals: readonly (readonly [string, string, string, () => void])[] = [
    ['a TSS whose DPL is below CPL', '#GP(50)', jump, () => b.setU32(State.CPL, 3)],
    ['a TSS that is busy', '#GP(50)', jump, () => b.entry(Sel.OTHER, descriptor(A.P | 0xb, OTHER, 0x67))],
    ['a TSS that is absent', '#NP(50)', jump, () => b.entry(Sel.OTHER, descriptor(0x9, OTHER, 0x67))],
    ['a TSS that is too small', '#TS(50)', call, () => b.entry(Sel.OTHER, descriptor(A.P | 0x9, OTHER, 0x66))],
    ['a task gate that is absent', '#NP(60)', 'jmp 0x60:0', () => b.entry(Sel.GATE, gate(TASK_GATE, Sel.OTHER, 0, { present: false }))],
    [
      'a task gate above whose DPL CPL is',
      '#GP(60)',
      'jmp 0x60:0',
      () => (b.entry(Sel.GATE, gate(TASK_GATE, Sel.OTHER, 0)), b.setU32(State.CPL, 3)),
    ],
    ['a task gate that names an LDT selector', '#GP(54)', 'jmp 0x60:0', () => b.entry(Sel.GATE, gate(TASK_GATE, Sel.OTHER | 4, 0))],
    ['a task gate that names no TSS', '#GP(10)', 'jmp 0x60:0', () => b.entry(Sel.GATE, gate(TASK_GATE, Sel.DATA, 0))],
    ['IRET with NT to a TSS that is not busy', '#TS(50)', 'iret', () => link(Sel.OTHER)],
    ['IRET with NT and an LDT selector as link', '#TS(54)', 'iret', () => link(Sel.OTHER | 4)],
  ];
  const link = (selector: number): void => {
    b.put16(TASK, selector);
    b.rflags = Rflags.NT;
  };
  test.each(refusals)('%s: %s', (_, ending, source, spoil) => {
    start(source);
    spoil();
    expect(b.go()).toBe(ending);
    expect(b.place).toBe(`8:${CODE.toString(16)} 10:${STACK.toString(16)}`);
    expect([b.selectorOf(Segment.TR), b.u32(State.CR0) & Cr0.TS]).toEqual([Sel.TASK, 0]);
  });

  test('long mode has no tasks: #GP(selector); IRET with NT: #GP(0)', () => {
    b.start('long', 'jmp far dword [rbx]');
    b.put32(At.LDT, 0, Sel.OTHER);
    b.setGpr(Gpr.RBX, BigInt(At.LDT));
    b.entry(Sel.OTHER, descriptor(A.P | 0x9, OTHER, 0x67));
    expect(b.go()).toBe('#GP(50)');
    b.start('long', 'iretq', { flags: Rflags.NT });
    expect(b.go()).toBe('#GP(0)');
  });
});

describe('faults of the new task', () => {
  const spoils: readonly (readonly [string, string, () => void])[] = [
    ['a null CS', '#TS(0)', () => task({ cs: 0 })],
    ['data as CS', '#TS(10)', () => task({ cs: Sel.DATA })],
    ['a CS whose RPL is not its DPL', '#TS(8)', () => task({ cs: Sel.CODE | 3 })],
    ['a CS that is absent', '#NP(30)', () => (task({ cs: Sel.CODE_16 }), b.entry(Sel.CODE_16, flat(code(0) & ~A.P)))],
    ['a null SS', '#TS(0)', () => task({ ss: 0 })],
    ['an SS of another privilege', '#TS(18)', () => task({ ss: Sel.USER_DATA })],
    ['an SS that is absent', '#SS(70)', () => (task({ ss: Sel.FREE }), b.entry(Sel.FREE, flat(Flat.data32(0) & ~A.P)))],
    ['a DS beyond the table', '#TS(a8)', () => task({ ds: 0xa8 })],
    ['a DS that is absent', '#NP(70)', () => (task({ ds: Sel.FREE }), b.entry(Sel.FREE, flat(Flat.data32(0) & ~A.P)))],
    ['an LDT selector that names no LDT', '#TS(10)', () => b.put32(OTHER + 0x60, Sel.DATA)],
    ['an LDT that is absent', '#TS(38)', () => (b.put32(OTHER + 0x60, Sel.LDT), b.entry(Sel.LDT, descriptor(2, At.LDT, 0x1f)))],
  ];
  test.each(spoils)('%s: %s, at its EIP and in its TSS', (_, ending, spoil) => {
    start(jump);
    spoil();
    expect(b.go()).toBe(ending);
    expect(b.rip).toBe(BigInt(HANDLER));
    expect(b.selectorOf(Segment.TR)).toBe(Sel.OTHER);
    expect(b.words(TASK + 0x20, 1)).toEqual([CODE + 7]);
  });

  test('no room for the error code: #SS(0)', () => {
    start('mov ds, ax');
    b.setU32(State.INTERCEPTS + 8, ~(1 << Vector.GP));
    b.setGpr(Gpr.RAX, 0x990n);
    b.interrupt(Vector.GP, gate(TASK_GATE, Sel.OTHER, 0));
    b.entry(Sel.FREE, descriptor(Flat.data32(0), 0, 0x21));
    task({ ss: Sel.FREE });
    expect(b.go()).toBe('#SS(1)');
    expect(b.rip).toBe(BigInt(HANDLER));
  });
});

describe('the intercept', () => {
  const intercept = (): void => b.setU32(State.INTERCEPTS + 4 * (ExitCode.TASK_SWITCH >> 5), 1 << (ExitCode.TASK_SWITCH & 31));
  const info2 = (): string => b.u64(State.STOP_INFO2).toString(16);

  test.each([
    ['JMP', jump, '4000000000'],
    ['CALL', call, '0'],
  ])('of %s names the incoming TSS and the cause', (_, source, cause) => {
    start(source);
    intercept();
    expect(b.cpu.run(1)).toBe(1);
    expect([b.u32(State.STOP), b.u32(State.STOP_INFO1), info2()]).toEqual([ExitCode.TASK_SWITCH, Sel.OTHER, cause]);
    expect(b.rip).toBe(BigInt(CODE));
  });

  test('of an exception has its error code, RF and EXITINTINFO', () => {
    start('mov ds, ax');
    intercept();
    b.setU32(State.INTERCEPTS + 8, 0);
    b.setGpr(Gpr.RAX, 0x990n);
    b.interrupt(Vector.GP, gate(TASK_GATE, Sel.OTHER, 0));
    expect(b.go()).toBe('exit 7dh');
    expect(info2()).toBe('1100000000990');
    expect(b.interrupted).toBe('80000b0d:990');
  });

  test('of INT n leaves RIP at the instruction', () => {
    start('int 0x40');
    intercept();
    b.interrupt(0x40, gate(TASK_GATE, Sel.OTHER, 0));
    expect(b.go()).toBe('exit 7dh');
    expect(b.rip).toBe(BigInt(CODE));
    expect(b.interrupted).toBe('80000440:0');
  });

  test('of IRET', () => {
    start('iret');
    intercept();
    b.rflags = Rflags.NT;
    b.put16(TASK, Sel.OTHER);
    b.entry(Sel.OTHER, descriptor(A.P | 0xb, OTHER, 0x67));
    b.cpu.run(1);
    expect(info2()).toBe('1000000000');
  });

  test('comes after the checks of the incoming TSS', () => {
    start(jump);
    intercept();
    b.entry(Sel.OTHER, descriptor(A.P | 0x9, OTHER, 0x66));
    expect(b.go()).toBe('#TS(50)');
  });
});
