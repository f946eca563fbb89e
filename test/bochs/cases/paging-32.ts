// 32-bit and PAE paging: rights of both levels, WP, NX, SMEP, SMAP, reserved bits, accessed and dirty bits, large pages.

import type { Case } from '../program.ts';
import { At, idtGate, Sel, set, tss32, Type } from '../tables-32.ts';

const PAGE = 0x40_0000;
const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;

type Flags = { readonly wp?: boolean; readonly pse?: boolean; readonly cr4?: number; readonly nxe?: boolean };
const on = ({ wp = false, cr4 = 0, nxe = false }: Flags = {}): string =>
  `${nxe ? 'mov ecx, 0xc0000080\nmov eax, 0x800\nxor edx, edx\nwrmsr\n' : ''}${cr4 ? `mov eax, cr4\nor eax, ${hex(cr4)}\nmov cr4, eax\n` : ''}mov eax, ${hex(0x8000_0011 | (wp ? 0x1_0000 : 0))}\nmov cr0, eax`;

/** Tables of two levels, with the entries for 400000h as given. */
const paged = (pde: number, pte: number, flags: Flags = {}): string =>
  `call paging32\nmov dword [${At.tables + 4}], ${hex(pde)}\nmov dword [${At.tables + 0x2000}], ${hex(pte)}\n${on(flags)}`;
const table = At.tables + 0x2000;
const shown = `mov ebx, [${At.tables + 4}]\nmov ecx, [${table}]`;

const access = {
  read: `mov al, [${PAGE}]`,
  write: `mov byte [${PAGE}], 1`,
  rmw: `inc byte [${PAGE}]`,
  cmpxchg: `mov al, 0x55\ncmpxchg [${PAGE}], ah`,
} as const;

/** The LDT lies in the page of the case; its first entry is data of ring 3, not yet accessed. */
const LDT_THERE = `\nmov dword [${At.scratch}], 0xffff\nmov dword [${At.scratch + 4}], 0xcff200\n${set(Sel.T0, { type: Type.ldt, base: PAGE, limit: 0x3f, g: false })}mov ax, ${Sel.T0}\nlldt ax`;
const LOAD = `mov eax, ${Sel.L0 | 3}\nmov ds, ax\nmov edx, [cs:${At.scratch + 4}]`;

const rights: Case[] = [0, 2, 4, 6].flatMap((pde) =>
  [0, 2, 4, 6].flatMap((pte) =>
    (['ring0', 'ring3'] as const).flatMap((enter) =>
      (['read', 'write'] as const).flatMap((kind) =>
        (enter === 'ring0' && kind === 'write' ? [false, true] : [false]).map((wp) => ({
          name: `pde ${pde} pte ${pte} ${enter} ${kind}${wp ? ' wp' : ''}`,
          enter,
          setup: paged(table | pde | 1, At.scratch | pte | 1, { wp }),
          test: `${access[kind]}\n${shown}`,
        })),
      ),
    ),
  ),
);

