// PKRU among the components of XSAVE (component 9). APM vol. 2, 11.5.

import { describe, expect, it } from 'vitest';
import { Cr4 } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import { Place, SystemBench } from './system-bench.ts';

const turin = new SystemBench('turin');
const { DATA } = Place;
const CR4 = BigInt(Cr4.PAE | Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.OSXSAVE | Cr4.PKE);
const state = { [State.CR4]: CR4, [State.XCR0]: 0x203n, [State.PKRU]: 0x5555_5550n };
const zeros = Object.fromEntries(Array.from({ length: 0x1000 / 8 }, (_, n) => [DATA + 8 * n, 0n]));
const at = (offset: number): bigint => turin.bench.physical(DATA + offset, 8).getBigUint64(0, true);
const everything = { rax: 0xffff_ffffn, rdx: 0xffff_ffffn, rbx: DATA };

describe('PKRU in an XSAVE area', () => {
  it('lies at 980h in the standard form', () => {
    expect(turin.run('xsave [rbx]', { state, in: everything, memory: zeros })).toBe('halted');
    expect([at(0x980), at(512) & 0x200n, at(576)]).toEqual([0x5555_5550n, 0x200n, 0n]);
  });

  it('lies behind the header in the compacted form', () => {
    expect(turin.run('xsavec [rbx]', { state, in: everything, memory: zeros })).toBe('halted');
    expect([at(576), at(512), at(520)]).toEqual([0x5555_5550n, 0x200n, (1n << 63n) | 0x203n]);
  });

  it('is left out where it is 0, or not asked for, or not enabled', () => {
    const start = { in: everything, memory: zeros };
    turin.run('xsavec [rbx]', { ...start, state: { ...state, [State.PKRU]: 0n } });
    expect(at(512) & 0x200n).toBe(0n);
    turin.run('xsave [rbx]', { ...start, state, in: { ...everything, rax: 3 } });
    expect([at(0x980), at(512) & 0x200n]).toEqual([0n, 0n]);
    turin.run('xsave [rbx]', { ...start, state: { ...state, [State.XCR0]: 3n } });
    expect([at(0x980), at(512) & 0x200n]).toEqual([0n, 0n]);
  });

  it.each([
    ['standard', 'xsave [rbx]'],
    ['compacted', 'xsavec [rbx]'],
  ])('comes back from the %s form, and takes effect', (_, save) => {
    const source = `${save}\nxor ecx, ecx\nxor edx, edx\nmov eax, 3\nwrpkru\nmov eax, -1\nmov edx, -1\nxrstor [rbx]\nxor ecx, ecx\nrdpkru\nmov edi, [rsi]`;
    expect(turin.run(source, { state, in: { ...everything, rsi: Place.USER_DATA }, memory: zeros })).toBe('halted');
    expect(turin.register('rax')).toBe('55555550');
  });

  it('becomes 0 where the area says that it is initial', () => {
    const memory = { ...zeros, [DATA + 0x980]: 0xffff_ffffn };
    expect(turin.run('xrstor [rbx]\nxor ecx, ecx\nrdpkru', { state, in: everything, memory })).toBe('halted');
    expect(turin.register('rax')).toBe('0');
  });

  it('an area that ends on a page that is not there is #PF', () => {
    // DATA has two pages.
    const rbx = DATA + 0x2000 - 576;
    expect(turin.run('xsave [rbx]', { state, in: { ...everything, rbx: rbx + 0x3000 } })).toMatch(/^#PF/);
    expect(turin.run('xsave [rbx]', { state: { ...state, [State.XCR0]: 3n }, in: { ...everything, rbx } })).toBe('halted');
  });

  it('a component that is not enabled is #GP(0) when restored', () => {
    const memory = { ...zeros, [DATA + 512]: 0x200n };
    expect(turin.run('xrstor [rbx]', { state: { ...state, [State.XCR0]: 3n }, in: everything, memory })).toBe('#GP(0)');
  });

  it('CPUID tells its size with what XCR0 enables', () => {
    const size = (leaf: number, xcr0: bigint): string => {
      turin.run('cpuid', { state: { ...state, [State.XCR0]: xcr0 }, in: { rax: 0xd, rcx: leaf } });
      return turin.register('rbx');
    };
    expect([size(0, 3n), size(0, 0x203n), size(1, 3n), size(1, 0x203n)]).toEqual(['240', '988', '240', '248']);
  });

  it('CPUID mirrors CR4.PKE and CR4.OSXSAVE', () => {
    turin.run('cpuid', { state, in: { rax: 7 } });
    expect(Number(turin.bench.gpr(1)) & (1 << 4)).toBe(1 << 4);
    turin.run('cpuid', { state: { [State.CR4]: BigInt(Cr4.PAE) }, in: { rax: 7 } });
    expect(Number(turin.bench.gpr(1)) & (1 << 4)).toBe(0);
    turin.run('cpuid', { state, in: { rax: 1 } });
    expect(Number(turin.bench.gpr(1)) & (1 << 27)).toBe(1 << 27);
  });
});
