// INVLPG, INVPCID, RDPKRU and WRPKRU: their faults. APM vol. 3; vol. 2, 5.5 and 5.6.7.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Cr4 } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import { Place, type Start, SystemBench } from './system-bench.ts';

const turin = new SystemBench('turin');
const rome = new SystemBench('rome');
const CR4 = BigInt(Cr4.PAE | Cr4.OSFXSR | Cr4.OSXMMEXCPT);
const PCIDE = { [State.CR4]: CR4 | BigInt(Cr4.PCIDE) };
const PKE = { [State.CR4]: CR4 | BigInt(Cr4.PKE) };
const { DATA, MISSING } = Place;
const GP = '#GP(0)';

const invpcid = (type: number | bigint, descriptor: readonly [bigint, bigint] = [0n, 0n], more: Start = {}): string =>
  turin.run('invpcid rax, [rbx]', {
    ...more,
    in: { rax: type, rbx: DATA, ...more.in },
    memory: { [DATA]: descriptor[0], [DATA + 8]: descriptor[1] },
  });

describe('INVPCID', () => {
  it.each([0, 1, 2, 3])('of type %i is done', (type) => {
    expect(invpcid(type)).toBe('halted');
    expect(invpcid(type, [5n, 0x7fff_ffff_ffffn], { state: PCIDE })).toBe('halted');
  });

  it.each([4n, 1n << 32n, 0xffff_ffff_ffff_ffffn])('of type %i is #GP(0)', (type) => {
    expect(invpcid(type)).toBe(GP);
  });

  it.each([0, 1, 2, 3])('type %i: bits 63:12 of the identifier are reserved, #GP(0)', (type) => {
    for (const bit of [12n, 31n, 32n, 63n]) expect(invpcid(type, [1n << bit, 0n], { state: PCIDE })).toBe(GP);
  });

  it('an identifier other than 0 without CR4.PCIDE is #GP(0), where one is looked at', () => {
    for (const type of [0, 1]) expect(invpcid(type, [1n, 0n])).toBe(GP);
    for (const type of [2, 3]) expect(invpcid(type, [1n, 0n])).toBe('halted');
  });

  it('a non-canonical address is #GP(0), where one is looked at', () => {
    for (const address of [0x8000_0000_0000n, 0xffff_7fff_ffff_ffffn, 1n << 63n]) expect(invpcid(0, [0n, address])).toBe(GP);
    for (const type of [1, 2, 3]) expect(invpcid(type, [0n, 0x8000_0000_0000n])).toBe('halted');
  });

  it('above CPL 0 is #GP(0), also if intercepted', () => {
    expect(invpcid(2, [0n, 0n], { cpl: 3, intercepts: [ExitCode.INVPCID] })).toBe(GP);
  });

  it('reads its descriptor: #PF, #GP(0), and #SS(0) through the stack', () => {
    expect(invpcid(2, [0n, 0n], { in: { rbx: MISSING } })).toBe('#PF(0) 70000');
    expect(invpcid(2, [0n, 0n], { in: { rbx: 1n << 47n } })).toBe(GP);
    expect(turin.run('invpcid rax, [rsp]', { in: { rax: 2, rsp: 1n << 47n } })).toBe('#SS(0)');
  });

  it('the intercept comes before a type that does not exist, with address and type', () => {
    expect(invpcid(9, [0n, 0n], { intercepts: [ExitCode.INVPCID] })).toBe('INVPCID');
    expect(turin.bench.u64(State.STOP_INFO1)).toBe(BigInt(DATA));
    expect(turin.bench.u64(State.STOP_INFO2)).toBe(9n);
  });

  it('is #UD on a model without it, and with a register operand', () => {
    expect(rome.run('invpcid rax, [rbx]', { in: { rbx: DATA } })).toBe('#UD');
    expect(turin.run('db 0x66, 0x0f, 0x38, 0x82, 0xc3')).toBe('#UD');
  });
});

describe('INVLPG', () => {
  it('takes any address', () => {
    for (const rbx of [DATA, MISSING, 1n << 47n]) expect(turin.run('invlpg [rbx]', { in: { rbx } })).toBe('halted');
  });

  it('above CPL 0 is #GP(0), also if intercepted', () => {
    expect(turin.run('invlpg [rbx]', { cpl: 3, intercepts: [ExitCode.INVLPG] })).toBe(GP);
  });
});

describe('protection keys', () => {
  it('RDPKRU and WRPKRU are #UD without CR4.PKE', () => {
    for (const source of ['rdpkru', 'wrpkru']) expect(turin.run(source, { in: { rcx: 1 } })).toBe('#UD');
  });

  it('ECX other than 0 is #GP(0), for WRPKRU EDX too', () => {
    for (const source of ['rdpkru', 'wrpkru']) expect(turin.run(source, { state: PKE, in: { rcx: 1 } })).toBe(GP);
    expect(turin.run('wrpkru', { state: PKE, in: { rdx: 1 } })).toBe(GP);
  });

  it('PKRU is the program’s at any CPL', () => {
    expect(turin.run('mov eax, 0x55555554\nwrpkru\nmov rdx, -1\nxor eax, eax\nrdpkru\nud2', { cpl: 3, state: PKE })).toBe('#UD');
    expect([turin.register('rax'), turin.register('rdx')]).toEqual(['55555554', '0']);
  });

  it('take effect with the next access', () => {
    const source = 'mov eax, [rbx]\nmov eax, 3\nwrpkru\nmov eax, [rbx]';
    expect(turin.run(source, { state: PKE, in: { rbx: Place.USER_DATA } })).toBe('#PF(21) 22000');
    expect(turin.run(source, { state: PKE, in: { rbx: DATA } })).toBe('halted');
  });
});
