// One instruction emulated for a hypervisor: the same interpreter a second time, with a small memory of its own. Its
// translation arrays stay empty, so that every access comes to the caller, and it has no way to see a frame. There is
// no second meaning: the handlers are the ones that the guest runs on.

import { Context, EngineMemory, INVALID_TAG_LOW, INVALID_TARGET_HIGH } from '../memory/map.ts';
import { gprAt, Leave, type Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';
import { InstructionDecoder } from '../x86/decode.ts';
import { SystemResult } from '../x86/emitter.ts';
import { setStatusFlagsOf, statusFlagsOf } from '../x86/flags.ts';
import type { Mode } from '../x86/form.ts';
import { RECORD_SIZE, Steering } from '../x86/record.ts';
import { Interpreter } from './interpreter.ts';
import { writeInstruction, writeSteering } from './record-writer.ts';
import { ARITHMETIC_FLAGS, Rflags } from '../arch/registers.ts';

/** Where the memory operands of the instruction are. Sizes are 1 to 8 bytes; undefined and false: it cannot be reached. */
export interface OperandMemory {
  load(address: bigint, size: number): bigint | undefined;
  store(address: bigint, size: number, value: bigint): boolean;
}

/** The registers that the instruction starts with, and those that it leaves. */
export type EmulatedState = {
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8..R15. */
  readonly registers: BigUint64Array;
  rip: bigint;
  rflags: number;
  readonly mode: Mode;
  /** Bases of ES CS SS DS FS GS. */
  readonly segmentBases: readonly bigint[];
};

export class InstructionEmulator {
  readonly #memory = new EngineMemory({ states: 1, contexts: 1, recordBytes: 4096, pages: [32] });
  readonly #interpreter: Interpreter;
  readonly #decoder = new InstructionDecoder();
  #operands: OperandMemory | null = null;

  constructor() {
    const { memory, view } = this.#at();
    const scratch = this.#memory.states + State.SCRATCH;
    const fill = (low: number, high: number, size: number): number => {
      const value = this.#operands?.load(addressOf(low, high), size);
      if (value === undefined) return 0;
      view.setBigUint64(scratch, BigInt.asUintN(64, value), true);
      return scratch;
    };
    const prepare = (low: number, high: number, size: number): void => {
      view.setInt32(this.#memory.states + State.PENDING_SIZE, size, true);
      view.setInt32(this.#memory.states + State.PENDING_ADDRESS, low, true);
      view.setInt32(this.#memory.states + State.PENDING_ADDRESS + 4, high, true);
    };
    this.#interpreter = new Interpreter(memory, {
      load: (_state, low, high, size) => fill(low, high, size),
      store: (_state, low, high, size) => {
        prepare(low, high, size);
        return scratch;
      },
      modify: (_state, low, high, size) => {
        prepare(low, high, size);
        return fill(low, high, size);
      },
      commit: () => {
        const at = this.#memory.states;
        const size = view.getInt32(at + State.PENDING_SIZE, true);
        const address = addressOf(view.getInt32(at + State.PENDING_ADDRESS, true), view.getInt32(at + State.PENDING_ADDRESS + 4, true));
        this.#stored = this.#operands?.store(address, size, BigInt.asUintN(8 * size, view.getBigUint64(scratch, true))) === true;
        return 0;
      },
      limit: () => 1,
      system: () => SystemResult.FAULT,
    });
    memory.i32.fill(INVALID_TAG_LOW, memory.contexts >>> 2, (memory.contexts + Context.JUMP) >>> 2);
    memory.i32.fill(INVALID_TARGET_HIGH, (memory.contexts + Context.JUMP) >>> 2, (memory.contexts + Context.SIZE) >>> 2);
  }

  #stored = true;

  /**
   * Executes the instruction in `bytes`; under a repeat prefix one element of it. False: it does not decode, needs more
   * than its operands, or one of them cannot be reached; then `state` is unchanged.
   */
  execute(bytes: Uint8Array, state: EmulatedState, operands: OperandMemory): boolean {
    const { memory, view } = this.#at();
    const at = memory.states;
    const offset = Number(state.rip & 0xfffn);
    let length = 0;
    this.#decoder.decode(bytes, offset, state.mode, (d) => {
      length = d.length;
      writeInstruction(view, this.#interpreter, memory.records, offset, d);
      writeSteering(view, memory.records + RECORD_SIZE, 0, Steering.CROSS, BigInt(offset + length));
      return false;
    });
    if (length === 0) return false;
    this.#interpreter.sync();
    memory.u8.fill(0, at, at + State.XMM);
    for (let n = 0; n < 16; n++) view.setBigUint64(at + gprAt(n), state.registers[n] ?? 0n, true);
    state.segmentBases.forEach((base, n) => {
      view.setBigUint64(at + segmentAt(n as Segment) + SegmentPart.BASE, base, true);
      view.setInt32(at + segmentAt(n as Segment) + SegmentPart.LIMIT, -1, true);
    });
    view.setBigUint64(at + State.PAGE, BigInt.asUintN(64, state.rip - BigInt(offset)), true);
    view.setBigInt64(at + State.STACK_MASK, -1n, true);
    view.setInt32(at + State.CONTEXT, memory.contexts, true);
    setStatusFlagsOf(memory.i32, at >>> 2, state.rflags);
    view.setInt32(at + State.RFLAGS, (state.rflags & ~ARITHMETIC_FLAGS) | Rflags.ALWAYS_1, true);
    this.#operands = operands;
    this.#stored = true;
    const leave = this.#interpreter.run(at, memory.records, 1);
    this.#operands = null;
    if (leave === Leave.FAULT || !this.#stored) return false;
    for (let n = 0; n < 16; n++) state.registers[n] = view.getBigUint64(at + gprAt(n), true);
    state.rip = view.getBigUint64(at + State.RIP, true);
    state.rflags = view.getInt32(at + State.RFLAGS, true) | statusFlagsOf(memory.i32, at >>> 2);
    return true;
  }

  #at(): { readonly memory: EngineMemory; readonly view: DataView } {
    return { memory: this.#memory, view: this.#memory.view };
  }
}

const addressOf = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