const misc: Case[] = [
  { name: 'pde not present', setup: paged(table | 6, At.scratch | 7), test: access.read },
  { name: 'pte not present', setup: paged(table | 7, At.scratch | 6), test: access.write },
  { name: 'pte not present, ring 3 write', enter: 'ring3', setup: paged(table | 7, At.scratch | 6), test: access.write },
  { name: 'pde not present with reserved bits', setup: paged(0xfffffffe, 0), test: access.read },
  { name: 'rmw on a read-only page', setup: paged(table | 7, At.scratch | 5, { wp: true }), test: access.rmw },
  { name: 'cmpxchg that fails writes', setup: paged(table | 7, At.scratch | 7), test: `${access.cmpxchg}\n${shown}` },
  { name: 'cmpxchg that fails on a read-only page', setup: paged(table | 7, At.scratch | 5, { wp: true }), test: access.cmpxchg },
  {
    name: 'read of a dword over two pages, second absent',
    setup: `${paged(table | 7, At.scratch | 7)}\nmov dword [${table + 4}], 0`,
    test: `mov eax, [${PAGE + 0xffd}]`,
  },
  {
    name: 'write over two pages, second read-only',
    setup: `${paged(table | 7, At.scratch | 7, { wp: true })}\nmov dword [${table + 4}], ${At.scratch + 0x1005}`,
    test: `mov dword [${PAGE + 0xffe}], -1`,
  },
  {
    name: 'the first page is not written then',
    setup: `${paged(table | 7, At.scratch | 7, { wp: true })}\nmov dword [${table + 4}], ${At.scratch + 0x1005}\n${idtGate(14, { type: Type.int32, selector: 8, offset: '@.in' })}`,
    test: `mov dword [${PAGE + 0xffe}], -1\n.in:\nmov eax, [${At.scratch + 0xffc}]\nmov ebx, [${table}]`,
  },
  {
    name: 'push over two pages, second absent',
    setup: `${paged(table | 7, 0)}\nmov dword [${table + 4}], ${At.scratch + 0x1007}`,
    test: `mov ebp, esp\nmov esp, ${PAGE + 0x1002}\n${idtGate(14, { type: Type.int32, selector: 8, offset: 'stub_14' })}mov esp, ebp\nmov [${PAGE + 0xffe}], eax`,
  },
  { name: 'fetch from an absent page', setup: paged(table | 7, 0), test: `mov eax, ${PAGE}\njmp eax` },
  { name: 'fetch from an absent page, ring 3', enter: 'ring3', setup: paged(table | 7, 0), test: `mov eax, ${PAGE}\njmp eax` },
  {
    name: 'fetch from a supervisor page, ring 3',
    enter: 'ring3',
    setup: paged(table | 7, At.scratch | 3),
    test: `mov eax, ${PAGE}\njmp eax`,
  },
  {
    name: 'instruction over two pages, second absent',
    setup: `mov byte [${At.scratch + 0xfff}], 0xb8\n${paged(table | 7, At.scratch | 7)}\nmov dword [${table + 4}], 0`,
    test: `mov eax, ${PAGE + 0xfff}\njmp eax`,
  },
  {
    name: 'a fetch sets accessed only',
    setup: `mov byte [${At.scratch}], 0xc3\n${paged(table | 7, At.scratch | 7)}`,
    test: `mov eax, ${PAGE}\ncall eax\n${shown}`,
  },
  { name: 'prefetch of an absent page', setup: paged(0, 0), test: `prefetcht0 [${PAGE}]` },
  { name: 'invlpg of an absent page', setup: paged(0, 0), test: `invlpg [${PAGE}]` },
  { name: 'far jump sets accessed in a read-only gdt', setup: paged(table | 7, At.scratch | 7, { wp: true }), test: 'nop' },
  {
    name: 'page fault while the handler pushes',
    setup: `${paged(table | 7, 0)}\n${tss32(At.tss, { ss1: Sel.data1, esp1: PAGE + 0x800 })}${idtGate(6, { type: Type.int32, selector: Sel.code1, offset: '@.in' })}`,
    enter: 'ring3',
    test: 'ud2\n.in:',
  },
  {
    name: 'page fault while the handler of a page fault pushes',
    setup: `${paged(table | 7, 0)}\n${tss32(At.tss, { ss1: Sel.data1, esp1: PAGE + 0x800 })}${idtGate(14, { type: Type.int32, selector: Sel.code1, offset: '@.in' })}`,
    enter: 'ring3',
    test: `mov eax, [${PAGE}]\n.in:`,
  },
  {
    name: 'page fault during #gp is a page fault',
    setup: `${paged(table | 7, 0)}\n${tss32(At.tss, { ss1: Sel.data1, esp1: PAGE + 0x800 })}${idtGate(13, { type: Type.int32, selector: Sel.code1, offset: '@.in' })}`,
    enter: 'ring3',
    test: 'hlt\n.in:',
  },
  {
    name: '#gp during a page fault is a double fault',
    setup: `${paged(table | 7, 0)}\n${idtGate(14, { type: Type.int32, selector: 0, offset: 0 })}`,
    test: access.read,
  },
  ...(['ring0', 'ring3'] as const).flatMap((enter) => [
    { name: `descriptor in an absent page, ${enter}: a supervisor access`, enter, setup: paged(table | 7, 0) + LDT_THERE, test: LOAD },
    { name: `descriptor in a supervisor page, ${enter}`, enter, setup: paged(table | 7, At.scratch | 3) + LDT_THERE, test: LOAD },
    {
      name: `descriptor in a read-only page, wp, ${enter}`,
      enter,
      setup: paged(table | 7, At.scratch | 5, { wp: true }) + LDT_THERE,
      test: LOAD,
    },
  ]),
  { name: 'wp clear: supervisor writes set dirty', setup: paged(table | 1, At.scratch | 1), test: `${access.write}\n${shown}` },
];

const large: Case[] = (
  [
    ['read', 0x83, 0x10, 'ring0', access.read],
    ['ring 3 supervisor', 0x83, 0x10, 'ring3', access.read],
    ['ring 3', 0x87, 0x10, 'ring3', access.write],
    ['ring 3 read-only', 0x85, 0x10, 'ring3', access.write],
    ['bit 21 reserved', 0x200083, 0x10, 'ring0', access.read],
    ['bit 21 reserved, ring 3 write', 0x200087, 0x10, 'ring3', access.write],
    ['ps without pse', table | 0x87, 0, 'ring0', access.read],
    ['pat bit', 0x1083, 0x10, 'ring0', access.read],
    ['global', 0x183, 0x90, 'ring0', access.read],
  ] as const
).map(([name, pde, cr4, enter, test]) => ({
  name: `4 MiB page: ${name}`,
  enter,
  setup: paged(pde, At.scratch | 7, { cr4 }),
  test: `${test}\n${shown}`,
}));

