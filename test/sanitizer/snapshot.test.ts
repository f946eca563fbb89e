// The sanitizer goes back with the machine: from the same place it finds the same again.

import { expect, it } from 'vitest';
import { launch } from '../../src/cbit.ts';
import { attachSanitizer } from '../../src/sanitizer/sanitizer.ts';
import { build, IMAGE } from './guests.ts';

const loop = 'mov r10, 20\nagain:\nxor eax, eax\nxor ecx, ecx\ncpuid\ndec r10\njnz again';

it('finds the same from a snapshot on, as often as one likes', () => {
  const bytes = build({ code: loop, handler: { info1: '', bits: '' } });
  const vm = launch({ image: { name: 'guest.bin', bytes }, load: IMAGE, memory: 4 << 20, haltOk: true, maxInstructions: 100_000 });
  const sanitizer = attachSanitizer(vm);
  vm.capture('sanitizer', sanitizer);
  vm.advance(200);
  const before = sanitizer.findings;
  expect(before.length).toBeGreaterThan(0);
  const snapshot = vm.snapshot();
  const runs = [1, 2].map(() => {
    vm.restore(snapshot);
    expect(sanitizer.findings).toEqual(before);
    while (!vm.advance(1_000));
    sanitizer.finish();
    return sanitizer.findings;
  });
  expect(runs[0]).toEqual(runs[1]);
  expect(runs[0]?.[0]?.times).toBe(20);
  vm.dispose();
});
