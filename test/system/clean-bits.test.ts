// The hypervisor's own clean bits: whatever a guest makes it do, it changes no field of a VMCB whose bit it has set. The processor's check
// (svm/clean-check.ts) looks on.

import { describe, expect, it } from 'vitest';
import { runKernel, technologies } from './runs.ts';

const kernels = ['hello', 'msr', 'timer', 'nmi', 'pio', 'mmio', 'rdtsc', 'dr7', 'user'] as const;
const cases = kernels.flatMap((kernel) => technologies.map((technology) => [kernel, technology] as const));

describe('the hypervisor', () => {
  it.each(cases)('changes nothing under a set clean bit (guests/%s, %s)', (kernel, technology) => {
    const { events, warnings } = runKernel(kernel, { technology });
    expect(events.filter(({ kind }) => kind === 'clean-bits')).toEqual([]);
    expect(warnings.filter((text) => text.includes('clean bit'))).toEqual([]);
  });

  it.each(technologies)('nor for virtual CPUs that move between processors (%s)', (technology) => {
    const { warnings } = runKernel('smp', { technology, vcpus: 4, hostCpus: 3, quantum: 500, schedule: 'random' });
    expect(warnings.filter((text) => text.includes('clean bit'))).toEqual([]);
  });

  it.each(['cr', 'rdtsc', 'iret', 'cpuid'])('nor with --intercept %s', (name) => {
    const { warnings } = runKernel('cr-vc', { intercepts: [name] });
    expect(warnings.filter((text) => text.includes('clean bit'))).toEqual([]);
  });
});
