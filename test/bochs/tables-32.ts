// Where the tables of programs in 32-bit protected mode lie, and setup code that writes into them.

/** Linear addresses of what a case may change. */
export const At = {
  gdt: 0x2_0000,
  ldt: 0x2_0200,
  idt: 0x2_0400,
  tss: 0x2_0800,
  /** Descriptor TSS32B: not busy, for task switches. */
  tssB: 0x2_0a00,
  /** Descriptor TSS16. */
  tss16: 0x2_0c00,
  record: 0x2_3000,
  stack0: 0x2_5000,
  stack1: 0x2_6000,
  stack2: 0x2_7000,
  stack3: 0x2_8000,
  inner0: 0x2_9000,
  inner1: 0x2_a000,
  inner2: 0x2_b000,
  stackB: 0x2_c000,
  runtime: 0x2_e000,
  tables: 0x3_0000,
  scratch: 0x4_0000,
} as const;

export const Sel = {
  code0: 0x08,
  data0: 0x10,
  code3: 0x1b,
  data3: 0x23,
  code1: 0x29,
  data1: 0x31,
  code2: 0x3a,
  data2: 0x42,
  code16: 0x48,
  data16: 0x50,
  tss: 0x58,
  ldt: 0x60,
  user16: 0x6b,
  tssB: 0x78,
  tss16: 0x80,
  /** Free for cases: T0 to T5. */
  T0: 0x90,
  T1: 0x98,
  T2: 0xa0,
  T3: 0xa8,
  T4: 0xb0,
  T5: 0xb8,
  /** Last in the table. */
  last: 0xf8,
  /** In the LDT. */
  L0: 0x04,
  L1: 0x0c,
  L2: 0x14,
} as const;

export const GDT_SIZE = 0x100;
export const LDT_SIZE = 0x40;
export const VECTORS = 0x34;

/** Type field of a descriptor with its S bit: 00h-0Fh system, 10h-1Fh segments. */
export const Type = {
  tss16: 0x01,
  ldt: 0x02,
  busy16: 0x03,
  call16: 0x04,
  task: 0x05,
  int16: 0x06,
  trap16: 0x07,
  tss32: 0x09,
  busy32: 0x0b,
  call32: 0x0c,
  int32: 0x0e,
  trap32: 0x0f,
  ro: 0x11,
  rw: 0x13,
  roDown: 0x15,
  rwDown: 0x17,
  xo: 0x19,
  xr: 0x1b,
  xoConf: 0x1d,
  xrConf: 0x1f,
} as const;

export type Descriptor = {
  readonly base?: number;
  /** As it stands in the descriptor: 20 bits. */
  readonly limit?: number;
  readonly type: number;
  readonly dpl?: number;
  readonly p?: boolean;
  readonly g?: boolean;
  readonly d?: boolean;
  readonly l?: boolean;
};

export function descriptorWords({
  base = 0,
  limit = 0xfffff,
  type,
  dpl = 0,
  p = true,
  g = true,
  d = true,
  l = false,
}: Descriptor): [number, number] {
  const low = ((limit & 0xffff) | (base << 16)) >>> 0;
  const access = (type & 0x1f) | (dpl << 5) | (p ? 0x80 : 0);
  const flags = (g ? 8 : 0) | (d ? 4 : 0) | (l ? 2 : 0) | 0;
  const high =
    (((base >>> 16) & 0xff) | (access << 8) | (((limit >>> 16) & 15) << 16) | (flags << 20) | (((base >>> 24) & 0xff) << 24)) >>> 0;
  return [low, high];
}

const store = (at: number, [low, high]: readonly [number, number]): string =>
  `mov dword [0x${at.toString(16)}], ${low}\nmov dword [0x${(at + 4).toString(16)}], ${high}\n`;

/** Where a selector's descriptor lies. */
export const slotOf = (selector: number): number => (selector & 4 ? At.ldt : At.gdt) + (selector & 0xf8);

/** Setup: writes a descriptor. */
export const set = (selector: number, descriptor: Descriptor): string => store(slotOf(selector), descriptorWords(descriptor));

export type Gate = {
  readonly selector: number;
  readonly offset: string | number;
  readonly type: number;
  readonly dpl?: number;
  readonly p?: boolean;
  readonly count?: number;
};

function gateStore(at: number, { selector, offset, type, dpl = 0, p = true, count = 0 }: Gate): string {
  const access = type | (dpl << 5) | (p ? 0x80 : 0);
  return `mov eax, ${offset}
mov [0x${at.toString(16)}], ax
mov word [0x${(at + 2).toString(16)}], ${selector}
mov word [0x${(at + 4).toString(16)}], ${(access << 8) | count}
shr eax, 16
mov [0x${(at + 6).toString(16)}], ax
`;
}

/** Setup: writes a call or task gate into the GDT or LDT. */
export const gate = (selector: number, given: Gate): string => gateStore(slotOf(selector), given);
/** Setup: writes a gate into the IDT. */
export const idtGate = (vector: number, given: Gate): string => gateStore(At.idt + 8 * vector, given);

/** Setup: a 32-bit TSS with everything in it. `eip` is a label or number. */
export function tss32(at: number, fields: Readonly<Record<string, string | number>>): string {
  const offsets: Readonly<Record<string, number>> = {
    link: 0, esp0: 4, ss0: 8, esp1: 12, ss1: 16, esp2: 20, ss2: 24, cr3: 28, eip: 32, eflags: 36, eax: 40, ecx: 44, edx: 48, ebx: 52, esp: 56, ebp: 60,
    esi: 64, edi: 68, es: 72, cs: 76, ss: 80, ds: 84, fs: 88, gs: 92, ldt: 96, trap: 100,
  }; // biome-ignore format: a table
  return Object.entries(fields)
    .map(([name, value]) => `mov dword [0x${(at + (offsets[name] as number)).toString(16)}], ${value}\n`)
    .join('');
}

/** Setup: a 16-bit TSS. */
export function tss16(at: number, fields: Readonly<Record<string, string | number>>): string {
  const names = [
    'link',
    'sp0',
    'ss0',
    'sp1',
    'ss1',
    'sp2',
    'ss2',
    'ip',
    'flags',
    'ax',
    'cx',
    'dx',
    'bx',
    'sp',
    'bp',
    'si',
    'di',
    'es',
    'cs',
    'ss',
    'ds',
    'ldt',
  ];
  return Object.entries(fields)
    .map(([name, value]) => `mov word [0x${(at + 2 * names.indexOf(name)).toString(16)}], ${value}\n`)
    .join('');
}
