// A hypervisor that lies to an SEV-ES guest by what it has: the VMCB and the memory that the guest shares. The honest one does its work; then, before
// VMRUN, it is the test's turn.

import { EventInjection, EventType } from '../../src/arch/vmcb.ts';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Ghcb, type GhcbField, validBit } from '../../src/arch/ghcb.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { type GuestOptions, launch, type RunResult, type VirtualMachine } from '../../src/cbit.ts';
import { Vector } from '../../src/arch/exception.ts';
import { State } from '../../src/memory/state.ts';
import { BytesPort } from '../../src/util/struct.ts';
import { kernel } from './runs.ts';

export type Ended = RunResult & { readonly serial: string };

/** The guest reports failure or asks to be ended; neither a wrong answer nor silence. */
export const distrusted = { outcome: { kind: 'terminated', set: 0, code: 0 } } as const;
export const MISMATCH = 'FAIL: #VC whose exit code does not fit the instruction';
export const REFUSED = 'FAIL: #VC that the hypervisor did not answer properly';

export class Victim {
  readonly vm: VirtualMachine;
  #serial = '';

  constructor(name: string, options: Partial<GuestOptions> = {}) {
    const onSerial = (byte: number): void => {
      this.#serial += String.fromCharCode(byte);
    };
    this.vm = launch({ image: kernel(name), memory: 16 << 20, maxInstructions: 3_000_000, onSerial, aes: nodeAes, ...options });
  }

  get serial(): string {
    return this.#serial;
  }

  /** The next instruction, of which the hypervisor knows nothing. */
  get rip(): number {
    return Number(this.#state.getBigUint64(State.RIP, true));
  }

  get cpl(): number {
    return this.#state.getUint32(State.CPL, true);
  }

  get #state(): DataView {
    const { machine } = this.vm;
    const { u8 } = machine.engine.memory;
    return new DataView(u8.buffer, u8.byteOffset + machine.guestState, 0x1000);
  }

  /** Before each VMRUN. */
  meddle(before: () => void): void {
    const { host } = this.vm.machine;
    const vmrun = host.vmrun.bind(host);
    host.vmrun = (vmcb, registers) => {
      before();
      return vmrun(vmcb, registers);
    };
  }

  /** An event for the next VMRUN: an exception, with its error code if there is one. */
  raise(vector: number, errorCode?: number): void {
    const type = EventType.EXCEPTION << 8;
    const code = errorCode === undefined ? 0n : (BigInt(errorCode) << 32n) | BigInt(EventInjection.EV);
    this.vm.vcpu.inject(code | BigInt(EventInjection.V + type + vector));
  }

  vc(exitCode: number): void {
    this.raise(Vector.VC, exitCode);
  }

  /** A vector as an external interrupt has it. */
  interrupt(vector: number): void {
    this.vm.vcpu.inject(BigInt(EventInjection.V + (EventType.INTR << 8) + vector));
  }

  end(): Ended {
    while (!this.vm.advance(1_000_000));
    return { ...this.vm.result(), serial: this.#serial };
  }

  dispose(): void {
    this.vm.dispose();
  }
}

/** The GHCB page that was answered last; null: the last exit was another, or a request by the MSR. */
export class Answer {
  readonly #vm: VirtualMachine;
  readonly #gpa: bigint;
  readonly #bytes = new Uint8Array(4096);
  readonly #port = new BytesPort(this.#bytes);

  private constructor(vm: VirtualMachine, gpa: bigint) {
    this.#vm = vm;
    this.#gpa = gpa;
    vm.vcpu.readMemory(gpa, this.#bytes);
  }

  static of(vm: VirtualMachine): Answer | null {
    const { vmcb, ghcbMsr } = vm.vcpu;
    return vmcb.exitCode === BigInt(ExitCode.VMGEXIT) && (ghcbMsr & 0xfffn) === 0n ? new Answer(vm, ghcbMsr) : null;
  }

  /** SW_EXITCODE, as the guest wrote it. */
  get event(): number {
    return this.#port.u32(Ghcb.layout.swExitCode.offset);
  }

  get(field: GhcbField): bigint {
    return BigInt(Ghcb(this.#port)[field]);
  }

  isValid(field: GhcbField): boolean {
    const bit = validBit(field);
    return ((this.#bytes[Ghcb.layout.validBitmapLow.offset + (bit >>> 3)]! >>> (bit & 7)) & 1) === 1;
  }

  set(field: GhcbField, value: bigint): void {
    Object.assign(Ghcb(this.#port), { [field]: value });
    this.mark(field, true);
  }

  /** Marks a field valid, or not. */
  mark(field: GhcbField, valid: boolean): void {
    const bit = validBit(field);
    const at = Ghcb.layout.validBitmapLow.offset + (bit >>> 3);
    const byte = this.#bytes[at]!;
    this.#bytes[at] = valid ? byte | (1 << (bit & 7)) : byte & ~(1 << (bit & 7));
    this.#vm.vcpu.writeMemory(this.#gpa, this.#bytes);
  }
}
