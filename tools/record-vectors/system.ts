// Vectors of system instructions that a program may execute: RDPID, LAR, LSL, VERR, VERW, INT n, far pointers into FS, GS and SS, and
// the XSAVE family. What they do depends on descriptors: only selectors are used whose descriptors every Linux has (user code and
// data), those of the LDT that the harness makes, and ones beyond both tables. SGDT, SIDT, SLDT, STR and SMSW are not here: under
// CR4.UMIP they fault, and the kernel hides that by emulating them.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { background, baseSlots, CODE, DATA, ENTRY } from '../../test/vectors/base-state.ts';
import { COMPLETED, type Patch, Slot } from '../../test/vectors/format.ts';
import { type RandomStream, RandomSource } from '../../src/util/random.ts';
import { LOST, type Native, type Outcome, type Start } from './native.ts';
import { type Recorded, type RecordedSection, vectorFile } from './writer.ts';

type Bits = 16 | 32 | 64;
type Draw = { readonly random: RandomStream; readonly bits: Bits };
/** Makes one case. */
type Maker = (draw: Draw) => Partial<Omit<Start, 'bits'>> & { readonly bytes: Uint8Array };
type Row = { readonly name: string; readonly modes: readonly Bits[]; readonly count: number; readonly make: Maker };

const all: readonly Bits[] = [64, 32, 16];
const long: readonly Bits[] = [64];
const legacy: readonly Bits[] = [32, 16];

const below = (random: RandomStream, n: number): number => random.u32() % n;
const pick = <T>(random: RandomStream, from: readonly T[]): T => from[below(random, from.length)] as T;
const bytes = (...list: number[]): Uint8Array => Uint8Array.from(list);

/** Selectors, with any RPL: null, user code and data of the GDT, segments of the LDT, and beyond both. */
const selectors = [0x00, 0x20, 0x28, 0x30, 0x0c, 0x14, 0x1000, 0xfff8, 0xfffc];
const selector = (random: RandomStream): number => pick(random, selectors) | below(random, 4);
/** Registers of an operand: all but rSP, whose value other instructions need. */
const operandRegisters = [0, 1, 2, 3, 5, 6, 7];
/** Opcodes of LAR, LSL, VERR and VERW behind 0Fh, and their reg field if it is part of the opcode. */
const examining = { lar: { opcode: 2 }, lsl: { opcode: 3 }, verr: { opcode: 0, reg: 4 }, verw: { opcode: 0, reg: 5 } } as const;

/** An instruction that looks at a descriptor: selector in a register, or in memory at [SI/rSI]. */
const examine =
  (which: keyof typeof examining, size: 'word' | 'native' | 'quad', memory: boolean): Maker =>
  ({ random, bits }) => {
    const { opcode, ...fixed } = examining[which];
    const from = memory ? (bits === 16 ? 4 : 6) : pick(random, operandRegisters);
    const reg = 'reg' in fixed ? fixed.reg : pick(random, operandRegisters);
    const chosen = BigInt(selector(random));
    const value = BigInt(random.u32()) & ~0xffffn;
    const other = size === 'quad' ? [0x48] : (size === 'word') === (bits === 16) ? [] : [0x66];
    const instruction = bytes(...other, 0x0f, opcode, (memory ? 0 : 0xc0) | (reg << 3) | from);
    if (!memory) return { bytes: instruction, slots: new Map([[from, value | chosen]]) };
    const at = 2 * below(random, 0x1f00);
    return {
      bytes: instruction,
      slots: new Map([[6, BigInt((bits === 16 ? 0 : DATA) + at)]]),
      memory: [{ offset: at, bytes: bytes(Number(chosen & 0xffn), Number(chosen >> 8n)) }],
    };
  };

/** INT n, except where the kernel has a gate for programs: 3, 4 and 80h. */
const interrupt: Maker = ({ random }) => {
  const n = below(random, 256);
  return { bytes: bytes(0xcd, [3, 4, 0x80].includes(n) ? n + 2 : n) };
};

const rdpid: Maker = ({ random }) => ({ bytes: bytes(0xf3, 0x0f, 0xc7, 0xf8 | pick(random, operandRegisters)) });

/** A far pointer at [rSI]; `opcode` of LDS, LES (one byte) or LFS, LGS, LSS (behind 0Fh). */
const farPointer =
  (opcode: readonly number[], usable: readonly number[], prefix: readonly number[] = []): Maker =>
  ({ random, bits }) => {
    const reg = pick(random, operandRegisters);
    const wide = (bits !== 16) !== prefix.includes(0x66);
    const offset = random.bytes(wide ? 4 : 2);
    const chosen = pick(random, usable);
    const at = below(random, 0x3f00);
    return {
      bytes: bytes(...prefix, ...opcode, (reg << 3) | (bits === 16 ? 4 : 6)),
      slots: new Map([
        [6, BigInt((bits === 16 ? 0 : DATA) + at)],
        [Slot.FS_BASE, bits === 64 ? BigInt(random.u32() >>> 1) : 0n],
        [Slot.GS_BASE, bits === 64 ? BigInt(random.u32() >>> 1) : 0n],
      ]),
      memory: [{ offset: at, bytes: bytes(...offset, chosen & 0xff, chosen >> 8) }],
    };
  };

