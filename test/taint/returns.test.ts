// Returns whose target the hypervisor chooses are found whether semantics do them or, where something is out of the ordinary, a routine.

import { expect, it } from 'vitest';
import { Rflags } from '../../src/arch/registers.ts';
import { launch } from '../../src/cbit.ts';
import { Taint } from '../../src/taint/taint.ts';
import { MEMORY, SHARED, smallGuest } from '../system/small-guest.ts';

function found(code: string): string[] {
  const image = { name: 'small', bytes: smallGuest(code) };
  const vm = launch({ image, memory: MEMORY, haltOk: true, tier: 'labels', maxInstructions: 10_000 });
  try {
    const taint = new Taint(vm);
    while (!vm.advance(1_000_000));
    expect(vm.outcome?.kind).toBe('halted');
    taint.finish();
    return taint.findings.map(({ rule, text, times }) => `${rule}: ${text} (${times})`);
  } finally {
    vm.dispose();
  }
}

const STACK = SHARED + 0x800;
const frame = (flags: number): string => `
  mov rsp, ${STACK}
  mov eax, ss
  push rax
  push ${STACK}
  push ${Rflags.ALWAYS_1 | flags}
  mov eax, cs
  push rax
  lea rax, [rel there]
  push rax
  iretq
there:`;

it.each([
  ['as it mostly is', 0],
  ['with RFLAGS.AC', Rflags.AC],
])('an IRET, %s, from a frame in shared memory', (_what, flags) => {
  const at = (STACK - 40).toString(16);
  expect(found(frame(flags)).map((text) => text.replace(/came in at 0x[0-9a-f]+/, 'came in'))).toEqual([
    `taint-branch: a computed branch goes where the hypervisor says: its target depends on shared memory at guest physical address 0x${at}, which came in and was compared with nothing since (1)`,
  ]);
});
