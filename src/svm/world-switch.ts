// World switches: VMRUN, #VMEXIT, and what becomes of an intercept in between. APM vol. 2, chapter 15. For an SEV-ES guest an
// exit is automatic, or it becomes a #VC in the guest, with the exit code as error code (15.35.4, 15.35.5).
// On this path nothing is allocated, and 64-bit values move as 32-bit halves. `v` and `s` are word indices of
// the VMCB and of the guest's state block.

import { Feature, reportsFeature } from '../arch/cpuid.ts';
import { ExitCode } from '../arch/exit-code.ts';
import { Vector } from '../arch/exception.ts';
import { Efer } from '../arch/registers.ts';
import { SevFeatures } from '../arch/sev-features.ts';
import { EventInjection, EventType, SAVE_AREA_OFFSET } from '../arch/vmcb.ts';
import { processorCpuid } from '../cpu/cpuid.ts';
import { cr4Implemented } from '../cpu/control-registers.ts';
import type { Evictions } from '../memory/evictions.ts';
import type { EngineMemory } from '../memory/map.ts';
import { State, STATE_SIZE, STOP_NONE } from '../memory/state.ts';
import type { Asids } from '../sev/asid-ownership.ts';
import type { Spa } from '../util/address.ts';
import { CodeCounts } from '../util/code-counts.ts';
import type { TraceSink } from '../util/trace.ts';
import { CleanCheck } from './clean-check.ts';
import { controlProblem, eventProblem, featuresProblem, is64Bit, nmiProblem, patProblem, registerProblem } from './consistency.ts';
import { becomesVc } from './exit-kind.ts';
import { ExitWriter, interruptedByHost } from './exit-writer.ts';
import { classify, Environments, type GuestKind, loadControls, offerInterrupts, startPauseFilter } from './guest-entry.ts';
import { GuestRegisterFile } from './guest-registers.ts';
import type { GuestRegisters, HostFault } from './host-processor.ts';
import { HostControl } from './host-control.ts';
import { HostState } from './host-state.ts';
import { InstructionReader } from './instruction.ts';
import type { SwitchObserver } from './observer.ts';
import type { CpuPort, MmuPort } from './ports.ts';
import { HOST_STATES, vmsaStore, type WorldSwitchParts } from './processor-place.ts';
import { Resumption } from './resumption.ts';
import { canonicaliseBases, moveLiveRegisters, patTransfer, vmrunTransfer } from './transfer.ts';
import { UnswitchedRegisters } from './unswitched-registers.ts';
import { VmcbPlace } from './vmcb-place.ts';
import { Word } from './vmcb-words.ts';
import { debugSwap, type LoadedVmsa, type VmsaStore } from './vmsa-store.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const LONGEST_RUN = 0x4000_0000;
/** The refusal that is VMEXIT_BUSY. */
const BUSY = 'the VMSA is busy: VINTR_CTRL.BUSY is set';

