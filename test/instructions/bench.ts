// A processor on a bench: memory, MMU and interpreter without a hypervisor around them. The state block is written directly;
// exceptions are intercepted, so that each comes back as a value and no guest code has to handle it.

import { Vector } from '../../src/arch/exception.ts';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { ARITHMETIC_FLAGS, Cr0, Cr4, Efer, Rflags, SegmentAttribute as A } from '../../src/arch/registers.ts';
import { Cpu, Stopped } from '../../src/cpu/cpu.ts';
import type { FormSet } from '../../src/cpu/interpreter.ts';
import type { CompilerSettings } from '../../src/cpu/compiler/compiler.ts';
import { type ProcessorModel, processorCpuid, processorModels } from '../../src/cpu/cpuid.ts';
import { nobleAes } from '../../src/memory/aes-noble.ts';
import { Dram } from '../../src/memory/dram.ts';
import { EncryptionEngine } from '../../src/memory/encryption.ts';
import { Frames } from '../../src/memory/frames.ts';
import { EngineMemory } from '../../src/memory/map.ts';
import { Mmu } from '../../src/mmu/mmu.ts';
import { NotingMmu } from '../../src/mmu/noting-mmu.ts';
import { STATE_SIZE } from '../../src/memory/state.ts';
import { setStatusFlagsOf, statusFlagsOf } from '../../src/x86/flags.ts';
import { gprAt, type Segment, SegmentPart, State, STOP_NONE, segmentAt } from '../../src/memory/state.ts';

const turin = processorCpuid(processorModels.at(-1) as ProcessorModel);

type BenchCpuid = (leaf: number, subleaf: number) => readonly [number, number, number, number];
/** Leaf 7 is the newest model's; the others answer with what they are asked. */
const recognisable: BenchCpuid = (leaf, subleaf) =>
  leaf === 7 && subleaf === 0 ? turin(leaf, subleaf) : [leaf, subleaf, 0x1234_5678, 0x9abc_def0];

const MIB = 1024 * 1024;
const DRAM_SIZE = 16 * MIB;
/** Page tables are taken from here on, in system physical memory. */
const TABLES = 8 * MIB;

export const Permission = { WRITE: 2, USER: 4, NO_EXECUTE: 1 << 30 } as const;

/** What ended a run: the budget, an exception with its error code and the address for CR2, or another exit. */
export type Ending =
  | { readonly kind: 'limit' }
  | { readonly kind: 'exception'; readonly vector: number; readonly errorCode: number; readonly address: bigint }
  | { readonly kind: 'exit'; readonly code: number; readonly info1: bigint; readonly info2: bigint };

export class Bench {
  readonly memory: EngineMemory;
  readonly frames: Frames;
  readonly cpu: Cpu;
  readonly state: number;
  #nextTable = TABLES;
  readonly #root: number;
  #lastEntry = 0;

  /** `compiler`: how code is compiled; left out: it is interpreted. `labels`: the processor follows labels (test/taint). */
  constructor(cpuid: BenchCpuid = recognisable, forms?: FormSet, compiler: CompilerSettings | null = null, labels = false) {
    this.memory = new EngineMemory({ states: 2, contexts: 16, recordBytes: 4 * MIB, pages: [1024], labels });
    const encryption = new EncryptionEngine(nobleAes, 1, { mode: 'xex', constants: 'published' }, (into) => into.fill(0));
    this.frames = new Frames(this.memory, new Dram(DRAM_SIZE), encryption);
    this.state = this.memory.states;
    this.cpu = new Cpu(this.memory, this.frames, new (labels ? NotingMmu : Mmu)(this.memory, this.frames), {
      cpuid,
      random64: () => 0x0123_4567_89ab_cdefn,
      trace: null,
      tscPerInstruction: 32,
      compiler,
      labels,
      ...(forms ? { forms } : {}),
    });
    this.#root = this.#table();
  }

  /** Maps one page; linear and physical addresses are multiples of 4096. */
  map(linear: number, physical: number, permission: number): void {
    let table = this.#root;
    for (const shift of [39, 30, 21]) {
      const entry = table + 8 * (Math.floor(linear / 2 ** shift) & 511);
      let next = this.physical(entry, 8).getBigUint64(0, true);
      if (next === 0n) {
        next = BigInt(this.#table() | 7);
        this.#write64(entry, next);
      }
      table = Number(next & 0xff_ffff_f000n);
    }
    const noExecute = (permission & Permission.NO_EXECUTE) !== 0 ? 1n << 63n : 0n;
    this.#lastEntry = table + 8 * (Math.floor(linear / 4096) & 511);
    this.#write64(this.#lastEntry, BigInt(physical) | BigInt(permission & 6) | noExecute | 1n);
  }

  /** The page is not present any more. */
  unmap(linear: number): void {
    this.map(linear, 0, 0);
    this.#write64(this.#lastEntry, 0n);
  }

  #table(): number {
    this.#nextTable += 4096;
    return this.#nextTable - 4096;
  }

