// Paging in long mode: rights at each of four levels, NX, WP, reserved bits, large pages, SMEP, SMAP.

import type { Case } from '../program.ts';
import { At, PAGE } from '../tables-64.ts';

const at = { pml4e: At.pml4e, pdpte: At.pdpte, pde: At.pde, pte: At.pte } as const;
type Level = keyof typeof at;
const levels = Object.keys(at) as Level[];
const NX = 0x8000_0000;
const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;

/** Setup: clears bits of an entry, sets bits of its halves. */
const change = (level: Level, { clear = 0, low = 0, high = 0 }: { clear?: number; low?: number; high?: number }): string =>
  `and dword [${at[level]}], ${hex(~clear)}\nor dword [${at[level]}], ${hex(low)}\nor dword [${at[level] + 4}], ${hex(high)}\n`;
const WP = 'mov rax, cr0\nor eax, 0x10000\nmov cr0, rax\n';
const cr4 = (bits: number): string => `mov rax, cr4\nor eax, ${hex(bits)}\nmov cr4, rax\n`;
const access = {
  read: `mov rbp, ${PAGE}\nmov al, [rbp]`,
  write: `mov rbp, ${PAGE}\nmov byte [rbp], 1`,
  fetch: `mov byte [${At.scratch}], 0xc3\nmov rbp, ${PAGE}\ncall rbp`,
} as const;
/** The low bits of the four entries. */
const shown = ['ebx', 'ecx', 'edx', 'esi'].map((register, i) => `movzx ${register}, byte [${at[levels[i] as Level]}]`).join('\n');

const rights: Case[] = levels.flatMap((level) =>
  (
    [
      ['absent', { clear: 1 }],
      ['read-only', { clear: 2 }],
      ['supervisor', { clear: 4 }],
      ['nx', { high: NX }],
    ] as const
  ).flatMap(([what, bits]) =>
    (['ring0', 'ring3'] as const).flatMap((enter) =>
      (['read', 'write', 'fetch'] as const)
        .filter((kind) => what !== 'nx' || kind === 'fetch')
        .map((kind) => ({
          name: `${level} ${what}: ${enter} ${kind}, wp`,
          enter,
          setup: WP + change(level, bits),
          test: `${access[kind]}\n${shown}`,
        })),
    ),
  ),
);

const reserved: Case[] = [
  ...levels.flatMap((level) =>
    [52 - 32].map((bit) => ({
      name: `${level} bit ${bit + 32} is ignored`,
      setup: change(level, { high: 1 << bit }),
      test: `${access.read}\n${shown}`,
    })),
  ),
  ...levels.flatMap((level) =>
    [58 - 32, 62 - 32].map((bit) => ({
      name: `${level} bit ${bit + 32} is ignored`,
      setup: change(level, { high: 1 << bit }),
      test: access.read,
    })),
  ),
  { name: 'pml4e bit 7', setup: change('pml4e', { low: 0x80 }), test: access.read },
  { name: 'pml4e bit 8', setup: change('pml4e', { low: 0x100 }), test: access.read },
  { name: 'pdpte bit 8', setup: change('pdpte', { low: 0x100 }), test: access.read },
  { name: 'pde bit 8', setup: change('pde', { low: 0x100 }), test: access.read },
  {
    name: 'nx without nxe, pte',
    setup: `mov ecx, 0xc0000080\nmov eax, 0x100\nxor edx, edx\nwrmsr\n${change('pte', { high: NX })}`,
    test: access.read,
  },
  {
    name: 'nx without nxe, pml4e, ring 3 write',
    enter: 'ring3',
    setup: `mov ecx, 0xc0000080\nmov eax, 0x100\nxor edx, edx\nwrmsr\n${change('pml4e', { high: NX })}`,
    test: access.write,
  },
  {
    name: 'nx without nxe, fetch',
    setup: `mov ecx, 0xc0000080\nmov eax, 0x100\nxor edx, edx\nwrmsr\n${change('pte', { high: NX })}`,
    test: access.fetch,
  },
  {
    name: 'absent entry with all other bits',
    setup: `mov dword [${at.pte}], 0xfffffffe\nmov dword [${at.pte + 4}], -1`,
    test: access.read,
  },
  { name: '2 MiB page', setup: `mov dword [${at.pde}], 0x87`, test: `${access.read}\nmovzx ebx, byte [${at.pde}]` },
  {
    name: '2 MiB page, write',
    setup: `mov dword [${at.pde}], 0x87`,
    test: `mov rbp, ${PAGE} + ${At.scratch}\nmov byte [rbp], 1\nmovzx ebx, byte [${at.pde}]`,
  },
  ...[13, 16, 20].map((bit) => ({
    name: `2 MiB page, bit ${bit} reserved`,
    setup: `mov dword [${at.pde}], ${hex(0x87 | (1 << bit))}`,
    test: access.read,
  })),
  { name: '2 MiB page, pat bit', setup: `mov dword [${at.pde}], 0x1087`, test: access.read },
  { name: '2 MiB page, read-only', setup: `${WP}mov dword [${at.pde}], 0x85`, test: access.write },
  { name: '1 GiB page', setup: `mov dword [${at.pdpte}], 0x87`, test: `${access.read}\nmovzx ebx, byte [${at.pdpte}]` },
  ...[13, 20, 29].map((bit) => ({
    name: `1 GiB page, bit ${bit} reserved`,
    setup: `mov dword [${at.pdpte}], ${hex(0x87 | (1 << bit))}`,
    test: access.read,
  })),
  { name: '1 GiB page, supervisor, ring 3', enter: 'ring3', setup: `mov dword [${at.pdpte}], 0x83`, test: access.read },
];