const high = (value: number): string => hex(value);
const pae = (pde: readonly [number, number], pte: readonly [number, number], flags: Flags = {}): string =>
  `call paging_pae\nmov dword [${At.tables + 0x1010}], ${high(pde[0])}\nmov dword [${At.tables + 0x1014}], ${high(pde[1])}\nmov dword [${At.tables + 0x4000}], ${high(pte[0])}\nmov dword [${At.tables + 0x4004}], ${high(pte[1])}\n${on({ ...flags, cr4: flags.cr4 ?? 0 })}`;
const table3 = At.tables + 0x4000;
const shown3 = `mov ebx, [${At.tables + 0x1010}]\nmov ecx, [${table3}]`;
const jump = `mov eax, ${PAGE}\ncall eax`;
const NX = 0x8000_0000;

const paeRights: Case[] = [0, 2, 4, 6].flatMap((pde) =>
  [1, 7].flatMap((pte) =>
    (['ring0', 'ring3'] as const).flatMap((enter) =>
      (['read', 'write'] as const).map((kind) => ({
        name: `pae: pde ${pde} pte ${pte} ${enter} ${kind} wp`,
        enter,
        setup: pae([table3 | pde | 1, 0], [At.scratch | pte | 1, 0], { wp: true }),
        test: `${access[kind]}\n${shown3}`,
      })),
    ),
  ),
);

const paeMore: Case[] = [
  ...([0, NX] as const).flatMap((pdeNx) =>
    ([0, NX] as const).flatMap((pteNx) =>
      (['ring0', 'ring3'] as const).map((enter) => ({
        name: `nx: fetch, pde ${pdeNx ? 1 : 0} pte ${pteNx ? 1 : 0} ${enter}`,
        enter,
        setup: `mov byte [${At.scratch}], 0xc3\n${pae([table3 | 7, pdeNx], [At.scratch | 7, pteNx], { nxe: true })}`,
        test: `${jump}\n${shown3}`,
      })),
    ),
  ),
  { name: 'nx: read', setup: pae([table3 | 7, 0], [At.scratch | 7, NX], { nxe: true }), test: access.read },
  { name: 'nx: absent page fetched', setup: pae([table3 | 7, 0], [At.scratch | 6, NX], { nxe: true }), test: jump },
  { name: 'nx: absent page fetched, nxe clear', setup: pae([table3 | 7, 0], [At.scratch | 6, 0]), test: jump },
  { name: 'nx without nxe is reserved', setup: pae([table3 | 7, 0], [At.scratch | 7, NX]), test: access.read },
  {
    name: 'nx without nxe is reserved, ring 3 write',
    enter: 'ring3',
    setup: pae([table3 | 7, NX], [At.scratch | 7, 0]),
    test: access.write,
  },
  { name: 'nx without nxe, fetch', setup: pae([table3 | 7, 0], [At.scratch | 7, NX]), test: jump },
  ...[20, 30].map((bit) => ({
    name: `pae: pte bit ${bit + 32}`,
    setup: pae([table3 | 7, 0], [At.scratch | 7, 1 << bit], { nxe: true }),
    test: access.read,
  })),
  { name: 'pae: pde bit 52', setup: pae([table3 | 7, 1 << 20], [At.scratch | 7, 0], { nxe: true }), test: access.read },
  { name: 'pae: 2 MiB page', setup: pae([0x87, 0], [0, 0]), test: `${access.write}\n${shown3}` },
  { name: 'pae: 2 MiB page, bit 13 reserved', setup: pae([0x2087, 0], [0, 0]), test: access.read },
  { name: 'pae: 2 MiB page, bit 20 reserved', setup: pae([0x100087, 0], [0, 0]), test: access.read },
  { name: 'pae: 2 MiB page, pat bit', setup: pae([0x1087, 0], [0, 0]), test: access.read },
  { name: 'pae: 2 MiB page, nx', setup: pae([0x87, NX], [0, 0], { nxe: true }), test: jump },
  { name: 'pae: pdpte not present', setup: pae([table3 | 7, 0], [At.scratch | 7, 0]), test: 'mov eax, [0x40000000]' },
  {
    name: 'pae: pdpte not present, ring 3',
    enter: 'ring3',
    setup: pae([table3 | 7, 0], [At.scratch | 7, 0]),
    test: 'mov byte [0xc0000000], 1',
  },
  ...[1, 2, 5, 6, 7, 8].map((bit) => ({
    name: `pae: pdpte bit ${bit}, mov cr3`,
    setup: `${pae([table3 | 7, 0], [At.scratch | 7, 0])}\nmov dword [${At.tables + 8}], ${hex((At.tables + 0x1001) | (1 << bit))}`,
    test: `mov eax, cr3\nmov cr3, eax\nmov ecx, cr3`,
  })),
  {
    name: 'pae: pdpte bit 63, mov cr3',
    setup: `${pae([table3 | 7, 0], [At.scratch | 7, 0], { nxe: true })}\nmov dword [${At.tables + 8}], ${At.tables + 0x1001}\nmov dword [${At.tables + 12}], ${hex(NX)}`,
    test: 'mov eax, cr3\nmov cr3, eax',
  },
  {
    name: 'pae: absent pdpte with other bits',
    setup: `${pae([table3 | 7, 0], [At.scratch | 7, 0])}\nmov dword [${At.tables + 8}], 0x1fe`,
    test: 'mov eax, cr3\nmov cr3, eax',
  },
  {
    name: 'pae: bad pdpte, mov cr0 sets pg',
    setup: `call paging_pae\nmov dword [${At.tables + 8}], ${At.tables + 0x1003}`,
    test: 'mov eax, 0x80000011\nmov cr0, eax',
  },
  {
    name: 'pae: cr3 with low bits',
    setup: pae([table3 | 7, 0], [At.scratch | 7, 0]),
    test: 'mov eax, cr3\nor eax, 0x18\nmov cr3, eax\nmov ecx, cr3',
  },
];

