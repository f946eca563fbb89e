// Loading DS, ES, FS, GS and SS in protected mode: every type of descriptor, every mix of CPL, RPL and DPL, null, not present, LDT.

import type { Case, Enter } from '../program.ts';
import { At, Sel, set, slotOf, Type } from '../tables-32.ts';

const rings: readonly Enter[] = ['ring0', 'ring1', 'ring2', 'ring3'];
const high = (selector: number): string => `mov edx, [cs:${slotOf(selector) + 4}]`;

/** Loads the register, then shows the descriptor, whose accessed bit the load may have set. */
const load = (register: string, selector: number): string => `mov eax, ${selector}
mov ${register}, ax
${high(selector)}`;

const types: Case[] = ['ds', 'ss'].flatMap((register) =>
  Array.from({ length: 32 }, (_, type) => ({
    name: `${register} type ${type.toString(16)}`,
    setup: set(Sel.T0, { type, limit: (type & 0x1c) === 0x14 ? 0 : 0xfffff }),
    test: load(register, Sel.T0),
  })),
);

const privileges: Case[] = [0, 3].flatMap((cpl) =>
  [0, 1, 2, 3].flatMap((rpl) =>
    [0, 1, 2, 3].flatMap((dpl) => [
      ...(['ro', 'xr', 'xrConf', 'xo'] as const).flatMap((type) =>
        type === 'ro' || ((rpl === 0 || rpl === 3) && (dpl === 0 || dpl === 3))
          ? [
              {
                name: `es ${type} cpl${cpl} rpl${rpl} dpl${dpl}`,
                enter: rings[cpl] as Enter,
                setup: set(Sel.T0, { type: Type[type], dpl }),
                test: load('es', Sel.T0 | rpl),
              },
            ]
          : [],
      ),
      {
        name: `ss rw cpl${cpl} rpl${rpl} dpl${dpl}`,
        enter: rings[cpl] as Enter,
        setup: set(Sel.T0, { type: Type.rw, dpl }),
        test: load('ss', Sel.T0 | rpl),
      },
    ]),
  ),
);

const middle: Case[] = [1, 2].flatMap((cpl) =>
  [0, 1, 2, 3].flatMap((dpl) => [
    {
      name: `fs rw cpl${cpl} rpl0 dpl${dpl}`,
      enter: rings[cpl] as Enter,
      setup: set(Sel.T0, { type: Type.rw, dpl }),
      test: load('fs', Sel.T0),
    },
    {
      name: `ss rw cpl${cpl} rpl${cpl} dpl${dpl}`,
      enter: rings[cpl] as Enter,
      setup: set(Sel.T0, { type: Type.rw, dpl }),
      test: load('ss', Sel.T0 | cpl),
    },
  ]),
);

