// The exit table: what the hypervisor does for each #VMEXIT. Under SEV-ES only automatic exits arrive (APM vol. 2, table
// 15-33), and of those VMGEXIT carries everything that the guest wants; for plain and SEV guests the instruction is emulated
// on the registers in the VMCB.

import { ExitCode, exitName } from '../arch/exit-code.ts';
import { EventInj } from '../arch/ghcb.ts';
import { Rflags } from '../arch/registers.ts';
import { givesDoubleFault, pushesErrorCode, Vector } from '../arch/exception.ts';
import { VmcbControl } from '../arch/vmcb.ts';
import { fromHalves, highHalf, lowHalf } from '../util/halves.ts';
import { XSAVE_LEAF } from './cpuid.ts';
import type { Interposer } from './ghcb/interposer.ts';
import { handleVmgexit } from './ghcb/vmgexit.ts';
import { handleIoio } from './io.ts';
import { handleNestedPageFault } from './mmio.ts';
import { readCounter } from './msrs.ts';
import type { Outcome } from './outcome.ts';
import type { Vcpu } from './vcpu.ts';

type Handler = (vcpu: Vcpu, code: number) => Outcome | null;

const LOW = 0xffff_ffffn;
const control = VmcbControl.layout;
const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSI = 6;

const event = (vector: number, errorCode: number | null): bigint =>
  (BigInt(errorCode ?? 0) << 32n) |
  BigInt(EventInj.VALID + EventInj.TYPE_EXCEPTION + (errorCode === null ? 0 : EventInj.ERROR_CODE) + vector);
const generalProtection = event(Vector.GP, 0);

/** Exits of every technology. */
// biome-ignore format: a table
const always: readonly (readonly [code: number, handler: Handler])[] = [
  [ExitCode.INTR,     () => null], // the host's timer: the slice is over, or one instruction was stepped over
  [ExitCode.NMI,      () => null],
  [ExitCode.SMI,      () => null],
  [ExitCode.INIT,     () => null],
  [ExitCode.PAUSE,    pause],
  [ExitCode.SHUTDOWN, () => ({ kind: 'shutdown' })],
  [ExitCode.VINTR,    () => null], // the guest can take an interrupt now
  [ExitCode.HLT,      halt],
  [ExitCode.INVALID,  () => ({ kind: 'refused', reason: 'exit code INVALID: the VMCB or the VMSA failed the consistency checks (APM 15.5.1, 15.35.3)' })],
  [ExitCode.BUSY,     () => ({ kind: 'refused', reason: 'exit code BUSY: the VMSA is in use' })],
];

// biome-ignore format: a table
const encrypted: readonly (readonly [code: number, handler: Handler])[] = [
  [ExitCode.VMGEXIT,         vmgexit],
  [ExitCode.EFER_WRITE_TRAP, (vcpu) => (vcpu.trappedEfer(vcpu.vmcb.exitInfo1), null)],
  ...Array.from({ length: 16 }, (_, n): [number, Handler] =>
    [ExitCode.CR0_WRITE_TRAP + n, (vcpu) => (vcpu.trappedControlRegister(n, vcpu.vmcb.exitInfo1), null)]),
  [ExitCode.NPF,             unmapped],
];

// biome-ignore format: a table
const readable: readonly (readonly [code: number, handler: Handler])[] = [
  [ExitCode.CPUID,   cpuid],
  [ExitCode.MSR,     msr],
  [ExitCode.IOIO,    handleIoio],
  [ExitCode.RDTSC,   rdtsc],
  [ExitCode.RDTSCP,  stepOver], // TSC_AUX is the guest's own
  [ExitCode.RDPMC,   rdpmc],
  [ExitCode.RDPRU,   undefinedOpcode],
  [ExitCode.VMMCALL, vmmcall],
  [ExitCode.WBINVD,  writeBack],
  [ExitCode.INVD,    writeBack],
  [ExitCode.MONITOR, skip],
  [ExitCode.MWAIT,   (vcpu) => (vcpu.yield(), skip(vcpu))],
  [ExitCode.NPF,     handleNestedPageFault],
  [ExitCode.IRET,    stepOver], // the end of an NMI, once it is executed
  ...[ExitCode.VMRUN, ExitCode.VMLOAD, ExitCode.VMSAVE, ExitCode.STGI, ExitCode.CLGI, ExitCode.SKINIT, ExitCode.INVLPGA].map(
    (code): [number, Handler] => [code, undefinedOpcode]),
  ...Array.from({ length: 32 }, (_, vector): [number, Handler] => [ExitCode.EXCEPTION + vector, exception]),
];

