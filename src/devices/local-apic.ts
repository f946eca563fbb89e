// The local APIC of a processor. APM vol. 2, chapter 16: the page of registers (16.3.2), local interrupts (16.4), interprocessor
// interrupts (16.5), which go to others by way of whoever wires the machine, priorities (16.6); x2APIC: x2apic.ts. It says which vector the
// processor is to take; whoever runs the processor asks and has it taken. There is no system management mode: SMI messages are dropped.

import { matchesCluster, matchesLogical, x2apicLogical } from './apic-destination.ts';
import { mayBecome } from './apic-base.ts';
import { arbitrationPriority, processorPriority } from './apic-priority.ts';
import { ApicBase, APIC_BASE_RESET, Esr, Icr, Lvt, lvtBits, MessageType, Register, Shorthand, Svr } from './apic-registers.ts';
import { type ApicClock, ApicTimer, TimerMode } from './apic-timer.ts';
import type { MmioDevice, MmioSize } from './mmio-bus.ts';
import { VectorSet } from './vector-set.ts';

/** A message on its way to local APICs: an IPI, or an interrupt of an I/O APIC. */
export type ApicMessage = {
  readonly type: MessageType;
  readonly vector: number;
  /** Level-triggered: the end of interrupt is told to the I/O APICs. */
  readonly level: boolean;
  readonly logical: boolean;
  readonly destination: number;
};

export type LocalApicParts = {
  readonly clock: ApicClock;
  /** TPR bits 7:4, which are CR8 as well: they are kept where the processor has them. */
  readonly taskPriority: { get(): number; set(value: number): void };
  /** End of a level-triggered interrupt, for the I/O APIC. */
  readonly endOfInterrupt: (vector: number) => void;
  /** The page was moved, or enabled or disabled: null. */
  readonly moved: (base: bigint | null) => void;
  /** Physical address bits of the processor. */
  readonly physicalBits: number;
  /** Is there x2APIC mode? */
  readonly x2apic: boolean;
  /** Left out: 0, the boot processor. */
  readonly id?: number;
  /**
   * An IPI for other processors; `everybody`: whatever its destination says; `here`: it is for the sender, too. False: nobody is named. Left
   * out: there are no others.
   */
  readonly send?: (sender: LocalApic, message: ApicMessage, everybody: boolean, here: boolean) => boolean;
};

/** Six LVT entries; version 14h, as KVM and QEMU have it; neither extended registers nor suppression of EOI broadcasts (16.3.4). */
const VERSION = 0x0005_0014;
const LVT_ENTRIES = 6;
const FLAT = 0xffff_ffff;
/** Vectors below are for exceptions: no interrupt message has one (16.4.6). */
const FIRST_VECTOR = 16;
const BROADCAST = 0xff;

export class LocalApic implements MmioDevice {
  readonly name = 'local APIC';
  readonly #parts: LocalApicParts;
  readonly #timer: ApicTimer;
  readonly #irr = new VectorSet();
  readonly #isr = new VectorSet();
  readonly #tmr = new VectorSet();
  readonly #lvt = new Int32Array(LVT_ENTRIES);
  #base = APIC_BASE_RESET;
  #id = 0;
  #ldr = 0;
  #dfr = FLAT;
  #svr = 0xff;
  #icrLow = 0;
  #icrHigh = 0;
  #tprLow = 0;
  #errors = 0;
  #newErrors = 0;
  /** Input LINT0: INTR of the 8259A. */
  #lint0 = false;
  /** Messages for the processor that are no vectors; whoever serves them clears them. */
  nmi = false;
  init = false;
  /** Vector of the STARTUP message that came last, -1: none since INIT. */
  startup = -1;

