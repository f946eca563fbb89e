// What a guest sends for each row of the table of events, and what comes back: at least one success, and each refusal that the row
// documents. What follows from the table alone (a field is missing, the version is too low) is not here: the test makes it of these.

import { expect } from 'vitest';
import type { GuestOptions } from '../../../src/cbit.ts';
import { GHCB, MEMORY } from '../../system/small-guest.ts';
import { type Correspondence, type Message, SHARED_AREA } from './messenger.ts';
import { fieldOf, type Fields } from './page-bytes.ts';

/** The request, what goes before it, and what the guest sees afterwards. */
export type Case = {
  readonly says: string;
  readonly options?: Partial<GuestOptions>;
  readonly before?: readonly Message[];
  readonly code: number;
  readonly info1?: bigint;
  readonly info2?: bigint;
  readonly fields?: Fields;
  readonly version?: number;
  readonly buffer?: readonly number[];
  /** Fields of the answer whose value is known. */
  readonly gives?: Fields;
  /** SW_EXITINFO2 of the answer; left out: 0. */
  readonly result?: bigint;
  /** What the shared buffer then begins with; left out: it has not changed. */
  readonly bufferThen?: readonly number[];
  /** What goes to the debug console. */
  readonly prints?: readonly number[];
  /** NMIs that the guest has had by then. */
  readonly nmis?: number;
  /** The request ends the run, or parks the guest. */
  readonly outcome?: object;
  readonly also?: (seen: Correspondence) => void;
};

export type EventCases = { readonly succeeds: readonly Case[]; readonly refuses?: Readonly<Record<string, Case | readonly Case[]>> };

export const message = ({ code, info1 = 0n, info2 = 0n, fields = {}, version = 2, buffer = [] }: Case): Message => ({
  page: { fields: { swExitCode: BigInt(code), swExitInfo1: info1, swExitInfo2: info2, ...fields }, version, buffer },
});
const event = (code: number, fields: Fields = {}, info1 = 0n, info2 = 0n): Message => message({ says: '', code, fields, info1, info2 });

const BUFFER = BigInt(GHCB + 0x800);
const BUFFER_END = BigInt(GHCB + 0xff0);
const AREA = BigInt(SHARED_AREA);
const ECHO = 0xe0;
const CONSOLE = 0xe9;
const IO_APIC = 0xfec0_0000n;
const NOBODY = 0xe000_0000n;
/** Its identification register, and the one that gives its version: 24 lines. */
const IO_APIC_VERSION = 0x0017_0020;

type Word = { readonly in?: boolean; readonly string?: boolean; readonly rep?: boolean };
const ioio = (port: number, size: 1 | 2 | 4, word: Word = {}): bigint =>
  BigInt(port * 0x1_0000 + 0x200 + (size << 4) + (word.rep ? 8 : 0) + (word.string ? 4 : 0) + (word.in ? 1 : 0));
const out = (port: number, size: 1 | 2 | 4, rax: bigint): Message => event(0x7b, { rax }, ioio(port, size));
const wrmsr = (rcx: bigint, value: bigint): Message => event(0x7c, { rcx, rax: value & 0xffff_ffffn, rdx: value >> 32n }, 1n);

/** An IOIO word that is none, in each way. */
const noWords = (fields: Fields, word: Word): Case[] =>
  (
    [
      ['has no operand size', 0x70n, 0n],
      ['has two operand sizes', 0n, 0x30n],
      ['has two address sizes', 0n, 0x300n],
      ['has bit 1 set', 0n, 2n],
      ['has a bit of 15:13 set', 0n, 0x2000n],
      ['has a bit of 63:32 set', 0n, 1n << 40n],
    ] as const
  ).map(([says, clear, set]) => ({ says, code: 0x7b, fields, info1: (ioio(CONSOLE, 1, word) & ~clear) | set }));

