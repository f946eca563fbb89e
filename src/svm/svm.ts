// The processor and its memory as hypervisor software meets them: the one implementation of Host.

import type { CpuidResult } from '../cpu/cpuid.ts';
import type { Frames } from '../memory/frames.ts';
import { PagePort } from '../memory/host-page.ts';
import type { Asids } from '../sev/asids.ts';
import { PAGE_SIZE, pageOf, type Spa } from '../util/address.ts';
import type { CodeCounts } from '../util/code-counts.ts';
import type { Port } from '../util/struct.ts';
import type { GuestRegisters, Host, HostFault, HostMemory, Mailbox } from './host.ts';
import type { CpuPort } from './ports.ts';
import { WorldSwitch, type WorldSwitchParts } from './world-switch.ts';

const HOST_KEY = 0;

class HostMapping implements HostMemory {
  readonly #frames: Frames;
  readonly size: number;

  constructor(frames: Frames) {
    this.#frames = frames;
    this.size = frames.pageCount * PAGE_SIZE;
  }
  read(spa: Spa, into: Uint8Array): void {
    this.#frames.read(spa, HOST_KEY, into);
  }
  write(spa: Spa, from: Uint8Array): void {
    this.#frames.write(spa, HOST_KEY, from);
  }
  page(spa: Spa): Port {
    return new PagePort(this.#frames, pageOf(spa));
  }
}

export type SvmParts = WorldSwitchParts & {
  readonly cpuid: (leaf: number, subleaf: number) => CpuidResult;
  readonly mailbox: Mailbox;
};

export class Svm implements Host {
  readonly memory: HostMemory;
  readonly mailbox: Mailbox;
  readonly #switch: WorldSwitch;
  readonly #cpu: CpuPort;
  readonly #asids: Asids;
  readonly #cpuid: (leaf: number, subleaf: number) => CpuidResult;

  constructor(parts: SvmParts) {
    this.memory = new HostMapping(parts.frames);
    this.mailbox = parts.mailbox;
    this.#switch = new WorldSwitch(parts);
    this.#cpu = parts.cpu;
    this.#asids = parts.asids;
    this.#cpuid = parts.cpuid;
  }

  cpuid(leaf: number, subleaf: number): CpuidResult {
    return this.#cpuid(leaf, subleaf);
  }
  get xcr0(): bigint {
    return this.#switch.xcr0;
  }
  vmrun(vmcb: Spa, registers: GuestRegisters): HostFault | null {
    return this.#switch.vmrun(vmcb, registers);
  }
  vmload(vmcb: Spa): HostFault | null {
    return this.#switch.vmload(vmcb);
  }
  vmsave(vmcb: Spa): HostFault | null {
    return this.#switch.vmsave(vmcb);
  }
  rdmsr(index: number): bigint | null {
    return this.#switch.msrs.read(index);
  }
  wrmsr(index: number, value: bigint): boolean {
    return this.#switch.msrs.write(index, value);
  }
  /** Caches are coherent, so that nothing moves; but the AMD-SP wants it done before DF_FLUSH. */
  wbinvd(): void {
    this.#asids.wbinvd();
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

  // --- for those who see everything; Host does not have it --------------------------------------------------------------------

  /** How often each exit code became a #VC. */
  get vcCounts(): CodeCounts {
    return this.#switch.vcCounts;
  }
  /** Why the last VMRUN gave INVALID, in words; null if it did not. */
  get refusal(): string | null {
    return this.#switch.refusal;
  }
  /** Address of the state block of the guest that ran last. */
  get guestState(): number {
    return this.#switch.state;
  }
}
