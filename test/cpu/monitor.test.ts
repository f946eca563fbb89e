// MONITOR, MWAIT and the siblings that any privilege may use. APM vol. 3.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Place, SystemBench } from './system-bench.ts';

const turin = new SystemBench('turin');
const monitor = 'db 0x0f, 0x01, 0xc8\n';
const mwait = 'db 0x0f, 0x01, 0xc9\n';
const monitorx = 'db 0x0f, 0x01, 0xfa\n';
const mwaitx = 'db 0x0f, 0x01, 0xfb\n';
const { DATA, USER_DATA, MISSING } = Place;

describe('MONITOR and MWAIT', () => {
  it('watch a line, and go on', () => {
    expect(turin.run(monitor + mwait, { in: { rax: DATA } })).toBe('halted');
  });

  it('are #UD above CPL 0', () => {
    for (const source of [monitor, mwait]) expect(turin.run(source, { cpl: 3, in: { rax: USER_DATA } })).toBe('#UD');
  });

  it('take no extension but that of MWAIT: #GP(0)', () => {
    expect(turin.run(monitor, { in: { rax: DATA, rcx: 1 } })).toBe('#GP(0)');
    expect(turin.run(mwait, { in: { rcx: 1 } })).toBe('halted');
    expect(turin.run(mwait, { in: { rcx: 2 } })).toBe('#GP(0)');
  });

  it('MONITOR reads: #PF, and #GP(0) for an address that is not canonical', () => {
    expect(turin.run(monitor, { in: { rax: MISSING } })).toBe('#PF(0) 70000');
    expect(turin.run(monitor, { in: { rax: 1n << 47n } })).toBe('#GP(0)');
  });

  it('are intercepted before the memory access and behind the other faults', () => {
    const intercepts = [ExitCode.MONITOR, ExitCode.MWAIT];
    expect(turin.run(monitor, { intercepts, in: { rax: MISSING } })).toBe('MONITOR');
    expect(turin.run(monitor, { intercepts, in: { rcx: 1 } })).toBe('#GP(0)');
    expect(turin.run(mwait, { intercepts })).toBe('MWAIT');
  });

  it('MWAIT leaves armed only behind a MONITOR', () => {
    const intercepts = [ExitCode.MWAIT_ARMED];
    expect(turin.run(mwait, { intercepts })).toBe('halted');
    expect(turin.run(monitor + mwait, { intercepts, in: { rax: DATA } })).toBe('MWAIT_ARMED');
  });
});

describe('MONITORX and MWAITX', () => {
  it('are for any CPL', () => {
    expect(turin.run(`${monitorx + mwaitx}ud2`, { cpl: 3, in: { rax: USER_DATA } })).toBe('#UD');
    expect(turin.bench.rip).toBe(BigInt(Place.CODE + 6));
  });

  it('MWAITX may have a timer, nothing else: #GP(0)', () => {
    expect(turin.run(mwaitx, { in: { rcx: 2, rbx: 100 } })).toBe('halted');
    expect(turin.run(mwaitx, { in: { rcx: 1 } })).toBe('#GP(0)');
  });
});
