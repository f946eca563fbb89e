// What may be written to CR0, CR3, CR4, CR8, EFER and XCR0, and by whom. APM vol. 2, 3.1, 5.5.1, 11.5.2, 14.6.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Cr0, Cr4, Efer } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import { Place, type Start, SystemBench } from './system-bench.ts';

const turin = new SystemBench('turin');
const models = new Map(['naples', 'rome', 'milan', 'genoa'].map((name) => [name, new SystemBench(name)]));
const run = (source: string, start: Start = {}): string => turin.run(source, start);
const CR4 = Cr4.PAE | Cr4.OSFXSR | Cr4.OSXMMEXCPT;
const GP = '#GP(0)';
const PAGING = BigInt(Cr0.PG >>> 0) | BigInt(Cr0.PE | Cr0.ET | Cr0.NE | Cr0.WP);
/** Legacy mode without paging, 32-bit code. */
const unpaged = (efer: number, cr4 = 0): Start => ({
  bits: 32,
  state: {
    [State.CR0]: BigInt(Cr0.PE | Cr0.ET),
    [State.CR4]: BigInt(cr4),
    [State.EFER]: BigInt(Efer.SVME | efer),
    [State.CR3]: turin.bench.u64(State.CR3) & 0xffff_f000n,
  },
});

describe('CR0', () => {
  it.each([
    ['paging without protection', 0x8000_0032n],
    ['not write-through without cache disable', 0xa000_0033n],
    ['bit 32', 0x1_8000_0033n],
    ['bit 63', 0x8000_0000_8000_0033n],
    ['no paging in 64-bit mode', 0x33n],
  ])('%s is #GP(0)', (_, value) => {
    expect(run('mov cr0, rax', { in: { rax: value } })).toBe(GP);
  });

  it.each([
    ['both cache bits', 0xe005_0033n, 'e0050033'],
    ['ET stays set', 0x8005_0023n, '80050033'],
    ['reserved bits below 32 are not kept', 0x9ffa_ffc0n | 0x8005_0033n, '80050033'],
  ])('%s', (_, value, after) => {
    expect(run('mov cr0, rax\nmov rbx, cr0', { in: { rax: value } })).toBe('halted');
    expect(turin.register('rbx')).toBe(after);
  });

  it('paging cannot end while CR4.PCIDE is set', () => {
    const compatibility = (cr4: number): Start => ({ bits: 32, state: { [State.CR4]: BigInt(CR4 | cr4) }, in: { rax: 0x33 } });
    expect(run('mov cr0, eax', compatibility(Cr4.PCIDE))).toBe(GP);
    expect(run('mov cr0, eax', compatibility(0))).toBe('halted');
    expect(turin.bench.u32(State.EFER) & Efer.LMA).toBe(0);
  });

  it('long mode begins with paging, if PAE is on and CS.L clear', () => {
    const source = 'mov eax, cr0\nor eax, 0x80000000\nmov cr0, eax';
    expect(run(source, unpaged(Efer.LME))).toBe(GP);
    expect(run(source, unpaged(Efer.LME, Cr4.PAE))).toBe('halted');
    expect(turin.bench.u32(State.EFER) & Efer.LMA).toBe(Efer.LMA);
    // CS.L, which means nothing before.
    expect(run('db 0x0f, 0x22, 0xc0', { ...unpaged(Efer.LME, Cr4.PAE), bits: 64, in: { rax: 0x8000_0011 } })).toBe(GP);
  });

  it('LMSW sets PE and does not clear it, and changes nothing beyond TS', () => {
    expect(run('lmsw ax\nmov rbx, cr0', { in: { rax: 0xfff0 } })).toBe('halted');
    expect(turin.register('rbx')).toBe('80050031');
  });

  it('the selective intercept looks beyond TS and MP, but not at what LMSW writes', () => {
    const intercepts = [ExitCode.CR0_SEL_WRITE];
    const source = 'mov rax, cr0\nxor eax, ebx\nmov cr0, rax';
    expect(run(source, { intercepts, in: { rbx: Cr0.TS | Cr0.MP } })).toBe('halted');
    expect(run(source, { intercepts, in: { rbx: Cr0.NE } })).toBe('CR0_SEL_WRITE');
    expect(run(source, { intercepts: [...intercepts, ExitCode.CR0_WRITE], in: { rbx: Cr0.NE } })).toBe('CR0_WRITE');
    expect(run('lmsw ax', { intercepts, in: { rax: 0x33 } })).toBe('CR0_SEL_WRITE');
    expect(run('clts', { intercepts })).toBe('halted');
  });

  it.each(['mov rax, cr0', 'mov cr0, rax', 'mov cr3, rax', 'mov cr4, rax', 'mov cr8, rax', 'clts', 'lmsw ax', 'mov rax, cr8'])(
    '%s above CPL 0 is #GP(0), also if intercepted',
    (source) => {
      const intercepts = [0, 3, 4, 8].flatMap((n) => [ExitCode.CR0_READ + n, ExitCode.CR0_WRITE + n]);
      expect(run(source, { cpl: 3, intercepts })).toBe(GP);
    },
  );
});

