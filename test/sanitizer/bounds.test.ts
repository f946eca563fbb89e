// A guest that never returns from its #VC handler, with as many pages in use as there can be: the sanitizer stays small.

import { serialize } from 'node:v8';
import { expect, it } from 'vitest';
import { Msr } from '../../src/arch/msr.ts';
import { launch } from '../../src/cbit.ts';
import { attachSanitizer } from '../../src/sanitizer/sanitizer.ts';
import { build, GHCB, IMAGE } from './guests.ts';

const MEMORY = 8 << 20;
/** Makes one page after another the GHCB and writes to each, all over. */
const pages = (label: string, count: number): string => `
  mov ebx, ${GHCB}
  mov esi, ${count}
${label}:
  mov ecx, ${Msr.GHCB}
  mov eax, ebx
  xor edx, edx
  wrmsr
  mov rdi, rbx
  mov ecx, 512
  rep stosq
  add ebx, 0x1000
  dec esi
  jnz ${label}`;
/** The stack is private and ends where the image begins: it is full after 5,000 frames or so. */
const STACK = 0xf_f000;

it('forgets pages and levels when there are too many', { timeout: 60_000 }, () => {
  const bytes = build({ code: `${pages('first', 300)}\nmov rsp, ${STACK}\ncpuid`, more: `${pages('again', 12)}\ncpuid` });
  const vm = launch({ image: { name: 'guest.bin', bytes }, load: IMAGE, memory: MEMORY, maxInstructions: 1_600_000 });
  try {
    const sanitizer = attachSanitizer(vm);
    while (!vm.advance(1_000_000));
    expect(vm.result().vc['CPUID']).toBeGreaterThan(150);
    expect(serialize(sanitizer.capture()).length).toBeLessThan(32 << 20);
  } finally {
    vm.dispose();
  }
});
