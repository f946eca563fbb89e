// The GHCB protocol as a table: one row per event with what the guest must provide, what the hypervisor returns, and the
// handler (GHCB specification, table 7). SW_EXITCODE, SW_EXITINFO1 and SW_EXITINFO2 belong to every event, both ways.
// Validation, the trace and docs/ghcb.md read this table. An event that is not here is answered 2/6.

import { ExitCode, exitName } from '../../arch/exit-code.ts';
import { EventInj, Ghcb, GhcbEvent, type GhcbField, GhcbReason, Ioio } from '../../arch/ghcb.ts';
import type { PortSize } from '../../devices/device.ts';
import { fromHalves, highHalf, lowHalf } from '../../util/halves.ts';
import type { Field } from '../../util/struct.ts';
import type { Outcome } from '../outcome.ts';
import { interceptedControlRegisters } from '../intercepts.ts';
import { decodeIoio, isIoio } from './ioio.ts';
import { type FieldSet, fieldSet, type GhcbPage } from './page.ts';
import type { Services } from './services.ts';

const { cpl, rax, rbx, rcx, rdx, rsi, swExitCode, swExitInfo1, swExitInfo2, swScratch, xcr0 } = Ghcb.layout;

/** How an event went: done, an exception for the guest to raise, a malformed request, or the end of the run. */
export type Answer =
  | { readonly kind: 'done'; readonly info2?: bigint }
  | { readonly kind: 'exception'; readonly eventInj: bigint }
  | { readonly kind: 'malformed'; readonly reason: GhcbReason }
  | { readonly kind: 'end'; readonly outcome: Outcome };

export type NaeEvent = {
  readonly code: number;
  readonly name: string;
  /** Which requests with this code the row is for; left out: all. A code of which no row matches is answered 2/5. */
  readonly when?: (info1Low: number, info1High: number) => boolean;
  readonly needs: readonly GhcbField[];
  /** A field needed because of what others hold; asked after `needs` were found valid. */
  readonly alsoNeeds?: (ghcb: GhcbPage) => GhcbField | null;
  readonly returns: readonly GhcbField[];
  /** Rows that exist only in a run that asked for them. */
  readonly offered?: (vcpu: Services) => boolean;
  handle(vcpu: Services, ghcb: GhcbPage): Answer;
};

const done: Answer = { kind: 'done' };
const malformed = (reason: GhcbReason): Answer => ({ kind: 'malformed', reason });
const invalidInput = malformed(GhcbReason.INVALID_INPUT);
const invalidScratch = malformed(GhcbReason.SCRATCH);
/** #GP with error code 0, in the format of EVENTINJ. */
const generalProtection: Answer = {
  kind: 'exception',
  eventInj: BigInt(EventInj.VALID + EventInj.TYPE_EXCEPTION + EventInj.ERROR_CODE + 13),
};

const LEAF_XSAVE = 0xd;
const LOW = 0xffff_ffffn;
const MMIO_LONGEST = { version1: 0x1_0000, version2: 8 } as const;
const MOST_ELEMENTS = 0x7fff_ffffn;

const ioio = (input: boolean, string: boolean) => (low: number, high: number) =>
  high === 0 && isIoio(low) && ((low & Ioio.IN) !== 0) === input && ((low & Ioio.STRING) !== 0) === string;