describe('CR3', () => {
  it.each([
    ['bit 52', 1n << 52n],
    ['bit 48, beyond the physical address', 1n << 48n],
    ['bit 63', 1n << 63n],
  ])('%s is reserved in long mode: #GP(0)', (_, bit) => {
    expect(run('mov rax, cr3\nor rax, rbx\nmov cr3, rax', { in: { rbx: bit } })).toBe(GP);
  });

  it('bit 63 says with CR4.PCIDE that nothing need be flushed, and is not kept', () => {
    const start = { state: { [State.CR4]: BigInt(CR4 | Cr4.PCIDE) }, in: { rbx: (1n << 63n) | 0xabcn } };
    expect(run('mov rax, cr3\nor rax, rbx\nmov cr3, rax\nmov rcx, cr3', start)).toBe('halted');
    expect(turin.register('rcx')).toBe('800abc');
  });

  it('the low bits are kept', () => {
    expect(run('mov rax, cr3\nor rax, 0x18\nmov cr3, rax\nmov rcx, cr3')).toBe('halted');
    expect(turin.register('rcx')).toBe('800018');
  });
});

describe('CR4', () => {
  it.each([
    ['no PAE in long mode', BigInt(CR4 & ~Cr4.PAE)],
    ['LA57', BigInt(CR4 | Cr4.LA57)],
    ['CET', BigInt(CR4 | Cr4.CET)],
    ['SMXE', BigInt(CR4 | (1 << 14))],
    ['bit 31', BigInt(CR4) | 0x8000_0000n],
    ['bit 32', BigInt(CR4) | 0x1_0000_0000n],
  ])('%s is #GP(0)', (_, value) => {
    expect(run('mov cr4, rax', { in: { rax: value } })).toBe(GP);
  });

  it.each([
    ['PCIDE', Cr4.PCIDE, ['milan', 'genoa'], ['naples', 'rome']],
    ['PKE', Cr4.PKE, ['milan', 'genoa'], ['naples', 'rome']],
    ['UMIP', Cr4.UMIP, ['rome', 'milan'], ['naples']],
    ['SMAP', Cr4.SMAP, ['naples', 'genoa'], []],
    ['everything older', 0x1ff | Cr4.FSGSBASE | Cr4.OSXSAVE, ['naples', 'rome'], []],
  ])('%s exists where CPUID reports it', (_, bits, has, lacks) => {
    for (const name of has) expect(models.get(name)?.run('mov cr4, rax', { in: { rax: CR4 | bits } })).toBe('halted');
    for (const name of lacks) expect(models.get(name)?.run('mov cr4, rax', { in: { rax: CR4 | bits } })).toBe(GP);
  });

  it('SMEP counts from the next instruction on', () => {
    expect(run('mov cr4, rax', { in: { rax: CR4 | Cr4.SMEP } })).toBe('#PF(11) 10003');
  });

  it('PCIDE begins in long mode only', () => {
    expect(run('mov cr4, eax', { ...unpaged(0), in: { rax: Cr4.PCIDE } })).toBe(GP);
  });

  it('PCIDE begins with identifier 0', () => {
    const source = 'mov rax, cr3\nor rax, rbx\nmov cr3, rax\nmov cr4, rcx';
    expect(run(source, { in: { rbx: 8, rcx: CR4 | Cr4.PCIDE } })).toBe(GP);
    expect(run(source, { in: { rbx: 0, rcx: CR4 | Cr4.PCIDE } })).toBe('halted');
  });
});

