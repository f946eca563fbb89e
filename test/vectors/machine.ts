// Runs a vector on the processor and says in which field the end state differs first, if any.

import { Cr4, Rflags, Cr0, SegmentAttribute as A } from '../../src/arch/registers.ts';
import { Gpr, gprAt, Segment, SegmentPart, State, segmentAt } from '../../src/memory/state.ts';
import type { CompilerSettings } from '../../src/cpu/compiler/compiler.ts';
import { PRIVATE_BYTE } from '../../src/x86/label-table.ts';
import { Bench, Flat, Permission } from '../instructions/bench.ts';
import { background, baseSlots, CODE, CODE_SIZE, DATA, DATA_SIZE, FILLER, READ_ONLY_SIZE } from './base-state.ts';
import { untoldBytes, untoldErrorBits } from './recording.ts';
import { FSW_C1, nearExtended, nearVectors } from './tolerance.ts';
import { type Case, COMPLETED, type Patch, type Section, Slot } from './format.ts';

/** Where code, data and descriptor tables lie in system physical memory. */
const PHYSICAL_CODE = 0x10_0000;
const PHYSICAL_DATA = 0x20_0000;
const PHYSICAL_TABLES = 0x30_0000;
const LINEAR_TABLES = 0x3000_0000;
const LDT_OFFSET = 0x100;
const TASK_OFFSET = 0x800;
const TASK_LIMIT = 0x67;
/** More elements than any repeated string instruction of a vector has. */
const MOST_STEPS = 70_000;

const { USER, WRITE, NO_EXECUTE } = Permission;
/** Bits of RFLAGS that a comparison looks at after a fault: all but RF and TF. */
const AFTER_FAULT = ~(Rflags.RF | Rflags.TF);

export class VectorMachine {
  readonly #bench: Bench;
  readonly #background = background();
  readonly #base = new Map([16, 32, 64].map((bits) => [bits, baseSlots(bits as 16 | 32 | 64)]));

