// A task switch that a nested page fault cuts off once the new task's registers are loaded: the hypervisor finds the guest as before the
// instruction, mends its tables, and the guest executes it again. APM vol. 2, 12.3; 15.25.6; EXITINTINFO: 15.7.2.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { build, Guest, u64, VMCB } from './fixture.ts';

const GDT = Guest.GDT;
const TASK = 0x1_0000;
const OTHER = 0x1_1000;
/** The new task's LDT: it has no host memory behind it at first. */
const LDT = 0x1_2000;
const NEW_STACK = 0x1_4000;
const Sel = { CODE: 8, DATA: 0x10, TASK: 0x18, OTHER: 0x20, LDT: 0x28, GATE: 0x30, LOCAL: 4 } as const;
const NESTED_LEAVES = 0x9000 + 3 * 4096;
const RAM = 0x10_0000;

const descriptor = (attributes: number, base: number, limit: number): Uint8Array =>
  u64(
    (BigInt(base >>> 24) << 56n) |
      (BigInt((attributes >> 8) & 0xf) << 52n) |
      (BigInt(limit >> 16) << 48n) |
      (BigInt(attributes & 0xff) << 40n) |
      (BigInt(base & 0xff_ffff) << 16n) |
      BigInt(limit & 0xffff),
  );
const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

/** A guest of 32-bit code without paging, in the task TASK; OTHER's DS is in its LDT. */
function guest(code: string) {
  const box = build('none', 'nop');
  const { save } = box;
  box.put(Guest.CODE, assemble(code, { bits: 32, origin: BigInt(Guest.CODE) }).bytes);
  box.put(Guest.HANDLER, assemble('cpuid', { bits: 32 }).bytes);
  save.efer = 0x1000n;
  save.cr0 = 0x31n;
  save.cr4 = 0n;
  save.csAttributes = 0xc9b;
  save.gdtrLimit = 0x37;
  save.idtrLimit = 0x7ff;
  save.trSelector = Sel.TASK;
  save.trAttributes = 0x8b;
  save.trBase = BigInt(TASK);
  save.trLimit = 0x67;
  box.svm.vmload(VMCB);
  box.put(GDT + Sel.CODE, descriptor(0xc9b, 0, 0xf_ffff));
  box.put(GDT + Sel.DATA, descriptor(0xc93, 0, 0xf_ffff));
  box.put(GDT + Sel.TASK, descriptor(0x8b, TASK, 0x67));
  box.put(GDT + Sel.OTHER, descriptor(0x89, OTHER, 0x67));
  box.put(GDT + Sel.LDT, descriptor(0x82, LDT, 0xf));
  box.put(GDT + Sel.GATE, u64((0x8500n << 32n) | (BigInt(Sel.OTHER) << 16n)));
  const segments = [Sel.DATA, Sel.CODE, Sel.DATA, Sel.LOCAL, 0, 0, Sel.LDT];
  box.put(OTHER + 0x20, words(Guest.HANDLER, 2, 0x100, 0x101, 0x102, 0x103, NEW_STACK, 0x105, 0x106, 0x107, ...segments));
  box.put(LDT, descriptor(0xc93, 0, 0xf_ffff));
  const nested = (page: number, present: boolean): void =>
    box.frames.write(NESTED_LEAVES + 8 * (page >> 12), 0, u64(present ? BigInt(RAM + page) | 0x67n : 0n));
  nested(LDT, false);
  const view = (at: number, length: number): number[] => [...new Uint32Array(box.read(at, length).buffer)];
  const type = (selector: number): number => ((view(GDT + selector + 4, 4)[0] ?? 0) >> 8) & 0xf;
  return {
    ...box,
    mend: () => nested(LDT, true),
    words: view,
    /** Types of the two TSS descriptors. */
    types: () => [type(Sel.TASK), type(Sel.OTHER)],
    task: () => {
      box.svm.vmsave(VMCB);
      return [save.trSelector, save.ldtrSelector];
    },
  };
}

const AVAILABLE = 0x9;
const BUSY = 0xb;

/** What the hypervisor sees of the registers that a task switch changes. */
const seen = ({ save, registers }: ReturnType<typeof guest>): unknown => [
  save.rip,
  save.rflags,
  save.rsp,
  save.rax,
  save.cr0,
  save.dsSelector,
  save.dsAttributes,
  save.csSelector,
  [...registers].slice(5, 8),
];

describe('a nested page fault at the LDT of the new task', () => {
  it.each([
    ['JMP', 'jmp 0x20:0', 0n, [BUSY, AVAILABLE], [AVAILABLE, BUSY]],
    ['CALL', 'call 0x20:0', 0n, [BUSY, AVAILABLE], [BUSY, BUSY]],
    ['JMP through a task gate', 'jmp 0x30:0', 0n, [BUSY, AVAILABLE], [AVAILABLE, BUSY]],
    ['IRET', 'iret', 0x4000n, [BUSY, BUSY], [AVAILABLE, BUSY]],
  ] as const)('%s: registers and busy bits are as before, and it can be executed again', (name, code, flags, before, after) => {
    const box = guest(code);
    box.save.rflags |= flags;
    box.put(TASK, words(Sel.OTHER));
    if (name === 'IRET') box.put(GDT + Sel.OTHER, descriptor(0x8b, OTHER, 0x67));
    const registers = seen(box);
    expect(box.run()).toBe(ExitCode.NPF);
    expect([box.vmcb.exitInfo2, box.vmcb.exitIntInfo]).toEqual([BigInt(LDT), 0n]);
    expect(seen(box)).toEqual(registers);
    expect(box.task()).toEqual([Sel.TASK, 0]);
    expect(box.types()).toEqual(before);
    box.mend();
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(box.save.rip).toBe(BigInt(Guest.HANDLER));
    expect(box.task()).toEqual([Sel.OTHER, Sel.LDT]);
    expect(box.types()).toEqual(after);
    expect([box.save.dsSelector, box.save.rsp]).toEqual([Sel.LOCAL, BigInt(NEW_STACK)]);
    // The old task goes on behind the instruction.
    const length = assemble(code, { bits: 32 }).bytes.length;
    expect(box.words(TASK + 0x20, 4)).toEqual([Guest.CODE + length]);
    expect(box.save.rflags & 0x4000n).toBe(name === 'CALL' ? 0x4000n : 0n);
  });

  it('by an exception through a task gate: EXITINTINFO names it, and it can be injected again', () => {
    const box = guest('mov eax, 0x990\nmov ds, eax');
    box.put(Guest.IDT + 8 * 13, u64((0x8500n << 32n) | (BigInt(Sel.OTHER) << 16n)));
    expect(box.run()).toBe(ExitCode.NPF);
    expect(box.vmcb.exitIntInfo).toBe((0x990n << 32n) | 0x8000_0b0dn);
    expect(box.save.rip).toBe(BigInt(Guest.CODE + 5));
    expect(box.types()).toEqual([BUSY, AVAILABLE]);
    expect(box.task()).toEqual([Sel.TASK, 0]);
    box.mend();
    box.vmcb.eventInj = box.vmcb.exitIntInfo;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(box.words(NEW_STACK - 4, 4)).toEqual([0x990]);
    expect(box.words(OTHER, 4)).toEqual([Sel.TASK]);
    expect(box.types()).toEqual([BUSY, BUSY]);
    expect(box.words(TASK + 0x20, 4)).toEqual([Guest.CODE + 5]);
  });
});
