// Transfers of control on a bench: a descriptor table with segments of two privileges, gates and tasks, an interrupt table, and a program
// in one of the modes. Linear addresses are physical ones.

import { Vector } from '../../src/arch/exception.ts';
import { Cr0, Cr4, Efer, Rflags, SegmentAttribute as A } from '../../src/arch/registers.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { Gpr, Segment, SegmentPart, segmentAt, State } from '../../src/memory/state.ts';
import { Bench, Flat, Permission } from '../instructions/bench.ts';
import { descriptor } from './mode-bench.ts';

export const At = {
  VECTORS: 0,
  CODE: 0x1_0000,
  HANDLER: 0x1_8000,
  STACK: 0x2_1000,
  INNER: 0x2_3000,
  GDT: 0x3_0000,
  IDT: 0x3_1000,
  LDT: 0x3_2000,
  TASK: 0x3_3000,
  OTHER: 0x3_4000,
  END: 0x4_0000,
} as const;

/** Selectors. CODE_16 is code of CPL 0 at the address of 32-bit code; TASK is the running task, OTHER and OTHER_16 wait. */
export const Sel = {
  CODE: 0x08,
  DATA: 0x10,
  USER_DATA: 0x1b,
  USER_CODE: 0x23,
  CONFORMING: 0x28,
  CODE_16: 0x30,
  LDT: 0x38,
  TASK: 0x40,
  OTHER: 0x50,
  OTHER_16: 0x58,
  GATE: 0x60,
  FREE: 0x70,
  CODE_64: 0x80,
} as const;

export type Mode = 'real' | 'virtual8086' | 'protected' | 'protected16' | 'compatibility' | 'long';

/** A gate in the form that it has in a table of legacy mode. */
export const gate = (type: number, selector: number, offset: number, { dpl = 0, present = true, parameters = 0 } = {}): bigint =>
  (BigInt(offset >>> 16) << 48n) |
  (BigInt((present ? 0x8000 : 0) | (dpl << 13) | (type << 8) | parameters) << 32n) |
  (BigInt(selector) << 16n) |
  BigInt(offset & 0xffff);

export const code = (cpl: number): number => Flat.code32(cpl);
export const flat = (attributes: number): bigint => descriptor(attributes, 0, 0xf_ffff);
const tss = (type: number, base: number, limit = 0x67): bigint => descriptor(A.P | type, base, limit);
const vectorNames = Object.entries(Vector);
const names: readonly number[] = [Segment.ES, Segment.CS, Segment.SS, Segment.DS, Segment.FS, Segment.GS];

export type Options = { readonly cpl?: 0 | 3; readonly flags?: number; readonly cr4?: number; readonly deliver?: readonly number[] };

export class TransferBench extends Bench {
  constructor(...options: ConstructorParameters<typeof Bench>) {
    super(...options);
    for (let at = 0; at < At.END; at += 0x1000) this.map(at, at, Permission.WRITE | Permission.USER);
  }

  put64(address: number, ...values: readonly bigint[]): void {
    const bytes = new Uint8Array(8 * values.length);
    for (const [n, value] of values.entries()) new DataView(bytes.buffer).setBigUint64(8 * n, BigInt.asUintN(64, value), true);
    this.write(address, bytes);
  }

  put32(address: number, ...values: readonly number[]): void {
    const bytes = new Uint8Array(4 * values.length);
    for (const [n, value] of values.entries()) new DataView(bytes.buffer).setUint32(4 * n, value, true);
    this.write(address, bytes);
  }

  put16(address: number, ...values: readonly number[]): void {
    const bytes = new Uint8Array(2 * values.length);
    for (const [n, value] of values.entries()) new DataView(bytes.buffer).setUint16(2 * n, value, true);
    this.write(address, bytes);
  }

  /** A descriptor or gate of the GDT. */
  entry(selector: number, ...raw: readonly bigint[]): void {
    this.put64(At.GDT + (selector & 0xfff8), ...raw);
  }

  interrupt(vector: number, raw: bigint, upper?: bigint): void {
    if (upper === undefined) this.put64(At.IDT + 8 * vector, raw);
    else this.put64(At.IDT + 16 * vector, raw, upper);
  }

  words(address: number, count: number, size: 2 | 4 | 8 = 4): number[] {
    const view = this.physical(address, count * size);
    return Array.from({ length: count }, (_, n) =>
      size === 2 ? view.getUint16(2 * n, true) : size === 4 ? view.getUint32(4 * n, true) : Number(view.getBigUint64(8 * n, true)),
    );
  }

  selectorOf(segment: Segment): number {
    return this.memory.view.getUint16(this.state + segmentAt(segment) + SegmentPart.SELECTOR, true);
  }

  /** CS:RIP and SS:RSP. */
  get place(): string {
    const hex = (n: number | bigint): string => n.toString(16);
    return `${hex(this.selectorOf(Segment.CS))}:${hex(this.rip)} ${hex(this.selectorOf(Segment.SS))}:${hex(this.gpr(Gpr.RSP))}`;
  }