  /** `watchAll`: no store takes the fast path. `labels`: the interpreter that follows them, with everything private at first. */
  constructor(execution: CompilerSettings | 'labels' | null = null, watchAll = false) {
    const labels = execution === 'labels';
    const bench = new Bench(undefined, undefined, labels ? null : execution, labels);
    if (labels) {
      const { memory } = bench;
      new Uint16Array(memory.memory.buffer, memory.labels, memory.labels).fill(PRIVATE_BYTE);
    }
    bench.cpu.processor.mmu.watchAll = watchAll;
    this.#bench = bench;
    bench.write(PHYSICAL_CODE, new Uint8Array(CODE_SIZE).fill(FILLER));
    bench.write(PHYSICAL_DATA, this.#background);
    for (let at = 0; at < CODE_SIZE; at += 4096) bench.map(CODE + at, PHYSICAL_CODE + at, USER);
    for (let at = 0; at < DATA_SIZE; at += 4096) bench.map(DATA + at, PHYSICAL_DATA + at, USER | WRITE | NO_EXECUTE);
    for (let at = DATA_SIZE; at < DATA_SIZE + READ_ONLY_SIZE; at += 4096) bench.map(DATA + at, PHYSICAL_DATA + at, USER | NO_EXECUTE);
    bench.map(LINEAR_TABLES, PHYSICAL_TABLES, WRITE | NO_EXECUTE);
    this.#writeDescriptors();
  }

  /** Null if the processor did as the vector says, else the first difference. */
  run(section: Section, c: Case): string | null {
    const bench = this.#bench;
    const slots = new Map(this.#base.get(section.bits));
    for (const [slot, value] of c.slotsIn) slots.set(slot, value);
    this.#load(section.bits, slots);
    const rip = Number(slots.get(Slot.RIP));
    const codeAt = PHYSICAL_CODE + (section.bits === 16 ? rip : rip - CODE);
    for (const patch of c.memoryIn) bench.write(PHYSICAL_DATA + patch.offset, patch.bytes);
    bench.write(codeAt, c.bytes);
    bench.settle();
    try {
      return this.#execute(section, c, slots);
    } finally {
      bench.write(codeAt, new Uint8Array(c.bytes.length).fill(FILLER));
      bench.write(PHYSICAL_DATA, this.#background);
    }
  }

  #execute(section: Section, c: Case, slots: Map<number, bigint>): string | null {
    const bench = this.#bench;
    const start = bench.rip;
    let ending = bench.run(1);
    // A repeated string instruction retires one element at a time.
    for (let n = 0; ending.kind === 'limit' && bench.rip === start && n < MOST_STEPS && isRepeated(c.bytes); n++) ending = bench.run(1);
    const trap = ending.kind === 'exception' && (ending.vector === 3 || ending.vector === 4);
    const status = ending.kind === 'limit' ? COMPLETED : ending.kind === 'exception' ? ending.vector : -1;
    if (ending.kind === 'exit') return `exit ${ending.code.toString(16)} instead of status ${c.status}`;
    if (status !== c.status)
      return `status ${status} instead of ${c.status}${ending.kind === 'exception' ? ` (error code ${ending.errorCode}, at ${ending.address.toString(16)})` : ''}`;
    if (ending.kind === 'exception' && pushes(status) && ((ending.errorCode ^ c.auxiliary) & ~untoldErrorBits(ending.address)) !== 0)
      return `error code ${ending.errorCode.toString(16)} instead of ${c.auxiliary.toString(16)}`;
    const cr2 = c.slotsOut.get(Slot.CR2);
    if (ending.kind === 'exception' && cr2 !== undefined && ending.address !== cr2)
      return `CR2 ${ending.address.toString(16)} instead of ${cr2.toString(16)}`;
    const defaultRip = status === COMPLETED ? (slots.get(Slot.RIP) ?? 0n) + BigInt(c.bytes.length) : slots.get(Slot.RIP);
    const expected = new Map(slots).set(Slot.RIP, defaultRip ?? 0n);
    for (const [slot, value] of c.slotsOut) expected.set(slot, value);
    return this.#registers(section, c, expected, status, trap) ?? this.#memory(c);
  }

  #registers(section: Section, c: Case, expected: Map<number, bigint>, status: number, trap: boolean): string | null {
    const bench = this.#bench;
    const { view } = bench.memory;
    const wide = section.bits === 64;
    const differ = (name: string, actual: bigint, wanted: bigint): string | null =>
      actual === wanted ? null : `${name} ${actual.toString(16)} instead of ${wanted.toString(16)}`;
    const rip = expected.get(Slot.RIP) ?? 0n;
    // An intercepted INT3 or INTO is reported where it stands.
    const ripOk = trap && bench.rip + BigInt(c.bytes.length) === rip;
    if (!ripOk && bench.rip !== rip) return differ('rip', bench.rip, rip);
    for (let n = 0; n < (wide ? 16 : 8); n++) {
      const actual = wide ? bench.gpr(n) : bench.gpr(n) & 0xffff_ffffn;
      const found = differ(gprNames[n] ?? '', actual, expected.get(n) ?? 0n);
      if (found) return found;
    }
    const mask = status === COMPLETED ? ~c.auxiliary : AFTER_FAULT;
    const actualFlags = bench.rflags & mask;
    const wantedFlags = Number(expected.get(Slot.RFLAGS)) & mask & ~(Rflags.RF | Rflags.TF);
    if ((actualFlags & ~(Rflags.RF | Rflags.TF)) !== wantedFlags)
      return `flags ${flagNames(actualFlags ^ wantedFlags)} differ (${(actualFlags >>> 0).toString(16)} instead of ${(wantedFlags >>> 0).toString(16)})`;
    const status87 = section.approximate ? ~FSW_C1 : 0xffffn;
    const segmentBase = (segment: Segment): bigint => bench.u64(segmentAt(segment) + SegmentPart.BASE);
    return (
      (wide ? differ('fs base', segmentBase(Segment.FS), expected.get(Slot.FS_BASE) ?? 0n) : null) ??
      (wide ? differ('gs base', segmentBase(Segment.GS), expected.get(Slot.GS_BASE) ?? 0n) : null) ??
      differ('mxcsr', BigInt(bench.u32(State.MXCSR)), expected.get(Slot.MXCSR) ?? 0n) ??
      differ('fcw', BigInt(view.getUint16(bench.state + State.FCW, true)), expected.get(Slot.FCW) ?? 0n) ??
      differ('fsw', BigInt(view.getUint16(bench.state + State.FSW, true)) & status87, (expected.get(Slot.FSW) ?? 0n) & status87) ??
      differ('tags', BigInt(validTags(view.getUint16(bench.state + State.FTW, true))), expected.get(Slot.FTW) ?? 0n) ??
      this.#x87(expected, section.approximate) ??
      this.#xmm(expected, section.approximate)
    );
  }

  /** What a register holds whose tag says empty is not compared. */
  #x87(expected: Map<number, bigint>, approximate: boolean): string | null {
    const tags = Number(expected.get(Slot.FTW) ?? 0n);
    for (let n = 0; n < 8; n++) {
      if (((tags >> n) & 1) === 0) continue;
      const wanted = expected.get(Slot.X87 + n) ?? 0n;
      const at = State.X87 + 16 * n;
      const actual = this.#bench.u64(at) | (BigInt(this.#bench.memory.view.getUint16(this.#bench.state + at + 8, true)) << 64n);
      if (actual !== wanted && !(approximate && nearExtended(actual, wanted)))
        return `r${n} ${actual.toString(16)} instead of ${wanted.toString(16)}`;
    }
    return null;
  }

