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
import type { GuestRegisters } from '../svm/host-processor.ts';
import type { Gpa, Spa } from '../util/address.ts';
import { CodeCounts } from '../util/code-counts.ts';
import { TICKS } from '../machine/time.ts';
import { lowHalf } from '../util/halves.ts';
import type { Port, View } from '../util/struct.ts';
import type { TraceNote } from '../util/trace.ts';
import { CleanFields } from './clean-bits.ts';
import { cr4Bits, eferAfter, refusesControlRegister, shownEfer } from './control-registers.ts';
import { isApicMsr, readApicMsr, writeApicMsr } from '../devices/apic-msrs.ts';
import { Vector, vectorName } from '../arch/exception.ts';
import { EventInj } from '../arch/ghcb.ts';
import { apicFeatures } from '../machine/apic-features.ts';
import { GuestCpuid } from './cpuid.ts';
import { handleExit } from './exits.ts';
import { GhcbPage } from './ghcb/page.ts';
import type { CpuidResult } from './ghcb/services.ts';
import type { GhcbVcpu } from './ghcb/vmgexit.ts';
import { type HypercallArguments, hypercall } from './hypercalls.ts';
import { initialise } from './init.ts';
import {
  clearIntercept,
  INTERCEPT_VECTORS,
  type InterceptVectors,
  initialVectors,
  interceptControlRegisters,
  setIntercept,
} from './intercepts.ts';
import { Interrupts } from './interrupts.ts';
import { readGuestMsr, writeGuestMsr, type MsrVcpu } from './msrs.ts';
import type { Outcome } from './outcome.ts';
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
/** A slice ends after so many exits, too: they cost far more than instructions, and a surface wants its turn (Ctrl-C, keys). */
const EXITS_PER_SLICE = 20_000;

export class Vcpu implements GhcbVcpu, MsrVcpu {
  readonly vm: Vm;
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
  /** Instructions and elements that the hypervisor executed in the guest's stead. */
  emulated = 0;
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
  readonly #apicFeatures: number;

  constructor(vm: Vm, vmcbAddress: Spa, initial: { cr0: bigint; cr4: bigint; efer: bigint }) {
    this.vm = vm;
    this.vmcbAddress = vmcbAddress;
    this.vmcbPhysical = vm.physical(vmcbAddress);
    this.port = vm.host.memory.page(vmcbAddress);
    this.vmcb = VmcbControl(this.port);
    this.save = SaveArea(new ShiftedPort(this.port, SAVE_AREA_OFFSET));
    this.ghcb = new GhcbPage(vm.host.memory);
    this.#known = { ...initial, cr8: 0n };
    this.#clean = new CleanFields(this.port);
    this.#vectors = initialVectors(vm.config.intercepts, vm.encryptedState);
    for (let i = 0; i < INTERCEPT_VECTORS; i++) this.#store(i);
    this.#apicFeatures = apicFeatures(vm.config.withheld ?? []);
    const { technology, cBit } = vm.config;
    this.#cpuid = new GuestCpuid((leaf, subleaf) => vm.host.cpuid(leaf, subleaf), { technology, cBit, apicFeatures: this.#apicFeatures });
    this.#knownCr4 = lowHalf(initial.cr4);
    this.interrupts = new Interrupts(this);
  }

  /** Everything consumed of a budget so far: what the processor retired, elements included, and what was emulated. */
  get consumed(): number {
    return this.vm.host.retired + this.emulated;
  }

  /** Runs until the guest's run ends (an Outcome), or `budget` or the exits of a slice are used up (null). */
  run(budget: number): Outcome | null {
    const { host } = this.vm;
    const end = this.consumed + budget;
    let fruitless = 0;
    for (let exits = 0; exits < EXITS_PER_SLICE; exits++) {
      const before = this.consumed;
      if (before >= end) return null;
      host.setTimer(this.#steppingOver === null ? Math.min(end - before, this.interrupts.prepare()) : 1);
      const fault = host.vmrun(this.vmcbPhysical, this.registers);
      if (fault !== null) return { kind: 'refused', reason: `VMRUN raised ${vectorName(fault)}` };
      this.#clean.seen();
      const code = this.port.u32(control.exitCode.offset) | 0;
      if (this.#steppingOver !== null) this.#stepped(code);
      this.exits.add(code);
      const outcome = handleExit(this, code) ?? this.vm.ended;
      if (outcome !== null) return outcome;
      fruitless = this.consumed === before ? fruitless + 1 : 0;
      if (fruitless > MOST_FRUITLESS_EXITS)
        return { kind: 'stopped', reason: 'the guest leaves again and again without executing anything' };
    }
    return null;
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
    this.emulated++;
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

  cpuid(leaf: number, subleaf: number, xcr0: bigint): CpuidResult {
    const cr4 = this.vm.encryptedState ? this.#knownCr4 : this.port.u32(CR4);
    return this.#cpuid.answer(leaf >>> 0, subleaf >>> 0, cr4, xcr0, this.interrupts.apic.enabled);
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
    return BigInt.asUintN(64, BigInt(this.vm.host.time * TICKS) + this.#tscOffset);
  }
  setTsc(value: bigint): void {
    this.#tscOffset += value - this.tsc();
    this.vmcb.tscOffset = BigInt.asUintN(64, this.#tscOffset);
    this.#clean.changed();
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
    initialise(this);
  }
  nmiComplete(): void {
    this.interrupts.nmiComplete();
  }
  readMemory(gpa: bigint, into: Uint8Array): boolean {
    return this.vm.read(gpa, into);
  }
  writeMemory(gpa: bigint, from: Uint8Array): boolean {
    return this.vm.write(gpa, from);
  }
  locate(page: Gpa): Spa | null {
    return this.vm.locate(page);
  }
  wbinvd(): void {
    this.vm.host.wbinvd();
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
