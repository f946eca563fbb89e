// Rules about requests on behalf of user mode, by guests that have one.

import { expect, it } from 'vitest';
import { launch } from '../../src/cbit.ts';
import { attachSanitizer } from '../../src/sanitizer/sanitizer.ts';
import { kernel } from '../system/runs.ts';

function rulesOf(name: string, vcpus = 1): string[] {
  const vm = launch({ image: kernel(name), vcpus, maxInstructions: 2_000_000 });
  const sanitizer = attachSanitizer(vm);
  while (!vm.advance(1_000_000));
  sanitizer.finish();
  const found = new Set(sanitizer.findings.map(({ rule }) => rule));
  vm.dispose();
  return [...found];
}

it.each([
  ['bugs/user-mmio', 1, 'user-access'],
  ['bugs/user-string', 1, 'user-access'],
  ['bugs/string-page-end', 1, 'user-access'],
  ['bugs/syscall-gap', 1, 'user-stack'],
  ['bugs/smp-user-ports', 2, 'user-access'],
  ['bugs/user-vmgexit', 1, 'user-request'],
])('%s, with %i processors, gives %s', (name, vcpus, rule) => {
  expect(rulesOf(name, vcpus)).toEqual([rule]);
});

it('a kernel that does it right gives none', () => {
  expect(rulesOf('user')).toEqual([]);
});