const absent: Case[] = ['ds', 'es', 'fs', 'gs', 'ss'].flatMap((register) => [
  { name: `${register} not present`, setup: set(Sel.T0, { type: Type.rw, p: false }), test: load(register, Sel.T0) },
  { name: `${register} not present and wrong type`, setup: set(Sel.T0, { type: Type.tss32, p: false }), test: load(register, Sel.T0) },
  {
    name: `${register} not present and wrong privilege`,
    enter: 'ring3' as const,
    setup: set(Sel.T0, { type: Type.rw, p: false }),
    test: load(register, Sel.T0),
  },
  { name: `${register} null`, test: `xor eax, eax\nmov ${register}, ax` },
  { name: `${register} null rpl3`, test: `mov eax, 3\nmov ${register}, ax` },
  { name: `${register} null in ring 3`, enter: 'ring3' as const, test: `mov eax, 0\nmov ${register}, ax` },
  { name: `${register} null rpl3 in ring 3`, enter: 'ring3' as const, test: `mov eax, 3\nmov ${register}, ax` },
  { name: `${register} beyond the GDT`, test: `mov eax, 0x100\nmov ${register}, ax` },
  { name: `${register} last of the GDT`, setup: set(Sel.last, { type: Type.rw }), test: `mov eax, ${Sel.last}\nmov ${register}, ax` },
  {
    name: `${register} cut off by the limit of the GDT`,
    setup: set(Sel.last, { type: Type.rw }),
    test: `lgdt [.table]\nmov eax, ${Sel.last}\nmov ${register}, ax\njmp .end\n.table:\ndw 0xfe\ndd ${At.gdt}\n.end:`,
  },
  { name: `${register} from the LDT`, setup: set(Sel.L1, { type: Type.rw }), test: load(register, Sel.L1) },
  { name: `${register} beyond the LDT`, test: `mov eax, 0x44\nmov ${register}, ax` },
  { name: `${register} from a null LDT`, test: `xor eax, eax\nlldt ax\nmov eax, ${Sel.L0}\nmov ${register}, ax` },
  {
    name: `${register} from the first entry of the LDT, rpl 3`,
    enter: 'ring3' as const,
    test: `mov eax, ${Sel.L0 | 3}\nmov ${register}, ax`,
  },
  { name: `pop ${register}`, setup: set(Sel.T0, { type: Type.rw }), test: `push dword ${Sel.T0}\npop ${register}` },
  {
    name: `pop ${register} with a fault leaves the stack`,
    setup: set(Sel.T0, { type: Type.rw, p: false }),
    test: `push dword ${Sel.T0}\npop ${register}`,
  },
  { name: `o16 pop ${register}`, setup: set(Sel.T0, { type: Type.rw }), test: `push word ${Sel.T0}\no16 pop ${register}` },
  {
    name: `l${register}`,
    setup: set(Sel.T0, { type: Type.rw }),
    test: `mov dword [${At.scratch}], 0x12345678\nmov word [${At.scratch + 4}], ${Sel.T0}\nl${register} ebx, [${At.scratch}]`,
  },
  {
    name: `l${register} with a fault leaves both`,
    setup: set(Sel.T0, { type: Type.xo }),
    test: `mov dword [${At.scratch}], 0x12345678\nmov word [${At.scratch + 4}], ${Sel.T0}\nl${register} ebx, [${At.scratch}]`,
  },
]);

const unusual: Case[] = [
  { name: 'mov cs', test: 'mov eax, 8\ndb 0x8e, 0xc8' },
  { name: 'mov segment 6', test: 'mov eax, 8\ndb 0x8e, 0xf0' },
  { name: 'mov segment 7', test: 'mov eax, 8\ndb 0x8e, 0xf8' },
  { name: 'mov from segment 6', test: 'db 0x8c, 0xf0' },
  { name: 'mov eax from ds', test: 'mov eax, ds' },
  { name: 'mov ax from ds', test: 'mov ax, ds' },
  { name: 'mov word memory from ds', test: `mov dword [${At.scratch}], -1\nmov [${At.scratch}], ds\nmov eax, [${At.scratch}]` },
  { name: 'push ds', test: `push dword -1\npop eax\npush ds\npop eax` },
  { name: 'o16 push ds', test: 'o16 push ds\nmov eax, esp\npop ax' },
  { name: 'use of null ds', test: 'xor eax, eax\nmov ds, ax\nmov eax, [0x40000]' },
  { name: 'use of null es by a string', test: `xor eax, eax\nmov es, ax\nmov esi, ${At.scratch}\nmov edi, esi\nmovsd` },
  { name: 'use of null gs', enter: 'ring3', test: 'xor eax, eax\nmov gs, ax\nmov byte [gs:0x40000], 1' },
  {
    name: 'the accessed bit is set by a load only',
    setup: set(Sel.T0, { type: 0x12 }),
    test: `mov eax, ${Sel.T0}\nlar ecx, eax\nmov ds, ax\nmov edx, [cs:${slotOf(Sel.T0) + 4}]`,
  },
  { name: 'arpl raises', test: 'mov eax, 0x10\nmov ebx, 3\narpl ax, bx' },
  { name: 'arpl leaves', test: 'mov eax, 0x13\nmov ebx, 2\narpl ax, bx' },
];

export const segmentLoads: readonly Case[] = [...types, ...privileges, ...middle, ...absent, ...unusual];