export class WorldSwitch implements Stateful {
  readonly control: HostControl;
  /** The host's own registers. */
  readonly host: HostState;
  readonly unswitched: UnswitchedRegisters;
  /** How often each exit code became a #VC. */
  vcCounts = new CodeCounts();
  /** Why the last VMRUN gave INVALID, in words; null if it did not. */
  refusal: string | null = null;
  observer: SwitchObserver | null = null;
  readonly #memory: EngineMemory;
  readonly #i32: Int32Array;
  readonly #place: VmcbPlace;
  readonly #mmu: MmuPort;
  readonly #cpu: CpuPort;
  readonly #asids: Asids;
  readonly #trace: TraceSink | null;
  readonly #cleanCheck: CleanCheck | null;
  readonly #vmsas: VmsaStore;
  readonly #number: number;
  readonly #reader: InstructionReader;
  readonly #exits: ExitWriter;
  readonly #environments: Environments;
  /** Bits of CR4 that this processor has, and whether it virtualises NMIs. */
  readonly #cr4Implemented: number;
  readonly #vnmi: boolean;
  readonly #vte: boolean;
  /** Bits that SEV_FEATURES may have, and whether a busy VMSA is looked for: with Secure AVIC (15.36.21). */
  readonly #sevFeatures: number;
  readonly #honoursBusy: boolean;
  // The guest that runs.
  readonly #kind: GuestKind = { nested: false, sev: false, es: false, vte: false, asid: 0, debugControl: false };
  #state: number;
  #vmsa: LoadedVmsa | null = null;
  /** The VMCB of the last VMRUN, and the state block that has what clean bits stand for; a VMCB elsewhere has none (15.15). */
  #keptOf = -1;
  #keptIn = 0;
  readonly #registers: GuestRegisterFile;
  readonly #resumption: Resumption;
  /** The delivery of EVENTINJ ended in an exit. */
  #leftAtOnce = false;
  readonly #evictions: Evictions | null;
  /** The host's timer fires when `retired` gets here. */
  #deadline = Number.POSITIVE_INFINITY;
  /** #VCs and runs without an instruction retired: they count as time, or a guest could keep the host out for good. */
  #stalls = 0;