describe('CR8', () => {
  it('has four bits: another is #GP(0)', () => {
    expect(run('mov cr8, rax', { in: { rax: 15 } })).toBe('halted');
    for (const value of [16n, 0x1_0000_0000n]) expect(run('mov cr8, rax', { in: { rax: value } })).toBe(GP);
  });

  it('is reached outside 64-bit mode by LOCK', () => {
    expect(run('db 0xf0, 0x0f, 0x22, 0xc0\nxor eax, eax\ndb 0xf0, 0x0f, 0x20, 0xc0', { bits: 32, in: { rax: 9 } })).toBe('halted');
    expect(turin.register('rax')).toBe('9');
  });
});

describe('EFER', () => {
  const write = (value: number | bigint, more: Start = {}): string =>
    run('wrmsr\nrdmsr', { ...more, in: { rcx: 0xc000_0080, rax: BigInt(value) & 0xffff_ffffn, rdx: BigInt(value) >> 32n } });
  const now = Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE;

  it.each([
    ['bit 1', now | 2],
    ['LMSLE, which CPUID says is not there', now | Efer.LMSLE],
    ['bit 16', now | (1 << 16)],
    ['bit 32', BigInt(now) | (1n << 32n)],
    ['LME cannot change while paging is on', now & ~Efer.LME],
  ])('%s is #GP(0)', (_, value) => {
    expect(write(value)).toBe(GP);
  });

  it('keeps LMA and SVME, and takes the rest', () => {
    expect(write(Efer.LME | Efer.FFXSR | Efer.TCE)).toBe('halted');
    expect(turin.register('rax')).toBe((Efer.LME | Efer.LMA | Efer.SVME | Efer.FFXSR | Efer.TCE).toString(16));
  });

  it('is not for CPL 3: #GP(0)', () => {
    expect(write(now, { cpl: 3 })).toBe(GP);
  });
});

describe('XCR0', () => {
  const write = (value: bigint, more: Start = {}, bench = turin): string =>
    bench.run('xsetbv\nxor ecx, ecx\nxgetbv', {
      state: { [State.CR4]: BigInt(CR4 | Cr4.OSXSAVE) },
      ...more,
      in: { rax: value & 0xffff_ffffn, rdx: value >> 32n, ...more.in },
    });

  it('takes x87, SSE and PKRU', () => {
    expect(write(0x203n)).toBe('halted');
    expect(turin.register('rax')).toBe('203');
  });

  it.each([
    ['without x87', 2n],
    ['AVX, which is not there', 7n],
    ['bit 62', 1n | (1n << 62n)],
  ])('%s is #GP(0)', (_, value) => {
    expect(write(value)).toBe(GP);
  });

  it('PKRU is #GP(0) on a model without protection keys', () => {
    expect(write(0x203n, {}, models.get('rome'))).toBe(GP);
  });

  it('another register is #GP(0), so is CPL 3, and without OSXSAVE it is #UD before both', () => {
    expect(write(1n, { in: { rcx: 1 } })).toBe(GP);
    expect(write(1n, { cpl: 3 })).toBe(GP);
    expect(write(1n, { cpl: 3, state: { [State.CR4]: BigInt(CR4) } })).toBe('#UD');
    expect(write(1n, { intercepts: [ExitCode.XSETBV], in: { rcx: 1 } })).toBe('XSETBV');
  });
});

describe('SMSW', () => {
  it('above CPL 0 is #GP(0) with UMIP only', () => {
    expect(run('smsw eax\nmov [rbx], eax\nud2', { cpl: 3, in: { rbx: Place.USER_DATA }, state: { [State.CR4]: BigInt(CR4) } })).toBe('#UD');
    expect(run('smsw eax', { cpl: 3, state: { [State.CR4]: BigInt(CR4 | Cr4.UMIP) } })).toBe(GP);
  });
});

it('the bench leaves paging as it found it', () => {
  expect(turin.bench.u64(State.CR0) & PAGING).toBe(PAGING);
});
