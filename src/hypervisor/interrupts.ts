// How interrupts get from a guest's local APIC into the guest, in the manner of KVM. A vector goes by EVENTINJ at the next VMRUN if
// the guest can take it: RFLAGS.IF (for an SEV-ES guest GUEST_INTERRUPT_MASK of the VMCB), no shadow, priority above CR8. Else V_IRQ
// with the VINTR intercept opens a window: the guest leaves when it could take the vector (APM vol. 2, 15.20, 15.21.4). An event that
// an exit broke off goes first. NMIs are virtual where the processor has that (15.21.10); else EVENTINJ, and the IRET intercept or
// the guest's NMI complete (GHCB 4.1) tells that the next may come.
// The 8259A comes in at LINT0: it keeps its vector until the processor acknowledges, and goes before those of the APIC.
// Time: VMRUN ends where a timer fires, to the instruction. A guest that halts and can be woken only by a timer sleeps until then.

import { Feature } from '../arch/cpuid.ts';
import { ExitCode } from '../arch/exit-code.ts';
import { EventInjection, EventType, InterruptState, VirtualInterrupt, VmcbControl } from '../arch/vmcb.ts';
import { APIC_BASE_RESET, ApicBase } from '../devices/apic-registers.ts';
import { LocalApic } from '../devices/local-apic.ts';
import type { MmioPlace } from '../devices/mmio-bus.ts';
import { nextTimer } from '../machine/chipset.ts';
import { instructionsUntil, NANOSECONDS } from '../machine/time.ts';
import type { Vcpu } from './vcpu.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const TICKS_PER_NANOSECOND = 2n;

const { virtualInterrupt, interruptState, eventInj } = VmcbControl.layout;
const APIC_PAGE = 0x1000;
const SVM_LEAF = 0x8000_000a;
const EDX = 3;
const VNMI = 1 << 25;
const PRIORITY_SHIFT = 16;
const NMI_EVENT = EventInjection.V + (EventType.NMI << 8) + 2;
const HIGHEST_CLASS = 0xf;
const NEVER = Number.POSITIVE_INFINITY;

export class Interrupts implements Stateful {
  readonly apic: LocalApic;
  readonly #vcpu: Vcpu;
  /** Each virtual CPU has its APIC at the same address: the page of the one that runs is there. */
  readonly #page: MmioPlace;
  #pageEnabled = true;
  #running: boolean;
  readonly #virtualNmi: boolean;
  /** V_IRQ is set, and the VINTR intercept. */
  #window = false;
  /** An NMI was injected and the guest has not said that it is done with it. */
  #nmiBlocked = false;

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
    const { host, config, clock, bus } = vcpu.vm;
    const { port } = vcpu;
    this.#virtualNmi = (host.cpuid(SVM_LEAF, 0)[EDX] & VNMI) !== 0;
    // CR8 is the guest's own, in V_TPR (15.21.1).
    port.setU32(virtualInterrupt.offset, VirtualInterrupt.V_INTR_MASKING | (this.#virtualNmi ? VirtualInterrupt.V_NMI_ENABLE : 0));
    this.apic = new LocalApic({
      clock: {
        now: () => clock.time * NANOSECONDS,
        tsc: () => vcpu.tsc(),
        whenTsc: (value) => {
          const left = value - vcpu.tsc();
          return clock.time * NANOSECONDS + (left > 0n ? Number((left + TICKS_PER_NANOSECOND - 1n) / TICKS_PER_NANOSECOND) : 0);
        },
      },
      taskPriority: {
        get: () => port.u8(virtualInterrupt.offset) & 0xf,
        set: (value) => port.setU8(virtualInterrupt.offset, value),
      },
      endOfInterrupt: (vector) => config.ioApic.endOfInterrupt(vector),
      moved: (base) => {
        if (base !== null) this.#page.base = Number(base);
        this.#pageEnabled = base !== null;
        this.#showPage();
      },
      physicalBits: host.cpuid(0x8000_0008, 0)[0] & 0xff,
      x2apic: config.withheld?.includes(Feature.X2APIC) !== true,
      id: vcpu.number,
      send: (sender, message, everybody, here) => bus.send(sender, message, everybody, here),
    });
    bus.add(this.apic);
    this.#page = config.mmio.map(Number(APIC_BASE_RESET & ApicBase.ADDRESS), APIC_PAGE, this.apic);
    this.#running = vcpu.number === 0;
    this.#showPage();
  }

  /** The virtual CPU gets its turn, or another does. */
  set running(running: boolean) {
    this.#running = running;
    this.#showPage();
  }

  #showPage(): void {
    this.#page.enabled = this.#pageEnabled && this.#running;
  }

  /** Before VMRUN: hands over what the guest can take. Gives after how many instructions the guest must leave again. */
  prepare(): number {
    const { apic } = this;
    const { clock, config } = this.#vcpu.vm;
    const now = clock.time * NANOSECONDS;
    if (now >= apic.deadline) apic.settle();
    if (now >= config.pit.next) config.pit.settle();
    const soon = apic.attention ? this.#offer() : NEVER;
    if (!apic.attention) this.#closeWindow();
    // What was handed over may have made room for the next.
    const { deadline } = this;
    return deadline === NEVER ? soon : Math.min(soon, instructionsUntil(deadline, clock.time));
  }