// biome-ignore format: a table
export const naeEvents: readonly NaeEvent[] = [
  { code: ExitCode.DR0_WRITE + 7,          name: 'DR7 write',   needs: ['rax'],                 returns: [],                           handle: writeDr7 },
  { code: ExitCode.RDTSC,                  name: 'RDTSC',       needs: [],                      returns: ['rax', 'rdx'],               handle: readTsc },
  { code: ExitCode.RDPMC,                  name: 'RDPMC',       needs: ['rcx'],                 returns: [],                           handle: () => generalProtection },
  { code: ExitCode.CPUID,                  name: 'CPUID',       needs: ['rax', 'rcx'],          returns: ['rax', 'rbx', 'rcx', 'rdx'], handle: cpuid,
    alsoNeeds: (ghcb) => (ghcb.low(rax) === LEAF_XSAVE ? 'xcr0' : null) },
  { code: ExitCode.INVD,                   name: 'INVD',        needs: [],                      returns: [],                           handle: writeBack },
  { code: ExitCode.IOIO,                   name: 'IN',          needs: [],                      returns: ['rax'],                      handle: portIn,        when: ioio(true, false) },
  { code: ExitCode.IOIO,                   name: 'OUT',         needs: ['rax'],                 returns: [],                           handle: portOut,       when: ioio(false, false) },
  { code: ExitCode.IOIO,                   name: 'INS',         needs: ['swScratch'],           returns: [],                           handle: portInString,  when: ioio(true, true) },
  { code: ExitCode.IOIO,                   name: 'OUTS',        needs: ['swScratch'],           returns: [],                           handle: portOutString, when: ioio(false, true) },
  { code: ExitCode.MSR,                    name: 'RDMSR',       needs: ['rcx'],                 returns: ['rax', 'rdx'],               handle: readMsr,       when: (low, high) => low === 0 && high === 0 },
  { code: ExitCode.MSR,                    name: 'WRMSR',       needs: ['rcx', 'rax', 'rdx'],   returns: [],                           handle: writeMsr,      when: (low, high) => low === 1 && high === 0 },
  { code: ExitCode.VMMCALL,                name: 'VMMCALL',     needs: ['rax', 'cpl'],          returns: ['rax'],                      handle: hypercall },
  { code: ExitCode.RDTSCP,                 name: 'RDTSCP',      needs: [],                      returns: ['rax', 'rcx', 'rdx'],        handle: readTscp },
  { code: ExitCode.WBINVD,                 name: 'WBINVD',      needs: [],                      returns: [],                           handle: writeBack },
  { code: ExitCode.MONITOR,                name: 'MONITOR',     needs: ['rax', 'rcx', 'rdx'],   returns: [],                           handle: () => done },
  { code: ExitCode.MWAIT,                  name: 'MWAIT',       needs: ['rax', 'rcx'],          returns: [],                           handle: () => done },
  { code: GhcbEvent.MMIO_READ,             name: 'MMIO read',   needs: ['swScratch'],           returns: [],                           handle: mmioRead },
  { code: GhcbEvent.MMIO_WRITE,            name: 'MMIO write',  needs: ['swScratch'],           returns: [],                           handle: mmioWrite },
  { code: GhcbEvent.NMI_COMPLETE,          name: 'NMI complete', needs: [],                     returns: [],                           handle: (vcpu) => (vcpu.nmiComplete(), done) },
  { code: GhcbEvent.HYPERVISOR_FEATURES,   name: 'hypervisor features', needs: [],              returns: [],                           handle: () => ({ kind: 'done', info2: 0n }) },
  { code: GhcbEvent.TERMINATION,           name: 'termination', needs: [],                      returns: [],                           handle: terminate },
  { code: GhcbEvent.UNSUPPORTED_EVENT,     name: 'unsupported event', needs: [],                returns: [],                           handle: unsupported },
  // Ours, not the specification's: CR accesses as #VC, in a run with --intercept cr.
  ...interceptedControlRegisters.flatMap((n): readonly NaeEvent[] => [
    { code: ExitCode.CR0_READ + n,         name: `CR${n} read`, needs: [],                      returns: ['rax'],                      handle: readCr(n),     offered: (vcpu) => vcpu.controlRegisters },
    { code: ExitCode.CR0_WRITE + n,        name: `CR${n} write`, needs: ['rax'],                returns: [],                           handle: writeCr(n),    offered: (vcpu) => vcpu.controlRegisters },
  ]),
];

/** A row with its fields as the valid bitmap has them. */
type NaeRow = { readonly event: NaeEvent; readonly needs: FieldSet; readonly returns: FieldSet };

