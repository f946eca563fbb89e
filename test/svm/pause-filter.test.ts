// The PAUSE intercept with its filter: VMCB 03Eh counts PAUSEs that go by, 03Ch says how close they must be to each other (APM vol. 2, 15.14.4).

import { describe, expect, it } from 'vitest';
import { Feature, reportsFeature } from '../../src/arch/cpuid.ts';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { processorCpuid, processorModels } from '../../src/cpu/cpuid.ts';
import { build, Guest } from './fixture.ts';

const PAUSE_INTERCEPT = 1 << (ExitCode.PAUSE & 31);
/** Two instructions a turn, the counter in RBX. */
const LOOP = 'again: pause\n inc rbx\n jmp again';

const guest = (code: string, count: number, threshold: number, technology: 'none' | 'sev-es' = 'none') => {
  const box = build(technology, code);
  box.vmcb.intercept3 |= PAUSE_INTERCEPT;
  box.vmcb.pauseFilterCount = count;
  box.vmcb.pauseFilterThreshold = threshold;
  box.svm.setTimer(10_000);
  return box;
};

describe('PAUSE', () => {
  it('is reported with both filters by every model', () => {
    for (const model of processorModels)
      for (const feature of [Feature.PAUSE_FILTER, Feature.PAUSE_FILTER_THRESHOLD])
        expect(reportsFeature(processorCpuid(model), feature)).toBe(true);
  });

  it('leaves each time with a count of 0; RIP is at it, and nRIP behind', () => {
    const box = guest(LOOP, 0, 0);
    expect(box.run()).toBe(ExitCode.PAUSE);
    expect(box.save.rip).toBe(BigInt(Guest.CODE));
    expect(box.vmcb.nRip).toBe(BigInt(Guest.CODE + 2));
    expect(box.registers[3]).toBe(0n);
  });

  it.each([1, 5, 0xffff])('goes by %i times, and leaves then', (count) => {
    const box = guest(LOOP, count, 0);
    box.svm.setTimer(1_000_000);
    expect(box.run()).toBe(ExitCode.PAUSE);
    expect(box.registers[3]).toBe(BigInt(count));
  });

  it('counts anew from each VMRUN, also when the clean bit of the intercepts is set', () => {
    const box = guest(LOOP, 5, 0);
    for (let n = 1; n <= 3; n++) {
      expect(box.run()).toBe(ExitCode.PAUSE);
      expect(box.registers[3]).toBe(BigInt(5 * n));
      box.vmcb.cleanBits = 1;
    }
  });

  it('counts only those within the threshold of the one before: a slow loop never leaves by it', () => {
    // Three instructions from one PAUSE to the next.
    const tight = guest(LOOP, 5, 3);
    expect(tight.run()).toBe(ExitCode.PAUSE);
    expect(guest(LOOP, 5, 2).run()).toBe(ExitCode.INTR);
  });

  it('that comes late starts the count anew', () => {
    const box = guest('pause\n pause\n nop\n nop\n nop\n nop\n pause\n pause\n pause\n pause\n cpuid', 2, 2);
    expect(box.run()).toBe(ExitCode.PAUSE);
    // The first and the fifth instruction came late; two more of the second burst went by.
    expect(box.save.rip).toBe(BigInt(Guest.CODE + 4 + 4 + 3 * 2));
  });

  it('is no event where it is not intercepted', () => {
    const box = guest('pause\n pause\n cpuid', 1, 0);
    box.vmcb.intercept3 &= ~PAUSE_INTERCEPT;
    expect(box.run()).toBe(ExitCode.CPUID);
  });

  it('of an SEV-ES guest is an automatic exit with RIP behind it', () => {
    const box = guest(LOOP, 3, 16, 'sev-es');
    box.vmsa.rbx = 0n;
    box.sealVmsa();
    expect(box.run()).toBe(ExitCode.PAUSE);
    const { rip, rbx } = box.openVmsa();
    expect([rip, rbx]).toEqual([BigInt(Guest.CODE + 2), 3n]);
    expect([...box.svm.vcCounts]).toEqual([]);
  });
});
