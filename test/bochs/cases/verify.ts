// LAR, LSL, VERR, VERW over all types of descriptor and mixes of privilege.

import type { Case, Enter } from '../program.ts';
import { At, Sel, set, Type } from '../tables-32.ts';

/** EAX and ECX: what LAR and LSL gave. EBX: bits 0 to 3, ZF after LAR, LSL, VERR, VERW. */
const ask = (selector: number): string => `mov edx, ${selector}
xor ebx, ebx
lar eax, edx
jnz .lsl
or ebx, 1
.lsl:
lsl ecx, edx
jnz .verr
or ebx, 2
.verr:
verr dx
jnz .verw
or ebx, 4
.verw:
verw dx
jnz .end
or ebx, 8
.end:`;

const mixes = [
  [0, 0, 0],
  [0, 3, 0],
  [0, 3, 3],
  [3, 0, 0],
  [3, 3, 3],
  [3, 3, 0],
  [1, 1, 0],
  [1, 2, 1],
] as const;
const rings: readonly Enter[] = ['ring0', 'ring1', 'ring2', 'ring3'];

const types: Case[] = mixes.flatMap(([cpl, rpl, dpl]) =>
  Array.from({ length: 32 }, (_, type) => ({
    name: `type ${type.toString(16)} cpl${cpl} rpl${rpl} dpl${dpl}`,
    enter: rings[cpl] as Enter,
    setup: set(Sel.T0, { type, dpl, base: 0x12345678, limit: 0xabcde, g: type % 3 === 0, d: type % 2 === 0 }),
    test: ask(Sel.T0 | rpl),
  })),
);

const others: Case[] = [
  { name: 'null', test: ask(0) },
  { name: 'null rpl 3', enter: 'ring3', test: ask(3) },
  { name: 'beyond the gdt', test: ask(0x100) },
  { name: 'beyond the ldt', test: ask(0x44) },
  { name: 'in the ldt', setup: set(Sel.L2, { type: Type.rw, dpl: 3, limit: 5 }), enter: 'ring3', test: ask(Sel.L2) },
  { name: 'not present data', setup: set(Sel.T0, { type: Type.rw, p: false }), test: ask(Sel.T0) },
  { name: 'not present code', setup: set(Sel.T0, { type: Type.xr, p: false }), test: ask(Sel.T0) },
  { name: 'not present tss', setup: set(Sel.T0, { type: Type.tss32, p: false }), test: ask(Sel.T0) },
  { name: 'not present gate', setup: set(Sel.T0, { type: Type.call32, p: false }), test: ask(Sel.T0) },
  { name: 'the accessed bit stays', setup: set(Sel.T0, { type: 0x12 }), test: `${ask(Sel.T0)}\nmov esi, [${At.gdt + Sel.T0 + 4}]` },
  {
    name: 'o16 lar and lsl',
    setup: set(Sel.T0, { type: Type.rw, limit: 0x12345, g: false }),
    test: `mov edx, ${Sel.T0}\nlar ax, dx\nlsl cx, dx`,
  },
  {
    name: 'from memory',
    setup: set(Sel.T0, { type: Type.rw, limit: 0x12345 }),
    test: `mov dword [${At.scratch}], ${0xffff0000 + Sel.T0}\nlar eax, [${At.scratch}]\nlsl ecx, [${At.scratch}]\nverr [${At.scratch}]`,
  },
  { name: 'lar in v86', enter: 'v86', test: 'lar ax, bx' },
  { name: 'lsl in v86', enter: 'v86', test: 'lsl ax, bx' },
  { name: 'verr in v86', enter: 'v86', test: 'verr ax' },
  { name: 'verw in v86', enter: 'v86', test: 'verw ax' },
  { name: 'arpl in v86', enter: 'v86', test: 'arpl ax, bx' },
  { name: 'lock lar', test: 'db 0xf0\nlar eax, ebx' },
];

export const verify: readonly Case[] = [...types, ...others];
