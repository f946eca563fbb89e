// A processor with memory that executes one state after another: alone, or as the guest of a hypervisor that takes every exit.

import { Dram } from '../../src/memory/dram.ts';
import { EncryptionEngine } from '../../src/memory/encryption.ts';
import { Frames } from '../../src/memory/frames.ts';
import { EngineMemory } from '../../src/memory/map.ts';
import { Cpu, Stopped } from '../../src/cpu/cpu.ts';
import { processorCpuid } from '../../src/cpu/cpuid.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { EventInjection, EventType, VirtualInterrupt } from '../../src/arch/vmcb.ts';
import { Vector } from '../../src/arch/exception.ts';
import { Rflags } from '../../src/arch/registers.ts';
import { Segment, SegmentPart, State, STATE_SIZE, STOP_NONE, segmentAt } from '../../src/memory/state.ts';
import { highAddressMask } from '../../src/mmu/environment.ts';
import type { Mmu } from '../../src/mmu/mmu.ts';
import { eventProblem, patProblem, registerProblem } from '../../src/svm/consistency.ts';
import { canonicaliseBases, rflagsOf, vmsaTransfer } from '../../src/svm/transfer.ts';
import type { TraceNote } from '../../src/util/trace.ts';
import { Guest, GUEST_MEMORY } from './guest.ts';
import { MEMORY, MODEL, PAGE } from './layout.ts';
import type { MachineState } from './machine-state.ts';
import type { Way } from './ways.ts';

const CHUNK = 16 * PAGE;
const BARE_ADDRESS_BITS = 48;

/** How a state ended. */
export type Outcome = {
  /** Exits in order, and what else there is to say. */
  readonly log: string;
  readonly retired: number;
  /** What a guest can see of the state block. */
  readonly block: Uint8Array;
  /** The chips: ciphertext where a key applies. Valid until the lab runs again. */
  readonly memory: Uint8Array;
  /** What is wrong with it in itself. */
  readonly problem: string | null;
};

export class Lab {
  readonly way: Way;
  readonly memory: EngineMemory;
  readonly frames: Frames;
  readonly mmu: Mmu;
  readonly cpu: Cpu;
  readonly encryption: EncryptionEngine;
  readonly trace: TraceNote[] = [];
  tracing = false;
  #draws = 0n;
  readonly #bare = new Dram(MEMORY);
  readonly #hosted = new Dram(GUEST_MEMORY);
  readonly #guest: Guest;
  /** What the chips held after the last run. */
  readonly #chips = new Uint8Array(GUEST_MEMORY);
  readonly #scratch = new Int32Array(STATE_SIZE / 4);