const byCode = new Map<number, NaeRow[]>();
for (const event of naeEvents) {
  const row = { event, needs: fieldSet(event.needs), returns: fieldSet(event.returns) };
  const rows = byCode.get(event.code);
  if (rows === undefined) byCode.set(event.code, [row]);
  else rows.push(row);
}

/** The row for what the guest asks; else why there is none. All 64 bits of SW_EXITCODE and SW_EXITINFO1 count. */
export function naeRow(vcpu: Services, ghcb: GhcbPage): NaeRow | GhcbReason {
  const rows = ghcb.high(swExitCode) === 0 ? byCode.get(ghcb.low(swExitCode)) : undefined;
  let problem: GhcbReason = GhcbReason.INVALID_EVENT;
  if (rows === undefined) return problem;
  for (const row of rows) {
    const { offered, when } = row.event;
    if (offered !== undefined && !offered(vcpu)) continue;
    if (when === undefined || when(ghcb.low(swExitInfo1), ghcb.high(swExitInfo1))) return row;
    problem = GhcbReason.INVALID_INPUT;
  }
  return problem;
}

function cpuid(vcpu: Services, ghcb: GhcbPage): Answer {
  const leaf = ghcb.low(rax);
  const [eax, ebx, ecx, edx] = vcpu.cpuid(leaf, ghcb.low(rcx), leaf === LEAF_XSAVE ? ghcb.get(xcr0) : 1n);
  ghcb.set64(rax, eax, 0);
  ghcb.set64(rbx, ebx, 0);
  ghcb.set64(rcx, ecx, 0);
  ghcb.set64(rdx, edx, 0);
  return done;
}

function readMsr(vcpu: Services, ghcb: GhcbPage): Answer {
  const value = vcpu.readMsr(ghcb.low(rcx));
  if (value === null) return generalProtection;
  setEdxEax(ghcb, value);
  return done;
}

function writeMsr(vcpu: Services, ghcb: GhcbPage): Answer {
  return vcpu.writeMsr(ghcb.low(rcx), fromHalves(ghcb.low(rax), ghcb.low(rdx))) ? done : generalProtection;
}

function setEdxEax(ghcb: GhcbPage, value: bigint): void {
  ghcb.set64(rax, lowHalf(value), 0);
  ghcb.set64(rdx, highHalf(value), 0);
}

function portIn(vcpu: Services, ghcb: GhcbPage): Answer {
  const access = decodeIoio(ghcb.low(swExitInfo1));
  if (access === null) return invalidInput;
  ghcb.set64(rax, vcpu.portIn(access.port, access.size), 0);
  return done;
}

function portOut(vcpu: Services, ghcb: GhcbPage): Answer {
  const access = decodeIoio(ghcb.low(swExitInfo1));
  if (access === null) return invalidInput;
  const value = ghcb.low(rax);
  vcpu.portOut(access.port, access.size, access.size === 4 ? value : value & ((1 << (8 * access.size)) - 1));
  return done;
}

function portInString(vcpu: Services, ghcb: GhcbPage): Answer {
  return portString(vcpu, ghcb, (port, size, bytes, scratch) => {
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < bytes.length && vcpu.ended === null; at += size) store(view, at, size, vcpu.portIn(port, size));
    vcpu.writeMemory(scratch, bytes);
  });
}

function portOutString(vcpu: Services, ghcb: GhcbPage): Answer {
  return portString(vcpu, ghcb, (port, size, bytes, scratch) => {
    vcpu.readMemory(scratch, bytes);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < bytes.length && vcpu.ended === null; at += size) vcpu.portOut(port, size, load(view, at, size));
  });
}

/** SW_EXITINFO2 counts elements, not bytes (CVE-2021-4093). */
function portString(
  vcpu: Services,
  ghcb: GhcbPage,
  move: (port: number, size: PortSize, bytes: Uint8Array, scratch: bigint) => void,
): Answer {
  const access = decodeIoio(ghcb.low(swExitInfo1));
  const count = ghcb.get(swExitInfo2);
  if (access === null || count > MOST_ELEMENTS) return invalidInput;
  if (count === 0n) return done;
  const scratch = ghcb.get(swScratch);
  const length = Number(count) * access.size;
  if (!ghcb.scratchFits(scratch, length, vcpu.memorySize)) return invalidScratch;
  move(access.port, access.size, new Uint8Array(length), scratch);
  return done;
}

