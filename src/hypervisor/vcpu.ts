// One virtual CPU: a VMCB in host memory and the loop around VMRUN. For plain and SEV guests its registers are in the VMCB's
// save area and in `registers`; for SEV-ES guests they are in the VMSA, which nobody here can read, and what the hypervisor
// knows of the guest's control registers comes from the initial VMSA and the write traps (APM 15.35.10).

import { Feature } from '../arch/cpuid.ts';
import { ExitCode } from '../arch/exit-code.ts';
import { Msr } from '../arch/msr.ts';
import { SegmentAttribute } from '../arch/registers.ts';
import { SaveArea } from '../arch/save-area.ts';
import { SAVE_AREA_OFFSET, VmcbControl } from '../arch/vmcb.ts';
import type { PortSize } from '../devices/device.ts';
import type { HostProcessor } from '../svm/host-processor.ts';
import type { Gpa, Spa } from '../util/address.ts';
import { CodeCounts } from '../util/code-counts.ts';
import type { TraceNote } from '../util/trace.ts';
import { Activity } from './activity.ts';
import { type ControlRegisters, eferAfter, shownEfer } from './control-registers.ts';
import { isApicMsr, readApicMsr, writeApicMsr } from '../devices/apic-msrs.ts';
import { vectorName } from '../arch/exception.ts';
import { GHCB_VERSIONS, type GhcbVersion } from '../arch/ghcb.ts';
import { apicFeatures } from '../machine/apic-features.ts';
import { GuestCpuid } from './cpuid.ts';
import { handleExit } from './exits.ts';
import { GuestTsc } from './guest-tsc.ts';
import { GhcbPage } from './ghcb/page.ts';
import type { CpuidResult } from './ghcb/services.ts';
import type { GhcbVcpu } from './ghcb/vmgexit.ts';
import { type HypercallArguments, hypercall } from './hypercalls.ts';
import { initialise } from './init.ts';
import { clearIntercept, type InterceptVectors, initialVectors, interceptControlRegisters, pauseFilter } from './intercepts.ts';
import { Interrupts } from './interrupts.ts';
import { KnownRegisters } from './known-registers.ts';
import { readGuestMsr, writeGuestMsr, type MsrVcpu } from './msrs.ts';
import type { Outcome } from './outcome.ts';
import { swapsDebugRegisters } from './sev-features.ts';
import { type HoldRequest, StartUp } from './start-up.ts';
import { VcpuState } from './vcpu-state.ts';
import type { Vm } from './vm.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const control = VmcbControl.layout;
const CR4 = SAVE_AREA_OFFSET + SaveArea.layout.cr4.offset;

/** Exits in a row at which neither the processor retired anything nor the hypervisor did something for the guest. */
const MOST_FRUITLESS_EXITS = 10_000;

/** Executed at VMRUN: translations of this ASID go (15.16.1). */
const FLUSH_THIS_ASID = 3;

function initialVectorsOf({ config, encryptedState }: Vm): InterceptVectors {
  const ownDebugRegisters = swapsDebugRegisters(config.sevFeatures ?? 0);
  return initialVectors(config.intercepts, { encryptedState, ownDebugRegisters, several: config.vcpus > 1 });
}

export class Vcpu extends VcpuState implements GhcbVcpu, MsrVcpu, Stateful {
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
  /** Of an SEV-ES guest. */
  readonly #known: KnownRegisters;
  readonly #cpuid: GuestCpuid;
  #controlRegistersArmed = false;
  readonly #tsc: GuestTsc;
  /** Where the registers are that no world switch moves, while another has the processor. */
  readonly #registersPage: Spa;
  readonly #startUp: StartUp;
  readonly #apicFeatures: number;