  #xmm(expected: Map<number, bigint>, approximate: boolean): string | null {
    for (let n = 0; n < 16; n++) {
      const wanted = expected.get(Slot.XMM + n) ?? 0n;
      const actual = this.#bench.u64(State.XMM + 16 * n) | (this.#bench.u64(State.XMM + 16 * n + 8) << 64n);
      if (actual !== wanted && !(approximate && nearVectors(actual, wanted)))
        return `xmm${n} ${actual.toString(16)} instead of ${wanted.toString(16)}`;
    }
    return null;
  }

  #memory(c: Case): string | null {
    const wanted = Uint8Array.from(this.#background);
    const apply = ({ offset, bytes }: Patch): void => wanted.set(bytes, offset);
    c.memoryIn.forEach(apply);
    c.memoryOut.forEach(apply);
    const actual = this.#bench.read(PHYSICAL_DATA, wanted.length);
    if (Buffer.compare(actual, wanted) === 0) return null;
    const untold = untoldBytes(c);
    const at = actual.findIndex((byte, n) => byte !== wanted[n] && !untold.has(n));
    return at < 0 ? null : `memory at ${(DATA + at).toString(16)}: ${actual[at]?.toString(16)} instead of ${wanted[at]?.toString(16)}`;
  }

  #load(bits: 16 | 32 | 64, slots: Map<number, bigint>): void {
    const bench = this.#bench;
    const { view } = bench.memory;
    bench.reset();
    bench.setU64(State.CR0, BigInt(Cr0.PG + (Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM)));
    bench.setU64(State.CR4, BigInt(Cr4.PAE | Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.FSGSBASE | Cr4.UMIP | Cr4.OSXSAVE));
    bench.setU64(State.XCR0, 3n);
    for (let n = 0; n < 16; n++) bench.setU64(gprAt(n), slots.get(n) ?? 0n);
    bench.setU64(State.RIP, slots.get(Slot.RIP) ?? 0n);
    bench.rflags = Number(slots.get(Slot.RFLAGS));
    bench.setU32(State.CPL, 3);
    bench.setU32(State.MXCSR, Number(slots.get(Slot.MXCSR)));
    view.setUint16(bench.state + State.FCW, Number(slots.get(Slot.FCW)), true);
    view.setUint16(bench.state + State.FSW, Number(slots.get(Slot.FSW)), true);
    for (let n = 0; n < 16; n++) {
      const value = slots.get(Slot.XMM + n) ?? 0n;
      bench.setU64(State.XMM + 16 * n, value);
      bench.setU64(State.XMM + 16 * n + 8, value >> 64n);
    }
    for (let n = 0; n < 8; n++) {
      const value = slots.get(Slot.X87 + n) ?? 0n;
      bench.setU64(State.X87 + 16 * n, value);
      view.setUint16(bench.state + State.X87 + 16 * n + 8, Number(value >> 64n), true);
    }
    view.setUint16(bench.state + State.FTW, tagWord(slots), true);
    this.#segments(bits, slots);
  }

  #segments(bits: 16 | 32 | 64, slots: Map<number, bigint>): void {
    const bench = this.#bench;
    const flat = 0xffff_ffff;
    if (bits === 64) {
      bench.setSegment(Segment.CS, 0x33, Flat.code64(3), flat, 0);
      bench.setSegment(Segment.SS, 0x2b, Flat.data32(3), flat, 0);
      for (const segment of [Segment.DS, Segment.ES]) bench.setSegment(segment, 0, 0, 0, 0);
      bench.setSegment(Segment.FS, 0, 0, 0, Number(slots.get(Slot.FS_BASE)));
      bench.setSegment(Segment.GS, 0, 0, 0, Number(slots.get(Slot.GS_BASE)));
      bench.setU64(segmentAt(Segment.FS) + SegmentPart.BASE, slots.get(Slot.FS_BASE) ?? 0n);
      bench.setU64(segmentAt(Segment.GS) + SegmentPart.BASE, slots.get(Slot.GS_BASE) ?? 0n);
    } else if (bits === 32) {
      bench.setSegment(Segment.CS, 0x23, Flat.code32(3), flat, 0);
      for (const segment of [Segment.SS, Segment.DS, Segment.ES]) bench.setSegment(segment, 0x2b, Flat.data32(3), flat, 0);
    } else {
      bench.setSegment(Segment.CS, 0x0f, Flat.code16(3), 0xffff, CODE);
      for (const segment of [Segment.SS, Segment.DS, Segment.ES]) bench.setSegment(segment, 0x17, Flat.data16(3), 0xffff, DATA);
    }
    bench.setSegment(Segment.GDTR, 0, 0, 0x7f, LINEAR_TABLES);
    bench.setSegment(Segment.LDTR, 0x50, 0x82, 0x7f, LINEAR_TABLES + LDT_OFFSET);
    bench.setSegment(Segment.TR, 0x40, Flat.task, TASK_LIMIT, LINEAR_TABLES + TASK_OFFSET);
  }

  /** GDT: 23h 32-bit code, 2Bh data, 33h 64-bit code. LDT: 0Fh 16-bit code, 17h 16-bit data. */
  #writeDescriptors(): void {
    const descriptor = (attributes: number, base: number, limit: number): bigint => {
      const low = BigInt((limit & 0xffff) | ((base & 0xffff) << 16)) & 0xffff_ffffn;
      const high =
        BigInt(
          ((base >>> 16) & 0xff) | ((attributes & 0xff) << 8) | (limit & 0xf_0000) | ((attributes & 0xf00) << 12) | (base & 0xff00_0000),
        ) & 0xffff_ffffn;
      return low | (high << 32n);
    };
    const table = new Uint8Array(TASK_OFFSET + TASK_LIMIT + 1);
    const view = new DataView(table.buffer);
    view.setBigUint64(0x20, descriptor(Flat.code32(3), 0, 0xf_ffff), true);
    view.setBigUint64(0x28, descriptor(Flat.data32(3), 0, 0xf_ffff), true);
    view.setBigUint64(0x30, descriptor(Flat.code64(3), 0, 0xf_ffff), true);
    view.setBigUint64(LDT_OFFSET + 0x08, descriptor(Flat.code16(3) | A.AVL, CODE, 0xffff), true);
    view.setBigUint64(LDT_OFFSET + 0x10, descriptor(Flat.data16(3) | A.AVL, DATA, 0xffff), true);
    // No I/O permission bitmap.
    view.setUint16(TASK_OFFSET + 0x66, TASK_LIMIT + 1, true);
    this.#bench.write(PHYSICAL_TABLES, table);
  }
}

