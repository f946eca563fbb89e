// Which instructions are one form: those with semantics by operands, those without by their name alone, however many operands a guest
// thinks of.

import { expect, it } from 'vitest';
import { FormSet } from '../../src/cpu/interpreter.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { InstructionDecoder } from '../../src/x86/decode.ts';
import type { Form, Mode } from '../../src/x86/form.ts';

const decoder = new InstructionDecoder();

function formOf(bytes: Uint8Array, mode: Mode = 64): Form {
  const forms: Form[] = [];
  decoder.decode(bytes, 0, mode, ({ form }) => forms.push(form) < 1);
  const [form] = forms;
  if (form === undefined) throw new Error('no instruction');
  return form;
}
const set = new FormSet([]);
const source = (text: string): number => set.indexOf(formOf(assemble(text).bytes));
const bytes = (mode: Mode, ...code: readonly number[]): number => set.indexOf(formOf(Uint8Array.from(code), mode));

it('an instruction without semantics is one form whatever its operands and widths are', () => {
  const vpaddd = bytes(64, 0xc5, 0xf1, 0xfe, 0xc2); // xmm0, xmm1, xmm2
  expect(bytes(64, 0xc5, 0xf5, 0xfe, 0x00)).toBe(vpaddd); // ymm0, ymm1, [rax]
  expect(bytes(64, 0x62, 0xf1, 0x75, 0x4f, 0xfe, 0xc2)).toBe(vpaddd); // zmm0{k7}, zmm1, zmm2
  expect(bytes(64, 0xc5, 0xf1, 0xfa, 0xc2)).not.toBe(vpaddd); // VPSUBD
  expect(bytes(32, 0xc5, 0xf1, 0xfe, 0xc2)).not.toBe(vpaddd);
});

it('an instruction with semantics has a form for each width and kind of operand', () => {
  const forms = ['paddd xmm0, xmm1', 'paddd xmm0, [rax]', 'paddd mm0, mm1', 'add eax, ebx', 'add rax, rbx', 'add [rax], ebx'].map(source);
  expect(new Set(forms).size).toBe(forms.length);
  expect(source('add ecx, edx')).toBe(source('add eax, ebx'));
});

it('trying out every operand of what has no semantics adds no form', () => {
  bytes(64, 0x62, 0xf1, 0x75, 0x48, 0xfe, 0xc2);
  const before = set.forms.length;
  // All masks and vector lengths of VPADDD, by all destinations and two sources.
  for (const length of [0x08, 0x28, 0x48])
    for (let mask = 0; mask < 8; mask++)
      for (let modrm = 0xc0; modrm < 0x100; modrm++) bytes(64, 0x62, 0xf1, 0x75, length | mask, 0xfe, modrm);
  expect(set.forms.length).toBe(before);
});