  constructor(parts: LocalApicParts) {
    this.#parts = parts;
    this.#timer = new ApicTimer(parts.clock);
    if (this.#firstId !== 0) this.#base &= ~ApicBase.BOOT;
    this.reset();
  }

  /** As after INIT; APIC_BASE stays (16.3.1). */
  reset(): void {
    this.#timer.reset();
    for (const set of [this.#irr, this.#isr, this.#tmr]) set.clear();
    this.#lvt.fill(Lvt.MASK);
    this.#id = this.#firstId;
    this.#ldr = 0;
    this.#dfr = FLAT;
    this.#svr = 0xff;
    this.#icrLow = 0;
    this.#icrHigh = 0;
    this.#errors = 0;
    this.#newErrors = 0;
    this.#setTpr(0);
    this.nmi = false;
    this.init = false;
  }

  get #firstId(): number {
    return this.#parts.id ?? 0;
  }

  // --- for whoever runs the processor ----------------------------------------------------------------------------------------

  get enabled(): boolean {
    return (this.#base & ApicBase.ENABLE) !== 0n;
  }

  get id(): number {
    return this.#id;
  }

  get x2apic(): boolean {
    return (this.#base & ApicBase.X2APIC) !== 0n;
  }

  /** Is there anything that the processor might have to be told now? */
  get attention(): boolean {
    return this.#lint0 || this.#irr.highest >= 0 || this.nmi || this.init || this.startup >= 0;
  }

  /** Does the timer need to be asked by some time? Nanoseconds since power-on; Infinity: it cannot ask for anything. */
  get deadline(): number {
    const entry = this.#lvt[0] ?? 0;
    // An interrupt that still waits cannot be asked for twice.
    return (entry & Lvt.MASK) !== 0 || this.#irr.has(entry & Lvt.VECTOR) ? Number.POSITIVE_INFINITY : this.#timer.next;
  }

  /** Lets the timer ask for what it has to ask for by now. */
  settle(): void {
    if (this.#timer.expired()) this.#local(Register.LVT_TIMER);
  }

  /** The input LINT0. A rise is what its entry says; external interrupts last as long as the level. */
  lint0(level: boolean): void {
    const rising = level && !this.#lint0;
    this.#lint0 = level;
    if (rising && this.enabled) this.#local(Register.LVT_LINT0);
  }

  /** Does anything follow from LINT0? Before software has enabled the APIC the 8259A reaches the processor past it, as on a PC. */
  get listens(): boolean {
    return !this.#softwareEnabled || !this.enabled || (this.#lint0Entry & Lvt.MASK) === 0;
  }

  /** Is the processor asked to fetch a vector from the 8259A? Priorities here do not count for it. */
  get external(): boolean {
    if (!this.#lint0 || !this.listens) return false;
    return !this.#softwareEnabled || !this.enabled || (this.#lint0Entry & Lvt.TYPE) === MessageType.EXTERNAL << 8;
  }

  get #lint0Entry(): number {
    return this.#lvt[Register.LVT_LINT0 - Register.LVT_TIMER] ?? 0;
  }

  /** The vector that the processor is to take; -1: none whose priority suffices. */
  get pending(): number {
    const vector = this.#irr.highest;
    return vector >>> 4 > this.#ppr() >>> 4 && vector >= 0 ? vector : -1;
  }

  /** The vector that waits and is above the one being served, whatever the task priority; -1: none. */
  get requested(): number {
    const vector = this.#irr.highest;
    return vector >= 0 && vector >>> 4 > Math.max(this.#isr.highest, 0) >>> 4 ? vector : -1;
  }

  /** The processor takes the vector. */
  accept(vector: number): void {
    this.settle();
    this.#irr.delete(vector);
    this.#isr.add(vector);
  }

  /** The time-stamp counter was set. */
  retime(): void {
    this.#timer.retime();
  }

  /** A message arrives; false: it is not for this APIC. */
  deliver(message: ApicMessage): boolean {
    if (!this.isNamedBy(message)) return false;
    this.accepts(message);
    return true;
  }

  isNamedBy({ logical, destination }: ApicMessage): boolean {
    // What comes with eight bits of destination reaches everybody with all of them set, in x2APIC mode, too.
    const everybody = destination === BROADCAST && !logical;
    return this.enabled && (everybody || this.#matches(destination, logical));
  }

  /** A message that names this APIC. */
  accepts({ type, vector, level }: ApicMessage): void {
    this.#take(type, vector, level);
  }

  /** How busy the processor is, when one of several is to be interrupted (16.6.2). */
  get priority(): number {
    return arbitrationPriority(this.#tpr(), this.#isr.highest, this.#irr.highest);
  }

  // --- MSRs --------------------------------------------------------------------------------------------------------------------

  get base(): bigint {
    return this.#base;
  }

  /** Writes APIC_BASE. False: a reserved bit, or a change of mode that does not exist (figure 16-32): #GP. */
  setBase(value: bigint): boolean {
    if (!this.#parts.x2apic && (value & ApicBase.X2APIC) !== 0n) return false;
    if (!mayBecome(this.#base, value, this.#parts.physicalBits)) return false;
    const { BOOT, ENABLE, X2APIC, ADDRESS } = ApicBase;
    const mode = value & (ENABLE | X2APIC);
    const wasEnabled = this.enabled;
    this.#base = (value & ~BOOT) | (this.#base & BOOT);
    if (mode === 0n && wasEnabled) this.reset();
    this.#parts.moved(mode === ENABLE ? value & ADDRESS : null);
    return true;
  }

  /** MSR TSC_DEADLINE. */
  get tscDeadline(): bigint {
    this.settle();
    return this.#timer.deadline;
  }

  set tscDeadline(value: bigint) {
    this.settle();
    this.#timer.deadline = value;
  }

  // --- the page of registers ---------------------------------------------------------------------------------------------------

  /** 32 bits at multiples of 16; the twelve bytes behind read as zeros. */
  read(offset: number, _size: MmioSize): number {
    const within = offset & 0xf;
    if (within >= 4) return 0;
    const value = this.readRegister(offset >>> 4);
    if (value === undefined) {
      this.#error(Esr.ILLEGAL_REGISTER);
      return 0;
    }
    return (value >>> (8 * within)) >>> 0;
  }

  /** Only whole registers are written. */
  write(offset: number, size: MmioSize, value: number): void {
    if (size !== 4 || (offset & 0xf) !== 0) return;
    if (!this.writeRegister(offset >>> 4, value | 0)) this.#error(Esr.ILLEGAL_REGISTER);
  }

  /** Undefined: there is no such register. */
  readRegister(register: number): number | undefined {
    this.settle();
    switch (register) {
      case Register.ID:
        return this.x2apic ? this.#id : this.#id << 24;
      case Register.VERSION:
        return VERSION;
      case Register.TPR:
        return this.#tpr();
      case Register.APR:
        return arbitrationPriority(this.#tpr(), this.#isr.highest, this.#irr.highest);
      case Register.PPR:
        return this.#ppr();
      case Register.EOI:
      case Register.REMOTE_READ:
        return 0;
      case Register.LDR:
        return this.x2apic ? x2apicLogical(this.#id) : this.#ldr;
      case Register.DFR:
        return this.#dfr;
      case Register.SVR:
        return this.#svr;
      case Register.ESR:
        return this.#errors;
      case Register.ICR_LOW:
        return this.#icrLow;
      case Register.ICR_HIGH:
        return this.#icrHigh;
      case Register.TIMER_INITIAL:
        return this.#timer.initial;
      case Register.TIMER_CURRENT:
        return this.#timer.current;
      case Register.TIMER_DIVIDE:
        return this.#timer.divide;
      default:
        if (register >= Register.LVT_TIMER && register <= Register.LVT_ERROR) return this.#lvt[register - Register.LVT_TIMER];
        if (register >= Register.ISR && register < Register.TMR) return this.#isr.word(register - Register.ISR);
        if (register >= Register.TMR && register < Register.IRR) return this.#tmr.word(register - Register.TMR);
        if (register >= Register.IRR && register < Register.ESR) return this.#irr.word(register - Register.IRR);
        return undefined;
    }
  }

  /** False: there is no such register. A register that can only be read stays as it is. */
  writeRegister(register: number, value: number): boolean {
    this.settle();
    switch (register) {
      case Register.ID:
        this.#id = value >>> 24;
        break;
      case Register.TPR:
        this.#setTpr(value & 0xff);
        break;
      case Register.EOI:
        this.#endOfInterrupt();
        break;
      case Register.LDR:
        this.#ldr = value & 0xff00_0000;
        break;
      case Register.DFR:
        this.#dfr = value | 0x0fff_ffff;
        break;
      case Register.SVR:
        this.#svr = value & Svr.WRITABLE;
        if (!this.#softwareEnabled) for (let n = 0; n < LVT_ENTRIES; n++) this.#lvt[n]! |= Lvt.MASK;
        break;
      case Register.ESR:
        this.#errors = this.#newErrors;
        this.#newErrors = 0;
        break;
      case Register.ICR_LOW:
        this.#icrLow = value & (Icr.VECTOR | Icr.TYPE | Icr.LOGICAL | Icr.LEVEL | Icr.TRIGGER | Icr.SHORTHAND);
        this.#command();
        break;
      case Register.ICR_HIGH:
        this.#icrHigh = this.x2apic ? value : value & 0xff00_0000;
        break;
      case Register.TIMER_INITIAL:
        this.#timer.initial = value >>> 0;
        break;
      case Register.TIMER_DIVIDE:
        this.#timer.divide = value;
        break;
      default:
        if (register < Register.LVT_TIMER || register > Register.LVT_ERROR) return this.readRegister(register) !== undefined;
        this.#setLvt(register, value);
    }
    return true;
  }

  get #softwareEnabled(): boolean {
    return (this.#svr & Svr.ENABLE) !== 0;
  }

  /** While software has the APIC disabled the entries stay masked (16.4.7). */
  #setLvt(register: number, value: number): void {
    const n = register - Register.LVT_TIMER;
    this.#lvt[n] = (value & (lvtBits[n] ?? 0)) | (this.#softwareEnabled ? 0 : Lvt.MASK);
    if (register !== Register.LVT_TIMER) return;
    const mode = (value & Lvt.TIMER_MODE) >>> 17;
    this.#timer.mode = mode === 3 ? TimerMode.ONE_SHOT : (mode as TimerMode);
  }

  // --- priorities (16.6.4) -------------------------------------------------------------------------------------------------------

  #tpr(): number {
    const high = this.#parts.taskPriority.get();
    return (high << 4) | (this.#tprLow >>> 4 === high ? this.#tprLow & 0xf : 0);
  }

  #setTpr(value: number): void {
    this.#tprLow = value;
    this.#parts.taskPriority.set(value >>> 4);
  }

  #ppr(): number {
    return processorPriority(this.#tpr(), this.#isr.highest);
  }

  #endOfInterrupt(): void {
    const vector = this.#isr.highest;
    if (vector < 0) return;
    this.#isr.delete(vector);
    if (this.#tmr.has(vector)) this.#parts.endOfInterrupt(vector);
  }

  // --- messages --------------------------------------------------------------------------------------------------------------------

  #matches(destination: number, logical: boolean): boolean {
    if (this.x2apic) return logical ? matchesCluster(destination, this.#id) : destination >>> 0 === this.#id || destination >>> 0 === FLAT;
    if (!logical) return (destination & 0xff) === this.#id || (destination & 0xff) === BROADCAST;
    return matchesLogical(destination, this.#ldr >>> 24, this.#dfr >>> 28);
  }

  /** Only its sender can be the target. */
  selfIpi(vector: number): void {
    this.settle();
    this.#send(vector, MessageType.FIXED, true);
  }

  /** The interrupt command register was written (16.5). */
  #command(): void {
    const low = this.#icrLow;
    const type = ((low & Icr.TYPE) >>> 8) as MessageType;
    const level = (low & Icr.TRIGGER) !== 0;
    // INIT with level deassert is a relic that no processor acts on.
    if (type === MessageType.INIT && level && (low & Icr.LEVEL) === 0) return;
    const destination = this.x2apic ? this.#icrHigh : this.#icrHigh >>> 24;
    const shorthand = (low & Icr.SHORTHAND) >>> 18;
    const logical = (low & Icr.LOGICAL) !== 0;
    const here = shorthand === Shorthand.NONE ? this.#matches(destination, logical) : shorthand !== Shorthand.OTHERS;
    if (shorthand === Shorthand.SELF) this.#send(low & Icr.VECTOR, type, true);
    else this.#send(low & Icr.VECTOR, type, here, { destination, logical, everybody: shorthand !== Shorthand.NONE });
  }

  /** `here`: it is for this processor; `others`: and perhaps for these. */
  #send(
    vector: number,
    type: MessageType,
    here: boolean,
    others?: { readonly destination: number; readonly logical: boolean; readonly everybody: boolean },
  ): void {
    if (vector < FIRST_VECTOR && (type === MessageType.FIXED || type === MessageType.LOWEST_PRIORITY)) {
      this.#error(Esr.SENT_ILLEGAL);
      return;
    }
    // Of those that are named one is enough, perhaps the sender.
    const arbitrated = type === MessageType.LOWEST_PRIORITY && others !== undefined && this.#parts.send !== undefined;
    if (here && !arbitrated) this.#take(type, vector, false);
    if (others === undefined) return;
    const message = { type, vector, level: false, logical: others.logical, destination: others.destination };
    const accepted = this.#parts.send?.(this, message, others.everybody, here) ?? others.everybody;
    if (!accepted && !here && !others.everybody) this.#error(Esr.SENT_ACCEPT);
  }

  #take(type: MessageType, vector: number, level: boolean): void {
    switch (type) {
      case MessageType.FIXED:
      case MessageType.LOWEST_PRIORITY:
        if (vector < FIRST_VECTOR) this.#error(Esr.RECEIVED_ILLEGAL);
        else if (this.#softwareEnabled) {
          this.#irr.add(vector);
          if (level) this.#tmr.add(vector);
          else this.#tmr.delete(vector);
        }
        break;
      case MessageType.NMI:
        this.nmi = true;
        break;
      case MessageType.INIT:
        this.init = true;
        this.startup = -1;
        break;
      case MessageType.STARTUP:
        this.startup = vector;
        break;
      default:
        break; // SMI; external interrupts come by their own line
    }
  }

  /** An entry of the local vector table asks for an interrupt (16.4). */
  #local(register: number): void {
    const entry = this.#lvt[register - Register.LVT_TIMER] ?? 0;
    if ((entry & Lvt.MASK) !== 0) return;
    const type = register === Register.LVT_TIMER ? MessageType.FIXED : (((entry & Lvt.TYPE) >>> 8) as MessageType);
    this.#take(type, entry & Lvt.VECTOR, false);
  }

  /** An error is seen in ESR after its next write, and interrupts at once. */
  #error(bit: number): void {
    if ((this.#newErrors & bit) !== 0) return;
    this.#newErrors |= bit;
    this.#local(Register.LVT_ERROR);
  }
}