const Tag = { VALID: 0, ZERO: 1, SPECIAL: 2, EMPTY: 3 } as const;

/** The tag word of FNSTENV, from the FXSAVE form and the registers (APM vol. 1, 6.2.4). */
function tagWord(slots: Map<number, bigint>): number {
  const present = Number(slots.get(Slot.FTW) ?? 0n);
  let word = 0;
  for (let n = 0; n < 8; n++) word |= ((present >> n) & 1 ? tagOf(slots.get(Slot.X87 + n) ?? 0n) : Tag.EMPTY) << (2 * n);
  return word;
}

/** A normal number is valid; infinities, NaNs, denormals and unsupported encodings are special. */
function tagOf(value: bigint): number {
  const exponent = Number((value >> 64n) & 0x7fffn);
  const significand = BigInt.asUintN(64, value);
  if (exponent === 0 && significand === 0n) return Tag.ZERO;
  return exponent === 0 || exponent === 0x7fff || significand >> 63n === 0n ? Tag.SPECIAL : Tag.VALID;
}

/** The tags in the form of FXSAVE: bit n is set if register n is not empty. */
function validTags(word: number): number {
  let present = 0;
  for (let n = 0; n < 8; n++) if (((word >> (2 * n)) & 3) !== Tag.EMPTY) present |= 1 << n;
  return present;
}

const gprNames = Object.entries(Gpr)
  .sort(([, a], [, b]) => a - b)
  .map(([name]) => name.toLowerCase())
  .concat(['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15']);
const flagNames = (bits: number): string =>
  Object.entries(Rflags)
    .filter(([, bit]) => (bits & bit) !== 0)
    .map(([name]) => name)
    .join(' ');
const pushes = (vector: number): boolean => [12, 13, 14, 17].includes(vector);

/** Does a string instruction with F2h or F3h stand here? */
function isRepeated(bytes: Uint8Array): boolean {
  const prefixes = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);
  let n = 0;
  let repeated = false;
  while (n < bytes.length && (prefixes.has(bytes[n] ?? 0) || ((bytes[n] ?? 0) & 0xf0) === 0x40)) {
    repeated ||= bytes[n] === 0xf2 || bytes[n] === 0xf3;
    n++;
  }
  const opcode = bytes[n] ?? 0;
  return repeated && ((opcode >= 0xa4 && opcode <= 0xaf && opcode !== 0xa8 && opcode !== 0xa9) || (opcode >= 0x6c && opcode <= 0x6f));
}
