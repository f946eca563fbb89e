// Changes of privilege in 64-bit mode, interpreted and compiled: SYSCALL, SYSRET, SWAPGS, IRETQ, and what POPFQ makes due. APM vol. 2, 6.1 and
// 8.9.3; vol. 3; the resume flag: vol. 2, 3.1.6; single step: 13.1.4; virtual interrupts: 15.21.

import { beforeEach, describe, expect, test } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Cr4, Rflags } from '../../src/arch/registers.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { Gpr, Segment, SegmentPart, segmentAt, State } from '../../src/memory/state.ts';
import { Permission } from '../instructions/bench.ts';
import { impatient } from '../lock-step/pair.ts';
import { At, Sel, TransferBench } from './transfer-bench.ts';

const { CODE, HANDLER, STACK, INNER, OTHER } = At;
const ONE = Rflags.ALWAYS_1;
const ROUNDS = 300;
/** STAR: SYSCALL loads CODE and DATA, SYSRET the two of user code, whatever the table holds there. */
const STAR = (BigInt(Sel.CODE) << 32n) | (BigInt(Sel.DATA) << 48n);

const benches = [
  ['interpreted', new TransferBench()],
  ['compiled', new TransferBench(undefined, undefined, impatient(60))],
] as const;

describe.each(benches)('%s', (_, b) => {
  const put = (address: number, source: string): void => b.write(address, assemble(source, { bits: 64, origin: BigInt(address) }).bytes);
  /** A frame for IRETQ at the top of the stack. */
  const frame = (cs: number, flags: number, rsp: number, ss: number, rip: number = HANDLER): void =>
    b.put64(STACK, BigInt(rip), BigInt(cs), BigInt(flags), BigInt(rsp), BigInt(ss));

  describe('a program that calls its kernel again and again', () => {
    beforeEach(() => {
      b.start('long', `mov ebx, ${ROUNDS}\n again: syscall\n inc rbp\n dec ebx\n jnz again\n mov rax, [${HANDLER}]`, { cpl: 3 });
      put(HANDLER, 'swapgs\n add qword ptr gs:[8], 1\n swapgs\n cmp eax, eax\n sysretq');
      b.map(HANDLER, HANDLER, Permission.WRITE);
      b.setU64(State.STAR, STAR);
      b.setU64(State.LSTAR, BigInt(HANDLER));
      b.setU64(State.SFMASK, BigInt(Rflags.CF | Rflags.ZF | Rflags.IF));
      b.setU64(State.KERNEL_GS_BASE, BigInt(OTHER));
      b.setGpr(Gpr.RBP, 0n);
    });

    test('is served each time, and cannot read what belongs to the kernel', () => {
      expect(b.go(20 * ROUNDS)).toBe('#PF(5)');
      expect(b.words(OTHER + 8, 1, 8)).toEqual([ROUNDS]);
      expect(b.gpr(Gpr.RBP)).toBe(BigInt(ROUNDS));
      expect(b.u32(State.CPL)).toBe(3);
      expect([b.selectorOf(Segment.CS), b.selectorOf(Segment.SS)]).toEqual([Sel.USER_CODE, Sel.USER_DATA]);
    });

    test('arrives with the flags of SFMASK clear, and gets its own back', () => {
      put(HANDLER, 'pushfq\n pop rdx\n sysretq');
      b.rflags = ONE | Rflags.CF | Rflags.IF | Rflags.OF;
      expect(b.go(2 + 3)).toBe('');
      expect(b.gpr(Gpr.RDX)).toBe(BigInt(ONE | Rflags.OF));
      expect(b.gpr(11)).toBe(BigInt(ONE | Rflags.CF | Rflags.IF | Rflags.OF));
      expect(b.rflags).toBe(ONE | Rflags.CF | Rflags.IF | Rflags.OF);
    });

    test('finds the kernel with SMAP suspended or in force, as SFMASK says of AC', () => {
      b.setU64(State.CR4, b.u64(State.CR4) | BigInt(Cr4.SMAP));
      put(HANDLER, `mov eax, [${CODE}]\n sysretq`);
      b.rflags = ONE | Rflags.AC;
      b.settle();
      expect(b.go(6)).toBe('');
      b.setU64(State.SFMASK, BigInt(Rflags.AC));
      expect(b.go(6)).toBe('#PF(1)');
    });

    test('finds it also if it was the processor that first used its address space with the rights of a kernel', () => {
      const fresh = new TransferBench();
      fresh.start('long', 'mov ds, ecx\n syscall', { cpl: 3 });
      fresh.write(HANDLER, assemble('inc rbp\n sysretq', { bits: 64, origin: BigInt(HANDLER) }).bytes);
      fresh.setU64(State.STAR, STAR);
      fresh.setU64(State.LSTAR, BigInt(HANDLER));
      fresh.setGpr(Gpr.RCX, BigInt(Sel.USER_DATA));
      fresh.setGpr(Gpr.RBP, 0n);
      expect(fresh.go(4)).toBe('');
      expect([fresh.gpr(Gpr.RBP), fresh.u32(State.CPL)]).toEqual([1n, 3]);
      expect(fresh.u32(State.CONTEXTS)).not.toBe(0);
    });

    test('is refused without EFER.SCE', () => {
      b.setU64(State.EFER, b.u64(State.EFER) & ~1n);
      expect(b.go(5)).toBe('#UD');
    });
  });

  test('SYSRET and SWAPGS above CPL 0 are #GP(0)', () => {
    for (const source of ['sysretq', 'swapgs']) {
      b.start('long', source, { cpl: 3 });
      expect(b.go()).toBe('#GP(0)');
    }
  });

  test('SYSRET to an address that is not canonical is #GP(0) at CPL 3', () => {
    b.start('long', 'sysretq');
    b.setU64(State.STAR, STAR);
    b.setGpr(Gpr.RCX, 1n << 47n);
    b.setGpr(11, 0n);
    expect(b.go(2)).toBe('#GP(0)');
    expect([b.u32(State.CPL), b.rip]).toEqual([3, 1n << 47n]);
  });

  describe('IRETQ', () => {
    beforeEach(() => b.start('long', 'iretq'));

    test('in a loop comes back to the same privilege and to CPL 3', () => {
      put(HANDLER, 'inc rbp\n jmp [rsi]');
      b.write(CODE, assemble(`again: dec ebx\n js done\n mov rsp, ${STACK}\n iretq\n done: hlt`, { bits: 64, origin: BigInt(CODE) }).bytes);
      b.put64(OTHER, BigInt(CODE));
      b.setGpr(Gpr.RSI, BigInt(OTHER));
      b.setGpr(Gpr.RBX, BigInt(ROUNDS));
      b.setGpr(Gpr.RBP, 0n);
      frame(Sel.CODE, ONE | Rflags.OF, INNER, 0);
      b.go(10 * ROUNDS);
      expect([b.gpr(Gpr.RBP), b.selectorOf(Segment.SS), b.u32(State.CPL)]).toEqual([BigInt(ROUNDS), 0, 0]);
    });

    test('loads CS and SS from the table', () => {
      frame(Sel.CODE_64 | 3, ONE | Rflags.CF | Rflags.IF | Rflags.IOPL, INNER, Sel.USER_DATA);
      expect(b.go()).toBe('');
      expect(b.place).toBe(`83:${HANDLER.toString(16)} 1b:${INNER.toString(16)}`);
      expect(b.u32(State.CPL)).toBe(3);
      expect(b.rflags).toBe(ONE | Rflags.CF | Rflags.IF | Rflags.IOPL);
      expect(b.u32(segmentAt(Segment.SS) + SegmentPart.LIMIT)).toBe(0xffff_ffff);
    });

    test.each([Segment.ES, Segment.DS, Segment.FS, Segment.GS])('to CPL 3 makes segment %i null if only CPL 0 may use it', (segment) => {
      for (const other of [Segment.ES, Segment.DS, Segment.FS, Segment.GS]) b.setSegment(other, 0, 0, 0, 0);
      b.setSegment(segment, Sel.DATA, 0xc93, 0xffff_ffff, 0);
      frame(Sel.CODE_64 | 3, ONE, INNER, Sel.USER_DATA);
      expect(b.go()).toBe('');
      expect(b.selectorOf(segment)).toBe(0);
    });

    test.each([
      ['a null SS at CPL 3', Sel.CODE_64 | 3, 3, HANDLER, '#GP(0)'],
      ['a null SS whose RPL is not the new CPL', Sel.CODE, 1, HANDLER, '#GP(0)'],
      ['an SS of another privilege', Sel.CODE, Sel.USER_DATA, HANDLER, '#GP(18)'],
      ['a null CS', 0, 0, HANDLER, '#GP(0)'],
      ['a CS beyond the table', 0xf8, 0, HANDLER, '#GP(f8)'],
      ['a CS that holds data', Sel.DATA, 0, HANDLER, '#GP(10)'],
      ['a target that is not canonical', Sel.CODE, 0, 2 ** 47, '#GP(0)'],
    ])('refuses %s, and nothing has changed', (_name, cs, ss, rip, fault) => {
      frame(cs, ONE, INNER, ss, rip);
      const before = b.place;
      expect(b.go()).toBe(fault);
      expect(b.place).toBe(before);
    });

    test('with RF: it is set until an instruction has completed', () => {
      frame(Sel.CODE, ONE | Rflags.RF, INNER, 0);
      expect(b.go()).toBe('');
      expect(b.rflags & Rflags.RF).toBe(Rflags.RF);
      expect(b.go()).toBe('');
      expect(b.rflags & Rflags.RF).toBe(0);
    });

    test('with RF to an instruction that faults: it stays set; behind others it is not', () => {
      for (const [source, flag] of [
        ['ud2', Rflags.RF],
        ['nop\n ud2', 0],
      ] as const) {
        b.start('long', 'iretq');
        put(HANDLER, source);
        frame(Sel.CODE, ONE | Rflags.RF, INNER, 0);
        expect(b.go(5)).toBe('#UD');
        expect(b.rflags & Rflags.RF).toBe(flag);
      }
    });

    test('with TF traps behind the next instruction', () => {
      frame(Sel.CODE, ONE | Rflags.TF, INNER, 0);
      expect(b.go(5)).toBe('#DB');
      expect(b.rip).toBe(BigInt(HANDLER + 1));
    });

    test('ends the blocking of NMIs', () => {
      b.setU32(State.NMI_BLOCKED, 1);
      frame(Sel.CODE, ONE, INNER, 0);
      b.go();
      expect(b.u32(State.NMI_BLOCKED)).toBe(0);
    });
  });

  test.each([
    ['IRETQ', 'iretq', HANDLER],
    ['SYSRET', 'sysretq', HANDLER],
    ['POPFQ', `add rsp, 16\n popfq`, CODE + 5],
  ])('an interrupt that waits for RFLAGS.IF is taken behind %s, before anything else', (_name, source, rip) => {
    b.start('long', source);
    frame(Sel.CODE, ONE | Rflags.IF, INNER, 0);
    b.setU64(State.STAR, STAR);
    b.setGpr(Gpr.RCX, BigInt(HANDLER));
    b.setGpr(11, BigInt(ONE | Rflags.IF));
    b.setU32(State.INTERCEPTS + 12, 1 << (ExitCode.VINTR & 31));
    b.cpu.virtualInterrupt = 0x30;
    b.cpu.virtualPriority = 1;
    expect(b.go(10)).toBe(`exit ${ExitCode.VINTR.toString(16)}h`);
    expect(b.rip).toBe(BigInt(rip));
    b.cpu.virtualInterrupt = -1;
  });

  test.each([
    ['PUSHFQ', 'pushfq', ExitCode.PUSHF],
    ['POPFQ', 'popfq', ExitCode.POPF],
    ['IRETQ', 'iretq', ExitCode.IRET],
    ['INVLPG', 'invlpg [rax]', ExitCode.INVLPG],
  ])('%s leaves if it is intercepted', (_name, source, code) => {
    b.start('long', source);
    b.setU32(State.INTERCEPTS + 4 * (code >> 5), 1 << (code & 31));
    expect(b.go()).toBe(`exit ${code.toString(16)}h`);
    expect([b.rip, b.gpr(Gpr.RSP)]).toEqual([BigInt(CODE), BigInt(STACK)]);
  });
});