  /** Tables and registers of a mode, and a program at CODE. All exceptions are intercepted except those of `deliver`. */
  start(mode: Mode, source: string, { cpl = 0, flags = 0, cr4 = 0, deliver = [] }: Options = {}): void {
    for (let at: number = 0; at < At.END; at += 0x1000) this.write(at, new Uint8Array(0x1000));
    const bits = mode === 'long' ? 64 : mode === 'protected' || mode === 'compatibility' ? 32 : 16;
    const real = mode === 'real' || mode === 'virtual8086';
    const long = mode === 'long' || mode === 'compatibility';
    this.write(At.CODE, assemble(source, { bits, origin: BigInt(real ? 0 : At.CODE) }).bytes);
    this.write(At.HANDLER, new Uint8Array(16).fill(0x90));
    this.reset();
    this.setU32(
      State.INTERCEPTS + 8,
      deliver.reduce((mask, vector) => mask & ~(1 << vector), -1),
    );
    const privilege = mode === 'virtual8086' ? 3 : cpl;
    if (!long) {
      this.setU64(State.CR0, BigInt((mode === 'real' ? 0 : Cr0.PE) | Cr0.ET | Cr0.NE));
      this.setU64(State.EFER, BigInt(Efer.SCE));
    }
    this.setU64(State.CR4, BigInt(cr4 | (long ? Cr4.PAE : 0)));
    this.setU32(State.CPL, privilege);
    this.rflags = flags | Rflags.ALWAYS_1 | (mode === 'virtual8086' ? Rflags.VM : 0);
    this.#tables(long);
    const attributes = mode === 'long' ? Flat.code64(cpl) : mode === 'protected16' ? Flat.code16(cpl) | A.G : code(cpl);
    for (const segment of names as readonly Segment[]) {
      if (real) {
        const base = segment === Segment.CS ? At.CODE : At.STACK - 0x1000;
        this.setSegment(segment, base >> 4, mode === 'real' ? (segment === Segment.CS ? 0x9b : 0x93) : 0xf3, 0xffff, base);
      } else if (segment === Segment.CS) this.setSegment(segment, cpl === 3 ? Sel.USER_CODE : Sel.CODE, attributes, 0xffff_ffff, 0);
      else this.setSegment(segment, cpl === 3 ? Sel.USER_DATA : Sel.DATA, Flat.data32(cpl), 0xffff_ffff, 0);
    }
    this.setSegment(Segment.GDTR, 0, 0, 0x9f, At.GDT);
    this.setSegment(Segment.IDTR, 0, 0, mode === 'real' ? 0x3ff : 0x7ff, mode === 'real' ? At.VECTORS : At.IDT);
    this.setSegment(Segment.LDTR, 0, 0, 0, 0);
    this.setSegment(Segment.TR, Sel.TASK, A.P | 0xb, 0x8f, At.TASK);
    this.setU64(State.RIP, BigInt(real ? 0 : At.CODE));
    this.setGpr(Gpr.RSP, BigInt(real ? 0x1000 : At.STACK));
    this.settle();
  }

  #tables(long: boolean): void {
    this.entry(Sel.CODE, flat(long ? Flat.code64(0) : code(0)));
    this.entry(Sel.DATA, flat(Flat.data32(0)));
    this.entry(Sel.USER_DATA, flat(Flat.data32(3)));
    this.entry(Sel.USER_CODE, flat(code(3)));
    this.entry(Sel.CONFORMING, flat(code(0) | A.CONFORMING));
    this.entry(Sel.CODE_16, flat(Flat.code16(0)));
    this.entry(Sel.CODE_64, flat(Flat.code64(3)));
    this.entry(Sel.LDT, descriptor(A.P | 2, At.LDT, 0x1f));
    this.entry(Sel.TASK, tss(0xb, At.TASK, 0x8f), 0n);
    if (!long) {
      this.entry(Sel.OTHER, tss(0x9, At.OTHER));
      this.entry(Sel.OTHER_16, tss(0x1, At.OTHER, 0x2b));
    }
    // The stack of CPL 0.
    if (long) this.put64(At.TASK + 4, BigInt(At.INNER));
    else this.put32(At.TASK + 4, At.INNER, Sel.DATA);
  }

  /** Runs some instructions: '' or '#GP(18)', 'exit 7Fh'. */
  go(instructions = 1): string {
    const ending = this.run(instructions);
    if (ending.kind === 'limit') return '';
    if (ending.kind === 'exit') return `exit ${ending.code.toString(16)}h`;
    const name = vectorNames.find(([, number]) => number === ending.vector)?.[0] ?? `${ending.vector}`;
    return /^(DF|TS|NP|SS|GP|PF|AC)$/.test(name) ? `#${name}(${ending.errorCode.toString(16)})` : `#${name}`;
  }

  /** EXITINTINFO: the event in hex, and its error code. */
  get interrupted(): string {
    return `${this.u32(State.EXIT_INT_INFO).toString(16)}:${this.u32(State.EXIT_INT_INFO + 4).toString(16)}`;
  }
}
