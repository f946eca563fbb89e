// A processor without a hypervisor: the image that it runs is the host. It reaches ports, devices in memory and model-specific registers
// itself, takes interrupts through its own descriptor table, and runs from one event to the next: a timer, a board that was asked for
// something, HLT. Shutdown ends the run.

import { ExitCode, exitName } from '../arch/exit-code.ts';
import { Feature } from '../arch/cpuid.ts';
import { Msr } from '../arch/msr.ts';
import type { Board } from '../cpu/board.ts';
import { Stopped } from '../cpu/cpu.ts';
import { isApicMsr, readApicMsr, writeApicMsr } from '../devices/apic-msrs.ts';
import type { Chipset } from '../machine/chipset.ts';
import type { Machine } from '../machine/machine.ts';
import { State } from '../memory/state.ts';
import type { DeviceMemory } from '../mmu/device-memory.ts';
import { BARE, type Environment } from '../mmu/environment.ts';
import { assert } from '../util/errors.ts';
import { Interrupts } from './interrupts.ts';
import { BareMsrs } from './msrs.ts';
import { initialise, loadRegisters } from './registers.ts';
import { SystemMemory } from './system-memory.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** How a run ends by itself. */
export type BareEnd =
  | { readonly kind: 'ended'; readonly value: number }
  | { readonly kind: 'shutdown' }
  | { readonly kind: 'powered-off' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'halted'; readonly interruptsEnabled: boolean };

/** A slice ends after so many stops, too: a surface wants its turn (Ctrl-C, keys). */
const STOPS_PER_SLICE = 20_000;
const LONGEST_RUN = 0x4000_0000;

export class BareProcessor implements Board, DeviceMemory, Stateful {
  readonly interrupts: Interrupts;
  readonly msrs: BareMsrs;
  readonly memory: SystemMemory;
  readonly #machine: Machine;
  readonly #chipset: Chipset;
  readonly #state: number;
  readonly #deadlineTimer: boolean;
  /** Set once, by the test device or the chip set. */
  #ended: BareEnd | null = null;

  constructor(machine: Machine, chipset: Chipset) {
    this.#machine = machine;
    this.#chipset = chipset;
    const { engine, model, encryption, dram } = machine;
    const { processor } = engine.cpu;
    this.#state = machine.guestState;
    this.#deadlineTimer = processor.has(Feature.TSC_DEADLINE);
    this.interrupts = new Interrupts(machine, chipset, processor.has(Feature.X2APIC));
    this.msrs = new BareMsrs(model.physicalBits, dram.size, processor.has(Feature.SME), () => this.#enter());
    this.memory = new SystemMemory(engine.frames, model.cBit, () => (this.msrs.encrypts ? encryption.hostKey : 0));
  }

  /** Power-on: registers as a VMSA lays them out. */
  start(registers: Uint8Array): void {
    const { cpu, memory, mmu } = this.#machine.engine;
    loadRegisters(memory, this.#state, registers);
    cpu.board = this;
    mmu.scratch.devices = this;
    cpu.state = this.#state;
    this.#enter();
    cpu.settle();
  }

  end(value: number): void {
    this.#ended ??= { kind: 'ended', value };
  }

  stop(kind: 'powered-off' | 'reset'): void {
    this.#ended ??= { kind };
  }

  /** Everything consumed of a budget so far. */
  get consumed(): number {
    return this.#machine.host.retired;
  }

  /** Runs until the run ends, or the budget or the stops of a slice are used up (null). */
  run(budget: number): BareEnd | null {
    const { cpu } = this.#machine.engine;
    const end = this.consumed + budget;
    for (let stops = 0; stops < STOPS_PER_SLICE; stops++) {
      if (this.#ended !== null) return this.#ended;
      if (this.interrupts.apic.init) this.#initialise();
      const left = end - this.consumed;
      if (left <= 0) return null;
      const untilEviction = this.#machine.evictions?.advance(cpu.retired) ?? LONGEST_RUN;
      const stopped = cpu.run(Math.min(left, this.interrupts.prepare(), untilEviction, LONGEST_RUN));
      if (stopped === Stopped.EXIT) {
        const code = cpu.processor.u32(State.STOP) | 0;
        assert(code === ExitCode.SHUTDOWN, `a processor without a hypervisor exits: ${exitName(code)}`);
        return { kind: 'shutdown' };
      }
      if (stopped === Stopped.HALTED && !this.interrupts.sleep()) return { kind: 'halted', interruptsEnabled: this.interrupts.enabled };
    }
    return null;
  }

  // --- Board -----------------------------------------------------------------------------------------------------------------

  in(port: number, size: 1 | 2 | 4): number {
    return this.#chipset.io.in(port, size);
  }
  out(port: number, size: 1 | 2 | 4, value: number): void {
    this.#chipset.io.out(port, size, value);
  }
  readMsr(index: number): bigint | null {
    return this.#isApicMsr(index) ? readApicMsr(this.interrupts.apic, index) : this.msrs.read(index);
  }
  writeMsr(index: number, value: bigint): boolean {
    return this.#isApicMsr(index) ? writeApicMsr(this.interrupts.apic, index, value) : this.msrs.write(index, value);
  }
  retime(): void {
    this.interrupts.apic.retime();
  }
  get apicEnabled(): boolean {
    return this.interrupts.apic.enabled;
  }
  acknowledge(): number {
    return this.interrupts.acknowledge();
  }

  // --- DeviceMemory ----------------------------------------------------------------------------------------------------------

  read(address: number, into: Uint8Array): void {
    this.#chipset.mmio.read(BigInt(address), into);
  }
  write(address: number, from: Uint8Array): void {
    this.#chipset.mmio.write(BigInt(address), from);
  }

  #isApicMsr(index: number): boolean {
    return isApicMsr(index) && (index !== Msr.TSC_DEADLINE || this.#deadlineTimer);
  }

  #initialise(): void {
    const { cpu, memory } = this.#machine.engine;
    initialise(memory, this.#state, this.#machine.model.signature);
    cpu.virtualNmi = false;
    this.interrupts.apic.reset();
    cpu.settle();
  }

  /** What SYSCFG decides: whether there is a C-bit, and how wide addresses are (15.34.6). */
  #enter(): void {
    const { mmu } = this.#machine.engine;
    mmu.enter(this.#environment());
    mmu.selectContext(this.#state);
  }

  #environment(): Environment {
    const { model, encryption } = this.#machine;
    const { encrypts } = this.msrs;
    const bits = encrypts ? model.physicalBits - model.reducedBits : model.physicalBits;
    return { ...BARE, cBit: model.cBit, hostKey: encrypts ? encryption.hostKey : 0, guestPhysicalBits: bits, hostPhysicalBits: bits };
  }

  exchange(fields: Fields): void {
    fields.part(this.interrupts.apic);
    fields.part(this.msrs);
    this.#ended = fields.value(this.#ended);
  }
}