  #write64(physical: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.write(physical, bytes);
  }

  write(physical: number, bytes: Uint8Array): void {
    this.frames.write(physical, 0, bytes);
  }

  read(physical: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.frames.read(physical, 0, bytes);
    return bytes;
  }

  physical(address: number, length: number): DataView {
    return new DataView(this.read(address, length).buffer);
  }

  // --- the state block ---

  u64(offset: number): bigint {
    return this.memory.view.getBigUint64(this.state + offset, true);
  }

  setU64(offset: number, value: bigint): void {
    this.memory.view.setBigUint64(this.state + offset, BigInt.asUintN(64, value), true);
  }

  u32(offset: number): number {
    return this.memory.view.getUint32(this.state + offset, true);
  }

  setU32(offset: number, value: number): void {
    this.memory.view.setUint32(this.state + offset, value, true);
  }

  get rip(): bigint {
    return this.u64(State.RIP);
  }

  gpr(n: number): bigint {
    return this.u64(gprAt(n));
  }

  setGpr(n: number, value: bigint): void {
    this.setU64(gprAt(n), value);
  }

  get rflags(): number {
    return this.u32(State.RFLAGS) | statusFlagsOf(this.memory.i32, this.state >>> 2);
  }

  set rflags(value: number) {
    setStatusFlagsOf(this.memory.i32, this.state >>> 2, value);
    this.setU32(State.RFLAGS, (value & ~ARITHMETIC_FLAGS) | Rflags.ALWAYS_1);
  }

  setSegment(segment: Segment, selector: number, attributes: number, limit: number, base: number): void {
    const { view } = this.memory;
    const at = this.state + segmentAt(segment);
    view.setUint16(at + SegmentPart.SELECTOR, selector, true);
    view.setUint16(at + SegmentPart.ATTRIBUTES, attributes, true);
    view.setUint32(at + SegmentPart.LIMIT, limit, true);
    view.setBigUint64(at + SegmentPart.BASE, BigInt(base), true);
  }

  /** An ordinary long-mode kernel: paging on, all exceptions intercepted; registers 0. Segments are the caller's. */
  reset(): void {
    this.memory.u8.fill(0, this.state, this.state + STATE_SIZE);
    this.setU32(State.FAULT_VECTOR, -1);
    this.setU32(State.STOP, STOP_NONE);
    this.setU64(State.CR0, BigInt(Cr0.PG + (Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM)));
    this.setU64(State.CR3, BigInt(this.#root));
    this.setU64(State.CR4, BigInt(Cr4.PAE | Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.FSGSBASE | Cr4.UMIP));
    this.setU64(State.EFER, BigInt(Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE | Efer.SVME));
    this.setU64(State.DR6, 0xffff_0ff0n);
    this.setU64(State.DR7, 0x400n);
    this.setU64(State.XCR0, 1n);
    this.setU64(State.PAT, 0x0007_0406_0007_0406n);
    this.memory.view.setUint16(this.state + State.FCW, 0x037f, true);
    this.memory.view.setUint16(this.state + State.FTW, 0xffff, true);
    this.setU32(State.MXCSR, 0x1f80);
    this.rflags = Rflags.ALWAYS_1;
    this.setU32(State.INTERCEPTS + 8, 0xffff_ffff);
  }

  /** Exceptions go through the guest's own interrupt table. */
  deliverExceptions(): void {
    this.setU32(State.INTERCEPTS + 8, 0);
  }

  /** To be called after the state was written, before `run`. */
  settle(): void {
    this.cpu.state = this.state;
    this.cpu.settle();
  }

  run(budget: number): Ending {
    if (this.cpu.run(budget) === Stopped.LIMIT) return { kind: 'limit' };
    const code = this.u32(State.STOP) | 0;
    const info1 = this.u64(State.STOP_INFO1);
    const info2 = this.u64(State.STOP_INFO2);
    this.setU32(State.STOP, STOP_NONE);
    const vector = code - ExitCode.EXCEPTION;
    if (vector < 0 || vector > 31) return { kind: 'exit', code, info1, info2 };
    return { kind: 'exception', vector, errorCode: Number(info1), address: vector === Vector.PF ? info2 : 0n };
  }
}

/** Attributes of flat segments as the state keeps them. */
export const Flat = {
  code64: (cpl: number): number => A.P | A.S | A.CODE | A.WRITABLE | A.ACCESSED | A.L | A.G | (cpl << 5),
  code32: (cpl: number): number => A.P | A.S | A.CODE | A.WRITABLE | A.ACCESSED | A.DB | A.G | (cpl << 5),
  code16: (cpl: number): number => A.P | A.S | A.CODE | A.WRITABLE | A.ACCESSED | (cpl << 5),
  data32: (cpl: number): number => A.P | A.S | A.WRITABLE | A.ACCESSED | A.DB | A.G | (cpl << 5),
  data16: (cpl: number): number => A.P | A.S | A.WRITABLE | A.ACCESSED | (cpl << 5),
  task: A.P | 0xb,
} as const;