const SMEP = 1 << 20;
const SMAP = 1 << 21;
const protections: Case[] = [
  {
    name: 'smep: fetch from a user page',
    setup: `mov byte [${At.scratch}], 0xc3\ncall paging32\nmov dword [${At.tables}], ${At.tables + 0x1003}\n${on({ cr4: SMEP })}`,
    test: jump,
  },
  {
    name: 'smep: fetch from a supervisor page',
    setup: `mov byte [${At.scratch}], 0xc3\ncall paging32\nmov dword [${At.tables}], ${At.tables + 0x1003}\nmov dword [${table}], ${At.scratch | 3}\n${on({ cr4: SMEP })}`,
    test: jump,
  },
  {
    name: 'smep: absent page',
    setup: `call paging32\nmov dword [${At.tables}], ${At.tables + 0x1003}\nmov dword [${table}], 0\n${on({ cr4: SMEP })}`,
    test: jump,
  },
  {
    name: 'smep with nx',
    setup: `call paging_pae\nmov dword [${At.tables + 0x1000}], ${At.tables + 0x2003}\n${on({ cr4: SMEP, nxe: true })}`,
    test: jump,
  },
  ...(['read', 'write'] as const).flatMap((kind) => [
    {
      name: `smap: ${kind}`,
      setup: `call paging32\nmov dword [${At.tables}], ${At.tables + 0x1003}\n${on({ cr4: SMAP })}`,
      test: access[kind],
    },
    {
      name: `smap: ${kind} with ac`,
      flags: 0x40002,
      setup: `call paging32\nmov dword [${At.tables}], ${At.tables + 0x1003}\n${on({ cr4: SMAP })}`,
      test: `${access[kind]}\n${shown}`,
    },
    {
      name: `smap: ${kind} of a supervisor page`,
      setup: `call paging32\nmov dword [${At.tables}], ${At.tables + 0x1003}\nmov dword [${table}], ${At.scratch | 3}\n${on({ cr4: SMAP })}`,
      test: access[kind],
    },
  ]),
  {
    name: 'smap: stac and clac',
    setup: `call paging32\nmov dword [${At.tables}], ${At.tables + 0x1003}\n${on({ cr4: SMAP })}`,
    test: `stac\n${access.read}\nclac\n${access.read}`,
  },
  {
    name: 'smap: fetch',
    setup: `mov byte [${At.scratch}], 0xc3\ncall paging32\nmov dword [${At.tables}], ${At.tables + 0x1003}\n${on({ cr4: SMAP })}`,
    test: jump,
  },
  {
    name: 'smap: implicit access with ac',
    flags: 0x40002,
    setup: `call paging32\nmov dword [${At.tables}], ${At.tables + 0x1003}\n${on({ cr4: SMAP })}${LDT_THERE}`,
    test: LOAD,
  },
  { name: 'stac in ring 3', enter: 'ring3', test: 'stac' },
  { name: 'clac in ring 0', flags: 0x40002, test: 'clac' },
  { name: 'stac in v86', enter: 'v86', test: 'stac' },
];

export const paging32: readonly Case[] = [...rights, ...misc, ...large, ...paeRights, ...paeMore, ...protections];