/** By exit code: a plain array, since every exit asks, but for those whose codes are negative. */
class ExitTable {
  readonly #handlers: (Handler | undefined)[] = [];
  readonly #negative = new Map<number, Handler>();

  constructor(rows: readonly (readonly [code: number, handler: Handler])[]) {
    const last = Math.max(...rows.map(([code]) => code));
    for (let code = 0; code <= last; code++) this.#handlers.push(undefined);
    for (const [code, handler] of rows)
      if (code < 0) this.#negative.set(code, handler);
      else this.#handlers[code] = handler;
  }

  of(code: number): Handler | undefined {
    return code < 0 ? this.#negative.get(code) : code < this.#handlers.length ? this.#handlers[code] : undefined;
  }
}

const tables = {
  encrypted: new ExitTable([...always, ...encrypted]),
  readable: new ExitTable([...always, ...readable]),
};

/** What the exit means for the run: null, on with it. */
export function handleExit(vcpu: Vcpu, code: number): Outcome | null {
  const handler = (vcpu.vm.encryptedState ? tables.encrypted : tables.readable).of(code);
  if (handler === undefined) {
    if (vcpu.vm.encryptedState || code < 0 || code >= ExitCode.NPF)
      return { kind: 'stopped', reason: `nothing is known about the exit ${exitName(code)}` };
    // Any other intercept that the person asked for: counted, and executed by the guest itself.
    vcpu.stepOver(code);
    resumeDelivery(vcpu); // it may be the delivery that was intercepted: a task switch through a gate
    return null;
  }
  const outcome = handler(vcpu, code);
  if (outcome === null) resumeDelivery(vcpu);
  return outcome;
}

/**
 * An exit in the middle of an event's delivery names the event in EXITINTINFO: it is delivered anew, unless another goes first. RIP is
 * still at an INT n, INT3 or INTO, which the guest executes again.
 */
function resumeDelivery(vcpu: Vcpu): void {
  const { port } = vcpu;
  const interrupted = port.u32(control.exitIntInfo.offset);
  if ((interrupted & EventInj.VALID) === 0 || (port.u32(control.eventInj.offset) & EventInj.VALID) !== 0) return;
  const type = interrupted & 0x700;
  const vector = interrupted & 0xff;
  const trap = type === EventInj.TYPE_EXCEPTION && (vector === Vector.BP || vector === Vector.OF);
  if (type === EventInj.TYPE_SOFTWARE || trap) return;
  // As the processor would have pushed it; the registers of an SEV-ES guest are its own.
  const isFault = type === EventInj.TYPE_EXCEPTION && vector !== Vector.DB;
  if (isFault && !vcpu.vm.encryptedState) vcpu.save.rflags |= BigInt(Rflags.RF);
  vcpu.inject(vcpu.vmcb.exitIntInfo);
}

function vmgexit(vcpu: Vcpu): Outcome | null {
  const { interposer } = vcpu.vm.config;
  return interposer === undefined ? handleVmgexit(vcpu) : interposed(vcpu, interposer);
}

/** A function of its own: where a closure is made, V8 makes room for it at the beginning. */
function interposed(vcpu: Vcpu, interposer: Interposer): Outcome | null {
  return interposer.vmgexit(vcpu, () => handleVmgexit(vcpu));
}

function cpuid(vcpu: Vcpu): null {
  const leaf = vcpu.gpr32(RAX);
  const [eax, ebx, ecx, edx] = vcpu.cpuid(leaf, vcpu.gpr32(RCX), leaf === XSAVE_LEAF ? vcpu.vm.host.xcr0 : 1n, 0n);
  vcpu.setGpr32(RAX, eax);
  vcpu.setGpr32(RBX, ebx);
  vcpu.setGpr32(RCX, ecx);
  vcpu.setGpr32(RDX, edx);
  return skip(vcpu);
}

