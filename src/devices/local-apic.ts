// The local APIC of a processor. APM vol. 2, chapter 16: the page of registers (16.3.2), local interrupts (16.4), interprocessor
// interrupts (16.5), which go to others by way of whoever wires the machine, priorities (16.6); x2APIC: x2apic.ts. It says which vector the
// processor is to take; whoever runs the processor asks and has it taken. There is no system management mode: SMI messages are dropped.

import { mayBecome } from './apic-base.ts';
import { type ApicCommand, InterruptCommand, selfCommand } from './apic-command.ts';
import { ApicAddress, x2apicLogical } from './apic-destination.ts';
import { ApicErrors } from './apic-errors.ts';
import { isLvt, LocalVectorTable } from './apic-lvt.ts';
import { type ApicMessage, widened } from './apic-message.ts';
import type { LocalApicParts } from './apic-parts.ts';
import { ApicBase, APIC_BASE_RESET, Esr, Lvt, MessageType, Register, Shorthand, Svr } from './apic-registers.ts';
import { TaskPriority } from './apic-task-priority.ts';
import { ApicTimer, TimerMode } from './apic-timer.ts';
import { ApicVectors } from './apic-vectors.ts';
import type { MmioDevice, MmioSize } from './mmio-bus.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** Six LVT entries; version 14h, as KVM and QEMU have it; neither extended registers nor suppression of EOI broadcasts (16.3.4). */
const VERSION = 0x0005_0014;
/** Vectors below are for exceptions: no interrupt message has one (16.4.6). */
const FIRST_VECTOR = 16;

export class LocalApic implements MmioDevice, Stateful {
  readonly name = 'local APIC';
  readonly #parts: LocalApicParts;
  readonly #timer: ApicTimer;
  readonly #vectors = new ApicVectors();
  readonly #lvt = new LocalVectorTable();
  #base = APIC_BASE_RESET;
  readonly #address = new ApicAddress();
  #svr = 0xff;
  readonly #command = new InterruptCommand();
  readonly #taskPriority: TaskPriority;
  readonly #errors = new ApicErrors();
  /** Input LINT0: INTR of the 8259A. */
  #lint0 = false;
  /** Messages for the processor that are no vectors; whoever serves them clears them. */
  nmi = false;
  init = false;
  /** Vector of the STARTUP message that waits, -1: none. Of several the first counts: the others find the processor started. */
  startup = -1;