/** x87 and SSE registers with something in them. */
function extendedState(random: RandomStream): Map<number, bigint> {
  const slots = new Map<number, bigint>();
  const valid = below(random, 256);
  slots
    .set(Slot.FCW, 0x037fn)
    .set(Slot.FSW, BigInt(below(random, 8) << 11))
    .set(Slot.FTW, BigInt(valid));
  for (let n = 0; n < 8; n++)
    if ((valid >> n) & 1) slots.set(Slot.X87 + n, (BigInt(below(random, 0x7fff)) << 64n) | (1n << 63n) | (random.u64() >> 1n));
  slots.set(Slot.MXCSR, BigInt(0x1f80 | (below(random, 4) << 13) | below(random, 64)));
  return slots;
}

/** An XSAVE area of 576 bytes: the legacy region and the header. */
function extendedArea(random: RandomStream): Uint8Array {
  const area = random.bytes(576).fill(0, 512);
  const view = new DataView(area.buffer, area.byteOffset);
  view.setUint16(0, 0x037f, true);
  view.setUint16(2, below(random, 8) << 11, true);
  area[5] = 0;
  view.setUint32(24, pick(random, [0x1f80, 0x1fbf, 0x9f80, 0x1_0000]), true);
  view.setUint32(28, 0, true);
  area[512] = below(random, 4);
  // A reserved bit; those of the lowest byte are components that the processor may have.
  if (below(random, 12) === 0) area[513 + below(random, 23)] = 0x80;
  return area;
}

/** An instruction of the XSAVE family at [RSI], with x87 and SSE as the only components asked for. */
const extended =
  (opcode: readonly number[]): Maker =>
  ({ random }) => {
    const misaligned = below(random, 10) === 0 ? 1 + below(random, 63) : 0;
    const at = 64 * below(random, 0xf0) + misaligned;
    const slots = extendedState(random)
      .set(0, BigInt(below(random, 4)))
      .set(2, 0n)
      .set(6, BigInt(DATA + at));
    return { bytes: bytes(...opcode), slots, memory: [{ offset: at, bytes: extendedArea(random) }] };
  };

// biome-ignore format: a table
const rows: readonly Row[] = [
  { name: 'Rdpid_r64',           modes: long,   count: 8,   make: rdpid },
  { name: 'Rdpid_r32',           modes: legacy, count: 8,   make: rdpid },
  { name: 'Lar_r16_rm16',        modes: all,    count: 60,  make: examine('lar', 'word', false) },
  { name: 'Lar_r32_r32m16',      modes: all,    count: 60,  make: examine('lar', 'native', false) },
  { name: 'Lar_r64_r64m16',      modes: long,   count: 40,  make: examine('lar', 'quad', false) },
  { name: 'Lar_r32_r32m16#memory', modes: all,  count: 40,  make: examine('lar', 'native', true) },
  { name: 'Lsl_r16_rm16',        modes: all,    count: 60,  make: examine('lsl', 'word', false) },
  { name: 'Lsl_r32_r32m16',      modes: all,    count: 60,  make: examine('lsl', 'native', false) },
  { name: 'Lsl_r64_r64m16',      modes: long,   count: 40,  make: examine('lsl', 'quad', false) },
  { name: 'Lsl_r32_r32m16#memory', modes: all,  count: 40,  make: examine('lsl', 'native', true) },
  { name: 'Verr_rm16',           modes: all,    count: 60,  make: examine('verr', 'word', false) },
  { name: 'Verr_r32m16#memory',  modes: all,    count: 40,  make: examine('verr', 'native', true) },
  { name: 'Verw_rm16',           modes: all,    count: 60,  make: examine('verw', 'word', false) },
  { name: 'Verw_r32m16#memory',  modes: all,    count: 40,  make: examine('verw', 'native', true) },
  { name: 'Int_imm8',            modes: all,    count: 120, make: interrupt },
  { name: 'Lfs_r32_m1632',       modes: [64, 32], count: 40, make: farPointer([0x0f, 0xb4], [0, 1, 2, 3, 0x2b, 0x17]) },
  { name: 'Lfs_r32_m1632#REX.W', modes: long,   count: 40,  make: farPointer([0x0f, 0xb4], [0, 1, 2, 3, 0x2b, 0x17], [0x48]) },
  { name: 'Lgs_r32_m1632',       modes: [64, 32], count: 40, make: farPointer([0x0f, 0xb5], [0, 1, 2, 3, 0x2b, 0x17]) },
  { name: 'Lfs_r16_m1616',       modes: [16],   count: 40,  make: farPointer([0x0f, 0xb4], [0, 3, 0x2b, 0x17, 0x0f]) },
  { name: 'Lss_r32_m1632',       modes: [64, 32], count: 40, make: farPointer([0x0f, 0xb2], [0, 3, 0x2b]) },
  { name: 'Lds_r32_m1632',       modes: [32],   count: 40,  make: farPointer([0xc5], [0, 1, 3, 0x2b, 0x17, 0x23]) },
  { name: 'Les_r32_m1632',       modes: [32],   count: 40,  make: farPointer([0xc4], [0, 1, 3, 0x2b, 0x17, 0x23]) },
  { name: 'Lds_r16_m1616',       modes: [16],   count: 40,  make: farPointer([0xc5], [0, 1, 3, 0x2b, 0x17, 0x0f]) },
  { name: 'Les_r16_m1616',       modes: [16],   count: 40,  make: farPointer([0xc4], [0, 1, 3, 0x2b, 0x17, 0x0f]) },
  { name: 'Xsave_mem',           modes: long,   count: 80,  make: extended([0x0f, 0xae, 0x26]) },
  { name: 'Xsave64_mem',         modes: long,   count: 40,  make: extended([0x48, 0x0f, 0xae, 0x26]) },
  { name: 'Xsavec_mem',          modes: long,   count: 80,  make: extended([0x0f, 0xc7, 0x26]) },
  { name: 'Xsaveopt_mem',        modes: long,   count: 80,  make: extended([0x0f, 0xae, 0x36]) },
  { name: 'Xrstor_mem',          modes: long,   count: 120, make: extended([0x0f, 0xae, 0x2e]) },
  { name: 'Xrstor64_mem',        modes: long,   count: 40,  make: extended([0x48, 0x0f, 0xae, 0x2e]) },
];

