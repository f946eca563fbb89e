// Watches both sides of the GHCB protocol and says who breaks it. It sees deliveries and returns, VMGEXIT with the page before and after the hypervisor, and
// each access of the guest to the page; of the guest's program it knows nothing else. What the rules are: rules.ts.

import { ExitCode } from '../arch/exit-code.ts';
import { Vector } from '../arch/exception.ts';
import { GhcbEvent, GhcbInfo, GhcbResponse, JumpTable } from '../arch/ghcb.ts';
import { EventInjection, EventType } from '../arch/vmcb.ts';
import { Source } from '../cpu/delivery/event.ts';
import type { MachineObserver } from '../machine/observer.ts';
import { Gpr, gprAt, Segment, State } from '../memory/state.ts';
import type { PageAccess } from '../mmu/page-observer.ts';
import { PAGE_SIZE } from '../util/address.ts';
import type { VirtualMachine } from '../virtual-machine.ts';
import { noteAccess, noteJumpTable, usedBy } from './accesses.ts';
import { asksForTermination, info1Of, judgeAnswer, judgeMsrAnswer, versionsIn } from './answer-rules.ts';
import { goneOn, judgeCompletion } from './completion-rules.ts';
import { Facts, type Report } from './facts.ts';
import { type Finding, Findings } from './finding.ts';
import { judgeNmi, judgeReason, judgeUserStack, noteNmiReturn } from './machine-rules.ts';
import { copyPages, noteClobbered, noteInterrupt, vcOf } from './nesting.ts';
import { BITMAP, isValid, usageOf, valueOf, versionOf } from './page-image.ts';
import { every, givesUp, isMmio, msrName, msrRequestOf, requestOf } from './protocol.ts';
import { hex, judgeRequest } from './request-rules.ts';
import { judgeReturn } from './result-rules.ts';
import { ruleOf } from './rules.ts';
import { emptyState, type Departure, type GhcbState, type Level, newCpu, newLevel, type SanitizerState, type VirtualCpu } from './state.ts';
import { judgeStringRequest } from './string-rules.ts';
import { judgeWindow } from './window-rules.ts';

/** A hostile guest names as many pages, and nests as deep, as it likes. */
const MOST_PAGES = 256;
const MOST_LEVELS = 128;
const INFO = 0xfffn;
const namesPage = (msr: bigint): boolean => msr !== 0n && (msr & INFO) === 0n;

/** What a processor that has asked for termination may still do: wait. */
const waiting: ReadonlySet<number> = new Set([
  ExitCode.HLT,
  ExitCode.IDLE_HLT,
  ExitCode.PAUSE,
  ExitCode.INTR,
  ExitCode.NMI,
  ExitCode.SMI,
  ExitCode.INIT,
  ExitCode.VINTR,
  ExitCode.SHUTDOWN,
]);

export class Sanitizer implements MachineObserver {
  readonly #vm: VirtualMachine;
  readonly #facts: Facts;
  readonly #findings: Findings;
  #known: SanitizerState = emptyState();
  #cpu: VirtualCpu = newCpu();

  constructor(vm: VirtualMachine, findings: Findings) {
    this.#vm = vm;
    this.#facts = new Facts(vm);
    this.#findings = findings;
  }

  get findings(): readonly Finding[] {
    return this.#findings.list;
  }

