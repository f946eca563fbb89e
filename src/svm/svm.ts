// The processor and its memory as hypervisor software meets them: the one implementation of HostProcessor.

import type { CpuidResult } from '../cpu/cpuid.ts';
import type { Frames } from '../memory/frames.ts';
import type { Asids } from '../sev/asid-ownership.ts';
import type { PhysicalAddresses } from '../sev/physical-addresses.ts';
import type { Spa } from '../util/address.ts';
import type { CodeCounts } from '../util/code-counts.ts';
import type { GuestRegisters, HostProcessor, HostFault, HostMemory, Mailbox } from './host-processor.ts';
import { HostMapping } from './host-memory.ts';
import type { SwitchObserver } from './observer.ts';
import type { CpuPort } from './ports.ts';
import type { WorldSwitchParts } from './processor-place.ts';
import { WorldSwitch } from './world-switch.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

export type SvmParts = WorldSwitchParts & {
  readonly cpuid: (leaf: number, subleaf: number) => CpuidResult;
  readonly mailbox: Mailbox;
  /** Told at VMRUN which of several processors it is that executes. */
  readonly running?: (processor: Svm) => void;
};

export class Svm implements HostProcessor, Stateful {
  readonly memory: HostMemory;
  readonly mailbox: Mailbox;
  readonly #switch: WorldSwitch;
  readonly #cpu: CpuPort;
  readonly #asids: Asids;
  readonly #frames: Frames;
  readonly #number: number;
  readonly #running: ((processor: Svm) => void) | undefined;
  readonly #cpuid: (leaf: number, subleaf: number) => CpuidResult;

  constructor(parts: SvmParts) {
    this.mailbox = parts.mailbox;
    this.#switch = new WorldSwitch(parts);
    this.memory = new HostMapping(parts.frames, parts.mmu.host(parts.processor?.number ?? 0), this.#switch.host);
    this.#cpu = parts.cpu;
    this.#asids = parts.asids;
    this.#frames = parts.frames;
    this.#number = parts.processor?.number ?? 0;
    this.#running = parts.running;
    this.#cpuid = parts.cpuid;
  }

  cpuid(leaf: number, subleaf: number): CpuidResult {
    return this.#cpuid(leaf, subleaf);
  }
  get xcr0(): bigint {
    return this.#switch.xcr0;
  }
  loadCr3(value: bigint): boolean {
    return this.#switch.control.loadCr3(value);
  }
  vmrun(vmcb: Spa, registers: GuestRegisters): HostFault | null {
    this.#running?.(this);
    return this.#switch.vmrun(vmcb, registers);
  }
  vmload(vmcb: Spa): HostFault | null {
    return this.#switch.unswitched.vmload(vmcb);
  }
  vmsave(vmcb: Spa): HostFault | null {
    return this.#switch.unswitched.vmsave(vmcb);
  }
  loadRegisters(page: Spa): void {
    this.#switch.unswitched.move(page, true);
  }
  storeRegisters(page: Spa): void {
    this.#switch.unswitched.move(page, false);
  }
  rdmsr(index: number): bigint | null {
    return this.#switch.control.msrs.read(index);
  }
  wrmsr(index: number, value: bigint): boolean {
    return this.#switch.control.msrs.write(index, value);
  }
  wbinvd(): void {
    this.#frames.wbinvd();
    this.#asids.wbinvd(this.#number);
  }
  setTimer(instructions: number): void {
    this.#switch.setTimer(instructions);
  }
  idle(instructions: number): void {
    this.#cpu.idle += instructions;
  }
  get time(): number {
    return this.#cpu.retired + this.#cpu.idle;
  }
  get retired(): number {
    return this.#switch.retired;
  }
  get elements(): number {
    return this.#cpu.elements;
  }

  // --- for those who see everything; HostProcessor does not have it --------------------------------------------------------------------

  /** How often each exit code became a #VC. */
  get vcCounts(): CodeCounts {
    return this.#switch.vcCounts;
  }
  set vcCounts(counts: CodeCounts) {
    this.#switch.vcCounts = counts;
  }
  /** Why the last VMRUN gave INVALID, in words; null if it did not. */
  get refusal(): string | null {
    return this.#switch.refusal;
  }
  set observer(observer: SwitchObserver | null) {
    this.#switch.observer = observer;
  }
  /** Addresses as SYSCFG of the moment has them read. */
  get addresses(): PhysicalAddresses {
    return this.#switch.control.addresses;
  }
  /** Address of the state block of the guest that ran last. */
  get guestState(): number {
    return this.#switch.state;
  }

  exchange(fields: Fields): void {
    fields.part(this.#switch);
  }
}
