// Stopping right behind each VMGEXIT, before the hypervisor has looked at it: the run is the one that was never stopped, with snapshots there or without.

import { describe, expect, it } from 'vitest';
import { Ghcb, GhcbInfo } from '../../src/cbit.ts';
import { kernel } from '../system/runs.ts';
import { Recorded, type Settings } from './branches.ts';

const SLICE = 1_000_000;

function plain(settings: Settings): string {
  const run = new Recorded(settings);
  while (!run.vm.advance(SLICE));
  const { outcome } = run;
  run.vm.dispose();
  return outcome;
}

describe('a run that stops at each VMGEXIT', () => {
  it.each<readonly [string, Settings]>([
    ['hello', {}],
    ['timer', {}],
    ['nmi', { cpu: 'genoa' }],
    ['hello', { cpu: 'naples' }],
    ['smp', { vcpus: 4, schedule: 'random', hostCpus: 2 }],
    ['terminate', {}],
    ['hello', { maxInstructions: 100_003 }],
  ])('of %s with %j is the same', (name, more) => {
    const settings = { image: kernel(name), maxInstructions: 600_000, ...more };
    const run = new Recorded(settings);
    let stops = 0;
    while (!run.vm.advance(SLICE, { until: 'vmgexit' })) if (run.vm.atVmgexit) stops++;
    const { outcome } = run;
    expect(stops).toBe(run.vm.result().exits['VMGEXIT']);
    run.vm.dispose();
    expect(outcome).toBe(plain(settings));
  });

  it.each(['hello', 'cpuid'])('can go to its end from each of them, and back (%s)', (name) => {
    const settings = { image: kernel(name) };
    const expected = plain(settings);
    const run = new Recorded(settings);
    const { vm } = run;
    for (let stops = 0; !vm.advance(SLICE, { until: 'vmgexit' }); stops++) {
      if (stops % 100 !== 0) continue;
      const here = vm.snapshot();
      while (!vm.advance(SLICE));
      expect(run.outcome).toBe(expected);
      vm.restore(here);
      expect(vm.atVmgexit).toBe(true);
    }
    expect(run.outcome).toBe(expected);
    vm.dispose();
  });

  it('finds the page and the register as the guest left them', () => {
    const { vm } = new Recorded({ image: kernel('hello') });
    expect(vm.advance(SLICE, { until: 'vmgexit' })).toBe(false);
    expect((vm.pendingVcpu?.ghcbMsrLow ?? 0) & 0xfff).toBe(GhcbInfo.CPUID_REQUEST);
    while ((vm.pendingVcpu?.ghcbMsrLow ?? 1) % 4096 !== 0) vm.advance(SLICE, { until: 'vmgexit' });
    const answer = new Uint8Array(8);
    vm.pendingVcpu?.readMemory(vm.pendingVcpu.ghcbMsr + BigInt(Ghcb.layout.swExitCode.offset), answer);
    expect(answer.some((byte) => byte !== 0)).toBe(true);
    vm.dispose();
  });
});