  constructor(parts: LocalApicParts) {
    this.#parts = parts;
    this.#timer = new ApicTimer(parts.clock);
    this.#taskPriority = new TaskPriority(parts.taskPriority);
    if (this.#firstId !== 0) this.#base &= ~ApicBase.BOOT;
    this.reset();
  }

  /** As after INIT; APIC_BASE stays (16.3.1). */
  reset(): void {
    this.#timer.reset();
    this.#vectors.clear();
    this.#lvt.reset();
    this.#address.reset(this.#firstId);
    this.#svr = 0xff;
    this.#command.reset();
    this.#errors.reset();
    this.#taskPriority.value = 0;
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
    return this.#address.id;
  }

  get x2apic(): boolean {
    return (this.#base & ApicBase.X2APIC) !== 0n;
  }

  /** Is there anything that the processor might have to be told now? */
  get attention(): boolean {
    return this.#lint0 || this.#vectors.highest >= 0 || this.nmi || this.init || this.startup >= 0;
  }

  /** Does the timer need to be asked by some time? Nanoseconds since power-on; Infinity: it cannot ask for anything. */
  get deadline(): number {
    if (this.#lvt.isMasked(Register.LVT_TIMER)) return Number.POSITIVE_INFINITY;
    // What still waits cannot be asked for twice: neither an interrupt nor the error of an illegal vector.
    const vector = this.#lvt.get(Register.LVT_TIMER) & Lvt.VECTOR;
    const waits = vector < FIRST_VECTOR ? this.#errors.has(Esr.RECEIVED_ILLEGAL) : this.#vectors.isRequested(vector);
    return waits ? Number.POSITIVE_INFINITY : this.#timer.next;
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
    return !this.#softwareEnabled || !this.enabled || !this.#lvt.isMasked(Register.LVT_LINT0);
  }

  /** Is the processor asked to fetch a vector from the 8259A? Priorities here do not count for it. */
  get external(): boolean {
    if (!this.#lint0 || !this.listens) return false;
    return !this.#softwareEnabled || !this.enabled || (this.#lvt.get(Register.LVT_LINT0) & Lvt.TYPE) === MessageType.EXTERNAL << 8;
  }

  /** The vector that the processor is to take; -1: none whose priority suffices. */
  get pending(): number {
    return this.#vectors.pending(this.#taskPriority.value);
  }

  /** The vector that waits and is above the one being served, whatever the task priority; -1: none. */
  get requested(): number {
    return this.#vectors.requested;
  }

  /** The processor takes the vector. */
  accept(vector: number): void {
    this.settle();
    this.#vectors.accept(vector);
  }

  /** The time-stamp counter was set. */
  retime(): void {
    this.#timer.retime();
  }

  /** A message of a device arrives; false: it is not for this APIC. */
  deliver(message: ApicMessage): boolean {
    if (!this.isNamedBy(widened(message))) return false;
    this.accepts(message);
    return true;
  }

  isNamedBy({ logical, destination }: ApicMessage): boolean {
    return this.enabled && this.#address.isNamedBy(destination, logical, this.x2apic);
  }

  /** A message that names this APIC. */
  accepts({ type, vector, level }: ApicMessage): void {
    this.#take(type, vector, level);
  }

  /** Does it take part where one of several is chosen? */
  get arbitrates(): boolean {
    return this.enabled && this.#softwareEnabled;
  }

  /** How busy the processor is, when one of several is to be interrupted (16.6.2). */
  get priority(): number {
    return this.#vectors.arbitrationPriority(this.#taskPriority.value);
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
    if (this.x2apic) this.#address.id = this.#firstId; // cannot be written there, and software may have written it before (16.10)
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
        return this.x2apic ? this.id : this.id << 24;
      case Register.VERSION:
        return VERSION;
      case Register.TPR:
        return this.#taskPriority.value;
      case Register.APR:
        return this.priority;
      case Register.PPR:
        return this.#vectors.processorPriority(this.#taskPriority.value);
      case Register.EOI:
      case Register.REMOTE_READ:
        return 0;
      case Register.LDR:
        return this.x2apic ? x2apicLogical(this.id) : this.#address.ldr;
      case Register.DFR:
        return this.#address.dfr;
      case Register.SVR:
        return this.#svr;
      case Register.ESR:
        return this.#errors.shown;
      case Register.ICR_LOW:
        return this.#command.low;
      case Register.ICR_HIGH:
        return this.#command.high;
      case Register.TIMER_INITIAL:
        return this.#timer.initial;
      case Register.TIMER_CURRENT:
        return this.#timer.current;
      case Register.TIMER_DIVIDE:
        return this.#timer.divide;
      default:
        return isLvt(register) ? this.#lvt.get(register) : this.#vectors.read(register);
    }
  }

  /** False: there is no such register. A register that can only be read stays as it is. */
  writeRegister(register: number, value: number): boolean {
    this.settle();
    switch (register) {
      case Register.ID:
        this.#address.id = value >>> 24;
        break;
      case Register.TPR:
        this.#taskPriority.value = value & 0xff;
        break;
      case Register.EOI:
        this.#endOfInterrupt();
        break;
      case Register.LDR:
        this.#address.ldr = value;
        break;
      case Register.DFR:
        this.#address.dfr = value;
        break;
      case Register.SVR:
        this.#svr = value & Svr.WRITABLE;
        if (!this.#softwareEnabled) this.#lvt.mask();
        break;
      case Register.ESR:
        this.#errors.show();
        break;
      case Register.ICR_LOW:
        this.#command.low = value;
        this.#send(this.#command.decode(this.x2apic));
        break;
      case Register.ICR_HIGH:
        this.#command.high = this.x2apic ? value : value & 0xff00_0000;
        break;
      case Register.TIMER_INITIAL:
        this.#timer.initial = value >>> 0;
        break;
      case Register.TIMER_DIVIDE:
        this.#timer.divide = value;
        break;
      default:
        if (!isLvt(register)) return this.readRegister(register) !== undefined;
        this.#setLvt(register, value);
    }
    return true;
  }

  get #softwareEnabled(): boolean {
    return (this.#svr & Svr.ENABLE) !== 0;
  }

  #setLvt(register: number, value: number): void {
    this.#lvt.set(register, value, this.#softwareEnabled);
    if (register !== Register.LVT_TIMER) return;
    const mode = (value & Lvt.TIMER_MODE) >>> 17;
    this.#timer.mode = mode === 3 ? TimerMode.ONE_SHOT : (mode as TimerMode);
  }

  #endOfInterrupt(): void {
    const vector = this.#vectors.end();
    if (vector >= 0) this.#parts.endOfInterrupt(vector);
  }

  // --- messages --------------------------------------------------------------------------------------------------------------------

  /** Only its sender can be the target. */
  selfIpi(vector: number): void {
    this.settle();
    this.#send(selfCommand(vector));
  }

  #send(command: ApicCommand | null): void {
    if (command === null) return;
    const { message, shorthand } = command;
    const { type, vector, logical, destination } = message;
    if (vector < FIRST_VECTOR && (type === MessageType.FIXED || type === MessageType.LOWEST_PRIORITY)) {
      this.#error(Esr.SENT_ILLEGAL);
      return;
    }
    const { NONE, SELF, OTHERS } = Shorthand;
    const here = shorthand === NONE ? this.#address.isNamedBy(destination, logical, this.x2apic) : shorthand !== OTHERS;
    const { send } = this.#parts;
    // Of those that are named one is enough, perhaps the sender.
    const arbitrated = type === MessageType.LOWEST_PRIORITY && shorthand !== SELF && send !== undefined;
    if (here && !arbitrated) this.#take(type, vector, false);
    if (shorthand === SELF) return;
    const taken = send?.(this, message, shorthand !== NONE, here) ?? false;
    if (!taken && !here && shorthand === NONE) this.#error(Esr.SENT_ACCEPT);
  }

  #take(type: MessageType, vector: number, level: boolean): void {
    switch (type) {
      case MessageType.FIXED:
      case MessageType.LOWEST_PRIORITY:
        if (vector < FIRST_VECTOR) this.#error(Esr.RECEIVED_ILLEGAL);
        else if (this.#softwareEnabled) this.#vectors.request(vector, level);
        break;
      case MessageType.NMI:
        this.nmi = true;
        break;
      case MessageType.INIT:
        this.init = true;
        this.startup = -1;
        break;
      case MessageType.STARTUP:
        if (this.startup < 0) this.startup = vector;
        break;
      default:
        break; // SMI; external interrupts come by their own line
    }
  }

  /** An entry of the local vector table asks for an interrupt (16.4). */
  #local(register: number): void {
    if (this.#lvt.isMasked(register)) return;
    const entry = this.#lvt.get(register);
    const type = register === Register.LVT_TIMER ? MessageType.FIXED : (((entry & Lvt.TYPE) >>> 8) as MessageType);
    this.#take(type, entry & Lvt.VECTOR, false);
  }

  /** An error is seen in ESR after its next write, and interrupts at once. */
  #error(bit: number): void {
    if (this.#errors.add(bit)) this.#local(Register.LVT_ERROR);
  }

  exchange(fields: Fields): void {
    for (const part of [this.#address, this.#timer, this.#vectors, this.#lvt, this.#errors, this.#command, this.#taskPriority])
      fields.part(part);
    this.#base = fields.value(this.#base);
    this.#svr = fields.value(this.#svr);
    this.#lint0 = fields.value(this.#lint0);
    this.nmi = fields.value(this.nmi);
    this.init = fields.value(this.init);
    this.startup = fields.value(this.startup);
  }
}
