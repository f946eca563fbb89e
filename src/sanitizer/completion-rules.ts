// The end of a #VC handler: what the interrupted program finds when IRET takes it back.

import { ExitCode, exitName } from '../arch/exit-code.ts';
import { GhcbResponse, type GhcbField } from '../arch/ghcb.ts';
import { Rflags } from '../arch/registers.ts';
import { Gpr } from '../memory/state.ts';
import { info1Of, isAllowedException } from './answer-rules.ts';
import type { Facts, Report } from './facts.ts';
import { isQuadValid, layout, quadOf, spelled, valueOf } from './page-image.ts';
import { nameOfCode, portAccess, rowOf } from './protocol.ts';
import { hex } from './request-rules.ts';
import type { Level, Registers, SanitizerState, Vc } from './state.ts';

const LOW = 0xffff_ffffn;
const MOST_BYTES = 15n;
export const registerNames = [
  'RAX',
  'RCX',
  'RDX',
  'RBX',
  'RSP',
  'RBP',
  'RSI',
  'RDI',
  'R8',
  'R9',
  'R10',
  'R11',
  'R12',
  'R13',
  'R14',
  'R15',
] as const;
const { RAX, RCX, RDX, RBX, RSP, RSI, RDI } = Gpr;

/** Results in registers by exit code; codes that are not here are not judged by registers. */
const outputs: Readonly<Record<number, readonly number[]>> = {
  [ExitCode.CPUID]: [RAX, RBX, RCX, RDX],
  [ExitCode.RDTSC]: [RAX, RDX],
  [ExitCode.RDTSCP]: [RAX, RCX, RDX],
  [ExitCode.RDPMC]: [RAX, RDX],
  [ExitCode.MSR]: [RAX, RDX],
  [ExitCode.IOIO]: [RAX],
  [ExitCode.INVD]: [],
  [ExitCode.WBINVD]: [],
  [ExitCode.MONITOR]: [],
  [ExitCode.MWAIT]: [],
};
const fieldOf: Readonly<Record<number, GhcbField>> = { [RAX]: 'rax', [RCX]: 'rcx', [RDX]: 'rdx', [RBX]: 'rbx' };
/** Results of an exit code: registers, and the fields that they come from. */
export const outputsOf = (code: number): (readonly [register: number, field: GhcbField])[] =>
  (outputs[code] ?? []).flatMap((n) => (fieldOf[n] === undefined ? [] : [[n, fieldOf[n]] as const]));

const STATUS = Rflags.CF | Rflags.PF | Rflags.AF | Rflags.ZF | Rflags.SF | Rflags.OF | Rflags.DF;
/** None of these instructions changes any; RF is for whoever completes one to clear. */
const KEPT = STATUS | Rflags.TF | Rflags.IF | Rflags.IOPL | Rflags.NT | Rflags.AC | Rflags.ID;
/** Two results may be the same small number by chance. */
const TELLING = 0xffffn;

/** An IRET that takes back the program whose #VC a level was for. */
export type AtReturn = {
  readonly facts: Facts;
  readonly state: number;
  readonly known: SanitizerState;
  readonly level: Level;
  readonly vc: Vc;
  readonly after: Registers;
  readonly rip: bigint;
  readonly report: Report;
};

/** Did the program get beyond its instruction, or a string on by some elements? */
export function goneOn(vc: Vc, after: Registers): boolean {
  const { before } = vc;
  const moved = after.rip - before.rip;
  if (moved > 0n) return moved <= MOST_BYTES;
  return moved === 0n && vc.code === ExitCode.IOIO && [RCX, RSI, RDI].some((n) => after.gpr[n] !== before.gpr[n]);
}

export function judgeCompletion(vc: Vc, after: Registers, handler: bigint, report: Report): void {
  if (!goneOn(vc, after)) return;
  const exit = vc.last?.name ?? nameOfCode(BigInt(vc.code));
  const say = (rule: Parameters<Report>[0], text: string): void => report(rule, handler, exit, text);
  if (!vc.real) {
    if (!vc.matches)
      say(
        'opcode-mismatch',
        `an injected #VC with error code ${exitName(vc.code)} was handled at ${hex(vc.before.rip)}, where the instruction is another`,
      );
    return;
  }
  if (vc.wrongResponse !== null)
    say('msr-response-unchecked', `the request ${hex(vc.wrongResponse)} was answered with another code, and the instruction completed`);
  if (vc.asked && !vc.right && !(vc.changed && vc.before.cpl === 3))
    say(vc.changed ? 'decode-changed' : 'wrong-request', `the request does not say what the instruction at ${hex(vc.before.rip)} does`);
  judgeException(vc, say);
  // From user mode a signal, a debugger or a rewritten instruction may have changed anything.
  if (vc.changed || vc.before.cpl === 3 || after.rip - vc.before.rip !== BigInt(vc.length)) {
    judgeDirection(vc, after, say);
    return;
  }
  judgeDirection(vc, after, say);
  judgeRegisters(vc, after, say);
}