  constructor(parts: WorldSwitchParts) {
    const { memory, frames, model } = parts;
    const { number, vmsas } = parts.processor ?? { number: 0, vmsas: vmsaStore(parts) };
    this.#number = number;
    this.#memory = memory;
    this.#i32 = memory.i32;
    this.#registers = new GuestRegisterFile(memory);
    this.#mmu = parts.mmu;
    this.#cpu = parts.cpu;
    this.#asids = parts.asids;
    this.#trace = parts.trace;
    this.#cleanCheck = parts.cleanFaults ? new CleanCheck(memory.i32, parts.cleanFaults, parts.trace) : null;
    this.#evictions = parts.evictions ?? null;
    const block = memory.states + HOST_STATES * number * STATE_SIZE;
    this.host = new HostState(memory, frames, block, block + STATE_SIZE);
    this.#vmsas = vmsas;
    this.#resumption = new Resumption(memory.i32, parts.cpu, this.host, parts.asids, vmsas);
    this.#reader = new InstructionReader(memory, parts.mmu.onlooker);
    this.#exits = new ExitWriter(memory, this.#reader);
    this.#environments = new Environments(model);
    const cpuid = processorCpuid(model);
    this.#cr4Implemented = cr4Implemented(cpuid);
    this.#vnmi = reportsFeature(cpuid, Feature.VNMI);
    this.#vte = reportsFeature(cpuid, Feature.VTE);
    this.#sevFeatures = reportsFeature(cpuid, Feature.DEBUG_SWAP) ? SevFeatures.DEBUG_VIRTUALIZATION : 0;
    this.#honoursBusy = reportsFeature(cpuid, Feature.SECURE_AVIC);
    this.control = new HostControl(this.host, frames, parts.mmu.host(number), parts.asids, model);
    this.#place = new VmcbPlace(frames, this.host, this.control.addresses);
    this.unswitched = new UnswitchedRegisters(memory, frames, this.host, this.#place, this.control.addresses);
    this.#state = this.host.live;
    this.#cpu.state = this.host.live;
  }

  /** Instructions retired, and what else counts as time. */
  get retired(): number {
    return this.#cpu.retired + this.#stalls;
  }

  get xcr0(): bigint {
    return this.#memory.view.getBigUint64(this.host.live + State.XCR0, true);
  }

  /** State block of the guest that runs or ran last: for those who see everything. */
  get state(): number {
    return this.#state;
  }

  /** A physical interrupt comes after so many instructions; Infinity: none. */
  setTimer(instructions: number): void {
    this.#deadline = this.retired + instructions;
  }

  vmrun(vmcb: Spa, registers: GuestRegisters): HostFault | null {
    const bytes = this.#place.of(vmcb);
    if (bytes === 0) return this.#place.fault;
    const left = this.#vmsa;
    if (left !== null && this.#resumption.holds(vmcb, bytes >>> 2, left)) {
      this.#resumption.enter(left.state >>> 2);
      if (this.observer !== null) this.observer.entered(left.page, left.state, 0, 0);
      this.#leftAtOnce = false;
      this.#leave(vmcb, this.#execute());
      this.host.leave(true, debugSwap(left));
      return null;
    }
    this.#resumption.forget();
    this.#registers.use(registers);
    this.#trace?.emit({ kind: 'vmrun', vmcb });
    this.#cleanCheck?.enter(vmcb, bytes >>> 2);
    this.host.enter(vmcb);
    this.#vmsa = null;
    this.refusal = this.#enter(vmcb);
    if (this.refusal === null) this.#leave(vmcb, this.#execute());
    else {
      const at = this.#place.of(vmcb);
      const exitCode = this.refusal === BUSY ? ExitCode.BUSY : ExitCode.INVALID;
      if (at !== 0) this.#exits.refused(at >>> 2, exitCode);
      this.#vmsa = null;
      this.#trace?.emit({ kind: 'exit', exitCode, exitInfo1: 0n, exitInfo2: 0n });
    }
    if (this.#cleanCheck !== null) this.#cleanCheck.leave(vmcb, this.#place.of(vmcb) >>> 2);
    this.host.leave(this.#vmsa !== null, this.#vmsa !== null && debugSwap(this.#vmsa));
    return null;
  }

  // --- into the guest --------------------------------------------------------------------------------------------------------

  /** Checks the VMCB and loads the guest. A text: INVALID, or BUSY. */
  #enter(vmcb: Spa): string | null {
    const i32 = this.#i32;
    const kind = this.#kind;
    let at = this.#place.of(vmcb);
    let v = at >>> 2;
    classify(i32, v, kind, this.control.addresses.encryption, this.#vte);
    const problem = controlProblem(i32, v, kind, this.control);
    if (problem !== null) return problem;
    if (this.#vnmi && nmiProblem(i32, v)) return 'NMIs are virtualised without the NMI intercept';
    const inRegisters = kind.es ? this.#loadVmsa(v) : this.#loadSaveArea(at);
    if (inRegisters !== null) return inRegisters;
    at = this.#place.of(vmcb); // a VMSA that was loaded may have moved it
    v = at >>> 2;
    const state = this.#state;
    const vmsa = this.#vmsa;
    const event = i32[v + Word.EVENT_INJ]!;
    const invalidEvent = (event & EventInjection.V) !== 0 ? eventProblem(event, kind.es, is64Bit(i32, state >>> 2)) : null;
    if (invalidEvent !== null) {
      if (vmsa !== null && !vmsa.checked) this.#vmsas.forget(vmsa);
      return invalidEvent;
    }
    if (vmsa !== null) moveLiveRegisters(i32, this.host.live >>> 2, state >>> 2, debugSwap(vmsa));
    if (vmsa === null && kind.debugControl) this.host.giveDebugControl(at + SAVE_AREA_OFFSET);
    // A VMSA that was loaded just now may stand where another was.
    const kept = vmcb === this.#keptOf && state === this.#keptIn && (vmsa === null || vmsa.checked);
    loadControls(i32, v, state >>> 2, kind, vmsa === null ? 0 : vmsa.features, kept ? i32[v + Word.CLEAN]! : 0);
    startPauseFilter(i32, state >>> 2, this.#cpu.retired);
    this.#keptOf = vmcb;
    this.#keptIn = state;
    this.#mmu.enter(this.#environments.of(i32, v, kind, this.control.hostKey, (this.host.eferLow & Efer.NXE) !== 0));
    // What follows from the registers is as it was, if nobody else has run since.
    const settled = vmsa?.checked === true && this.#cpu.state === state;
    this.#cpu.state = state;
    if (settled) this.#mmu.selectContext(state);
    else this.#cpu.settle();
    if (vmsa !== null) vmsa.checked = true;
    if (kind.sev) this.#asids.entered(kind.asid, this.#number);
    if (this.observer !== null && vmsa !== null) this.observer.entered(vmsa.page, state, event, i32[v + Word.EVENT_INJ + 1]!);
    this.#loadEvents(v, state, event);
    return null;
  }

  #loadVmsa(v: number): string | null {
    const i32 = this.#i32;
    // Bits 51:12 are the page.
    const vmsa = this.#vmsas.load((i32[v + Word.VMSA]! >>> 12) + (i32[v + Word.VMSA + 1]! & 0xf_ffff) * 0x10_0000, this.#kind.asid);
    if (typeof vmsa === 'string') return vmsa;
    if (this.#honoursBusy && vmsa.busy) {
      this.#vmsas.forget(vmsa);
      return BUSY;
    }
    if (!vmsa.checked) {
      const problem = featuresProblem(vmsa.features, vmsa.featuresHigh, this.#sevFeatures) ?? this.#registerProblem(vmsa.state);
      if (problem !== null) {
        this.#vmsas.forget(vmsa);
        return problem;
      }
    }
    this.#vmsa = vmsa;
    this.#state = vmsa.state;
    return null;
  }

  /** A guest without SEV-ES runs in the state block of the host, with what VMLOAD put there. */
  #loadSaveArea(at: number): string | null {
    const state = this.host.live;
    this.#registers.load(state);
    vmrunTransfer.load(this.#memory, at + SAVE_AREA_OFFSET, this.#memory, state);
    if (this.#kind.nested) patTransfer.load(this.#memory, at + SAVE_AREA_OFFSET, this.#memory, state);
    canonicaliseBases(this.#i32, state >>> 2);
    this.#state = state;
    return this.#registerProblem(state);
  }

  #registerProblem(state: number): string | null {
    const problem = registerProblem(this.#i32, state >>> 2, this.control.addressMask(this.#kind), this.#cr4Implemented);
    return problem ?? (this.#kind.nested ? patProblem(this.#i32, state >>> 2) : null);
  }

  /** EVENTINJ before the guest's first instruction, a virtual interrupt when the guest opens its window. */
  #loadEvents(v: number, state: number, event: number): void {
    offerInterrupts(this.#i32, v, state >>> 2, this.#cpu, this.#vnmi);
    this.#i32[(state + State.EXIT_INT_INFO) >>> 2] = 0;
    this.#i32[(state + State.EXIT_INT_INFO + 4) >>> 2] = 0;
    this.#leftAtOnce = false;
    if ((event & EventInjection.V) === 0) return;
    const code = this.#i32[v + Word.EVENT_INJ + 1]!;
    this.#trace?.emit({ kind: 'inject', eventInj: (BigInt(code >>> 0) << 32n) | BigInt(event >>> 0) });
    const type = (event & EventInjection.TYPE) >>> 8;
    const vector = type === EventType.NMI ? Vector.NMI : event & EventInjection.VECTOR;
    this.#leftAtOnce = this.#cpu.inject(vector, type, (event & EventInjection.EV) !== 0 ? code >>> 0 : -1);
  }

  // --- in the guest ----------------------------------------------------------------------------------------------------------

  /** Runs the guest until an exit that is the host's; gives its code. */
  #execute(): number {
    const i32 = this.#i32;
    const cpu = this.#cpu;
    const s = this.#state >>> 2;
    let last = -1;
    let left = this.#leftAtOnce;
    for (;;) {
      if (!left) {
        // The host takes interrupts whatever the guest's RFLAGS.IF says, or a guest could keep it out for good.
        const before = cpu.retired;
        let budget = this.#deadline - before - this.#stalls;
        if (budget <= 0) {
          this.#deadline = Number.POSITIVE_INFINITY;
          return interruptedByHost(i32, s);
        }
        if (this.#evictions !== null) budget = Math.min(budget, this.#evictions.advance(this.retired));
        cpu.run((budget < LONGEST_RUN ? budget : LONGEST_RUN) | 0);
        if (i32[s + (State.STOP >>> 2)] === STOP_NONE) {
          if (cpu.retired === before) this.#stall();
          continue;
        }
      }
      const code = i32[s + (State.STOP >>> 2)]!;
      if (this.#vmsa === null || !becomesVc(code, i32[s + (State.STOP_INFO1 >>> 2)]!)) return code;
      const now = cpu.retired;
      if (now === last) this.#stall();
      last = now;
      this.vcCounts.add(code);
      if (this.#trace !== null) this.#traceVc(code);
      if (this.observer !== null) this.observer.vc(this.#state, code);
      left = cpu.raise(Vector.VC, code) && now + this.#stalls < this.#deadline;
    }
  }

  #stall(): void {
    this.#stalls++;
    this.#cpu.idle++;
  }

  #traceVc(code: number): void {
    const rip = this.#memory.view.getBigUint64(this.#state + State.RIP, true);
    this.#trace?.emit({ kind: 'vc', exitCode: code, rip, instruction: this.#reader.name(this.#state) });
  }

  // --- out of the guest ------------------------------------------------------------------------------------------------------

  #leave(vmcb: Spa, code: number): void {
    const i32 = this.#i32;
    const state = this.#state;
    const s = state >>> 2;
    const vmsa = this.#vmsa;
    if (this.observer !== null && vmsa !== null) this.observer.left(state, code);
    this.#exits.look(state, code, vmsa !== null);
    if (vmsa !== null) {
      this.#vmsas.save(vmsa);
      moveLiveRegisters(i32, s, this.host.live >>> 2, debugSwap(vmsa));
    }
    const at = this.#place.of(vmcb);
    if (at !== 0) {
      this.#exits.write(at, state, code, vmsa !== null);
      const v = at >>> 2;
      i32[v + Word.EXIT_INT_INFO] = i32[s + (State.EXIT_INT_INFO >>> 2)]!;
      i32[v + Word.EXIT_INT_INFO + 1] = i32[s + (State.EXIT_INT_INFO >>> 2) + 1]!;
      this.#exits.virtualInterrupts(v, s, this.#cpu, this.#vnmi);
      if (vmsa === null) this.#saveArea(at, state);
      else if (this.#trace === null && this.#cleanCheck === null) this.#resumption.left(vmcb, v);
    }
    this.#cpu.virtualInterrupt = -1;
    this.#cpu.virtualNmi = false;
    if (this.#trace !== null) this.#traceExit(code, state);
    i32[s + (State.STOP >>> 2)] = STOP_NONE;
    i32[s + (State.HALTED >>> 2)] = 0;
  }

  #saveArea(at: number, state: number): void {
    vmrunTransfer.store(this.#memory, state, this.#memory, at + SAVE_AREA_OFFSET);
    if (this.#kind.nested) patTransfer.store(this.#memory, state, this.#memory, at + SAVE_AREA_OFFSET);
    if (this.#kind.debugControl) this.host.takeDebugControlBack(at + SAVE_AREA_OFFSET);
    this.#registers.store(state);
  }

  #traceExit(code: number, state: number): void {
    const { view } = this.#memory;
    const exitInfo1 = view.getBigUint64(state + State.STOP_INFO1, true);
    this.#trace?.emit({ kind: 'exit', exitCode: code, exitInfo1, exitInfo2: view.getBigUint64(state + State.STOP_INFO2, true) });
  }

  /** Between world switches. */
  exchange(fields: Fields): void {
    fields.part(this.host);
    fields.part(this.control.msrs);
    if (this.#cleanCheck !== null) fields.part(this.#cleanCheck);
    this.refusal = fields.value(this.refusal);
    this.#state = fields.value(this.#state);
    this.#keptOf = fields.value(this.#keptOf);
    this.#keptIn = fields.value(this.#keptIn);
    this.#deadline = fields.value(this.#deadline);
    this.#stalls = fields.value(this.#stalls);
    if (fields.restoring) this.#resumption.forget();
  }
}
