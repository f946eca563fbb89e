// One instruction, executed for software on the host (MMIO of a guest that cannot do it itself): registers and operands as
// values, no machine behind it.

import { type EmulatedState, InstructionEmulator, type OperandMemory } from '../cpu/emulator.ts';

export type { EmulatedState, OperandMemory };

export interface Emulator {
  /** False: the instruction cannot be executed this way, and `state` is as before. */
  execute(bytes: Uint8Array, state: EmulatedState, operands: OperandMemory): boolean;
}

let emulator: InstructionEmulator | null = null;

/** The emulator of the process: it keeps nothing from one instruction to the next. */
export function instructionEmulator(): Emulator {
  emulator ??= new InstructionEmulator();
  return emulator;
}