type Place = readonly [says: string, scratch: bigint, bytes: number, version: number];
// biome-ignore format: a table
const noPlaces: readonly Place[] = [
  ['version 2: outside the page',                AREA,                     4, 2],
  ['version 2: the save area',                   BigInt(GHCB),             4, 2],
  ['version 2: it begins before the buffer',     BUFFER - 1n,              4, 2],
  ['version 2: it ends behind the buffer',       BUFFER_END - 3n,          4, 2],
  ['version 2: the trailer',                     BUFFER_END,               4, 2],
  ['version 2: address 0',                       0n,                       4, 2],
  ['version 2: a range that wraps',              0xffff_ffff_ffff_ffffn,   4, 2],
  ['version 1: address 0',                       0n,                       4, 1],
  ['version 1: no memory',                       BigInt(MEMORY),           4, 1],
  ['version 1: it ends outside memory',          BigInt(MEMORY) - 1n,      4, 1],
  ['version 1: a range that wraps',              0xffff_ffff_ffff_ffffn,   4, 1],
  ['version 1: it runs into the page',           BigInt(GHCB) - 1n,        4, 1],
  ['version 1: the save area',                   BigInt(GHCB) + 8n,        4, 1],
  ['version 1: the trailer',                     BUFFER_END,               4, 1],
  ['version 1: it runs out of the buffer',       BUFFER_END - 3n,          4, 1],
];
const noScratch = (of: (scratch: bigint, bytes: number) => Omit<Case, 'says'>): Case[] =>
  noPlaces.map(([says, scratch, bytes, version]) => ({ says, version, ...of(scratch, bytes) }));

const notReadNotWrite = (fields: Fields): Case[] =>
  [2n, 1n << 32n].map((info1) => ({ says: `SW_EXITINFO1 is 0x${info1.toString(16)}`, code: 0x7c, fields, info1 }));
const noLength = (code: number): Case[] => [
  { says: 'no bytes', code, fields: { swScratch: BUFFER }, info1: IO_APIC, info2: 0n },
  { says: '9 bytes in version 2', code, fields: { swScratch: BUFFER }, info1: IO_APIC, info2: 9n },
  { says: '2 GiB in version 1', code, fields: { swScratch: AREA }, info1: IO_APIC, info2: 0x8000_0000n, version: 1 },
];

const X2APIC_ON = wrmsr(0x1bn, 0xfee0_0d00n);
/** To the processor with APIC ID 0. */
const SEND_NMI = wrmsr(0x830n, 0x4400n);
const intercepts = { intercepts: ['cr'] };

const pair = (page: Uint8Array): bigint => (fieldOf(page, 'rdx') << 32n) | fieldOf(page, 'rax');
/** Two readings in a row, the second of which is later, but not by much. */
const later = ({ replies }: Correspondence): void => {
  const [first, second] = replies.slice(-2).map(({ page }) => pair(page)) as [bigint, bigint];
  expect(second > first && second < first + 100_000n).toBe(true);
};

