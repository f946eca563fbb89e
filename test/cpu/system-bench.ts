// Programs of system software on a bench: 64-bit code at CPL 0 or 3 with the whole of a model's CPUID. What ends a program is a line
// of text: an exception with its error code, `halted`, or an exit.

import { vectorName } from '../../src/arch/exception.ts';
import { exitName } from '../../src/arch/exit-code.ts';
import { Rflags } from '../../src/arch/registers.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { processorCpuid, processorModel } from '../../src/cpu/cpuid.ts';
import { Segment, segmentAt, SegmentPart, State } from '../../src/memory/state.ts';
import { Bench, Flat, Permission } from '../instructions/bench.ts';

export const Place = { CODE: 0x1_0000, DATA: 0x2_0000, USER_DATA: 0x2_2000, STACK: 0x3_0000, TABLES: 0x4_0000, MISSING: 0x7_0000 } as const;
const FLAT = 0xffff_ffff;
const names = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;
type Register = (typeof names)[number];

export type Start = {
  readonly cpl?: number;
  readonly bits?: 16 | 32 | 64;
  readonly in?: Partial<Record<Register, number | bigint>>;
  /** Registers of the state block, by offset. */
  readonly state?: Readonly<Record<number, bigint>>;
  readonly flags?: number;
  /** Bits of the intercept vectors to set, by exit code. */
  readonly intercepts?: readonly number[];
  /** Bytes to write, by physical address: 64-bit values. */
  readonly memory?: Readonly<Record<number, bigint>>;
};

export class SystemBench {
  readonly bench: Bench;

  constructor(model = 'turin') {
    const found = processorModel(model);
    if (!found) throw new Error(model);
    this.bench = new Bench(processorCpuid(found));
    const { WRITE, USER } = Permission;
    this.bench.map(Place.CODE, Place.CODE, USER);
    for (const page of [Place.DATA, Place.DATA + 0x1000, Place.TABLES]) this.bench.map(page, page, WRITE);
    this.bench.map(Place.USER_DATA, Place.USER_DATA, WRITE | USER);
    this.bench.map(Place.STACK - 0x1000, Place.STACK - 0x1000, WRITE | USER);
  }

  /** Executes a program to its HLT or whatever else ends it. */
  run(source: string, start: Start = {}): string {
    const { bench } = this;
    const bits = start.bits ?? 64;
    const cpl = start.cpl ?? 0;
    bench.reset();
    names.forEach((_, n) => {
      bench.setGpr(n, 0n);
    });
    bench.setGpr(4, BigInt(Place.STACK));
    for (const [name, value] of Object.entries(start.in ?? {})) bench.setGpr(names.indexOf(name as Register), BigInt(value));
    const code = bits === 64 ? Flat.code64(cpl) : bits === 32 ? Flat.code32(cpl) : Flat.code16(cpl);
    bench.setSegment(Segment.CS, 8 | cpl, code, FLAT, 0);
    for (const segment of [Segment.SS, Segment.DS, Segment.ES, Segment.FS, Segment.GS])
      bench.setSegment(segment, 0x10 | cpl, Flat.data32(cpl), FLAT, 0);
    bench.setSegment(Segment.TR, 0x40, Flat.task, 0x67, Place.TABLES);
    bench.setU32(State.CPL, cpl);
    bench.rflags = Rflags.ALWAYS_1 | (start.flags ?? 0);
    for (const [offset, value] of Object.entries(start.state ?? {})) bench.setU64(Number(offset), value);
    for (const exit of start.intercepts ?? []) {
      const at = State.INTERCEPTS + 4 * (exit >>> 5);
      bench.setU32(at, (bench.u32(at) | (1 << (exit & 31))) >>> 0);
    }
    for (const [address, value] of Object.entries(start.memory ?? {})) {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
      bench.write(Number(address), bytes);
    }
    bench.setU64(State.RIP, BigInt(Place.CODE));
    bench.write(Place.CODE, assemble(`${source}\nhlt`, { bits, origin: BigInt(Place.CODE) }).bytes);
    bench.settle();
    const ending = bench.run(200);
    if (ending.kind === 'exception') {
      const errorCode = [8, 10, 11, 12, 13, 14, 17].includes(ending.vector) ? `(${ending.errorCode.toString(16)})` : '';
      return `${vectorName(ending.vector)}${errorCode}${ending.vector === 14 ? ` ${ending.address.toString(16)}` : ''}`;
    }
    if (ending.kind === 'exit') return exitName(ending.code);
    return bench.u32(State.HALTED) !== 0 ? 'halted' : 'budget';
  }

  /** A general-purpose register in hex. */
  register(name: Register): string {
    return this.bench.gpr(names.indexOf(name)).toString(16);
  }

  base(segment: Segment): bigint {
    return this.bench.u64(segmentAt(segment) + SegmentPart.BASE);
  }
}
