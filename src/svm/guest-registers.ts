// The general-purpose registers of a guest without SEV-ES, as software keeps them across VMRUN, to the state block and back.

import type { EngineMemory } from '../memory/map.ts';
import { State } from '../memory/state.ts';
import { assert } from '../util/errors.ts';
import type { GuestRegisters } from './host-processor.ts';

const REGISTERS = 16;

export class GuestRegisterFile {
  readonly #i32: Int32Array;
  #registers: GuestRegisters | null = null;
  /** The same bytes as 32-bit words: a vCPU hands in the same registers each time. */
  #words = new Int32Array(0);

  constructor(memory: EngineMemory) {
    this.#i32 = memory.i32;
  }

  /** The registers that the next calls move. */
  use(registers: GuestRegisters): void {
    if (registers === this.#registers) return;
    assert(registers.length === REGISTERS, 'a guest has sixteen general-purpose registers');
    this.#registers = registers;
    this.#words = new Int32Array(registers.buffer as ArrayBuffer, registers.byteOffset, 2 * REGISTERS);
  }

  load(state: number): void {
    const words = this.#words;
    const first = (state + State.GPR) >>> 2;
    for (let k = 0; k < 2 * REGISTERS; k++) this.#i32[first + k] = words[k]!;
  }

  store(state: number): void {
    const words = this.#words;
    const first = (state + State.GPR) >>> 2;
    for (let k = 0; k < 2 * REGISTERS; k++) words[k] = this.#i32[first + k]!;
  }
}
