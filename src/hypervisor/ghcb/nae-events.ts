// The GHCB protocol as a table: one row per event with what the guest must provide, what the hypervisor returns, in which ways it
// refuses, and the handler (GHCB specification, table 7). SW_EXITCODE, SW_EXITINFO1 and SW_EXITINFO2 belong to every event, both ways.
// Validation, the trace, docs/ghcb.md and the tests read this table. An event that is not here is answered 2/6: that are also those of
// SEV-SNP, which this hypervisor says it has not (hypervisor features), and #AC (51h), which guests forward without asking.

import { ExitCode } from '../../arch/exit-code.ts';
import { Ghcb, GhcbEvent, type GhcbField, GhcbReason, type GhcbVersion, Ioio, JumpTable } from '../../arch/ghcb.ts';
import { interceptedControlRegisters } from '../intercepts.ts';
import type { Answer } from './answers.ts';
import * as instruction from './instruction-events.ts';
import { isIoio } from './ioio.ts';
import * as machine from './machine-events.ts';
import * as memory from './memory-events.ts';
import { type FieldSet, fieldSet, type GhcbPage } from './page.ts';
import type { Services } from './services.ts';

const { rax, swExitCode, swExitInfo1 } = Ghcb.layout;

/** An answer other than done, and when it is given. */
export type Refusal = { readonly answer: '#GP' | '2/3' | '2/5'; readonly when: string };

export type NaeEvent = {
  readonly code: number;
  readonly name: string;
  /** The protocol version that brought it; left out: 1. */
  readonly since?: GhcbVersion;
  /** Which requests with this code the row is for; left out: all. A code of which no row matches is answered 2/5. */
  readonly matches?: (info1Low: number, info1High: number) => boolean;
  /** What SW_EXITINFO1 and SW_EXITINFO2 say; left out: they must be 0. */
  readonly info1?: string;
  readonly info2?: string;
  /** Fields that the guest must mark valid. */
  readonly needs: readonly GhcbField[];
  /** A field needed because of what others hold; asked after `needs` were found valid. */
  readonly needsIf?: { readonly field: GhcbField; readonly when: string; readonly test: (ghcb: GhcbPage) => boolean };
  /** Fields that count if they are valid. */
  readonly takes?: readonly GhcbField[];
  readonly returns: readonly GhcbField[];
  /** What SW_EXITINFO2 of the answer says; left out: 0. */
  readonly result?: string;
  /** Refusals besides 2/4, which a missing field of `needs` is. */
  readonly refuses?: readonly Refusal[];
  /** The end of the run, in place of an answer. */
  readonly ends?: true;
  /** Rows that exist only in a run that asked for them. */
  readonly offered?: (vcpu: Services) => boolean;
  handle(vcpu: Services, ghcb: GhcbPage): Answer;
};

const ioio = (input: boolean, string: boolean) => (low: number, high: number) =>
  high === 0 && isIoio(low) && ((low & Ioio.IN) !== 0) === input && ((low & Ioio.STRING) !== 0) === string;
const exactly = (info1: number) => (low: number, high: number) => low === info1 && high === 0;
const askedForCr = (vcpu: Services): boolean => vcpu.controlRegisters;

const notAWord: Refusal = { answer: '2/5', when: 'SW_EXITINFO1 is no IOIO word' };
const tooMany: Refusal = { answer: '2/5', when: 'more than 7FFFFFFFh elements' };
const noScratch: Refusal = { answer: '2/3', when: 'SW_SCRATCH is not a place for so many bytes' };
const badLength: Refusal = { answer: '2/5', when: 'the length is 0 or too large' };
const noSuchMsr: Refusal = { answer: '#GP', when: 'there is no such MSR, or it cannot be read' };
const notReadNotWrite: Refusal = { answer: '2/5', when: 'SW_EXITINFO1 is neither 0 nor 1' };
const refusedMsr: Refusal = { answer: '#GP', when: 'there is no such MSR, or it refuses the value' };
const refusedControl: Refusal = { answer: '#GP', when: 'the processor would refuse the value' };
const notRax: Refusal = { answer: '2/5', when: 'another register than RAX' };
const wide: Refusal = { answer: '#GP', when: 'bits 63:32 of the value are not zero' };
const noCounter: Refusal = { answer: '#GP', when: 'there is no such counter' };
const notAPage: Refusal = { answer: '2/5', when: 'the address is not that of pages of RAM' };

