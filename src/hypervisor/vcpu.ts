// One virtual CPU: a VMCB in host memory and the loop around VMRUN. For plain and SEV guests its registers are in the VMCB's
// save area and in `registers`; for SEV-ES guests they are in the VMSA, which nobody here can read, and what the hypervisor
// knows of the guest's control registers comes from the initial VMSA and the write traps (APM 15.35.10).

import { Feature } from '../arch/cpuid.ts';
import { ExitCode } from '../arch/exit-code.ts';
import { Msr } from '../arch/msr.ts';
import { DebugCtl, Rflags, SegmentAttribute } from '../arch/registers.ts';
import { SaveArea } from '../arch/save-area.ts';
import { InterruptState, SAVE_AREA_OFFSET, VmcbControl } from '../arch/vmcb.ts';
import type { PortSize } from '../devices/device.ts';
import type { GuestRegisters, HostProcessor } from '../svm/host-processor.ts';
import type { Gpa, Spa } from '../util/address.ts';
import { CodeCounts } from '../util/code-counts.ts';
import { TICKS } from '../machine/time.ts';
import { lowHalf } from '../util/halves.ts';
import type { Port, View } from '../util/struct.ts';
import type { TraceNote } from '../util/trace.ts';
import { Activity } from './activity.ts';
import { CleanFields } from './clean-bits.ts';
import { cr4Bits, eferAfter, refusesControlRegister, shownEfer } from './control-registers.ts';
import { isApicMsr, readApicMsr, writeApicMsr } from '../devices/apic-msrs.ts';
import { Vector, vectorName } from '../arch/exception.ts';
import { EventInj, Ghcb, GHCB_VERSIONS, GhcbInfo, type GhcbVersion } from '../arch/ghcb.ts';
import { apicFeatures } from '../machine/apic-features.ts';
import { GuestCpuid } from './cpuid.ts';
import { handleExit } from './exits.ts';
import { GhcbPage } from './ghcb/page.ts';
import type { CpuidResult } from './ghcb/services.ts';
import type { GhcbVcpu } from './ghcb/vmgexit.ts';
import { type HypercallArguments, hypercall } from './hypercalls.ts';
import { beginAt, initialise } from './init.ts';
import {
  clearIntercept,
  INTERCEPT_VECTORS,
  type InterceptVectors,
  initialVectors,
  interceptControlRegisters,
  pauseFilter,
  setIntercept,
} from './intercepts.ts';
import { Interrupts } from './interrupts.ts';
import { readGuestMsr, writeGuestMsr, type MsrVcpu } from './msrs.ts';
import type { Outcome } from './outcome.ts';
import { swapsDebugRegisters } from './sev-features.ts';
import { ShiftedPort } from './shifted-port.ts';
import type { Vm } from './vm.ts';

/** DR6: a single-step trap. */
const DR6_BS = 1n << 14n;
const SINGLE_STEP = BigInt(EventInj.VALID + EventInj.TYPE_EXCEPTION + Vector.DB);
const control = VmcbControl.layout;
/** Where the save area's registers are in the VMCB. */
const RAX = SAVE_AREA_OFFSET + SaveArea.layout.rax.offset;
const RSP = SAVE_AREA_OFFSET + SaveArea.layout.rsp.offset;
const RIP = SAVE_AREA_OFFSET + SaveArea.layout.rip.offset;
const CR4 = SAVE_AREA_OFFSET + SaveArea.layout.cr4.offset;
const RFLAGS = SAVE_AREA_OFFSET + SaveArea.layout.rflags.offset;
const DEBUG_CONTROL = SAVE_AREA_OFFSET + SaveArea.layout.dbgCtl.offset;

/** Exits in a row at which neither the processor retired anything nor the hypervisor did something for the guest. */
const MOST_FRUITLESS_EXITS = 10_000;

/** SW_EXITINFO2 of an AP reset hold that a STARTUP message has ended: anything but 0. */
const STARTED = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);
/** Executed at VMRUN: translations of this ASID go (15.16.1). */
const FLUSH_THIS_ASID = 3;

