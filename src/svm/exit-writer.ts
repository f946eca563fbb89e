// What #VMEXIT writes into the control area of the VMCB, besides EXITINTINFO. APM vol. 2, 15.6 to 15.8; of an SEV-ES guest the
// host learns neither nRIP nor instruction bytes, but RFLAGS.IF and the GHCB MSR (15.35.9).

import { ExitCode } from '../arch/exit-code.ts';
import { Ioio } from '../arch/ghcb.ts';
import { Vector } from '../arch/exception.ts';
import { Rflags } from '../arch/registers.ts';
import { EventInjection, INSTRUCTION_BYTES, InterruptState, NestedPageFault, VirtualInterrupt, VmcbControl } from '../arch/vmcb.ts';
import type { EngineMemory } from '../memory/map.ts';
import { State } from '../memory/state.ts';
import { hasNextInstruction } from './exit-kind.ts';
import type { InstructionReader } from './instruction.ts';
import type { CpuPort } from './ports.ts';
import { Word } from './vmcb-words.ts';

const BYTES_FETCHED = VmcbControl.layout.instructionBytesFetched.offset;

/** The host's timer has fired. `s`: the guest's state block >>> 2. */
export function interruptedByHost(i32: Int32Array, s: number): number {
  i32[s + (State.STOP >>> 2)] = ExitCode.INTR;
  i32[s + (State.STOP_TRAP >>> 2)] = 0;
  i32.fill(0, s + (State.STOP_INFO1 >>> 2), s + (State.STOP_INFO2 >>> 2) + 2);
  return ExitCode.INTR;
}

export class ExitWriter {
  readonly #memory: EngineMemory;
  readonly #i32: Int32Array;
  readonly #reader: InstructionReader;
  /** Bytes of the intercepted instruction up to the next one, and its bytes where the VMCB shows them. */
  #length = 0;
  #bytes: Uint8Array | null = null;

  constructor(memory: EngineMemory, reader: InstructionReader) {
    this.#memory = memory;
    this.#i32 = memory.i32;
    this.#reader = reader;
  }

  /** Reads what is needed of the instruction, before `write`: reading may move frames. */
  look(state: number, code: number, encryptedState: boolean): void {
    this.#length = 0;
    this.#bytes = null;
    if (encryptedState) return;
    // Behind a trap RIP is the next one.
    const behind = this.#namesNextRip(code, state >>> 2) || this.#i32[(state + State.STOP_TRAP) >>> 2] !== 0;
    if (hasNextInstruction(code) && !behind) this.#length = this.#i32[(state + State.STOP_LENGTH) >>> 2]! || this.#reader.length(state);
    else if (this.#showsInstruction(state, code)) this.#bytes = this.#reader.fetch(state);
  }

  /** `at`: address of the VMCB's bytes. */
  write(at: number, state: number, code: number, encryptedState: boolean): void {
    const i32 = this.#i32;
    const v = at >>> 2;
    const s = state >>> 2;
    const info = s + (State.STOP_INFO1 >>> 2);
    i32[v + Word.EXIT_CODE] = code;
    i32[v + Word.EXIT_CODE + 1] = code >> 31;
    for (let k = 0; k < 4; k++) i32[v + Word.EXIT_INFO1 + k] = i32[info + k]!;
    i32[v + Word.EVENT_INJ]! &= ~EventInjection.V;
    const shadow = i32[s + (State.SHADOW >>> 2)] !== 0 ? InterruptState.INTERRUPT_SHADOW : 0;
    const mask = encryptedState && (i32[s + (State.RFLAGS >>> 2)]! & Rflags.IF) !== 0 ? InterruptState.GUEST_INTERRUPT_MASK : 0;
    i32[v + Word.INTERRUPT_STATE] = shadow | mask;
    if (encryptedState) {
      i32[v + Word.GHCB] = i32[s + (State.GHCB >>> 2)]!;
      i32[v + Word.GHCB + 1] = i32[s + (State.GHCB >>> 2) + 1]!;
    }
    this.#nextRip(v, s, code, encryptedState);
    const bytes = this.#bytes;
    this.#memory.u8[at + BYTES_FETCHED] = bytes === null ? 0 : bytes.length;
    if (bytes !== null) this.#memory.u8.set(bytes, at + INSTRUCTION_BYTES.offset);
  }

  /** V_TPR follows CR8 under V_INTR_MASKING; V_IRQ and V_NMI go when the guest took what was offered, V_NMI_MASK is whether it blocks NMIs. */
  virtualInterrupts(v: number, s: number, cpu: CpuPort, vnmi: boolean): void {
    const i32 = this.#i32;
    let next = i32[v + Word.VIRTUAL_INTERRUPT]!;
    if ((next & VirtualInterrupt.V_INTR_MASKING) !== 0) next = (next & ~VirtualInterrupt.V_TPR) | (i32[s + (State.CR8 >>> 2)]! & 0xf);
    if (cpu.virtualInterrupt < 0) next &= ~VirtualInterrupt.V_IRQ;
    if (vnmi && (next & VirtualInterrupt.V_NMI_ENABLE) !== 0) {
      next &= ~(VirtualInterrupt.V_NMI_MASK | (cpu.virtualNmi ? 0 : VirtualInterrupt.V_NMI));
      if (i32[s + (State.NMI_BLOCKED >>> 2)] !== 0) next |= VirtualInterrupt.V_NMI_MASK;
    }
    i32[v + Word.VIRTUAL_INTERRUPT] = next;
  }

  /** VMEXIT_INVALID or VMEXIT_BUSY: nothing else of the VMCB changes. */
  refused(v: number, code: number): void {
    const i32 = this.#i32;
    i32[v + Word.EXIT_CODE] = code;
    i32[v + Word.EXIT_CODE + 1] = -1;
    i32.fill(0, v + Word.EXIT_INFO1, v + Word.EXIT_INT_INFO + 2);
  }

  /** IOIO has the next RIP in EXITINFO2; string I/O has an element's address there. */
  #namesNextRip(code: number, s: number): boolean {
    return code === ExitCode.IOIO && (this.#i32[s + (State.STOP_INFO1 >>> 2)]! & Ioio.STRING) === 0;
  }

  #nextRip(v: number, s: number, code: number, encryptedState: boolean): void {
    const i32 = this.#i32;
    let low = 0;
    let high = 0;
    if (!encryptedState && hasNextInstruction(code)) {
      const from = s + ((this.#namesNextRip(code, s) ? State.STOP_INFO2 : State.RIP) >>> 2);
      const sum = (i32[from]! >>> 0) + this.#length;
      low = sum | 0;
      high = i32[from + 1]! + (sum > 0xffff_ffff ? 1 : 0);
    }
    i32[v + Word.N_RIP] = low;
    i32[v + Word.N_RIP + 1] = high;
  }

  /** Nested page faults and intercepted #PF on data (15.8.4). */
  #showsInstruction(state: number, code: number): boolean {
    if (code === ExitCode.NPF) return (this.#i32[(state + State.STOP_INFO1) >>> 2]! & NestedPageFault.ID) === 0;
    return code === ExitCode.EXCEPTION + Vector.PF;
  }
}
