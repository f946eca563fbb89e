// EXITINTINFO: the event whose delivery an exit interrupted. APM vol. 2, 15.7.2; under SEV-ES an exit in the middle of a delivery that
// becomes #VC meets the event as a second exception (15.35.5, table 8-3).

import { expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { build, Guest, u64 } from './fixture.ts';

const hex = (n: bigint | number): string => n.toString(16);
/** No host memory behind it. */
const ABSENT = 0x5_0000;
const STACK_ON = (place: number): string => `mov rsp, ${place + 0x100}\n`;

function absent(technology: 'none' | 'sev-es', code: string): ReturnType<typeof build> {
  const box = build(technology, code);
  // The page has no nested mapping.
  box.frames.write(0x9000 + 3 * 4096 + 8 * (ABSENT >> 12), 0, u64(0n));
  return box;
}

it.each([
  ['an exception', 'ud2', '80000306', 0],
  ['an exception with an error code', 'mov eax, 0x990\nmov ds, eax', '99080000b0d', 5],
  ['INT n, with RIP at the instruction', 'int 0x15', '80000415', 0],
  ['INT3', 'int3', '80000303', 0],
])('names %s', (_, source, event, offset) => {
  const box = absent('none', STACK_ON(ABSENT) + source);
  const prologue = 7;
  expect(box.run()).toBe(ExitCode.NPF);
  expect(hex(box.vmcb.exitIntInfo)).toBe(event);
  expect(hex(box.save.rip)).toBe(hex(Guest.CODE + prologue + offset));
  expect(hex(box.save.rsp)).toBe(hex(ABSENT + 0x100));
});

it('names a virtual interrupt', () => {
  const box = absent('none', `${STACK_ON(ABSENT)}sti\nnop\nnop`);
  box.page.setU32(0x60, (1 << 24) | (8 << 16) | (1 << 8));
  box.page.setU8(0x64, 0x1f);
  expect(box.run()).toBe(ExitCode.NPF);
  expect(hex(box.vmcb.exitIntInfo)).toBe('8000001f');
});

it('names the first of two exceptions when the second is intercepted', () => {
  const box = build('none', 'mov eax, 0x990\nmov ds, eax');
  box.save.idtrLimit = 16 * 13 - 1;
  box.vmcb.interceptException = 1 << 13;
  expect(box.run()).toBe(ExitCode.EXCEPTION + 13);
  // The #GP itself is intercepted: nothing was under way.
  expect(hex(box.vmcb.exitIntInfo)).toBe('0');
  box.vmcb.interceptException = 1 << 11;
  box.save.idtrLimit = 0xfff;
  box.put(Guest.IDT + 16 * 13 + 5, Uint8Array.of(0x0e));
  expect(box.run()).toBe(ExitCode.EXCEPTION + 11);
  expect(hex(box.vmcb.exitIntInfo)).toBe('99080000b0d');
});

it('names #DF at a shutdown in the middle of its delivery', () => {
  const box = build('none', 'ud2');
  box.save.idtrLimit = 0;
  expect(box.run()).toBe(ExitCode.SHUTDOWN);
  expect(hex(box.vmcb.exitIntInfo)).toBe('80000b08');
});

it('is 0 at exits of instructions', () => {
  const box = build('none', 'cpuid');
  expect(box.run()).toBe(ExitCode.CPUID);
  expect(box.vmcb.exitIntInfo).toBe(0n);
});

it('an SEV-ES guest: #VC while #GP is delivered gives #DF, while #DF is delivered shutdown', () => {
  // Every frame goes to the page with reserved bits in its nested entry.
  const box = build('sev-es', `${STACK_ON(Guest.DEVICE)}mov eax, 0x990\nmov ds, eax`);
  expect(box.run()).toBe(ExitCode.SHUTDOWN);
});