function msr(vcpu: Vcpu): null {
  const index = vcpu.gpr32(RCX);
  if ((vcpu.port.u32(control.exitInfo1.offset) & 1) !== 0)
    return vcpu.writeMsr(index, fromHalves(vcpu.gpr32(RAX), vcpu.gpr32(RDX))) ? skip(vcpu) : refuse(vcpu);
  const value = vcpu.readMsr(index);
  return value === null ? refuse(vcpu) : giveEdxEax(vcpu, value);
}

function rdtsc(vcpu: Vcpu): null {
  return giveEdxEax(vcpu, vcpu.tsc());
}

function rdpmc(vcpu: Vcpu): null {
  const value = readCounter(vcpu, vcpu.gpr32(RCX));
  return value === null ? refuse(vcpu) : giveEdxEax(vcpu, value);
}

function giveEdxEax(vcpu: Vcpu, value: bigint): null {
  vcpu.setGpr32(RAX, lowHalf(value));
  vcpu.setGpr32(RDX, highHalf(value));
  return skip(vcpu);
}

function vmmcall(vcpu: Vcpu): null {
  vcpu.save.rax = vcpu.hypercall(vcpu.save.rax, vcpu.save.cpl, [vcpu.gpr(RBX), vcpu.gpr(RCX), vcpu.gpr(RDX), vcpu.gpr(RSI)]);
  return skip(vcpu);
}

function writeBack(vcpu: Vcpu): null {
  vcpu.wbinvd();
  return skip(vcpu);
}

/** On behind the instruction once something has woken the virtual CPU. */
function halt(vcpu: Vcpu): null {
  // An SEV-ES guest is behind it already. One that single-steps gets its trap, which ends the halt before it begins.
  if (!vcpu.vm.encryptedState && vcpu.singleSteps) return skip(vcpu);
  vcpu.halt();
  if (!vcpu.vm.encryptedState) vcpu.skip();
  return null;
}

/** It spins: the others' turn. */
function pause(vcpu: Vcpu): null {
  vcpu.yield();
  return vcpu.vm.encryptedState ? null : skip(vcpu);
}

function skip(vcpu: Vcpu): null {
  vcpu.skip();
  return null;
}

/** A fault in the place of the instruction: its frame has RF set, as that of the processor would. */
function fault(vcpu: Vcpu, eventInj: bigint): null {
  vcpu.save.rflags |= BigInt(Rflags.RF);
  vcpu.inject(eventInj);
  return null;
}

function refuse(vcpu: Vcpu): null {
  return fault(vcpu, generalProtection);
}

function undefinedOpcode(vcpu: Vcpu): null {
  return fault(vcpu, event(Vector.UD, null));
}

function stepOver(vcpu: Vcpu, code: number): null {
  vcpu.stepOver(code);
  return null;
}

/**
 * An intercepted exception goes to the guest after all (15.12). If it was raised while another was delivered, the two are
 * what the processor would have made of them (table 8-4): a double fault, or the end.
 */
function exception(vcpu: Vcpu, code: number): Outcome | null {
  const vector = code - ExitCode.EXCEPTION;
  if (vector === Vector.PF) vcpu.save.cr2 = vcpu.vmcb.exitInfo2;
  const interrupted = vcpu.vmcb.exitIntInfo;
  const during = (interrupted & BigInt(EventInj.VALID)) !== 0n && (interrupted & 0x700n) === BigInt(EventInj.TYPE_EXCEPTION);
  const first = during ? Number(interrupted & 0xffn) : null;
  if (first === Vector.DF) return { kind: 'shutdown' };
  if (first !== null && givesDoubleFault(first, vector)) {
    vcpu.inject(event(Vector.DF, 0));
    return null;
  }
  // INT3 and INTO are left at the instruction, and pushed with the address behind it.
  if ((vector === Vector.BP || vector === Vector.OF) && vcpu.vmcb.nRip !== 0n) vcpu.save.rip = vcpu.vmcb.nRip;
  vcpu.inject(event(vector, pushesErrorCode(vector) ? Number(vcpu.vmcb.exitInfo1 & LOW) : null));
  return null;
}

/** Without reserved bits, so no #VC: a write to ROM, or a processor that has none to spare for the trap. */
function unmapped(vcpu: Vcpu): Outcome {
  return { kind: 'stopped', reason: `nested page fault at ${vcpu.vm.describe(vcpu.vmcb.exitInfo2)}` };
}
