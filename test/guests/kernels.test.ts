// Every guest kernel under every technology: real compiled code on the whole machine, from launch to test device. What a
// kernel proves stands in its source; here its lines must all say PASS, and the #VC that it took must be the right ones.

import { describe, expect, it } from 'vitest';
import type { Run } from '../../src/cbit.ts';
import { guestNames, isBare } from '../../tools/guest-manifest.ts';
import { runKernel, technologies } from '../system/runs.ts';

const kernels = guestNames().filter((name) => !name.startsWith('bench-') && !isBare(name));

const failures = ({ serial }: Run): string[] => serial.split('\n').filter((line) => line.startsWith('FAIL'));

describe.each(technologies)('under %s', (technology) => {
  it.each(kernels)('%s passes', (name) => {
    const result = runKernel(name, { technology });
    expect(failures(result)).toEqual([]);
    expect(result).toMatchObject({ outcome: { kind: 'ended' }, status: 0, value: 0 });
    expect(result.serial).toMatch(/SUMMARY: \d+ tests, 0 failed/);
    if (technology !== 'sev-es') expect(result.vc).toEqual({});
  });
});

describe('under SEV-ES', () => {
  it('each #VC that a kernel takes is one VMGEXIT, and CPUID, MSR and port accesses are the only ones', () => {
    const { vc, exits } = runKernel('msr');
    expect(Object.keys(vc).sort()).toEqual(['CPUID', 'IOIO', 'MSR']);
    // Besides: negotiation, and four registers of the one CPUID that is asked before there is a GHCB.
    const asked = (vc.IOIO ?? 0) + (vc.MSR ?? 0) + 1 + 4 * (vc.CPUID ?? 0);
    expect(exits.VMGEXIT).toBe(asked);
  });

  it('control registers are trapped after the write without an option', () => {
    const { vc, exits } = runKernel('cr-trap');
    expect(Object.keys(vc).filter((name) => name.startsWith('CR'))).toEqual([]);
    for (const name of ['CR0_WRITE_TRAP', 'CR4_WRITE_TRAP', 'CR8_WRITE_TRAP', 'EFER_WRITE_TRAP']) expect(exits[name]).toBeGreaterThan(0);
  });

  it('--intercept cr makes them #VC, both ways, and each write is trapped as well', () => {
    const result = runKernel('cr-vc', { intercepts: ['cr'] });
    expect(failures(result)).toEqual([]);
    expect(result.serial).toContain('CR accesses are intercepted');
    for (const n of [0, 4, 8]) {
      expect(result.vc[`CR${n}_READ`]).toBeGreaterThan(0);
      expect(result.vc[`CR${n}_WRITE`]).toBeGreaterThan(0);
      expect(result.exits[`CR${n}_WRITE_TRAP`]).toBeGreaterThan(0);
    }
  });

  it('the text of --append reaches the guest', () => {
    expect(runKernel('hello', { append: 'how do you do' }).serial).toContain('append:     how do you do\n');
  });

  it.each(['naples', 'rome', 'genoa', 'turin'])('hello and pio pass on %s', (cpu) => {
    for (const name of ['hello', 'pio']) expect(runKernel(name, { cpu })).toMatchObject({ status: 0 });
  });
});

// What does not keep views coherent wants flushes, and the kernels' library makes them.
describe.each(technologies)('under %s on naples', (technology) => {
  it.each(kernels.filter((name) => name !== 'flip-no-flush'))('%s passes', (name) => {
    const result = runKernel(name, { technology, cpu: 'naples' });
    expect(failures(result)).toEqual([]);
    expect(result).toMatchObject({ outcome: { kind: 'ended' }, status: 0 });
  });
});

describe.each(['naples', 'rome', 'milan', 'genoa', 'turin'])('a page that changes its C-bit on %s', (cpu) => {
  const coherent = cpu !== 'naples' && cpu !== 'rome';

  it('is right with a flush before', () => {
    for (const technology of technologies) expect(runKernel('flip', { technology, cpu })).toMatchObject({ status: 0 });
  });

  it(`is ${coherent ? 'right' : 'wrong'} without, where there is a C-bit`, () => {
    for (const technology of technologies) {
      const right = coherent || technology === 'none';
      const result = runKernel('flip-no-flush', { technology, cpu });
      expect(result).toMatchObject({ outcome: { kind: 'ended' }, status: right ? 0 : 1 });
      expect(/bytes of the shared view are wrong/.test(result.serial)).toBe(!right);
    }
  });
});