// biome-ignore format: a table
export const naeEvents: readonly NaeEvent[] = [
  { code: ExitCode.DR0_READ + 7,        name: 'DR7 read',      needs: [],                    returns: ['rax'],                      handle: instruction.readDr7 },
  { code: ExitCode.DR0_WRITE + 7,       name: 'DR7 write',     needs: ['rax'],               returns: [],                           handle: instruction.writeDr7,
    info1: 'register: 0, RAX', refuses: [notRax, wide] },
  { code: ExitCode.RDTSC,               name: 'RDTSC',         needs: [],                    returns: ['rax', 'rdx'],               handle: instruction.readTsc },
  { code: ExitCode.RDPMC,               name: 'RDPMC',         needs: ['rcx'],               returns: ['rax', 'rdx'],               handle: instruction.readPmc,
    refuses: [noCounter] },
  { code: ExitCode.CPUID,               name: 'CPUID',         needs: ['rax', 'rcx'],        returns: ['rax', 'rbx', 'rcx', 'rdx'], handle: instruction.cpuid,
    needsIf: { field: 'xcr0', when: 'RAX is Dh', test: (ghcb) => ghcb.low(rax) === instruction.LEAF_XSAVE }, takes: ['xss'] },
  { code: ExitCode.INVD,                name: 'INVD',          needs: [],                    returns: [],                           handle: instruction.writeBack },
  { code: ExitCode.IOIO,                name: 'IN',            needs: [],                    returns: ['rax'],                      handle: instruction.portIn,
    matches: ioio(true, false),  info1: 'IOIO word', refuses: [notAWord] },
  { code: ExitCode.IOIO,                name: 'OUT',           needs: ['rax'],               returns: [],                           handle: instruction.portOut,
    matches: ioio(false, false), info1: 'IOIO word', refuses: [notAWord] },
  { code: ExitCode.IOIO,                name: 'INS',           needs: ['swScratch'],         returns: [],                           handle: memory.portInString,
    matches: ioio(true, true),   info1: 'IOIO word', info2: 'elements', refuses: [notAWord, tooMany, noScratch] },
  { code: ExitCode.IOIO,                name: 'OUTS',          needs: ['swScratch'],         returns: [],                           handle: memory.portOutString,
    matches: ioio(false, true),  info1: 'IOIO word', info2: 'elements', refuses: [notAWord, tooMany, noScratch] },
  { code: ExitCode.MSR,                 name: 'RDMSR',         needs: ['rcx'],               returns: ['rax', 'rdx'],               handle: instruction.readMsr,
    matches: exactly(0), info1: '0', refuses: [notReadNotWrite, noSuchMsr] },
  { code: ExitCode.MSR,                 name: 'WRMSR',         needs: ['rcx', 'rax', 'rdx'], returns: [],                           handle: instruction.writeMsr,
    matches: exactly(1), info1: '1', refuses: [notReadNotWrite, refusedMsr] },
  { code: ExitCode.VMMCALL,             name: 'VMMCALL',       needs: ['rax', 'cpl'],        returns: ['rax'],                      handle: instruction.hypercall,
    takes: ['rbx', 'rcx', 'rdx', 'rsi'] },
  { code: ExitCode.RDTSCP,              name: 'RDTSCP',        needs: [],                    returns: ['rax', 'rcx', 'rdx'],        handle: instruction.readTscp },
  { code: ExitCode.WBINVD,              name: 'WBINVD',        needs: [],                    returns: [],                           handle: instruction.writeBack },
  { code: ExitCode.MONITOR,             name: 'MONITOR',       needs: ['rax', 'rcx', 'rdx'], returns: [],                           handle: instruction.monitor },
  { code: ExitCode.MWAIT,               name: 'MWAIT',         needs: ['rax', 'rcx'],        returns: [],                           handle: instruction.mwait },
  { code: GhcbEvent.MMIO_READ,          name: 'MMIO read',     needs: ['swScratch'],         returns: [],                           handle: memory.mmioRead,
    info1: 'address', info2: 'bytes', refuses: [badLength, noScratch] },
  { code: GhcbEvent.MMIO_WRITE,         name: 'MMIO write',    needs: ['swScratch'],         returns: [],                           handle: memory.mmioWrite,
    info1: 'address', info2: 'bytes', refuses: [badLength, noScratch] },
  { code: GhcbEvent.NMI_COMPLETE,       name: 'NMI complete',  needs: [],                    returns: [],                           handle: machine.nmiComplete },
  { code: GhcbEvent.AP_RESET_HOLD,      name: 'AP reset hold', needs: [],                    returns: [],                           handle: machine.apResetHold,
    result: '1 once a SIPI came, else 0' },
  { code: GhcbEvent.AP_JUMP_TABLE,      name: 'AP jump table, set', needs: [],               returns: [],                           handle: machine.setJumpTable,
    matches: exactly(JumpTable.SET), info1: '0', info2: 'address', refuses: [{ answer: '2/5', when: 'SW_EXITINFO1 is neither 0 nor 1' }] },
  { code: GhcbEvent.AP_JUMP_TABLE,      name: 'AP jump table, get', needs: [],               returns: [],                           handle: machine.getJumpTable,
    matches: exactly(JumpTable.GET), info1: '1', result: 'address, 0 if never set' },
  { code: GhcbEvent.APIC_ID_LIST,       name: 'APIC ID list',  needs: ['rax'],               returns: ['rax'],                      handle: machine.apicIdList,
    since: 2, info1: 'address', refuses: [notAPage] },
  { code: GhcbEvent.HYPERVISOR_FEATURES, name: 'hypervisor features', needs: [],             returns: [],                           handle: () => machine.hypervisorFeatures,
    since: 2, result: 'features' },
  { code: GhcbEvent.TERMINATION,        name: 'termination',   needs: [],                    returns: [],                           handle: machine.terminate,
    since: 2, info1: '[3:0] reason set, [11:4] code', info2: 'more of it', ends: true },
  { code: GhcbEvent.UNSUPPORTED_EVENT,  name: 'unsupported event', needs: [],                returns: [],                           handle: machine.unsupported,
    info1: 'error code of the #VC', ends: true },
  // Ours, not the specification's: CR accesses as #VC, in a run with --intercept cr.
  ...interceptedControlRegisters.flatMap((n): readonly NaeEvent[] => [
    { code: ExitCode.CR0_READ + n,      name: `CR${n} read`,   needs: [],                    returns: ['rax'],                      handle: instruction.readCr(n),
      offered: askedForCr },
    { code: ExitCode.CR0_WRITE + n,     name: `CR${n} write`,  needs: ['rax'],               returns: [],                           handle: instruction.writeCr(n),
      offered: askedForCr, refuses: [refusedControl] },
  ]),
];