function load(view: DataView, at: number, size: PortSize): number {
  return size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
}

function store(view: DataView, at: number, size: PortSize, value: number): void {
  if (size === 1) view.setUint8(at, value);
  else if (size === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
}

function mmioRead(vcpu: Services, ghcb: GhcbPage): Answer {
  return mmio(vcpu, ghcb, (gpa, bytes, scratch) => {
    vcpu.mmioRead(gpa, bytes);
    vcpu.writeMemory(scratch, bytes);
  });
}

function mmioWrite(vcpu: Services, ghcb: GhcbPage): Answer {
  return mmio(vcpu, ghcb, (gpa, bytes, scratch) => {
    vcpu.readMemory(scratch, bytes);
    vcpu.mmioWrite(gpa, bytes);
  });
}

function mmio(vcpu: Services, ghcb: GhcbPage, move: (gpa: bigint, bytes: Uint8Array, scratch: bigint) => void): Answer {
  const length = ghcb.get(swExitInfo2);
  const longest = ghcb.protocolVersion >= 2 ? MMIO_LONGEST.version2 : MMIO_LONGEST.version1;
  if (length === 0n || length > BigInt(longest)) return invalidInput;
  const scratch = ghcb.get(swScratch);
  if (!ghcb.scratchFits(scratch, Number(length), vcpu.memorySize)) return invalidScratch;
  move(ghcb.get(swExitInfo1), new Uint8Array(Number(length)), scratch);
  return done;
}

function readTsc(vcpu: Services, ghcb: GhcbPage): Answer {
  setEdxEax(ghcb, vcpu.tsc());
  return done;
}

function readTscp(vcpu: Services, ghcb: GhcbPage): Answer {
  ghcb.set(rcx, vcpu.tscAux());
  return readTsc(vcpu, ghcb);
}

function hypercall(vcpu: Services, ghcb: GhcbPage): Answer {
  // Arguments are between hypervisor and guest: those that the guest gives (table 7).
  const value = (field: Field): bigint => (ghcb.has(field) ? ghcb.get(field) : 0n);
  ghcb.set(rax, vcpu.hypercall(ghcb.get(rax), ghcb.low(cpl), [value(rbx), value(rcx), value(rdx), value(rsi)]));
  return done;
}

function writeBack(vcpu: Services): Answer {
  vcpu.wbinvd();
  return done;
}

/** The guest says in SW_EXITINFO1[3:0] which register holds the value; it must be RAX, the one it can hand over. */
function writeDr7(vcpu: Services, ghcb: GhcbPage): Answer {
  if (ghcb.get(swExitInfo1) !== 0n) return invalidInput;
  const value = ghcb.get(rax);
  if (value > LOW) return generalProtection;
  vcpu.debugControl = value;
  return done;
}

function readCr(n: number): NaeEvent['handle'] {
  return (vcpu, ghcb) => {
    ghcb.set(rax, vcpu.readControlRegister(n));
    return done;
  };
}

function writeCr(n: number): NaeEvent['handle'] {
  return (vcpu, ghcb) => (vcpu.allowControlRegister(n, ghcb.get(rax)) ? done : generalProtection);
}

function terminate(_vcpu: Services, ghcb: GhcbPage): Answer {
  const info1 = ghcb.low(swExitInfo1);
  return { kind: 'end', outcome: { kind: 'terminated', set: info1 & 0xf, code: (info1 >>> 4) & 0xff, info: ghcb.get(swExitInfo2) } };
}

function unsupported(_vcpu: Services, ghcb: GhcbPage): Answer {
  const code = ghcb.low(swExitInfo1);
  return {
    kind: 'end',
    outcome: { kind: 'stopped', reason: `the guest reports a #VC that it cannot handle: ${exitName(code)} (unsupported event)` },
  };
}