type Say = (rule: Parameters<Report>[0], text: string) => void;

/** An exception that nobody may ask for, and the instruction completed. */
function judgeException({ answer }: Vc, say: Say): void {
  if (answer === null || info1Of(answer) !== GhcbResponse.EXCEPTION) return;
  const info2 = valueOf(answer, 'swExitInfo2');
  if (!isAllowedException(info2)) say('exception-unchecked', `the exception ${hex(info2)} was not refused`);
}

function judgeRegisters(vc: Vc, after: Registers, say: Say): void {
  const allowed = outputs[vc.code];
  if (allowed === undefined) return;
  const port = vc.last === null ? null : portAccess(vc.last);
  const string = (vc.info1 & 4n) !== 0n;
  const may = vc.code !== ExitCode.IOIO ? allowed : string ? [RCX, RSI, RDI] : (vc.info1 & 1n) !== 0n ? allowed : [];
  const writesMsr = vc.code === ExitCode.MSR && vc.info1 !== 0n;
  const changed = after.gpr.flatMap((value, n) =>
    n !== RSP && value !== vc.before.gpr[n] && (writesMsr || !may.includes(n)) ? [registerNames[n]!] : [],
  );
  if (changed.length > 0) say('register-changed', `${changed.join(', ')} changed`);
  const flags = (after.rflags ^ vc.before.rflags) & KEPT;
  if (flags !== 0) say('register-changed', `RFLAGS changed in ${hex(flags)}`);
  const { answer } = vc;
  if (answer === null || vc.last === null || info1Of(answer) !== GhcbResponse.OK || writesMsr || (port?.string ?? false)) return;
  const row = rowOf(vc.last);
  if (row === undefined) return;
  const size = vc.code === ExitCode.IOIO ? (port?.size ?? 4) : 4;
  const mask = size === 4 ? LOW : (1n << BigInt(8 * size)) - 1n;
  for (const n of may) {
    const field = fieldOf[n];
    if (field === undefined || !row.returns.includes(field)) continue;
    const given = valueOf(answer, field);
    const got = after.gpr[n]!;
    const was = vc.before.gpr[n]!;
    if ((got & mask) !== (given & mask)) {
      const other = row.returns.find((one) => (valueOf(answer, one) & mask) === (got & mask));
      if (other !== undefined && (got & mask) > TELLING && (was & mask) !== (got & mask))
        say('result-lost', `${registerNames[n]} got ${spelled(other)} of the answer`);
      continue;
    }
    const valid = isQuadValid(answer, quadOf(layout[field].offset));
    if (!valid && (given & mask) !== 0n && (was & mask) !== (given & mask))
      say('field-not-valid', `${registerNames[n]} got ${spelled(field)} of the answer, which is not marked valid`);
    const rest = size === 4 ? 0n : was & ~mask;
    if ((got & ~mask) !== rest) say('register-width', `${registerNames[n]} is ${hex(got)} and should be ${hex(rest | (given & mask))}`);
  }
}

function judgeDirection({ code, before, info1, changed }: Vc, after: Registers, say: Say): void {
  if (code !== ExitCode.IOIO || (info1 & 4n) === 0n || changed) return;
  const pointer = (info1 & 1n) !== 0n ? RDI : RSI;
  const width = (info1 & 0x200n) !== 0n ? 64 : (info1 & 0x100n) !== 0n ? 32 : 16;
  const moved = BigInt.asIntN(width, after.gpr[pointer]! - before.gpr[pointer]!);
  const down = (before.rflags & Rflags.DF) !== 0;
  if (moved !== 0n && moved < 0n !== down)
    say('string-direction', `${registerNames[pointer]} moved by ${moved} with RFLAGS.DF ${down ? 'set' : 'clear'}`);
}