/** A row as requests are held against it: fields as the valid bitmap has them. */
type NaeRow = {
  readonly event: NaeEvent;
  readonly since: GhcbVersion;
  readonly needs: FieldSet;
  readonly returns: FieldSet;
  /** SW_EXITINFO1 or SW_EXITINFO2 may be other than 0. */
  readonly anyInfo1: boolean;
  readonly anyInfo2: boolean;
};

/** Exit codes of the processor, which are small, by their number: all that is frequent. */
const small: (readonly NaeRow[] | undefined)[] = Array.from({ length: 0x100 }, () => undefined);
const byCode = new Map<number, NaeRow[]>();
for (const event of naeEvents) {
  const { code, needs, returns, since = 1, info1, info2 } = event;
  const infos = { anyInfo1: info1 !== undefined, anyInfo2: info2 !== undefined };
  const row = { event, since, needs: fieldSet(needs), returns: fieldSet(returns), ...infos };
  const rows = byCode.get(code);
  if (rows === undefined) byCode.set(code, [row]);
  else rows.push(row);
}

for (const [code, rows] of byCode) if (code < small.length) small[code] = rows;

/** The row for what the guest asks; else why there is none. All 64 bits of SW_EXITCODE and SW_EXITINFO1 count. */
export function naeRow(vcpu: Services, ghcb: GhcbPage): NaeRow | GhcbReason {
  const code = ghcb.low(swExitCode);
  const rows = ghcb.high(swExitCode) !== 0 ? undefined : code < small.length ? small[code] : byCode.get(code);
  let problem: GhcbReason = GhcbReason.INVALID_EVENT;
  if (rows === undefined) return problem;
  for (let n = 0; n < rows.length; n++) {
    const row = rows[n]!;
    const { offered, matches } = row.event;
    if ((row.since > 1 && row.since > vcpu.ghcbVersion) || (offered !== undefined && !offered(vcpu))) continue;
    if (matches === undefined || matches(ghcb.low(swExitInfo1), ghcb.high(swExitInfo1))) return row;
    problem = GhcbReason.INVALID_INPUT;
  }
  return problem;
}
