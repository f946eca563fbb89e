// What the older of the two models in Bochs has not: UMIP, process context identifiers, INVPCID, protection keys.

import type { Case } from '../program.ts';
import { At, PAGE } from '../tables-64.ts';

const cr4 = (bits: number): string => `mov rax, cr4\nor eax, 0x${bits.toString(16)}\nmov cr4, rax\n`;
const UMIP = 1 << 11;
const PCIDE = 1 << 17;
const PKE = 1 << 22;

const umip: Case[] = ['sgdt', 'sidt', 'sldt', 'str', 'smsw'].flatMap((name) =>
  (['ring3', 'ring0', 'compat3'] as const).map((enter) => ({
    name: `umip: ${name} in ${enter}`,
    enter,
    setup: cr4(UMIP),
    test: name === 'sgdt' || name === 'sidt' ? `${name} [${At.scratch}]` : `${name} eax`,
  })),
);

const pcid: Case[] = [
  { name: 'pcide', test: `${cr4(PCIDE)}mov rbx, cr4` },
  { name: 'pcide with a number in cr3', setup: 'mov rax, cr3\nor eax, 8\nmov cr3, rax', test: cr4(PCIDE) },
  {
    name: 'cr3 with a number',
    setup: cr4(PCIDE),
    test: `mov rax, ${At.tables + 0x123}\nmov cr3, rax\nmov rbx, cr3\nmov rax, ${At.tables}\nmov cr3, rax`,
  },
  {
    name: 'cr3 with bit 63',
    setup: cr4(PCIDE),
    test: `mov rax, 0x8000000000000000 + ${At.tables + 1}\nmov cr3, rax\nmov rbx, cr3\nmov rax, ${At.tables}\nmov cr3, rax`,
  },
  { name: 'cr3 with bit 62', setup: cr4(PCIDE), test: `mov rax, 0x4000000000000000 + ${At.tables}\nmov cr3, rax` },
  { name: 'cr0 without pg', enter: 'compat0', setup: cr4(PCIDE), test: 'mov eax, 0x11\nmov cr0, eax' },
  { name: 'pcide is cleared', setup: cr4(PCIDE), test: 'mov eax, 0x20\nmov cr4, rax\nmov rbx, cr4' },
];

const invpcid: Case[] = [
  ...[0, 1, 2, 3, 4, -1].map((type) => ({
    name: `invpcid type ${type}`,
    setup: cr4(PCIDE),
    test: `mov rax, ${type}\ninvpcid rax, [${At.scratch}]`,
  })),
  { name: 'invpcid without pcide', test: `xor eax, eax\ninvpcid rax, [${At.scratch}]` },
  { name: 'invpcid without pcide, a number', setup: `mov dword [${At.scratch}], 5`, test: `mov eax, 1\ninvpcid rax, [${At.scratch}]` },
  {
    name: 'invpcid of address, a number without pcide',
    setup: `mov dword [${At.scratch}], 5`,
    test: `mov eax, 0\ninvpcid rax, [${At.scratch}]`,
  },
  {
    name: 'invpcid reserved bits',
    setup: `${cr4(PCIDE)}mov dword [${At.scratch}], 0x1000`,
    test: `mov eax, 1\ninvpcid rax, [${At.scratch}]`,
  },
  {
    name: 'invpcid reserved upper half',
    setup: `${cr4(PCIDE)}mov dword [${At.scratch + 4}], 1`,
    test: `mov eax, 1\ninvpcid rax, [${At.scratch}]`,
  },
  {
    name: 'invpcid of an address that is not canonical',
    setup: `${cr4(PCIDE)}mov dword [${At.scratch + 12}], 0x8000`,
    test: `mov eax, 0\ninvpcid rax, [${At.scratch}]`,
  },
  {
    name: 'invpcid of all, address not canonical',
    setup: `${cr4(PCIDE)}mov dword [${At.scratch + 12}], 0x8000`,
    test: `mov eax, 2\ninvpcid rax, [${At.scratch}]`,
  },
  { name: 'invpcid in ring 3', enter: 'ring3', test: `mov eax, 0\ninvpcid rax, [${At.scratch}]` },
  { name: 'invpcid of an absent page', setup: `mov dword [${At.pte}], 0`, test: `mov eax, 0\nmov rbp, ${PAGE}\ninvpcid rax, [rbp]` },
  { name: 'invpcid in compatibility mode', enter: 'compat0', test: `mov eax, 2\ninvpcid eax, [${At.scratch}]` },
];

/** The page of the cases has key 5; PKRU as given. */
const keys = (pkru: number): string =>
  `${cr4(PKE)}xor ecx, ecx\nxor edx, edx\nmov eax, 0x${pkru.toString(16)}\nwrpkru\nor dword [${At.pte + 4}], 0x28000000\n`;
const access = {
  read: `mov rbp, ${PAGE}\nmov al, [rbp]`,
  write: `mov rbp, ${PAGE}\nmov byte [rbp], 1`,
  fetch: `mov byte [${At.scratch}], 0xc3\nmov rbp, ${PAGE}\ncall rbp`,
} as const;
const AD5 = 1 << 10;
const WD5 = 1 << 11;
const pku: Case[] = [
  ...(
    [
      ['nothing', 0],
      ['ad', AD5],
      ['wd', WD5],
    ] as const
  ).flatMap(([name, pkru]) =>
    (['ring3', 'ring0'] as const).flatMap((enter) =>
      (['read', 'write', 'fetch'] as const).map((kind) => ({
        name: `keys: ${name}, ${enter} ${kind}`,
        enter,
        setup: keys(pkru),
        test: access[kind],
      })),
    ),
  ),
  { name: 'keys: wd, ring 0 write with wp', setup: `${keys(WD5)}mov rax, cr0\nor eax, 0x10000\nmov cr0, rax`, test: access.write },
  { name: 'keys: ad of a supervisor page', setup: `${keys(AD5)}and dword [${At.pte}], -5`, test: access.read },
  { name: 'keys: absent page', enter: 'ring3', setup: `${keys(AD5)}and dword [${At.pte}], -2`, test: access.read },
  { name: 'keys: read-only page and ad', enter: 'ring3', setup: `${keys(AD5)}and dword [${At.pte}], -3`, test: access.write },
  { name: 'rdpkru without pke', test: 'xor ecx, ecx\nrdpkru' },
  { name: 'wrpkru without pke', test: 'xor ecx, ecx\nxor edx, edx\nwrpkru' },
  { name: 'rdpkru', enter: 'ring3', setup: keys(0x50), test: 'xor ecx, ecx\nrdpkru\ncmp ecx, ecx' },
  { name: 'rdpkru with ecx', setup: keys(0), test: 'mov ecx, 1\nrdpkru' },
  { name: 'wrpkru with edx', setup: keys(0), test: 'xor ecx, ecx\nmov edx, 1\nwrpkru' },
];

export const newerFeatures: readonly Case[] = [...umip, ...pcid, ...invpcid, ...pku];
