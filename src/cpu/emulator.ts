// One instruction emulated for a hypervisor: the same interpreter a second time, with a small memory of its own. Its
// translation arrays stay empty, so that every access comes to the caller, and it has no way to see a frame. There is
// no second meaning: the handlers are the ones that the guest runs on.

import { Context, EngineMemory, INVALID_FIRST_TARGET } from '../memory/map.ts';
import { Leave, type Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';
import { InstructionDecoder } from '../x86/decode.ts';
import { SystemResult } from '../x86/emitter.ts';
import { setStatusFlagsOf, statusFlagsOf } from '../x86/flags.ts';
import type { Mode } from '../x86/form.ts';
import { RECORD_SIZE, Steering } from '../x86/record.ts';
import { Interpreter } from './interpreter.ts';
import { writeInstruction, writeSteering } from './record-writer.ts';
import { ARITHMETIC_FLAGS, Cr0, Rflags } from '../arch/registers.ts';

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

/** Decoded instructions are kept by their place in the page: a guest asks its devices from a few places, again and again. */
const KEPT = 64;
const LONGEST = 15;
type Kept = { offset: number; mode: Mode; length: number; readonly bytes: Uint8Array };

export class InstructionEmulator {
  readonly #memory = new EngineMemory({ states: 1, contexts: 1, recordBytes: 2 * KEPT * RECORD_SIZE, pages: [32] });
  readonly #quadwords = new BigUint64Array(this.#memory.memory.buffer);
  readonly #kept: readonly Kept[] = Array.from({ length: KEPT }, () => ({
    offset: 0,
    mode: 16,
    length: 0,
    bytes: new Uint8Array(LONGEST),
  }));
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
    memory.i32[(memory.contexts + Context.JUMP) >>> 2] = INVALID_FIRST_TARGET;
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
    const record = this.#decode(bytes, offset, state.mode);
    if (record === 0) return false;
    memory.u8.fill(0, at, at + State.XMM);
    this.#quadwords.set(state.registers, (at + State.GPR) >>> 3);
    state.segmentBases.forEach((base, n) => {
      view.setBigUint64(at + segmentAt(n as Segment) + SegmentPart.BASE, base, true);
      view.setInt32(at + segmentAt(n as Segment) + SegmentPart.LIMIT, -1, true);
    });
    view.setBigUint64(at + State.PAGE, BigInt.asUintN(64, state.rip - BigInt(offset)), true);
    view.setBigInt64(at + State.STACK_MASK, -1n, true);
    view.setInt32(at + State.CONTEXT, memory.contexts, true);
    // Whether the mode has the instruction was decided where it was fetched.
    view.setInt32(at + State.CR0, Cr0.PE, true);
    setStatusFlagsOf(memory.i32, at >>> 2, state.rflags);
    view.setInt32(at + State.RFLAGS, (state.rflags & ~ARITHMETIC_FLAGS) | Rflags.ALWAYS_1, true);
    this.#operands = operands;
    this.#stored = true;
    const leave = this.#interpreter.run(at, record, 1);
    this.#operands = null;
    if (leave === Leave.FAULT || !this.#stored) return false;
    const first = (at + State.GPR) >>> 3;
    for (let n = 0; n < 16; n++) state.registers[n] = this.#quadwords[first + n]!;
    state.rip = view.getBigUint64(at + State.RIP, true);
    state.rflags = view.getInt32(at + State.RFLAGS, true) | statusFlagsOf(memory.i32, at >>> 2);
    return true;
  }

  /** The record of an instruction, decoded if it is not the one that was last met at its place; 0: it does not decode. */
  #decode(bytes: Uint8Array, offset: number, mode: Mode): number {
    const { memory, view } = this.#at();
    const slot = offset % KEPT;
    const kept = this.#kept[slot]!;
    const record = memory.records + 2 * RECORD_SIZE * slot;
    if (
      kept.length > 0 &&
      kept.offset === offset &&
      kept.mode === mode &&
      kept.length <= bytes.length &&
      same(kept.bytes, bytes, kept.length)
    )
      return record;
    kept.length = 0;
    this.#decoder.decode(bytes, offset, mode, (d) => {
      kept.length = d.length;
      writeInstruction(view, this.#interpreter, record, offset, d);
      writeSteering(view, record + RECORD_SIZE, 0, Steering.CROSS, BigInt(offset + d.length));
      return false;
    });
    if (kept.length === 0) return 0;
    kept.offset = offset;
    kept.mode = mode;
    kept.bytes.set(bytes.subarray(0, kept.length));
    this.#interpreter.sync();
    return record;
  }

  #at(): { readonly memory: EngineMemory; readonly view: DataView } {
    return { memory: this.#memory, view: this.#memory.view };
  }
}

const addressOf = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);

function same(a: Uint8Array, b: Uint8Array, length: number): boolean {
  for (let k = 0; k < length; k++) if (a[k] !== b[k]) return false;
  return true;
}