export class Vcpu implements GhcbVcpu, MsrVcpu {
  readonly vm: Vm;
  /** Also its APIC ID; 0 is the boot processor. */
  readonly number: number;
  readonly vmcbAddress: Spa;
  /** The same as VMRUN, VMLOAD and VMSAVE take it. */
  readonly vmcbPhysical: Spa;
  readonly port: Port;
  readonly vmcb: View<typeof VmcbControl.layout>;
  /** Plain and SEV guests only. */
  readonly save: View<typeof SaveArea.layout>;
  /** RAX..R15 of a plain or SEV guest as software keeps them; RAX and RSP are in the save area. */
  readonly registers: GuestRegisters = new BigUint64Array(16);
  readonly #halves = new Uint32Array(this.registers.buffer);
  readonly msrValues = new Map<number, bigint>();
  readonly ghcb: GhcbPage;
  readonly interrupts: Interrupts;
  /** Count of #VMEXITs by exit code. */
  readonly exits = new CodeCounts();
  activity: Activity;
  /** It has nothing to do for now: the others' turn. */
  yielded = false;
  /** The processor that it ran on last; -1: none yet. */
  lastProcessor = -1;
  debugControl = 0x400n;
  readonly #vectors: InterceptVectors;
  readonly #clean: CleanFields;
  /** What the hypervisor knows of an SEV-ES guest's control registers. */
  readonly #known: { cr0: bigint; cr4: bigint; cr8: bigint; efer: bigint };
  #knownCr4: number;
  readonly #cpuid: GuestCpuid;
  #controlRegistersArmed = false;
  /** The intercept that is lifted for one instruction. */
  #steppingOver: number | null = null;
  #tscOffset = 0n;
  /** How the guest asked for its reset hold, and the GHCB page in which it is answered. */
  #hold: { readonly by: 'ghcb' | 'msr'; readonly page: bigint } | null = null;
  /** An SEV-ES guest's registers are as they were measured until the first STARTUP message. */
  #started: boolean;
  /** How far the guest's time is ahead of the processor's. */
  #ahead = 0;
  /** Where the registers are that no world switch moves, while another has the processor. */
  readonly #registersPage: Spa;
  readonly #apicFeatures: number;