  /** The run is over: what is still open is judged. */
  finish(): void {
    for (const cpu of this.#known.cpus.values())
      for (const level of cpu.levels)
        for (const use of level.uses.values()) {
          if (use.window !== null) judgeWindow(level, use.window, { why: 'end', done: false }, this.#report);
          use.window = null;
        }
    for (const cpu of this.#known.cpus.values()) judgeNmi(this.#facts, cpu, this.#report);
  }

  detach(): void {
    this.#vm.machine.unobserve(this);
  }

  // --- for snapshots ---------------------------------------------------------------------------------------------------------------

  capture(): unknown {
    const { cpus } = this.#known;
    const running = [...cpus].find(([, cpu]) => cpu === this.#cpu)?.[0] ?? null;
    return { known: structuredClone(this.#known), running, findings: this.#findings.capture() } satisfies Captured;
  }

  restore(state: unknown): void {
    const { known, running, findings } = state as Captured;
    this.#known = structuredClone(known);
    this.#cpu = (running === null ? undefined : this.#known.cpus.get(running)) ?? newCpu();
    this.#findings.restore(findings);
    this.#vm.machine.engine.mmu.flush();
  }

  // --- deliveries and returns ------------------------------------------------------------------------------------------------------

  vc(state: number, code: number): void {
    const cpu = this.#cpu;
    this.#goesOn(cpu, this.#facts.u64(state, State.RIP), `a #VC with code ${hex(code)}`);
    cpu.raised = { info1: this.#facts.u64(state, State.STOP_INFO1), info2: this.#facts.u64(state, State.STOP_INFO2) };
  }

  delivering(state: number, vector: number, source: Source, errorCode: number): void {
    const cpu = this.#cpu;
    const facts = this.#facts;
    const isVc = vector === Vector.VC && (source === Source.EXCEPTION || source === Source.INJECTED) && errorCode >= 0;
    const { raised } = cpu;
    cpu.raised = null;
    const vc = isVc ? vcOf(facts, state, errorCode, source === Source.EXCEPTION ? raised : null) : null;
    cpu.pending = newLevel(vector, vc, facts.u64(state, gprAt(Gpr.RSP)), facts.u32(state, State.CPL));
    // EVENTINJ asks nobody: with RFLAGS.IF clear it is not the guest that let it in (APM vol. 2, 15.20).
    if (source === Source.INTERRUPT && facts.interruptible(state)) noteInterrupt(facts, cpu.levels.at(-1)!);
  }

  delivered(state: number): void {
    const { levels, pending } = this.#cpu;
    if (pending === null) return;
    this.#cpu.pending = null;
    copyPages(this.#facts, levels, pending);
    if (levels.length >= MOST_LEVELS) levels.splice(1, 1);
    levels.push(pending);
    const { vc, cpl } = pending;
    if (cpl === 3) this.#known.userMode = true;
    if (vc?.real !== true) return;
    this.#judgeStack(state, vc.before.rip, 'the frame of the #VC');
    judgeUserStack(this.#facts, state, this.#known, vc.before.rip, 'the frame of the #VC', this.#report);
  }

  /** Where it lies, and why it may be there. */
  #judgeStack(state: number, rip: bigint, what: string): void {
    const facts = this.#facts;
    const stack = facts.linear(state, facts.u32(state, State.MODE), Segment.SS, facts.u64(state, gprAt(Gpr.RSP)));
    const place = facts.look(state, stack);
    if (place === null || place.key === facts.guestKey) return;
    const { wrongCBit, hidesSev } = this.#known;
    const rule = wrongCBit ? 'cbit-unverified' : hidesSev ? 'sev-hidden' : 'shared-stack';
    this.#report(rule, rip, '', `${what} is in shared memory, at guest physical address ${hex(place.gpa)}`);
  }

  returned(state: number): void {
    const { levels } = this.#cpu;
    const facts = this.#facts;
    const rsp = facts.u64(state, gprAt(Gpr.RSP));
    const cpl = facts.u32(state, State.CPL);
    if (cpl === 3) this.#known.userMode = true;
    let at = levels.length - 1;
    while (at > 0 && (levels[at]!.rsp !== rsp || levels[at]!.cpl !== cpl)) at--;
    if (at === 0) return;
    const ended = levels.splice(at);
    const [level] = ended as [Level];
    const { vc } = level;
    const rip = facts.accessor(state);
    const after = vc === null ? null : facts.registers(state);
    for (const one of ended) {
      const done = one === level && vc !== null && after !== null && goneOn(vc, after);
      for (const { window } of one.uses.values()) if (window !== null) judgeWindow(one, window, { why: 'end', done }, this.#report);
    }
    if (vc !== null && after !== null) {
      judgeCompletion(vc, after, rip, this.#report);
      judgeReturn({ facts, state, known: this.#known, level, vc, after, rip, report: this.#report });
    }
    // Before there is a GHCB there is no way to say it: the MSR protocol has no such request.
    if (namesPage(facts.u64(state, State.GHCB))) noteNmiReturn(this.#cpu, level, rip);
    noteClobbered(facts, levels, level, ended);
  }

  // --- pages -----------------------------------------------------------------------------------------------------------------------

  ghcbWritten(state: number): void {
    const value = this.#facts.u64(state, State.GHCB);
    this.#cpu.levels.at(-1)!.msr = value;
    if (namesPage(value)) this.#ghcbAt(Number(value));
  }

  observes(page: number): boolean {
    return this.#known.pages.has(page) || this.#known.jumpTable?.page === page;
  }

  accessed(state: number, page: number, key: number, offset: number, size: number, kind: PageAccess): void {
    const ghcb = this.#known.pages.get(page);
    const access = { state, page, key, offset, size, kind };
    if (ghcb !== undefined) noteAccess(this.#facts, this.#cpu.levels.at(-1)!, ghcb, access, this.#report);
    else noteJumpTable(this.#facts, this.#known, access, this.#report);
  }

  #ghcbAt(gpa: number): GhcbState | null {
    const page = this.#facts.pageOf(gpa);
    if (page === null) return null;
    const { pages } = this.#known;
    const known = pages.get(page);
    if (known !== undefined) return known;
    if (pages.size >= MOST_PAGES) return null;
    const ghcb: GhcbState = {
      gpa,
      page,
      answer: null,
      seenClear: new Uint8Array(BITMAP.end - BITMAP.start),
      written: new Set(),
      lastKey: -1,
      imposed: null,
    };
    pages.set(page, ghcb);
    this.#vm.machine.engine.mmu.flush();
    return ghcb;
  }

  // --- out of the guest ------------------------------------------------------------------------------------------------------------

  left(state: number, code: number): void {
    const cpu = this.#cpu;
    const facts = this.#facts;
    const event = facts.u32(state, State.EXIT_INT_INFO);
    const msr = facts.u64(state, State.GHCB);
    const inDelivery = (event & EventInjection.V) !== 0 && (event & EventInjection.TYPE) >>> 8 === EventType.NMI;
    const rip = facts.u64(state, State.RIP);
    cpu.departure = { code, rip, cpl: facts.u32(state, State.CPL), msr, inDelivery, ghcb: null, before: null, request: null };
    if (code !== ExitCode.VMGEXIT) {
      if (!waiting.has(code)) this.#goesOn(cpu, rip, `exit ${hex(code)}`);
      return;
    }
    const at = rip - BigInt(facts.u32(state, State.STOP_LENGTH));
    const level = cpu.levels.at(-1)!;
    // User mode can execute VMGEXIT; what it then finds is for the kernel to have left clean, and for the hypervisor to refuse.
    const user = cpu.departure.cpl === 3;
    if (!user && level.msr !== null && level.msr !== msr)
      this.#report('nested-use', at, '', `the GHCB MSR was set to ${hex(level.msr)}, and a nested use has left ${hex(msr)} in it`);
    level.msr = null;
    if ((msr & INFO) === 0n) this.#pageRequest(state, cpu, cpu.departure, at, user);
    else this.#msrRequest(cpu, msr, at, user);
  }

  #pageRequest(state: number, cpu: VirtualCpu, departure: Departure, rip: bigint, user: boolean): void {
    const facts = this.#facts;
    const ghcb = departure.msr === 0n ? null : this.#ghcbAt(Number(departure.msr));
    if (ghcb === null) {
      if (!user) this.#report('ghcb-address', rip, '', `the GHCB MSR is ${hex(departure.msr)}`);
      return;
    }
    const level = cpu.levels.at(-1)!;
    const image = facts.image(ghcb.page);
    const request = requestOf(image);
    const terminates = asksForTermination(request);
    if (!terminates) this.#goesOn(cpu, rip, request.name);
    if (!terminates && !user) this.#judgeDoubt(cpu, rip, null);
    if (!user) {
      const givesIn = givesUp(request.code);
      for (const { window } of level.uses.values())
        if (window !== null) judgeWindow(level, window, { why: 'next', givesUp: givesIn }, this.#report);
      const use = usedBy(level, ghcb);
      judgeRequest({ facts, state, rip, level, use, ghcb, image, request, known: this.#known, report: this.#report });
      if (level.vc?.last === request) judgeStringRequest(facts, state, level.vc, request, rip, this.#report);
      if (level.vc !== null) judgeUserStack(facts, state, this.#known, rip, 'the stack', this.#report);
      const lied = this.#known.wrongCBit || this.#known.hidesSev;
      if (lied && !givesIn) this.#judgeStack(state, rip, 'the stack');
      for (const one of level.uses.values()) one.window = null;
      use.window = { request, rip, read: new Uint8Array(BITMAP.end), readers: new Map(), answer: null, interrupted: false, over: false };
      use.writers.clear();
      use.interrupted = false;
    } else if (every.every((field) => isValid(image, field)))
      this.#report('user-request', rip, request.name, 'a request stood in the page when user mode executed VMGEXIT');
    if (terminates) cpu.terminated = true;
    const reason = Number(request.info1 & 0xfffn);
    if (terminates && !user) judgeReason(reason & 0xf, reason >>> 4, rip, this.#report);
    if (request.code === BigInt(GhcbEvent.NMI_COMPLETE)) {
      cpu.inNmi = false;
      cpu.leftNmi = null;
    }
    cpu.departure = { ...departure, ghcb, before: image, request };
  }

  #msrRequest(cpu: VirtualCpu, value: bigint, rip: bigint, user: boolean): void {
    const terminates = (value & INFO) === BigInt(GhcbInfo.TERMINATION_REQUEST);
    if (!terminates) this.#goesOn(cpu, rip, msrName(value));
    if (terminates) cpu.terminated = true;
    if (user) return;
    if (terminates) judgeReason(Number((value >> 12n) & 0xfn), Number((value >> 16n) & 0xffn), rip, this.#report);
    else this.#judgeDoubt(cpu, rip, value);
    const row = msrRequestOf(value);
    if (row === undefined) this.#report('msr-request', rip, msrName(value), `${hex(value)} is no request`);
    else if ((value & row.zero) !== 0n) this.#report('msr-request', rip, msrName(value), `bits that must be zero are set in ${hex(value)}`);
  }

  /** An earlier answer in the MSR had another code, and the guest asks for other things as if it had not. */
  #judgeDoubt(cpu: VirtualCpu, rip: bigint, next: bigint | null): void {
    const { doubt } = cpu;
    if (doubt === null || next === doubt) return;
    const info = doubt & INFO;
    if (next !== null && (next & INFO) === info) return;
    cpu.doubt = null;
    this.#report(
      'msr-response-unchecked',
      rip,
      msrName(doubt),
      `the request ${hex(doubt)} was answered with another code, and the guest went on`,
    );
  }

  #goesOn(cpu: VirtualCpu, rip: bigint, what: string): void {
    if (!cpu.terminated) return;
    cpu.terminated = false;
    this.#report('goes-on', rip, '', `after its request for termination: ${what}`);
  }

  // --- into the guest --------------------------------------------------------------------------------------------------------------

  entered(vmsa: number, state: number, event: number, _code: number): void {
    const { cpus } = this.#known;
    let cpu = cpus.get(vmsa);
    const value = this.#facts.u64(state, State.GHCB);
    if (cpu === undefined) {
      cpu = newCpu();
      cpus.set(vmsa, cpu);
      if ((value & INFO) === BigInt(GhcbInfo.SEV_INFORMATION)) this.#known.versions = versionsIn(value);
    }
    this.#cpu = cpu;
    const rip = this.#facts.u64(state, State.RIP);
    const { departure } = cpu;
    cpu.departure = null;
    if (departure !== null) this.#judgeReturn(cpu, departure, value, rip);
    if ((event & EventInjection.V) !== 0) this.#judgeEvent(cpu, event, departure, rip);
  }

  #judgeReturn(cpu: VirtualCpu, departure: Departure, value: bigint, rip: bigint): void {
    const { code, msr, request, before, ghcb } = departure;
    if (code === ExitCode.VMGEXIT && cpu.terminated)
      this.#report('termination-ignored', rip, '', 'the guest asked to be terminated, and runs on');
    if (code === ExitCode.VMGEXIT && (msr & INFO) !== 0n) {
      this.#msrAnswer(cpu, msr, value, rip);
      return;
    }
    if (value !== msr) this.#report('ghcb-msr-changed', rip, request?.name ?? '', `it was ${hex(msr)} and is ${hex(value)}`);
    if (ghcb === null || before === null || request === null) return;
    const facts = this.#facts;
    const after = facts.image(ghcb.page);
    judgeAnswer({ facts, known: this.#known, gpa: ghcb.gpa, request, before, after, rip, report: this.#report });
    const answer = after.slice(0, BITMAP.end);
    ghcb.answer = answer;
    if (versionOf(before) !== versionOf(after) || usageOf(before) !== usageOf(after)) ghcb.imposed = after;
    ghcb.written.clear();
    ghcb.seenClear.fill(0);
    const level = cpu.levels.at(-1)!;
    const window = level.uses.get(ghcb.gpa)?.window;
    if (window) window.answer = answer;
    const { vc } = level;
    if (vc !== null && vc.last !== null && (request.code === BigInt(vc.code) || isMmio(request))) vc.answer = after; // with the shared buffer
    this.#noteJumpTable(request.code, request.info1, answer);
  }

  #noteJumpTable(code: bigint, info1: bigint, answer: Uint8Array): void {
    if (code !== BigInt(GhcbEvent.AP_JUMP_TABLE) || info1 !== BigInt(JumpTable.GET) || info1Of(answer) !== GhcbResponse.OK) return;
    const address = valueOf(answer, 'swExitInfo2');
    const page = address === 0n || address >= 2n ** 52n ? null : this.#facts.pageOf(Number(address));
    if (page === null) return;
    this.#known.jumpTable = { page, offset: Number(address % BigInt(PAGE_SIZE)) };
    this.#vm.machine.engine.mmu.flush();
  }

  #msrAnswer(cpu: VirtualCpu, request: bigint, response: bigint, rip: bigint): void {
    const name = msrName(request);
    const wrong = judgeMsrAnswer(this.#facts, this.#known, request, response, (rule, what) => this.#report(rule, rip, name, what));
    if (!wrong) return;
    const { vc } = cpu.levels.at(-1)!;
    const info = request & INFO;
    if (info === BigInt(GhcbInfo.CPUID_REQUEST) && vc !== null) vc.wrongResponse = request;
    else if (info === BigInt(GhcbInfo.CPUID_REQUEST) || info === BigInt(GhcbInfo.SEV_INFORMATION_REQUEST)) cpu.doubt = request;
  }

  #judgeEvent(cpu: VirtualCpu, event: number, departure: Departure | null, rip: bigint): void {
    const type = (event & EventInjection.TYPE) >>> 8;
    const vector = event & EventInjection.VECTOR;
    const say = (text: string): void => this.#report('injected-event', rip, '', text);
    if (type === EventType.EXCEPTION && vector === Vector.VC) say('a #VC was injected');
    if (type === EventType.INTR && vector < 32) say(`an external interrupt with vector ${vector} was injected`);
    if (type !== EventType.NMI) return;
    if (cpu.inNmi && departure?.inDelivery !== true)
      this.#report('nmi-window', rip, '', 'a second NMI was injected before the first was complete');
    cpu.inNmi = true;
  }

  readonly #report: Report = (rule, rip, exit, text) => {
    this.#findings.add({ rule, side: ruleOf(rule)?.side ?? 'guest', rip, exit, text, at: this.#facts.retired });
  };
}

type Captured = { readonly known: SanitizerState; readonly running: number | null; readonly findings: readonly Finding[] };

/** Watches a guest from now on: to be called before it runs. Only an SEV-ES guest has anything to be judged by. */
export function attachSanitizer(vm: VirtualMachine, findings: Findings = new Findings()): Sanitizer {
  const sanitizer = new Sanitizer(vm, findings);
  if (vm.bare === null && vm.guest.vm.encryptedState) vm.machine.observe(sanitizer);
  return sanitizer;
}
