// MSRs that are narrower than 64 bits, counters and who may read them, and the instructions on FS and GS bases. APM vol. 2, 6.1.2, 13.2.4,
// 13.2.5 and appendix A; vol. 3.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Msr } from '../../src/arch/msr.ts';
import { Cr4 } from '../../src/arch/registers.ts';
import { Segment, State } from '../../src/memory/state.ts';
import { type Start, SystemBench } from './system-bench.ts';

const turin = new SystemBench();
const run = (source: string, start: Start = {}): string => turin.run(source, start);
const GP = '#GP(0)';
const cr4 = (bits: number): Start => ({ state: { [State.CR4]: BigInt(Cr4.PAE | bits) } });

describe('MSRs of 32 bits', () => {
  it.each([
    ['SYSENTER_CS', Msr.SYSENTER_CS],
    ['SYSENTER_ESP', Msr.SYSENTER_ESP],
    ['SYSENTER_EIP', Msr.SYSENTER_EIP],
    ['TSC_AUX', Msr.TSC_AUX],
  ])('%s drops bits 63:32 of what is written', (_, msr) => {
    expect(run('wrmsr\nrdmsr', { in: { rcx: msr, rax: 0x89ab_cdef, rdx: 0xffff_ffff } })).toBe('halted');
    expect([turin.register('rax'), turin.register('rdx')]).toEqual(['89abcdef', '0']);
  });

  it('SFMASK: bits 63:32 are reserved: #GP(0)', () => {
    expect(run('wrmsr\nrdmsr', { in: { rcx: Msr.SFMASK, rax: 0xffff_ffff } })).toBe('halted');
    expect(turin.register('rax')).toBe('ffffffff');
    expect(run('wrmsr', { in: { rcx: Msr.SFMASK, rdx: 1 } })).toBe(GP);
  });

  it('RDTSCP and RDPID give TSC_AUX with the upper half clear', () => {
    const start = { in: { rcx: Msr.TSC_AUX, rax: 0x8000_0001, rdx: 7, rbx: -1n } };
    expect(run('wrmsr\nrdpid rbx\nmov rcx, -1\nrdtscp', start)).toBe('halted');
    expect([turin.register('rbx'), turin.register('rcx')]).toEqual(['80000001', '80000001']);
  });
});

it('DebugCtl has six bits: another is #GP(0)', () => {
  expect(run('wrmsr\nrdmsr', { in: { rcx: Msr.DEBUGCTL, rax: 0x3f } })).toBe('halted');
  expect([turin.register('rax'), turin.register('rdx')]).toEqual(['3f', '0']);
  for (const value of [{ rax: 0x40 }, { rax: 0, rdx: 1 }]) expect(run('wrmsr', { in: { rcx: Msr.DEBUGCTL, ...value } })).toBe(GP);
});

describe('RDTSC and RDTSCP', () => {
  it.each(['rdtsc', 'rdtscp'])('%s above CPL 0 is #GP(0) with CR4.TSD only, before the intercept', (source) => {
    const intercepts = [ExitCode.RDTSC, ExitCode.RDTSCP];
    expect(run(`${source}\nud2`, { cpl: 3, ...cr4(0) })).toBe('#UD');
    expect(run(source, { cpl: 3, ...cr4(Cr4.TSD) })).toBe(GP);
    expect(run(source, { cpl: 3, ...cr4(Cr4.TSD), intercepts })).toBe(GP);
    expect(run(source, { ...cr4(Cr4.TSD) })).toBe('halted');
    expect(run(source, { ...cr4(Cr4.TSD), intercepts })).toBe(source.toUpperCase());
  });

  it('clear the upper halves of RAX and RDX', () => {
    expect(run('rdtsc', { in: { rax: -1n, rdx: -1n } })).toBe('halted');
    expect([turin.bench.gpr(0) >> 32n, turin.bench.gpr(2)]).toEqual([0n, 0n]);
  });
});

describe('RDPMC', () => {
  const intercepts = [ExitCode.RDPMC];
  it('above CPL 0 is #GP(0) without CR4.PCE, before the intercept', () => {
    expect(run('rdpmc', { cpl: 3, intercepts, ...cr4(0) })).toBe(GP);
    expect(run('rdpmc', { cpl: 3, intercepts, ...cr4(Cr4.PCE) })).toBe('RDPMC');
    expect(run('rdpmc', { intercepts, ...cr4(0) })).toBe('RDPMC');
  });

  it.each([0, 5, 0x100, 0xffff_ffff])('counter %i does not exist: #GP(0)', (rcx) => {
    expect(run('rdpmc', { in: { rcx } })).toBe(GP);
  });
});

describe('RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE', () => {
  const rows: readonly (readonly [string, string, string])[] = [
    ['RDFSBASE', 'rdfsbase rax', 'db 0xf3, 0x0f, 0xae, 0xc0'],
    ['RDGSBASE', 'rdgsbase rax', 'db 0xf3, 0x0f, 0xae, 0xc8'],
    ['WRFSBASE', 'wrfsbase rax', 'db 0xf3, 0x0f, 0xae, 0xd0'],
    ['WRGSBASE', 'wrgsbase rax', 'db 0xf3, 0x0f, 0xae, 0xd8'],
  ];

  it.each(rows)('%s is #UD without CR4.FSGSBASE at any CPL, and allowed at any with it', (_, source) => {
    for (const cpl of [0, 3]) {
      expect(run(`${source}\nint3`, { cpl, ...cr4(0) })).toBe('#UD');
      expect(run(`${source}\nint3`, { cpl, ...cr4(Cr4.FSGSBASE) })).toBe('#BP');
    }
  });

  it.each(rows)('%s is #UD outside 64-bit mode', (_, _source, code) => {
    for (const bits of [16, 32] as const) expect(run(code, { bits, ...cr4(Cr4.FSGSBASE) })).toBe('#UD');
  });

  it('#UD comes before what is wrong with the address', () => {
    expect(run('wrgsbase rax', { in: { rax: 1n << 47n }, ...cr4(0) })).toBe('#UD');
    expect(run('wrgsbase rax', { in: { rax: 1n << 47n }, ...cr4(Cr4.FSGSBASE) })).toBe(GP);
  });

  it('with a 32-bit operand the base has 32 bits, and so has what is read', () => {
    const source = 'wrfsbase rax\nrdfsbase ecx\nwrgsbase eax\nrdgsbase rdx';
    expect(run(source, { in: { rax: 0xffff_8123_8000_0010n, rcx: -1n }, ...cr4(Cr4.FSGSBASE) })).toBe('halted');
    expect([turin.register('rcx'), turin.register('rdx')]).toEqual(['80000010', '80000010']);
    expect([turin.base(Segment.FS), turin.base(Segment.GS)]).toEqual([0xffff_8123_8000_0010n, 0x8000_0010n]);
  });
});