  /** `registers`: a page with the other registers at their offsets in a VMSA (HostProcessor.loadRegisters). */
  constructor(
    vm: Vm,
    number: number,
    places: { readonly vmcb: Spa; readonly registers: Spa },
    initial: { cr0: bigint; cr4: bigint; efer: bigint },
  ) {
    this.vm = vm;
    this.number = number;
    this.activity = number === 0 ? Activity.RUNNING : Activity.WAIT_FOR_SIPI;
    this.#started = number === 0;
    this.#registersPage = places.registers;
    const vmcbAddress = places.vmcb;
    this.vmcbAddress = vmcbAddress;
    this.vmcbPhysical = vm.physical(vmcbAddress);
    this.port = vm.host.memory.page(vmcbAddress);
    this.vmcb = VmcbControl(this.port);
    this.save = SaveArea(new ShiftedPort(this.port, SAVE_AREA_OFFSET));
    this.ghcb = new GhcbPage(vm.host.memory);
    this.#known = { ...initial, cr8: 0n };
    this.#clean = new CleanFields(this.port);
    const several = vm.config.vcpus > 1;
    const ownDebugRegisters = swapsDebugRegisters(vm.config.sevFeatures ?? 0);
    this.#vectors = initialVectors(vm.config.intercepts, { encryptedState: vm.encryptedState, ownDebugRegisters, several });
    if (several) {
      this.vmcb.pauseFilterCount = pauseFilter.count;
      this.vmcb.pauseFilterThreshold = pauseFilter.threshold;
    }
    for (let i = 0; i < INTERCEPT_VECTORS; i++) this.#store(i);
    this.#apicFeatures = apicFeatures(vm.config.withheld ?? []);
    const { technology, cBit } = vm.config;
    this.#cpuid = new GuestCpuid((leaf, subleaf) => vm.host.cpuid(leaf, subleaf), {
      technology,
      cBit,
      apicFeatures: this.#apicFeatures,
      apicId: number,
      processors: vm.config.vcpus,
    });
    this.#knownCr4 = lowHalf(initial.cr4);
    this.interrupts = new Interrupts(this);
  }

  /**
   * Runs until the guest's run ends (an Outcome), or `budget` or the exits of the slice are used up, or there is nothing for this virtual CPU
   * to do (null).
   */
  run(budget: number): Outcome | null {
    const { clock, host } = this.vm;
    this.#followTime();
    clock.enter(host);
    const outcome = this.#run(budget);
    clock.leave();
    return outcome;
  }

  #run(budget: number): Outcome | null {
    const { vm } = this;
    const { host } = vm;
    const end = vm.consumed + budget;
    let fruitless = 0;
    for (; vm.exitsLeft > 0; vm.exitsLeft--) {
      const before = vm.consumed;
      if (before >= end) return null;
      const soon = this.interrupts.prepare();
      if (this.activity !== Activity.RUNNING) return null;
      host.setTimer(this.#steppingOver === null ? Math.min(end - before, soon) : 1);
      const fault = host.vmrun(this.vmcbPhysical, this.registers);
      if (fault !== null) return { kind: 'refused', reason: `VMRUN raised ${vectorName(fault)}` };
      this.#clean.seen();
      if (this.#flushes) this.#flushed();
      const code = this.port.u32(control.exitCode.offset) | 0;
      if (this.#steppingOver !== null) this.#stepped(code);
      this.exits.add(code);
      const outcome = handleExit(this, code) ?? vm.ended;
      if (outcome !== null) return outcome;
      if (this.activity !== Activity.RUNNING || this.yielded) return null;
      fruitless = vm.consumed === before ? fruitless + 1 : 0;
      if (fruitless > MOST_FRUITLESS_EXITS)
        return { kind: 'stopped', reason: 'the guest leaves again and again without executing anything' };
    }
    return null;
  }

  // --- turns -----------------------------------------------------------------------------------------------------------------------

  /** Is there something for it to do? What it waits for may have come. */
  awake(): boolean {
    if (this.activity === Activity.RUNNING) return true;
    const { interrupts } = this;
    if (this.activity === Activity.HALTED ? interrupts.wakes() : this.#starts()) this.activity = Activity.RUNNING;
    return (this.activity as Activity) === Activity.RUNNING;
  }

  /** HLT. */
  halt(): void {
    if (!this.interrupts.wakes()) this.activity = Activity.HALTED;
  }

  /** Spins (PAUSE) or waits (MWAIT). */
  yield(): void {
    this.yielded = this.vm.vcpus.length > 1;
  }

  /** Its registers come to a processor: those that VMRUN does not load. */
  load(processor: HostProcessor): void {
    if (!this.vm.encryptedState) processor.vmload(this.vmcbPhysical);
    processor.loadRegisters(this.vm.physical(this.#registersPage));
    this.#clean.changed(); // what a processor keeps of a VMCB it keeps for itself (15.15)
  }

  /** Another gets the processor. */
  park(processor: HostProcessor): void {
    if (!this.vm.encryptedState) processor.vmsave(this.vmcbPhysical);
    processor.storeRegisters(this.vm.physical(this.#registersPage));
  }

  /** The next VMRUN drops what the processor's TLB has of this ASID. */
  flushTlb(): void {
    this.#flushes = true;
    this.port.setU8(control.tlbControl.offset, FLUSH_THIS_ASID);
  }
  #flushes = false;

  #flushed(): void {
    this.#flushes = false;
    this.port.setU8(control.tlbControl.offset, 0);
  }

  /** The guest's time-stamp counter counts the guest's time. */
  #followTime(): void {
    const { clock, host } = this.vm;
    const ahead = clock.ahead(host);
    if (ahead === this.#ahead) return;
    this.#ahead = ahead;
    this.#storeTscOffset();
  }

  #storeTscOffset(): void {
    this.vmcb.tscOffset = BigInt.asUintN(64, this.#tscOffset + BigInt(this.#ahead) * BigInt(TICKS));
    this.#clean.changed();
  }

  // --- INIT and STARTUP (APM vol. 2, 16.5; GHCB specification 4.3.1) ------------------------------------------------------------------

  /** The guest wants to be started again by a STARTUP message. */
  apResetHold(by: 'ghcb' | 'msr'): void {
    this.activity = Activity.RESET_HOLD;
    this.#hold = { by, page: this.ghcbMsr };
  }

  /** Has the STARTUP message come that a processor waits for? */
  #starts(): boolean {
    const { apic } = this.interrupts;
    if (apic.init) {
      apic.init = false;
      if (!this.vm.encryptedState) this.initialise(); // measured registers, and those of a held one, stay as they are
    }
    const vector = apic.startup;
    apic.startup = -1;
    if (vector < 0) return false;
    if (this.activity === Activity.RESET_HOLD) this.#endHold();
    else if (!this.vm.encryptedState) beginAt(this, vector);
    else if (this.#started) {
      this.warn('STARTUP dropped: the registers of an SEV-ES guest start once, as they were measured');
      return false;
    }
    this.#started = true;
    return true;
  }

  #endHold(): void {
    const hold = this.#hold;
    this.#hold = null;
    if (hold === null) return;
    if (hold.by === 'msr') this.ghcbMsr = (1n << 12n) | BigInt(GhcbInfo.AP_RESET_HOLD_RESPONSE);
    else this.vm.write(hold.page + BigInt(Ghcb.layout.swExitInfo2.offset), STARTED); // its valid bit has been set since the guest asked
  }

  // --- what exits do with a plain or SEV guest -------------------------------------------------------------------------------

  /** A general-purpose register by its encoding number. */
  gpr(n: number): bigint {
    return n === 0 ? this.save.rax : n === 4 ? this.save.rsp : (this.registers[n] ?? 0n);
  }

  setGpr(n: number, value: bigint): void {
    if (n === 0) this.save.rax = value;
    else if (n === 4) this.save.rsp = value;
    else this.registers[n] = value;
  }

  /** The low half of a register, unsigned. */
  gpr32(n: number): number {
    return n === 0 ? this.port.u32(RAX) : n === 4 ? this.port.u32(RSP) : this.#halves[2 * n]!;
  }

  /** A 32-bit result clears the upper half (APM vol. 1, 3.1.2). */
  setGpr32(n: number, value: number): void {
    this.setLow32(n, value);
    if (n === 0) this.port.setU32(RAX + 4, 0);
    else if (n === 4) this.port.setU32(RSP + 4, 0);
    else this.#halves[2 * n + 1] = 0;
  }

  /** Sets the low half of a register; the upper one stays. */
  setLow32(n: number, value: number): void {
    if (n === 0) this.port.setU32(RAX, value);
    else if (n === 4) this.port.setU32(RSP, value);
    else this.#halves[2 * n] = value;
  }

  /** Done with the intercepted instruction: on to the next. */
  skip(): void {
    const { port } = this;
    port.setU32(RIP, port.u32(control.nRip.offset));
    port.setU32(RIP + 4, port.u32(control.nRip.offset + 4));
    this.executed();
  }

  /** An instruction was executed in the guest's stead; RIP is where it goes on. With TF set that is where the guest gets its trap (13.1.4). */
  executed(): void {
    const { port } = this;
    const { offset } = control.interruptState;
    port.setU32(offset, (port.u32(offset) & ~InterruptState.INTERRUPT_SHADOW) >>> 0);
    this.vm.emulated++;
    if (!this.singleSteps) return;
    this.save.dr6 |= DR6_BS;
    this.inject(SINGLE_STEP);
  }

  /** Does an instruction that is no branch end in a trap (13.1.4)? */
  get singleSteps(): boolean {
    const { port } = this;
    return (port.u32(RFLAGS) & Rflags.TF) !== 0 && (port.u32(DEBUG_CONTROL) & DebugCtl.BTF) === 0;
  }

  /** An event for the next VMRUN, in the format of EVENTINJ. */
  inject(eventInj: bigint): void {
    this.vmcb.eventInj = eventInj;
  }

  /** Lets the guest execute the intercepted instruction itself, then arms the intercept again. */
  stepOver(code: number): void {
    this.#steppingOver = code;
    clearIntercept(this.#vectors, code);
    this.#store(code >>> 5);
  }

  /** The one instruction is over, unless an interrupt window came before it. */
  #stepped(exit: number): void {
    const code = this.#steppingOver;
    this.#steppingOver = null;
    if (code === null) return;
    this.#arm(code);
    if (code === ExitCode.IRET && exit !== ExitCode.VINTR) this.interrupts.nmiComplete();
  }

  /** Sets an intercept, or takes it back unless the person asked for it. */
  intercept(code: number, wanted: boolean): void {
    if (wanted) this.#arm(code);
    else if (!this.vm.config.intercepts.codes.includes(code)) {
      clearIntercept(this.#vectors, code);
      this.#store(code >>> 5);
    }
  }

  #arm(code: number): void {
    setIntercept(this.#vectors, code);
    this.#store(code >>> 5);
  }

  #store(vector: number): void {
    this.port.setU32(4 * vector, this.#vectors[vector] ?? 0);
    this.#clean.changed();
  }

  // --- write traps of an SEV-ES guest ----------------------------------------------------------------------------------------

  /** A control register was written (exit 90h + n, after the fact): the view follows. */
  trappedControlRegister(n: number, value: bigint): void {
    if (n === 0) this.#known.cr0 = value;
    else if (n === 4) {
      this.#known.cr4 = value;
      this.#knownCr4 = lowHalf(value);
    } else if (n === 8) this.#known.cr8 = value;
    if (this.#controlRegistersArmed) this.#arm(ExitCode.CR0_WRITE + n);
  }

  trappedEfer(value: bigint): void {
    this.#known.efer = value;
  }

  // --- Services --------------------------------------------------------------------------------------------------------------

  get memorySize(): number {
    return this.vm.config.ram.size;
  }
  get cBit(): number {
    return this.vm.config.cBit;
  }
  get controlRegisters(): boolean {
    return this.vm.config.intercepts.controlRegisters;
  }
  get ended(): Outcome | null {
    return this.vm.ended;
  }
  get tracing(): boolean {
    return this.vm.config.trace !== null;
  }
  get ghcbMsr(): bigint {
    return this.vmcb.ghcb;
  }
  set ghcbMsr(value: bigint) {
    this.vmcb.ghcb = value;
  }
  get ghcbMsrLow(): number {
    return this.port.u32(control.ghcb.offset);
  }
  get ghcbMsrHigh(): number {
    return this.port.u32(control.ghcb.offset + 4);
  }

  cpuid(leaf: number, subleaf: number, xcr0: bigint, xss: bigint): CpuidResult {
    const cr4 = this.vm.encryptedState ? this.#knownCr4 : this.port.u32(CR4);
    return this.#cpuid.answer(leaf >>> 0, subleaf >>> 0, cr4, xcr0, this.interrupts.apic.enabled, xss);
  }
  readMsr(index: number): bigint | null {
    const n = index >>> 0;
    return this.#isApicMsr(n) ? readApicMsr(this.interrupts.apic, n) : readGuestMsr(this, n);
  }
  writeMsr(index: number, value: bigint): boolean {
    const n = index >>> 0;
    return this.#isApicMsr(n) ? writeApicMsr(this.interrupts.apic, n, value) : writeGuestMsr(this, n, value);
  }
  /** TSC_DEADLINE is there if CPUID says so. */
  #isApicMsr(index: number): boolean {
    return isApicMsr(index) && (index !== Msr.TSC_DEADLINE || (this.#apicFeatures & (1 << Feature.TSC_DEADLINE.bit)) !== 0);
  }
  /** An SEV-ES guest reaches its own. */
  readEfer(): bigint | null {
    return this.vm.encryptedState ? null : shownEfer(this.save.efer);
  }
  writeEfer(value: bigint): boolean {
    const next = this.vm.encryptedState ? null : eferAfter(value, { cr0: this.save.cr0, efer: this.save.efer });
    if (next === null) return false;
    this.save.efer = next;
    return true;
  }
  get physicalBits(): number {
    return this.vm.host.cpuid(0x8000_0008, 0)[0] & 0xff;
  }
  tsc(): bigint {
    return BigInt.asUintN(64, BigInt(this.vm.clock.time * TICKS) + this.#tscOffset);
  }
  setTsc(value: bigint): void {
    this.#tscOffset += value - this.tsc();
    this.#storeTscOffset();
    this.interrupts.apic.retime();
  }
  tscAux(): bigint {
    return 0n;
  }
  portIn(port: number, size: PortSize): number {
    return this.vm.config.io.in(port, size);
  }
  portOut(port: number, size: PortSize, value: number): void {
    this.vm.config.io.out(port, size, value);
  }
  mmioRead(gpa: bigint, into: Uint8Array): void {
    this.vm.config.mmio.read(gpa, into);
  }
  mmioWrite(gpa: bigint, from: Uint8Array): void {
    this.vm.config.mmio.write(gpa, from);
  }
  initialise(): void {
    this.vm.evict(this); // what VMLOAD moves is changed in memory
    initialise(this);
    if (this.activity === Activity.RUNNING) this.vm.enter(this);
  }
  nmiComplete(): void {
    this.interrupts.nmiComplete();
  }
  get jumpTable(): bigint {
    return this.vm.jumpTable;
  }
  set jumpTable(gpa: bigint) {
    this.vm.jumpTable = gpa;
  }
  get apicIds(): readonly number[] {
    return this.vm.vcpus.map(({ interrupts }) => interrupts.apic.id);
  }
  get ghcbVersion(): GhcbVersion {
    return this.vm.config.ghcbVersion ?? GHCB_VERSIONS.most;
  }
  readMemory(gpa: bigint, into: Uint8Array): boolean {
    return this.vm.read(gpa, into);
  }
  writeMemory(gpa: bigint, from: Uint8Array): boolean {
    return this.vm.write(gpa, from);
  }
  isRam(gpa: bigint, length: number): boolean {
    return this.vm.isRam(gpa, length);
  }
  locate(page: Gpa): Spa | null {
    return this.vm.locate(page, true);
  }
  wbinvd(): void {
    this.vm.wbinvd();
  }
  hypercall(number: bigint, cpl: number, values: HypercallArguments): bigint {
    const wide = this.vm.encryptedState || (this.save.csAttributes & SegmentAttribute.L) !== 0;
    return BigInt.asUintN(64, hypercall(this.interrupts.apic, number, cpl, values, wide));
  }
  readControlRegister(n: number): bigint {
    return n === 0 ? this.#known.cr0 : n === 4 ? this.#known.cr4 : this.#known.cr8;
  }
  allowControlRegister(n: number, value: bigint): boolean {
    if (
      refusesControlRegister(
        n,
        value,
        this.#known,
        cr4Bits((leaf, subleaf) => this.vm.host.cpuid(leaf, subleaf)),
      )
    )
      return false;
    clearIntercept(this.#vectors, ExitCode.CR0_WRITE + n);
    this.#store((ExitCode.CR0_WRITE + n) >>> 5);
    return true;
  }
  namedGhcb(): void {
    if (this.#controlRegistersArmed || !this.controlRegisters) return;
    this.#controlRegistersArmed = true;
    interceptControlRegisters(this.#vectors);
    this.#store(0);
  }
  warn(text: string): void {
    this.vm.warn(text);
  }
  note(note: TraceNote): void {
    this.vm.config.trace?.emit(note);
  }

  /** Would an interrupt reach the guest now? For an SEV-ES guest the VMCB says so (GUEST_INTERRUPT_MASK, 15.35.9). */
  get interruptsEnabled(): boolean {
    if (this.vm.encryptedState) return (this.port.u32(control.interruptState.offset) & InterruptState.GUEST_INTERRUPT_MASK) !== 0;
    return (this.port.u32(RFLAGS) & Rflags.IF) !== 0;
  }
}