  /** Has something come by now for which a virtual CPU that halted goes on? */
  wakes(): boolean {
    this.apic.settle();
    this.#vcpu.vm.config.pit.settle();
    return this.#wakes();
  }

  /** INIT: the local APIC is as after reset, no NMI waits or is blocked. */
  reset(): void {
    this.apic.reset();
    this.nmiComplete();
    if (this.#virtualNmi) {
      const { port } = this.#vcpu;
      port.setU32(
        virtualInterrupt.offset,
        (port.u32(virtualInterrupt.offset) & ~(VirtualInterrupt.V_NMI | VirtualInterrupt.V_NMI_MASK)) >>> 0,
      );
    }
    this.#closeWindow();
  }

  /** Is there an intercept of IRET for our own purposes? */
  get awaitsIret(): boolean {
    return this.#nmiBlocked && !this.#virtualNmi && !this.#vcpu.vm.encryptedState;
  }

  /** The guest is done with an NMI: it executed IRET, or said so. */
  nmiComplete(): void {
    const awaited = this.awaitsIret;
    this.#nmiBlocked = false;
    if (awaited) this.#vcpu.intercept(ExitCode.IRET, false);
  }

  /** When a timer may have an interrupt for the guest: nanoseconds since power-on; Infinity: none will. */
  get deadline(): number {
    return nextTimer(this.apic, this.#vcpu.vm.config);
  }

  #wakes(): boolean {
    const { apic } = this;
    if (apic.init && !this.#vcpu.vm.encryptedState) return true;
    const virtual = this.#vcpu.port.u32(virtualInterrupt.offset);
    const nmi = apic.nmi || (this.#virtualNmi && (virtual & VirtualInterrupt.V_NMI) !== 0);
    if (nmi && !this.#nmiBlocked && (virtual & VirtualInterrupt.V_NMI_MASK) === 0) return true;
    return (apic.external || apic.pending >= 0) && this.#vcpu.interruptsEnabled;
  }

  /** Something waits. Gives after how many instructions it must be looked at again. */
  #offer(): number {
    const { apic } = this;
    const vcpu = this.#vcpu;
    const { port } = vcpu;
    if (apic.init) {
      apic.init = false;
      vcpu.initialise();
    } else apic.startup = -1; // for those that wait for one, as after an INIT
    let busy = (port.u32(eventInj.offset) & EventInjection.V) !== 0;
    const shadow = (port.u32(interruptState.offset) & InterruptState.INTERRUPT_SHADOW) !== 0;
    let soon = NEVER;
    if (apic.nmi) {
      if (this.#virtualNmi) {
        apic.nmi = false;
        port.setU32(virtualInterrupt.offset, port.u32(virtualInterrupt.offset) | VirtualInterrupt.V_NMI);
      } else if (!this.#nmiBlocked) {
        if (busy) soon = 0;
        else if (shadow) soon = 1;
        else {
          apic.nmi = false;
          busy = true;
          this.#nmiBlocked = true;
          vcpu.inject(BigInt(NMI_EVENT));
          if (this.awaitsIret) vcpu.intercept(ExitCode.IRET, true);
        }
      }
    }
    const open = vcpu.interruptsEnabled && !shadow;
    if (apic.external && open && !busy) {
      busy = true;
      this.#inject(vcpu.vm.config.pic.acknowledge());
    }
    const vector = apic.requested;
    if (apic.external) this.#openWindow(HIGHEST_CLASS, VirtualInterrupt.V_IGN_TPR);
    else if (vector < 0) this.#closeWindow();
    else if (busy || !open || apic.pending < 0) this.#openWindow(vector >>> 4);
    else {
      this.#closeWindow();
      apic.accept(vector);
      this.#inject(vector);
    }
    return soon;
  }

  #inject(vector: number): void {
    this.#vcpu.inject(BigInt(EventInjection.V + (EventType.INTR << 8) + vector));
  }

  #openWindow(priority: number, ignoreTpr = 0): void {
    const { port } = this.#vcpu;
    const bits = port.u32(virtualInterrupt.offset) & ~(VirtualInterrupt.V_INTR_PRIO | VirtualInterrupt.V_IGN_TPR);
    port.setU32(virtualInterrupt.offset, (bits | VirtualInterrupt.V_IRQ | ignoreTpr | (priority << PRIORITY_SHIFT)) >>> 0);
    if (!this.#window) this.#vcpu.intercept(ExitCode.VINTR, true);
    this.#window = true;
  }

  #closeWindow(): void {
    if (!this.#window) return;
    const { port } = this.#vcpu;
    this.#window = false;
    port.setU32(
      virtualInterrupt.offset,
      (port.u32(virtualInterrupt.offset) & ~(VirtualInterrupt.V_IRQ | VirtualInterrupt.V_INTR_PRIO | VirtualInterrupt.V_IGN_TPR)) >>> 0,
    );
    this.#vcpu.intercept(ExitCode.VINTR, false);
  }

  exchange(fields: Fields): void {
    fields.part(this.apic);
    this.#pageEnabled = fields.value(this.#pageEnabled);
    this.#running = fields.value(this.#running);
    this.#window = fields.value(this.#window);
    this.#nmiBlocked = fields.value(this.#nmiBlocked);
  }
}