  constructor(way: Way) {
    this.way = way;
    this.memory = new EngineMemory({ states: 8, contexts: 16, recordBytes: 1 << 20, pages: [way.pages] });
    let noise = 1;
    this.encryption = new EncryptionEngine(nodeAes, MODEL.lastAsid + 1, MODEL.tweak, (into) => {
      for (let n = 0; n < into.length; n++) into[n] = (noise = (Math.imul(noise, 1103515245) + 12345) >>> 0) >>> 16;
    });
    this.frames = new Frames(this.memory, this.#bare, this.encryption);
    this.mmu = way.mmu(this.memory, this.frames);
    const forms = way.forms?.();
    this.cpu = new Cpu(this.memory, this.frames, this.mmu, {
      cpuid: processorCpuid(MODEL),
      random64: () => (this.#draws = BigInt.asUintN(64, this.#draws * 6364136223846793005n + 1442695040888963407n)),
      trace: { emit: (note) => this.tracing && this.trace.push(note) },
      tscPerInstruction: 32,
      compiler: way.compiler ?? null,
      ...(forms === undefined ? {} : { forms }),
    });
    if (way.longestEntry !== undefined) this.cpu.longestEntry = way.longestEntry;
    this.#guest = new Guest(this);
  }

  run(state: MachineState, budget = state.budget): Outcome {
    this.trace.length = 0;
    this.#draws = 1n;
    const dram = state.host === 'bare' ? this.#bare : this.#hosted;
    const image = state.host === 'bare' ? state.memory : this.#guest.image(state);
    for (let at = 0; at < image.length; at += CHUNK) new Uint8Array(dram.page(at / PAGE).buffer).set(image.subarray(at, at + CHUNK));
    this.memory.u8.fill(0, this.memory.states, this.memory.contexts);
    this.frames.reset(dram, this.encryption);
    this.mmu.reset();
    this.cpu.reset();
    const { log, problem, block } = state.host === 'bare' ? this.#runBare(state, budget) : this.#guest.run(state, budget);
    this.frames.flush();
    const memory = this.#chips.subarray(0, image.length);
    for (let at = 0; at < image.length; at += CHUNK) memory.set(new Uint8Array(dram.page(at / PAGE).buffer), at);
    return { log, retired: this.cpu.retired, block: this.#visible(block), memory, problem };
  }

  #runBare(state: MachineState, budget: number): { log: string; problem: string | null; block: number } {
    const { memory, cpu } = this;
    const block = memory.states;
    const s = block >>> 2;
    memory.i32[s + (State.STOP >>> 2)] = STOP_NONE;
    memory.i32[s + (State.FAULT_VECTOR >>> 2)] = -1;
    const save = new Uint8Array(state.save);
    vmsaTransfer.load({ i32: new Int32Array(save.buffer), view: new DataView(save.buffer) }, 0, memory, block);
    canonicaliseBases(memory.i32, s);
    for (let n = 0; n < 4; n++) memory.view.setBigUint64(block + State.DR0 + 8 * n, state.live[n]!, true);
    memory.view.setBigUint64(block + State.CR8, state.live[4]!, true);
    const refused = this.#refuses(block);
    if (refused !== null) return { log: `refused: ${refused}`, problem: null, block };
    memory.i32[s + (State.EFER >>> 2)] = this.#scratch[State.EFER >>> 2]!; // with LMA as VMRUN sets it
    const { controls } = state;
    memory.i32[s + (State.SHADOW >>> 2)] = controls.shadow;
    memory.view.setBigUint64(block + State.TSC_OFFSET, controls.tscOffset, true);
    cpu.state = block;
    cpu.settle();
    if ((controls.virtualInterrupt & VirtualInterrupt.V_IRQ) !== 0) cpu.virtualInterrupt = controls.vector;
    const ignoresPriority = (controls.virtualInterrupt & VirtualInterrupt.V_IGN_TPR) !== 0;
    cpu.virtualPriority = ignoresPriority ? 16 : (controls.virtualInterrupt & VirtualInterrupt.V_INTR_PRIO) >>> 16;
    cpu.virtualNmi = (controls.virtualInterrupt & VirtualInterrupt.V_NMI) !== 0;
    const event = Number(controls.eventInj & 0xffff_ffffn) | 0;
    if ((event & EventInjection.V) !== 0 && eventProblem(event, false, false) === null) {
      const type = (event & EventInjection.TYPE) >>> 8;
      const code = (event & EventInjection.EV) !== 0 ? Number(controls.eventInj >> 32n) : -1;
      if (cpu.inject(type === EventType.NMI ? Vector.NMI : event & 0xff, type, code))
        return { log: this.#exit(block), problem: null, block };
    }
    const log = cpu.run(budget) === Stopped.EXIT ? this.#exit(block) : 'limit';
    cpu.virtualInterrupt = -1;
    cpu.virtualNmi = false;
    const late = cpu.retired > budget ? `retired ${cpu.retired} of ${budget}` : null;
    return { log, problem: late ?? this.#refuses(block) ?? this.impossible(block), block };
  }

  #exit(block: number): string {
    const { view } = this.memory;
    const info = (offset: number): string => view.getBigUint64(block + offset, true).toString(16);
    return `exit ${(view.getInt32(block + State.STOP, true) >>> 0).toString(16)} ${info(State.STOP_INFO1)} ${info(State.STOP_INFO2)}`;
  }

  /** Would VMRUN refuse the registers? In words. */
  #refuses(block: number): string | null {
    this.#scratch.set(this.memory.i32.subarray(block >>> 2, (block + STATE_SIZE) >>> 2));
    const longMode = this.memory.i32[(block + State.EFER) >>> 2];
    const problem =
      registerProblem(this.#scratch, 0, highAddressMask(BARE_ADDRESS_BITS), this.cpu.processor.cr4Implemented) ??
      patProblem(this.#scratch, 0);
    if (problem !== null) return problem;
    // What VMRUN derives is what the processor keeps.
    if (this.cpu.retired > 0 && this.#scratch[State.EFER >>> 2] !== longMode) return 'EFER.LMA is not LME and PG';
    return null;
  }

  /** What no instruction may leave behind. */
  impossible(block: number): string | null {
    const { i32, view } = this.memory;
    const s = block >>> 2;
    const flags = rflagsOf(i32, s);
    if ((flags & ~0x3f_7fd7) !== 0 || (flags & Rflags.ALWAYS_1) === 0) return `RFLAGS ${(flags >>> 0).toString(16)}`;
    if (i32[s + (State.CPL >>> 2)]! >>> 0 > 3) return 'CPL beyond 3';
    if (i32[s + (State.MODE >>> 2)] !== 64 && i32[s + (State.RIP >>> 2) + 1] !== 0) return 'RIP beyond 32 bits outside of 64-bit mode';
    if ((view.getUint32(block + State.MXCSR, true) & ~0x2_ffff) !== 0) return 'MXCSR has reserved bits';
    if ((view.getUint32(block + State.XCR0, true) & 1) === 0) return 'XCR0 without x87';
    for (const segment of [Segment.ES, Segment.CS, Segment.SS, Segment.DS, Segment.FS, Segment.GS] as const)
      if ((view.getUint16(block + segmentAt(segment) + SegmentPart.ATTRIBUTES, true) & ~0xfff) !== 0)
        return 'segment attributes beyond 12 bits';
    return null;
  }

  /** A copy of what a guest can see of a state block: without what generated code and routines keep for themselves. */
  #visible(block: number): Uint8Array {
    const { memory } = this;
    const copy = memory.u8.slice(block, block + STATE_SIZE);
    new DataView(copy.buffer).setUint32(State.RFLAGS, rflagsOf(memory.i32, block >>> 2), true);
    for (const [from, to] of internal) copy.fill(0, from, to);
    return copy;
  }
}

/** Working storage in a state block, by offsets. */
const internal: readonly (readonly [number, number])[] = [
  [State.ZERO, State.RFLAGS],
  [State.FUEL, State.CPL],
  [State.FAULT_VECTOR, State.HALTED],
  [State.RECORD, State.RECORD + 4],
  [State.VECTOR_OPERAND, State.XMM],
];