  /** `registers`: a page with the other registers at their offsets in a VMSA (HostProcessor.loadRegisters). */
  constructor(vm: Vm, number: number, places: { readonly vmcb: Spa; readonly registers: Spa }, initial: ControlRegisters) {
    super(vm, number, places.vmcb, initialVectorsOf(vm));
    this.activity = number === 0 ? Activity.RUNNING : Activity.WAIT_FOR_SIPI;
    this.#startUp = new StartUp(this);
    this.#tsc = new GuestTsc(vm, (offset) => {
      this.vmcb.tscOffset = offset;
      this.clean.changed();
    });
    this.#registersPage = places.registers;
    this.ghcb = new GhcbPage(vm.host.memory);
    this.#known = new KnownRegisters(initial);
    if (vm.config.vcpus > 1) {
      this.vmcb.pauseFilterCount = pauseFilter.count;
      this.vmcb.pauseFilterThreshold = pauseFilter.threshold;
    }
    this.#apicFeatures = apicFeatures(vm.config.withheld ?? []);
    const { technology, cBit } = vm.config;
    this.#cpuid = new GuestCpuid((leaf, subleaf) => vm.host.cpuid(leaf, subleaf), {
      technology,
      cBit,
      apicFeatures: this.#apicFeatures,
      apicId: number,
      processors: vm.config.vcpus,
    });
    this.interrupts = new Interrupts(this);
  }

  /**
   * Runs until the guest's run ends (an Outcome), or `budget` or the exits of the slice are used up, or there is nothing for this virtual CPU
   * to do (null).
   */
  run(budget: number): Outcome | null {
    const { clock, host } = this.vm;
    this.#tsc.follow();
    clock.enter(host);
    const outcome = this.#run(budget);
    clock.leave();
    return outcome;
  }

  #run(budget: number): Outcome | null {
    const { vm } = this;
    const { host } = vm;
    let before = vm.consumed;
    const end = before + budget;
    let fruitless = 0;
    for (; vm.exitsLeft > 0; vm.exitsLeft--) {
      let code = this.#pendingExit;
      if (code !== null) this.#pendingExit = null;
      else {
        if (before >= end) return null;
        const soon = this.interrupts.prepare();
        if (this.activity !== Activity.RUNNING) return null;
        host.setTimer(this.steppingOver === null ? Math.min(end - before, soon) : 1);
        const fault = host.vmrun(this.vmcbPhysical, this.registers);
        if (fault !== null) return { kind: 'refused', reason: `VMRUN raised ${vectorName(fault)}` };
        this.clean.seen();
        if (this.#flushes) this.#flushed();
        code = this.port.u32(control.exitCode.offset) | 0;
        if (this.steppingOver !== null) this.#stepped(code);
        this.exits.add(code);
        if (code === vm.stopsAt) {
          this.#pendingExit = code;
          return null;
        }
      }
      const outcome = handleExit(this, code) ?? vm.ended;
      if (outcome !== null) return outcome;
      if (this.activity !== Activity.RUNNING || this.yielded) return null;
      const after = vm.consumed;
      fruitless = after === before ? fruitless + 1 : 0;
      before = after;
      if (fruitless > MOST_FRUITLESS_EXITS)
        return { kind: 'stopped', reason: 'the guest leaves again and again without executing anything' };
    }
    return null;
  }

  /** An exit that nobody has looked at yet (Vm.stopsAt): the next run begins with it. */
  get pendingExit(): number | null {
    return this.#pendingExit;
  }
  #pendingExit: number | null = null;

  // --- turns -----------------------------------------------------------------------------------------------------------------------

  /** Is there something for it to do? What it waits for may have come. */
  awake(): boolean {
    if (this.activity === Activity.RUNNING) return true;
    const { interrupts } = this;
    if (this.activity === Activity.HALTED ? interrupts.wakes() : this.#startUp.begins()) this.activity = Activity.RUNNING;
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
    this.clean.changed(); // what a processor keeps of a VMCB it keeps for itself (15.15)
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

  /** The guest wants to be started again by a STARTUP message. */
  apResetHold(by: HoldRequest): void {
    this.#startUp.hold(by);
  }

  /** The one instruction is over, unless an interrupt window came before it. */
  #stepped(exit: number): void {
    const code = this.steppingOver;
    this.steppingOver = null;
    if (code === null) return;
    this.arm(code);
    if (code === ExitCode.IRET && exit !== ExitCode.VINTR) this.interrupts.nmiComplete();
  }

  // --- write traps of an SEV-ES guest ----------------------------------------------------------------------------------------

  /** A control register was written (exit 90h + n, after the fact): the view follows. */
  trappedControlRegister(n: number, value: bigint): void {
    this.#known.wrote(n, value);
    if (this.#controlRegistersArmed) this.arm(ExitCode.CR0_WRITE + n);
  }

  trappedEfer(value: bigint): void {
    this.#known.wroteEfer(value);
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
    const cr4 = this.vm.encryptedState ? this.#known.cr4Low : this.port.u32(CR4);
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
    return this.#tsc.value;
  }
  setTsc(value: bigint): void {
    this.#tsc.value = value;
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
    if (this.steppingOver !== null) this.#stepped(ExitCode.INTR); // the instruction is not executed any more
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
    return this.#known.read(n);
  }
  allowControlRegister(n: number, value: bigint): boolean {
    if (this.#known.refuses(n, value, (leaf, subleaf) => this.vm.host.cpuid(leaf, subleaf))) return false;
    clearIntercept(this.vectors, ExitCode.CR0_WRITE + n);
    this.store((ExitCode.CR0_WRITE + n) >>> 5);
    return true;
  }
  namedGhcb(): void {
    if (this.#controlRegistersArmed || !this.controlRegisters) return;
    this.#controlRegistersArmed = true;
    interceptControlRegisters(this.vectors);
    this.store(0);
  }
  warn(text: string): void {
    this.vm.warn(text);
  }
  note(note: TraceNote): void {
    this.vm.config.trace?.emit(note);
  }

  /** Between runs. VMCB, VMSA and the page of other registers are in memory. */
  exchange(fields: Fields): void {
    fields.numbers(this.registers);
    fields.numbers(this.vectors);
    fields.part(this.clean);
    fields.part(this.interrupts);
    fields.part(this.#startUp);
    fields.part(this.#known);
    fields.part(this.#tsc);
    fields.part(this.exits);
    fields.map(this.msrValues);
    this.steppingOver = fields.value(this.steppingOver);
    this.activity = fields.value(this.activity);
    this.yielded = fields.value(this.yielded);
    this.lastProcessor = fields.value(this.lastProcessor);
    this.debugControl = fields.value(this.debugControl);
    this.#controlRegistersArmed = fields.value(this.#controlRegistersArmed);
    this.#flushes = fields.value(this.#flushes);
    this.#pendingExit = fields.value(this.#pendingExit);
  }
}