export const eventCases: Readonly<Record<string, EventCases>> = {
  'DR7 read': {
    succeeds: [
      { says: 'the value of reset', code: 0x27, gives: { rax: 0x400n } },
      {
        says: 'what the guest wrote last',
        before: [event(0x37, { rax: 0x401n }), event(0x37, { rax: 0x402n })],
        code: 0x27,
        gives: { rax: 0x402n },
      },
    ],
  },
  'DR7 write': {
    succeeds: [{ says: 'a value of 32 bits', code: 0x37, fields: { rax: 0xffff_0fffn } }],
    refuses: {
      'another register than RAX': { says: 'RBX', code: 0x37, fields: { rax: 0x400n }, info1: 3n },
      'bits 63:32 of the value are not zero': { says: 'bit 32', code: 0x37, fields: { rax: 0x1_0000_0400n } },
    },
  },
  RDTSC: { succeeds: [{ says: 'the counter runs', before: [event(0x6e)], code: 0x6e, also: later }] },
  RDPMC: {
    succeeds: [
      { says: 'counter 0', code: 0x6f, fields: { rcx: 0n }, gives: { rax: 0n, rdx: 0n } },
      { says: 'counter 3', code: 0x6f, fields: { rcx: 3n }, gives: { rax: 0n, rdx: 0n } },
    ],
    refuses: { 'there is no such counter': { says: 'counter 4', code: 0x6f, fields: { rcx: 4n } } },
  },
  CPUID: {
    succeeds: [
      {
        says: 'leaf 80000000h: the vendor',
        code: 0x72,
        fields: { rax: 0x8000_0000n, rcx: 0n },
        gives: { rbx: 0x6874_7541n, rdx: 0x6974_6e65n, rcx: 0x444d_4163n },
      },
      {
        says: 'leaf 1: a hypervisor is present',
        code: 0x72,
        fields: { rax: 1n, rcx: 0n },
        also: ({ page }) => expect(fieldOf(page, 'rcx') >> 31n).toBe(1n),
      },
      {
        says: 'leaf 8000001Fh: SEV and SEV-ES, where the C-bit is',
        code: 0x72,
        fields: { rax: 0x8000_001fn, rcx: 0n },
        also: ({ page }) => expect([fieldOf(page, 'rax') & 0xan, fieldOf(page, 'rbx')]).toEqual([0xan, 51n | (1n << 6n)]),
      },
      {
        says: 'only the low halves count',
        code: 0x72,
        fields: { rax: 0xffff_ffff_8000_0000n, rcx: 1n << 32n },
        gives: { rbx: 0x6874_7541n },
      },
      { says: 'leaf Dh: the size for what XCR0 enables', code: 0x72, fields: { rax: 0xdn, rcx: 0n, xcr0: 1n }, gives: { rbx: 576n } },
      {
        says: 'leaf Dh: the size with PKRU',
        code: 0x72,
        fields: { rax: 0xdn, rcx: 0n, xcr0: 0x201n },
        also: ({ page }) => expect(fieldOf(page, 'rbx')).toBeGreaterThan(576n),
      },
      {
        says: 'leaf Dh, sub-leaf 1: the size for XCR0 and XSS together',
        code: 0x72,
        fields: { rax: 0xdn, rcx: 1n, xcr0: 1n, xss: 0x200n },
        gives: { rbx: 584n },
      },
      {
        says: 'leaf Dh, sub-leaf 1: version 1 knows no XSS',
        code: 0x72,
        version: 1,
        fields: { rax: 0xdn, rcx: 1n, xcr0: 1n, xss: 0x200n },
        gives: { rbx: 576n },
      },
    ],
  },
  INVD: { succeeds: [{ says: 'nothing is lost', code: 0x76 }] },
  IN: {
    succeeds: [
      ...([1, 2, 4] as const).map(
        (size): Case => ({
          says: `${size} bytes`,
          before: [out(ECHO, 4, 0x8765_4321n)],
          code: 0x7b,
          info1: ioio(ECHO, size, { in: true }),
          gives: { rax: 0x8765_4321n & ((1n << BigInt(8 * size)) - 1n) },
        }),
      ),
      { says: 'a port that nobody claims', code: 0x7b, info1: ioio(0x9000, 4, { in: true }), gives: { rax: 0xffff_ffffn } },
    ],
    refuses: { 'SW_EXITINFO1 is no IOIO word': noWords({}, { in: true }) },
  },
  OUT: {
    succeeds: [
      {
        says: 'a byte; the rest of RAX does not count',
        code: 0x7b,
        info1: ioio(CONSOLE, 1),
        fields: { rax: 0x1234_5678_9abc_de41n },
        prints: [0x41],
      },
      { says: 'a word', code: 0x7b, info1: ioio(ECHO, 2), fields: { rax: 0xffff_ffff_ffff_4142n } },
      { says: 'a doubleword', code: 0x7b, info1: ioio(ECHO, 4), fields: { rax: 0xffff_ffff_4142_4344n } },
      { says: 'a port that nobody claims', code: 0x7b, info1: ioio(0xffff, 4), fields: { rax: 1n } },
    ],
    refuses: { 'SW_EXITINFO1 is no IOIO word': noWords({ rax: 0x41n }, {}) },
  },
  INS: {
    succeeds: [
      {
        says: 'one byte',
        before: [out(ECHO, 4, 0x8765_4321n)],
        code: 0x7b,
        info1: ioio(ECHO, 1, { in: true, string: true }),
        info2: 1n,
        fields: { swScratch: BUFFER },
        bufferThen: [0x21],
      },
      {
        says: 'words, counted by element',
        before: [out(ECHO, 4, 0x8765_4321n)],
        code: 0x7b,
        info1: ioio(ECHO, 2, { in: true, string: true, rep: true }),
        info2: 3n,
        fields: { swScratch: BUFFER },
        bufferThen: [0x21, 0x43, 0x21, 0x43, 0x21, 0x43],
      },
      {
        says: 'doublewords, as many as the buffer holds',
        before: [out(ECHO, 4, 0x8765_4321n)],
        code: 0x7b,
        info1: ioio(ECHO, 4, { in: true, string: true, rep: true }),
        info2: 508n,
        fields: { swScratch: BUFFER },
        bufferThen: Array.from({ length: 508 }, () => [0x21, 0x43, 0x65, 0x87]).flat(),
      },
      {
        says: 'no element: no memory is touched',
        code: 0x7b,
        info1: ioio(ECHO, 4, { in: true, string: true, rep: true }),
        fields: { swScratch: 0n },
      },
      {
        says: 'version 1: into other shared memory',
        before: [out(ECHO, 4, 0x8765_4321n)],
        version: 1,
        code: 0x7b,
        info1: ioio(ECHO, 4, { in: true, string: true, rep: true }),
        info2: 2n,
        fields: { swScratch: AREA + 16n },
        also: ({ shared }) => expect([...shared.subarray(15, 25)]).toEqual([0, 0x21, 0x43, 0x65, 0x87, 0x21, 0x43, 0x65, 0x87, 0]),
      },
    ],
    refuses: {
      'SW_EXITINFO1 is no IOIO word': noWords({ swScratch: BUFFER }, { in: true, string: true }),
      'more than 7FFFFFFFh elements': {
        says: 'one more',
        code: 0x7b,
        info1: ioio(ECHO, 1, { in: true, string: true, rep: true }),
        info2: 0x8000_0000n,
        fields: { swScratch: BUFFER },
      },
      'SW_SCRATCH is not a place for so many bytes': [
        ...noScratch((swScratch, bytes) => ({
          code: 0x7b,
          info1: ioio(ECHO, 1, { in: true, string: true, rep: true }),
          info2: BigInt(bytes),
          fields: { swScratch },
        })),
        {
          says: 'one element more than the buffer holds',
          code: 0x7b,
          info1: ioio(ECHO, 4, { in: true, string: true, rep: true }),
          info2: 509n,
          fields: { swScratch: BUFFER },
        },
        {
          says: 'version 1: more than 64 KiB',
          version: 1,
          code: 0x7b,
          info1: ioio(ECHO, 4, { in: true, string: true, rep: true }),
          info2: 0x4001n,
          fields: { swScratch: AREA },
        },
      ],
    },
  },
  OUTS: {
    succeeds: [
      {
        says: 'bytes',
        code: 0x7b,
        info1: ioio(CONSOLE, 1, { string: true, rep: true }),
        info2: 3n,
        fields: { swScratch: BUFFER + 1n },
        buffer: [9, 0x61, 0x62, 0x63, 9],
        prints: [0x61, 0x62, 0x63],
      },
      {
        says: 'words, counted by element',
        code: 0x7b,
        info1: ioio(ECHO, 2, { string: true, rep: true }),
        info2: 2n,
        fields: { swScratch: BUFFER },
        buffer: [1, 2, 3, 4],
      },
      {
        says: 'doublewords',
        code: 0x7b,
        info1: ioio(ECHO, 4, { string: true }),
        info2: 1n,
        fields: { swScratch: BUFFER },
        buffer: [1, 2, 3, 4],
      },
      { says: 'no element', code: 0x7b, info1: ioio(CONSOLE, 1, { string: true, rep: true }), fields: { swScratch: 0n }, prints: [] },
      {
        says: 'version 1: from other shared memory',
        version: 1,
        before: [
          message({
            says: '',
            version: 1,
            code: 0x7b,
            info1: ioio(0x9000, 1, { in: true, string: true, rep: true }),
            info2: 2n,
            fields: { swScratch: AREA },
          }),
        ],
        code: 0x7b,
        info1: ioio(CONSOLE, 1, { string: true, rep: true }),
        info2: 3n,
        fields: { swScratch: AREA },
        prints: [0xff, 0xff, 0],
      },
      {
        says: 'version 0, of a guest that never wrote it, is as 1',
        version: 0,
        code: 0x7b,
        info1: ioio(CONSOLE, 1, { string: true, rep: true }),
        info2: 1n,
        fields: { swScratch: AREA },
        prints: [0],
      },
    ],
    refuses: {
      'SW_EXITINFO1 is no IOIO word': noWords({ swScratch: BUFFER }, { string: true }),
      'more than 7FFFFFFFh elements': {
        says: '64 bits of them',
        code: 0x7b,
        info1: ioio(CONSOLE, 1, { string: true, rep: true }),
        info2: 1n << 63n,
        fields: { swScratch: BUFFER },
      },
      'SW_SCRATCH is not a place for so many bytes': noScratch((swScratch, bytes) => ({
        code: 0x7b,
        info1: ioio(CONSOLE, 1, { string: true, rep: true }),
        info2: BigInt(bytes),
        fields: { swScratch },
      })),
    },
  },
  RDMSR: {
    succeeds: [
      { says: 'APIC_BASE', code: 0x7c, fields: { rcx: 0x1bn }, gives: { rax: 0xfee0_0900n, rdx: 0n } },
      {
        says: 'both halves',
        before: [wrmsr(0x200n, 0x12_3456_7000n)],
        code: 0x7c,
        fields: { rcx: 0xffff_ffff_0000_0200n },
        gives: { rax: 0x3456_7000n, rdx: 0x12n },
      },
    ],
    refuses: {
      'SW_EXITINFO1 is neither 0 nor 1': notReadNotWrite({ rcx: 0x1bn }),
      'there is no such MSR, or it cannot be read': [
        { says: 'no such MSR', code: 0x7c, fields: { rcx: 0x1234n } },
        { says: 'PRED_CMD, which can only be written', code: 0x7c, fields: { rcx: 0x49n } },
      ],
    },
  },
  WRMSR: {
    succeeds: [
      {
        says: 'the halves of RAX and RDX',
        code: 0x7c,
        info1: 1n,
        fields: { rcx: 0x200n, rax: 0xffff_ffff_0000_0006n, rdx: 0xffff_ffff_0000_0001n },
      },
    ],
    refuses: {
      'SW_EXITINFO1 is neither 0 nor 1': notReadNotWrite({ rcx: 0x200n, rax: 6n, rdx: 0n }),
      'there is no such MSR, or it refuses the value': [
        { says: 'no such MSR', code: 0x7c, info1: 1n, fields: { rcx: 0x1234n, rax: 0n, rdx: 0n } },
        { says: 'a memory type that does not exist', code: 0x7c, info1: 1n, fields: { rcx: 0x200n, rax: 2n, rdx: 0n } },
        { says: 'a register that can only be read', code: 0x7c, info1: 1n, fields: { rcx: 0xfen, rax: 0n, rdx: 0n } },
      ],
    },
  },
  VMMCALL: {
    succeeds: [
      {
        says: 'a hypercall that does not exist',
        code: 0x81,
        fields: { rax: 0x1234n, cpl: 0n },
        gives: { rax: BigInt.asUintN(64, -1000n) },
      },
      { says: 'ring 3 has none', code: 0x81, fields: { rax: 10n, cpl: 3n }, gives: { rax: BigInt.asUintN(64, -1n) } },
      { says: 'arguments that are not marked valid are 0', code: 0x81, fields: { rax: 10n, cpl: 0n }, gives: { rax: 0n } },
      {
        says: 'SEND_IPI with its four arguments: an NMI',
        code: 0x81,
        fields: { rax: 10n, cpl: 0n, rbx: 1n, rcx: 0n, rdx: 0n, rsi: 0x400n },
        gives: { rax: 1n },
        nmis: 1,
      },
    ],
  },
  RDTSCP: {
    succeeds: [
      { says: 'the counter, and TSC_AUX as the hypervisor knows it', before: [event(0x87)], code: 0x87, gives: { rcx: 0n }, also: later },
    ],
  },
  WBINVD: { succeeds: [{ says: 'at once', code: 0x89 }] },
  MONITOR: { succeeds: [{ says: 'nothing is watched', code: 0x8a, fields: { rax: AREA, rcx: 0n, rdx: 0n } }] },
  MWAIT: { succeeds: [{ says: 'ends at once', code: 0x8b, fields: { rax: 0n, rcx: 0n } }] },
  'MMIO read': {
    succeeds: [
      {
        says: 'a register of the I/O APIC',
        before: [message({ says: '', code: 0x8000_0002, info1: IO_APIC, info2: 4n, fields: { swScratch: BUFFER }, buffer: [1, 0, 0, 0] })],
        code: 0x8000_0001,
        info1: IO_APIC + 0x10n,
        info2: 4n,
        fields: { swScratch: BUFFER + 8n },
        bufferThen: [0, 0, 0, 0, 0, 0, 0, 0, ...bytesOf(IO_APIC_VERSION)],
      },
      {
        says: 'an address that nobody claims',
        code: 0x8000_0001,
        info1: NOBODY,
        info2: 8n,
        fields: { swScratch: BUFFER },
        bufferThen: Array.from({ length: 8 }, () => 0xff),
      },
      {
        says: 'the end of the address space',
        code: 0x8000_0001,
        info1: 0xffff_ffff_ffff_ffffn,
        info2: 8n,
        fields: { swScratch: BUFFER_END - 8n },
        bufferThen: [...new Uint8Array(0x7e8), ...Array.from({ length: 8 }, () => 0xff)],
      },
      {
        says: 'version 1: more than 8 bytes, to other shared memory',
        version: 1,
        code: 0x8000_0001,
        info1: NOBODY,
        info2: 0x20n,
        fields: { swScratch: AREA },
        also: ({ shared }) => expect([...shared.subarray(0, 0x21)]).toEqual([...Array.from({ length: 0x20 }, () => 0xff), 0]),
      },
    ],
    refuses: {
      'the length is 0 or too large': noLength(0x8000_0001),
      'SW_SCRATCH is not a place for so many bytes': [
        ...noScratch((swScratch, bytes) => ({ code: 0x8000_0001, info1: IO_APIC, info2: BigInt(bytes), fields: { swScratch } })),
        {
          says: 'version 1: more than 64 KiB',
          version: 1,
          code: 0x8000_0001,
          info1: IO_APIC,
          info2: 0x1_0001n,
          fields: { swScratch: AREA },
        },
      ],
    },
  },
  'MMIO write': {
    succeeds: [
      {
        says: 'a register of the I/O APIC',
        code: 0x8000_0002,
        info1: IO_APIC,
        info2: 4n,
        fields: { swScratch: BUFFER_END - 4n },
        buffer: [...new Uint8Array(0x7ec), 1, 0, 0, 0],
      },
      { says: 'an address that nobody claims', code: 0x8000_0002, info1: NOBODY, info2: 1n, fields: { swScratch: BUFFER } },
      {
        says: 'version 1: from other shared memory',
        version: 1,
        code: 0x8000_0002,
        info1: NOBODY,
        info2: 0x1_0000n,
        fields: { swScratch: AREA },
      },
    ],
    refuses: {
      'the length is 0 or too large': noLength(0x8000_0002),
      'SW_SCRATCH is not a place for so many bytes': noScratch((swScratch, bytes) => ({
        code: 0x8000_0002,
        info1: NOBODY,
        info2: BigInt(bytes),
        fields: { swScratch },
      })),
    },
  },
  'NMI complete': {
    succeeds: [
      { says: 'when there is none', code: 0x8000_0003, nmis: 0 },
      {
        says: 'lets the next one in, which waits until then whatever IRET says',
        before: [X2APIC_ON, SEND_NMI, SEND_NMI],
        code: 0x8000_0003,
        nmis: 2,
        also: ({ replies }) => expect(replies.map(({ nmis }) => nmis)).toEqual([0, 1, 1, 2]),
      },
      {
        says: 'where the processor has virtual NMIs, IRET is enough',
        options: { cpu: 'genoa' },
        before: [X2APIC_ON, SEND_NMI, SEND_NMI],
        code: 0x8000_0003,
        nmis: 2,
        also: ({ replies }) => expect(replies.map(({ nmis }) => nmis)).toEqual([0, 1, 2, 2]),
      },
    ],
  },
  'AP reset hold': {
    succeeds: [
      {
        says: 'the only processor is held for good; its page says that no SIPI came',
        code: 0x8000_0004,
        outcome: { kind: 'halted', interruptsEnabled: false },
        also: ({ page }) => expect([fieldOf(page, 'swExitInfo1'), fieldOf(page, 'swExitInfo2')]).toEqual([0n, 0n]),
      },
    ],
  },
  'AP jump table, set': {
    succeeds: [{ says: 'any address', code: 0x8000_0005, info2: 0x9_f000n }],
    refuses: {
      'SW_EXITINFO1 is neither 0 nor 1': [2n, 1n << 32n].map((info1) => ({
        says: `it is 0x${info1.toString(16)}`,
        code: 0x8000_0005,
        info1,
      })),
    },
  },
  'AP jump table, get': {
    succeeds: [
      { says: 'never set', code: 0x8000_0005, info1: 1n, result: 0n },
      {
        says: 'what was set last',
        before: [event(0x8000_0005, {}, 0n, 0x1000n), event(0x8000_0005, {}, 0n, 0x9_f000n)],
        code: 0x8000_0005,
        info1: 1n,
        result: 0x9_f000n,
      },
    ],
  },
  'APIC ID list': {
    succeeds: [
      {
        says: 'count and IDs',
        code: 0x8000_0017,
        info1: AREA,
        fields: { rax: 2n },
        gives: { rax: 2n },
        also: ({ shared }) => expect([...shared.subarray(0, 12)]).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
      },
      {
        says: 'too few pages: how many it takes',
        code: 0x8000_0017,
        info1: AREA,
        fields: { rax: 0n },
        gives: { rax: 1n },
        also: ({ shared }) => expect(shared[0]).toBe(0),
      },
    ],
    refuses: {
      'the address is not that of pages of RAM': [AREA + 8n, BigInt(MEMORY), 0xffff_ffff_ffff_f000n].map((info1) => ({
        says: `0x${info1.toString(16)}`,
        code: 0x8000_0017,
        info1,
        fields: { rax: 1n },
      })),
    },
  },
  'hypervisor features': { succeeds: [{ says: 'the APIC ID list, nothing of SNP', code: 0x8000_fffd, result: 0x10n }] },
  termination: {
    succeeds: [
      { says: 'reason set 0', code: 0x8000_fffe, info1: 0x10n, outcome: { kind: 'terminated', set: 0, code: 1, info: 0n } },
      {
        says: 'another set, and more of it',
        code: 0x8000_fffe,
        info1: 0x121n,
        info2: 9n,
        outcome: { kind: 'terminated', set: 1, code: 0x12, info: 9n },
      },
    ],
  },
  'unsupported event': {
    succeeds: [
      {
        says: 'names the exit',
        code: 0x8000_ffff,
        info1: 0x74n,
        outcome: { kind: 'stopped', reason: expect.stringContaining('IRET') as string },
      },
    ],
  },
  'CR0 read': {
    succeeds: [
      {
        says: 'the value',
        options: intercepts,
        code: 0,
        also: ({ page }) => expect(fieldOf(page, 'rax') & 0x8000_0001n).toBe(0x8000_0001n),
      },
    ],
  },
  'CR0 write': {
    succeeds: [{ says: 'the guest may execute it', options: intercepts, code: 0x10, fields: { rax: 0x8001_0033n } }],
    refuses: {
      'the processor would refuse the value': { says: 'PG without PE', options: intercepts, code: 0x10, fields: { rax: 0x8000_0000n } },
    },
  },
  'CR4 read': {
    succeeds: [{ says: 'the value', options: intercepts, code: 4, also: ({ page }) => expect(fieldOf(page, 'rax') & 0x20n).toBe(0x20n) }],
  },
  'CR4 write': {
    succeeds: [{ says: 'the guest may execute it', options: intercepts, code: 0x14, fields: { rax: 0x620n } }],
    refuses: {
      'the processor would refuse the value': { says: 'a reserved bit', options: intercepts, code: 0x14, fields: { rax: 0x8000_0620n } },
    },
  },
  'CR8 read': { succeeds: [{ says: 'the value', options: intercepts, code: 8, gives: { rax: 0n } }] },
  'CR8 write': {
    succeeds: [{ says: 'the guest may execute it', options: intercepts, code: 0x18, fields: { rax: 0xfn } }],
    refuses: { 'the processor would refuse the value': { says: 'more than 15', options: intercepts, code: 0x18, fields: { rax: 0x10n } } },
  },
};

function bytesOf(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
}