const RANDOM_FLAGS = 0x8d5n;

function starts(row: Row, bits: Bits, source: RandomSource): Start[] {
  const random = source.stream(`${row.name}/${bits}`);
  return Array.from({ length: row.count }, () => {
    const { bytes: instruction, slots, memory } = row.make({ random, bits });
    const flags = 0x202n | (BigInt(random.u32()) & RANDOM_FLAGS);
    const rip = BigInt((bits === 16 ? 0 : CODE) + ENTRY);
    return {
      bytes: instruction,
      bits,
      slots: new Map([...baseSlots(bits), [Slot.RIP, rip] as const, [Slot.RFLAGS, flags] as const, ...(slots ?? [])]),
      memory: effective(memory ?? []),
    };
  });
}

/** Without the bytes beyond the data area. */
const effective = (memory: readonly Patch[]): Patch[] => {
  const end = background().length;
  return memory.map(({ offset, bytes: given }) => ({ offset, bytes: given.slice(0, Math.max(0, end - offset)) }));
};

const same = (a: Outcome, b: Outcome): boolean => JSON.stringify(a, text) === JSON.stringify(b, text);
const text = (_: string, value: unknown): unknown =>
  typeof value === 'bigint' ? value.toString(16) : value instanceof Map ? [...value] : value;

/** Each section is recorded twice; what came out differently, or was lost, is dropped and said. */
function record(native: Native, row: Row, bits: Bits, source: RandomSource): RecordedSection {
  const cases = starts(row, bits, source);
  const first = native.run(cases);
  const second = native.run(cases);
  const kept: Recorded[] = [];
  for (const [n, start] of cases.entries()) {
    const outcome = first[n]!;
    if (outcome.status === LOST || !same(outcome, second[n]!))
      console.log(`  dropped: ${row.name} ${Buffer.from(start.bytes).toString('hex')}`);
    else kept.push({ start, outcome, undefinedFlags: 0 });
  }
  return { name: row.name, bits, cases: kept };
}

const prefix = { 64: '', 32: 'm32-', 16: 'm16-' } as const;

/** Writes a file for each mode. */
export function recordSystem(native: Native, directory: string, seed: string): boolean {
  const source = new RandomSource(seed);
  for (const bits of all) {
    const recorded = rows.filter(({ modes }) => modes.includes(bits)).map((row) => record(native, row, bits, source));
    const name = `${prefix[bits]}system.x86vec.gz`;
    writeFileSync(join(directory, name), vectorFile(recorded));
    const completed = recorded.flatMap(({ cases }) => cases).filter(({ outcome }) => outcome.status === COMPLETED).length;
    console.log(`${name}: ${recorded.reduce((sum, { cases }) => sum + cases.length, 0)} cases, ${completed} completed`);
  }
  return true;
}
