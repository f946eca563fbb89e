// Reading and writing the debug registers. APM vol. 2, 13.1.1; intercepts: 15.8.

import { describe, expect, it } from 'vitest';
import { Vector } from '../../src/arch/exception.ts';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Cr4 } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import { Place, type Start, SystemBench } from './system-bench.ts';
import { At, gate, Sel, TransferBench } from './transfer-bench.ts';

const turin = new SystemBench();
const run = (source: string, start: Start = {}): string => turin.run(source, start);
const GP = '#GP(0)';
const INTERRUPT = 0xe;
const DE = { [State.CR4]: BigInt(Cr4.PAE | Cr4.DE) };
const GD = { [State.DR7]: 0x2400n };
const numbers = [0, 1, 2, 3, 4, 5, 6, 7];
const all = numbers.flatMap((n) => [`mov rax, dr${n}`, `mov dr${n}, rax`]);
const dr6 = (): number => turin.bench.u32(State.DR6);

describe('MOV to and from a debug register', () => {
  it.each(all)('%s above CPL 0 is #GP(0), also with DR7.GD set', (source) => {
    expect(run(source, { cpl: 3 })).toBe(GP);
    expect(run(source, { cpl: 3, state: GD })).toBe(GP);
    expect(dr6() & 0x2000).toBe(0);
  });

  it.each(all)('%s with DR7.GD set is #DB, and DR6.BD says why', (source) => {
    expect(run(`nop\n${source}`, { state: GD })).toBe('#DB');
    expect(turin.bench.rip).toBe(BigInt(Place.CODE + 1));
    expect(dr6()).toBe(0xffff_2ff0);
  });

  it('#DB clears DR7.GD when it is delivered, so that its handler can use them', () => {
    const b = new TransferBench();
    b.start('protected', 'mov eax, dr0', { deliver: [Vector.DB] });
    b.interrupt(Vector.DB, gate(INTERRUPT, Sel.CODE, At.HANDLER));
    b.setU64(State.DR7, 0x27ffn);
    expect(b.go()).toBe('');
    // A fault: EIP is that of the MOV.
    expect(b.words(At.STACK - 12, 1)).toEqual([At.CODE]);
    expect([b.u64(State.DR7), b.u32(State.DR6)]).toEqual([0x7ffn, 0xffff_2ff0]);
  });

  it('DR4 and DR5 are DR6 and DR7 without CR4.DE', () => {
    expect(run('mov dr4, rax\nmov rbx, dr6\nmov dr5, rcx\nmov rdx, dr7\nmov rsi, dr4\nmov rdi, dr5', { in: { rax: 1, rcx: 0x300 } })).toBe(
      'halted',
    );
    expect(['rbx', 'rdx', 'rsi', 'rdi'].map((name) => turin.register(name as 'rbx'))).toEqual(['ffff0ff1', '700', 'ffff0ff1', '700']);
  });

  it.each(['mov rax, dr4', 'mov dr4, rax', 'mov rax, dr5', 'mov dr5, rax'])('%s with CR4.DE is #UD, before CPL and DR7.GD', (source) => {
    expect(run(source, { state: DE })).toBe('#UD');
    expect(run(source, { state: { ...DE, ...GD }, cpl: 3 })).toBe('#UD');
  });

  it.each([4, 5, 6, 7])('bits 63:32 of DR%i must be 0 in 64-bit mode: #GP(0)', (n) => {
    for (const rax of [1n << 32n, 1n << 63n]) expect(run(`mov dr${n}, rax`, { in: { rax } })).toBe(GP);
  });

  it('outside 64-bit mode 32 bits move', () => {
    const source = 'mov dr7, eax\nmov ebx, dr7\nmov dr0, eax\nmov ecx, dr0';
    expect(run(source, { bits: 32, in: { rax: 0xffff_ffff_0000_0300n, rbx: -1n, rcx: -1n } })).toBe('halted');
    expect([turin.register('rbx'), turin.register('rcx'), turin.bench.u64(State.DR0)]).toEqual(['700', '300', 0x300n]);
  });

  it('DR0 to DR3 take any address, canonical or not', () => {
    expect(run('mov dr3, rax\nmov rbx, dr3', { in: { rax: 0x8000_1234_5678_9abcn } })).toBe('halted');
    expect(turin.register('rbx')).toBe('8000123456789abc');
  });

  it('reserved bits of DR6 and DR7 read as they must', () => {
    expect(run('mov dr6, rax\nmov rbx, dr6\nmov dr6, rcx\nmov rdx, dr6', { in: { rax: 0xffff_ffff } })).toBe('halted');
    expect([turin.register('rbx'), turin.register('rdx')]).toEqual(['ffffefff', 'ffff0ff0']);
    expect(run('mov dr7, rax\nmov dr6, rax', { in: { rax: 0xffff_dfff } })).toBe('halted');
    expect(turin.bench.u64(State.DR7)).toBe(0xffff_07ffn);
  });

  it('is intercepted by number, read and write apart, behind the checks', () => {
    for (const n of [0, 3, 6, 7]) {
      expect(run(`mov rax, dr${n}`, { intercepts: [ExitCode.DR0_READ + n] })).toBe(`DR${n}_READ`);
      expect(run(`mov dr${n}, rax`, { intercepts: [ExitCode.DR0_WRITE + n] })).toBe(`DR${n}_WRITE`);
      expect(run(`mov dr${n}, rax`, { intercepts: [ExitCode.DR0_READ + n] })).toBe('halted');
      expect(run(`mov rax, dr${n}`, { intercepts: [ExitCode.DR0_READ + n], state: GD })).toBe('#DB');
      expect(run(`mov rax, dr${n}`, { intercepts: [ExitCode.DR0_READ + n], cpl: 3 })).toBe(GP);
    }
  });
});
