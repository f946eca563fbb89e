// The local APIC of the processor, and how its interrupts get in: at the next boundary where RFLAGS.IF, the interrupt shadow and CR8 let
// them (APM vol. 2, 8.1.3, 16.6). The processor acknowledges where it takes one. INTR of the 8259A pair goes before the APIC's own and
// knows no priority. HLT sleeps until a timer has something.

import { State } from '../memory/state.ts';
import type { Cpu } from '../cpu/cpu.ts';
import { Rflags } from '../arch/registers.ts';
import { APIC_BASE_RESET, ApicBase } from '../devices/apic-registers.ts';
import { LocalApic } from '../devices/local-apic.ts';
import { type Chipset, nextTimer } from '../machine/chipset.ts';
import type { Machine } from '../machine/machine.ts';
import { instructionsUntil, NANOSECONDS, TICKS } from '../machine/time.ts';
import { PAGE_SIZE } from '../util/address.ts';

/** Above every value of CR8. */
const HIGHEST_PRIORITY = 16;
/** Wakes in a row that turn out not to be any: the processor then waits for the APIC's timer only, whose interrupts nothing takes the place of. */
const MOST_FALSE_WAKES = 64;
const NEVER = Number.POSITIVE_INFINITY;

export class Interrupts {
  readonly apic: LocalApic;
  readonly #machine: Machine;
  readonly #chipset: Chipset;
  readonly #cpu: Cpu;

  constructor(machine: Machine, chipset: Chipset, x2apic: boolean) {
    this.#machine = machine;
    this.#chipset = chipset;
    this.#cpu = machine.engine.cpu;
    const { processor: p } = this.#cpu;
    const place = chipset.mmio.map(Number(APIC_BASE_RESET & ApicBase.ADDRESS), PAGE_SIZE, {
      name: 'local APIC',
      read: (offset, size) => this.apic.read(offset, size),
      write: (offset, size, value) => this.apic.write(offset, size, value),
    });
    this.apic = new LocalApic({
      clock: {
        now: () => this.#now,
        tsc: () => this.#tsc,
        whenTsc: (value) => {
          const left = value - this.#tsc;
          const nanosecondsAhead = ((left > 0n ? left : 0n) * BigInt(NANOSECONDS) + BigInt(TICKS) - 1n) / BigInt(TICKS);
          return this.#now + Number(nanosecondsAhead);
        },
      },
      taskPriority: { get: () => p.u32(State.CR8), set: (value) => p.setU32(State.CR8, value) },
      endOfInterrupt: (vector) => chipset.ioApic.endOfInterrupt(vector),
      moved: (base) => {
        if (base !== null) place.base = Number(base);
        place.enabled = base !== null;
      },
      physicalBits: machine.model.physicalBits,
      x2apic,
    });
  }

  /** Before the processor runs: tells it what waits. Gives after how many instructions it must be asked again; Infinity: never. */
  prepare(): number {
    const { apic } = this;
    this.#settle();
    const cpu = this.#cpu;
    if (apic.nmi) {
      apic.nmi = false;
      cpu.virtualNmi = true;
    }
    this.#offer();
    const deadline = nextTimer(apic, this.#chipset);
    return deadline === NEVER ? NEVER : instructionsUntil(deadline, this.#machine.time);
  }

  /** The processor takes what it was offered: gives its vector. */
  acknowledge(): number {
    const { apic } = this;
    let vector: number;
    if (apic.external) vector = this.#chipset.pic.acknowledge();
    else {
      vector = apic.requested;
      apic.accept(vector);
    }
    this.#offer();
    return vector;
  }

  /** The processor executed HLT. False: nothing will ever wake it. */
  sleep(): boolean {
    for (let n = 0; n < 2 * MOST_FALSE_WAKES; n++) {
      this.#settle();
      if (this.#wakes()) return true;
      const deadline = n < MOST_FALSE_WAKES ? nextTimer(this.apic, this.#chipset) : this.apic.deadline;
      if (deadline === NEVER || !this.enabled) return false;
      this.#machine.host.idle(instructionsUntil(deadline, this.#machine.time));
    }
    return false;
  }

  /** RFLAGS.IF. */
  get enabled(): boolean {
    return (this.#cpu.processor.u32(State.RFLAGS) & Rflags.IF) !== 0;
  }

  get #now(): number {
    return this.#machine.time * NANOSECONDS;
  }

  get #tsc(): bigint {
    return BigInt.asUintN(64, BigInt(this.#machine.time * TICKS) + this.#cpu.processor.u64(State.TSC_OFFSET));
  }

  /** Timers ask for what they have to ask for by now. */
  #settle(): void {
    const now = this.#now;
    if (now >= this.apic.deadline) this.apic.settle();
    if (now >= this.#chipset.pit.next) this.#chipset.pit.settle();
  }

  #offer(): void {
    const cpu = this.#cpu;
    if (this.apic.external) {
      cpu.virtualInterrupt = 0; // which one the 8259A says when asked
      cpu.virtualPriority = HIGHEST_PRIORITY;
      return;
    }
    const vector = this.apic.requested;
    cpu.virtualInterrupt = vector;
    cpu.virtualPriority = vector >>> 4;
  }

  #wakes(): boolean {
    const { apic } = this;
    if (apic.init) return true;
    if ((apic.nmi || this.#cpu.virtualNmi) && this.#cpu.processor.u32(State.NMI_BLOCKED) === 0) return true;
    return (apic.external || apic.pending >= 0) && this.enabled;
  }
}