const SMEP = 1 << 20;
const SMAP = 1 << 21;
const user = `call supervisor\n`;
const protections: Case[] = [
  { name: 'smep: fetch of a user page', setup: user + cr4(SMEP), test: access.fetch },
  { name: 'smep: fetch of a user page with nx', setup: user + cr4(SMEP) + change('pte', { high: NX }), test: access.fetch },
  ...levels.map((level) => ({
    name: `smep: fetch, ${level} supervisor`,
    setup: user + cr4(SMEP) + change(level, { clear: 4 }),
    test: access.fetch,
  })),
  { name: 'smep: absent page', setup: user + cr4(SMEP) + change('pte', { clear: 1 }), test: access.fetch },
  ...(['read', 'write', 'fetch'] as const).flatMap((kind) => [
    { name: `smap: ${kind}`, setup: user + cr4(SMAP), test: access[kind] },
    { name: `smap: ${kind} with ac`, flags: 0x40002, setup: user + cr4(SMAP), test: access[kind] },
    { name: `smap: ${kind} of a supervisor page`, setup: user + cr4(SMAP) + change('pde', { clear: 4 }), test: access[kind] },
    { name: `smap: ${kind} of an absent page`, setup: user + cr4(SMAP) + change('pte', { clear: 1 }), test: access[kind] },
    {
      name: `smap: ${kind} of a read-only page with ac, wp`,
      flags: 0x40002,
      setup: user + WP + cr4(SMAP) + change('pte', { clear: 2 }),
      test: access[kind],
    },
  ]),
];

const others: Case[] = [
  { name: 'a and d after a read', test: `${access.read}\n${shown}` },
  { name: 'a and d after a write', test: `${access.write}\n${shown}` },
  { name: 'a and d after a fetch', test: `${access.fetch}\n${shown}` },
  { name: 'a and d after lock cmpxchg that fails', test: `mov rbp, ${PAGE}\nmov al, 1\nlock cmpxchg [rbp], bl\n${shown}` },
  { name: 'qword over two pages, second absent', setup: `mov dword [${At.pte + 8}], 0`, test: `mov rbp, ${PAGE} + 0xffc\nmov rax, [rbp]` },
  {
    name: 'sixteen bytes over two pages, second absent, write',
    setup: `mov dword [${At.pte + 8}], 0\n${cr4(0x600)}`,
    test: `mov rbp, ${PAGE} + 0xff8\nmovups [rbp], xmm0`,
  },
  {
    name: 'rep movsb stops at the page',
    setup: `mov dword [${At.pte + 8}], 0`,
    test: `mov rdi, ${PAGE} + 0xffe\nmov esi, ${At.scratch + 0x1000}\nmov ecx, 5\nrep movsb`,
  },
  { name: 'rep stosq stops at the page', setup: `mov dword [${At.pte + 8}], 0`, test: `mov rdi, ${PAGE} + 0xfe8\nmov ecx, 5\nrep stosq` },
  {
    name: 'std rep movsb stops at the page',
    setup: `mov dword [${At.pte}], 0`,
    test: `mov rdi, ${PAGE} + 0x1001\nmov esi, ${At.scratch + 0x1000}\nmov ecx, 5\nstd\nrep movsb`,
  },
  { name: 'pop to an absent page keeps rsp', setup: change('pte', { clear: 1 }), test: `push 5\nmov rbp, ${PAGE}\npop qword [rbp]` },
  { name: 'xchg with a read-only page', setup: WP + change('pte', { clear: 2 }), test: `mov rbp, ${PAGE}\nxchg [rbp], rax` },
  { name: 'push from an absent page', setup: change('pte', { clear: 1 }), test: `mov rbp, ${PAGE}\npush qword [rbp]` },
  { name: 'call through an absent page', setup: change('pte', { clear: 1 }), test: `mov rbp, ${PAGE}\ncall [rbp]` },
  { name: 'far jump through an absent page', setup: change('pte', { clear: 1 }), test: `mov rbp, ${PAGE}\njmp far dword [rbp]` },
  { name: 'fxsave to an absent page', setup: change('pte', { clear: 1 }), test: `mov rbp, ${PAGE}\nfxsave [rbp]` },
  { name: 'fxsave not aligned', test: `mov rbp, ${PAGE} + 8\nfxsave [rbp]` },
  { name: 'movaps not aligned', setup: cr4(0x600), test: `mov rbp, ${PAGE} + 8\nmovaps xmm0, [rbp]` },
  {
    name: 'movaps not aligned and absent',
    setup: cr4(0x600) + change('pte', { clear: 1 }),
    test: `mov rbp, ${PAGE} + 8\nmovaps xmm0, [rbp]`,
  },
  { name: 'cmpxchg16b not aligned', test: `mov rbp, ${PAGE} + 8\ncmpxchg16b [rbp]` },
  {
    name: 'alignment check, then page fault',
    enter: 'ring3',
    flags: 0x40002,
    setup: `mov rax, cr0\nor eax, 0x40000\nmov cr0, rax\n${change('pte', { clear: 1 })}`,
    test: `mov rbp, ${PAGE} + 1\nmov eax, [rbp]`,
  },
  { name: 'a tlb entry goes with invlpg', test: `${access.read}\nand dword [${At.pte}], -2\ninvlpg [rbp]\nmov al, [rbp]` },
  { name: 'a tlb entry goes with cr3', test: `${access.read}\nand dword [${At.pte}], -2\nmov rax, cr3\nmov cr3, rax\nmov al, [rbp]` },
];

export const paging64: readonly Case[] = [...rights, ...reserved, ...protections, ...others];
