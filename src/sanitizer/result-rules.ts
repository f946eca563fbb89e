// What an instruction did to its program once its #VC handler is done: where it goes on, which results it has, and how wide they are.

import { ExitCode } from '../arch/exit-code.ts';
import { GHCB_BUFFER, GhcbEvent, type GhcbField, GhcbResponse } from '../arch/ghcb.ts';
import { Gpr, State } from '../memory/state.ts';
import { info1Of } from './answer-rules.ts';
import { type AtReturn, goneOn, outputsOf, registerNames } from './completion-rules.ts';
import type { Facts } from './facts.ts';
import { debugMoveIn, type Load, loadIn, isPlainStore } from './memory-forms.ts';
import { isQuadValid, layout, type PageImage, quadOf, spelled, valueOf } from './page-image.ts';
import { isMmio, nameOfCode, portAccess, rowOf } from './protocol.ts';
import { hex } from './request-rules.ts';
import type { Vc } from './state.ts';
import { judgeString } from './string-rules.ts';

export function judgeReturn(at: AtReturn): void {
  const { vc, after } = at;
  // From user mode a signal or a debugger may have changed anything.
  if (!vc.real || vc.changed) return;
  if (goneOn(vc, after)) judgeString(at);
  if (vc.before.cpl === 3) return;
  judgePlace(at);
  if (after.rip - vc.before.rip !== BigInt(vc.length)) return;
  if (vc.code === ExitCode.DR0_READ + 7) judgeDr7(at);
  if (vc.code === ExitCode.NPF) judgeMmio(at);
  else judgeLost(at);
}

const exitOf = ({ last, code }: Vc): string => last?.name ?? nameOfCode(BigInt(code));
const isDone = ({ answer }: Vc): boolean => answer !== null && info1Of(answer) === GhcbResponse.OK;

/** Of these the whole length is known to be the instruction's, and after a good answer nothing can keep it from being done. */
const plain: ReadonlySet<number> = new Set([
  ExitCode.CPUID,
  ExitCode.RDTSC,
  ExitCode.RDTSCP,
  ExitCode.RDPMC,
  ExitCode.MSR,
  ExitCode.INVD,
  ExitCode.WBINVD,
  ExitCode.MONITOR,
  ExitCode.MWAIT,
]);
const WRAPPED = 0x1_0000n;

/** It goes on inside of the instruction or a little behind its end, or where a sum of 16 bits leads. */
function judgePlace({ vc, after, rip, report }: AtReturn): void {
  const port = vc.last === null ? null : portAccess(vc.last);
  if (!vc.matches || !isDone(vc) || !(plain.has(vc.code) || (port !== null && !port.string))) return;
  const moved = BigInt.asIntN(64, after.rip - vc.before.rip);
  const length = BigInt(vc.length);
  if (moved === length || !((moved > 0n && moved <= 15n) || moved === length - WRAPPED)) return;
  report('resumed-elsewhere', rip, exitOf(vc), `RIP is ${hex(after.rip)} and should be ${hex(vc.before.rip + length)}`);
}

/** DR7 has bits that are always 1 or 0 (APM vol. 2, 13.1.1.4). */
const DR7_FIXED = 0xffff_ffff_0000_dc00n;
const DR7_ALWAYS_1 = 0x400n;

function judgeDr7({ vc, after, rip, report }: AtReturn): void {
  const register = debugMoveIn(vc.bytes, vc.before.mode);
  const value = register === null ? null : after.gpr[register]!;
  if (value !== null && (value & DR7_FIXED) !== DR7_ALWAYS_1)
    report('dr7-value', rip, exitOf(vc), `${registerNames[register!]} got ${hex(value)}`);
}

/** A result that the answer has, that nobody read, and that is not in its register. */
function judgeLost({ level, vc, after, rip, report }: AtReturn): void {
  const { last, answer } = vc;
  if (last === null || answer === null || !isDone(vc)) return;
  const readers = [...level.uses.values()].find(({ window }) => window?.request === last)?.window?.readers;
  const port = portAccess(last);
  if (readers === undefined || (vc.code === ExitCode.IOIO && port === null)) return;
  const mask = (1n << BigInt(8 * (port?.size ?? 4))) - 1n;
  for (const [register, field] of outputsOf(vc.code)) {
    const quad = quadOf(layout[field].offset);
    if (!returns(vc, field) || readers.has(quad) || !isQuadValid(answer, quad)) continue;
    const kept = after.gpr[register]!;
    if (kept !== vc.before.gpr[register]! || (kept & mask) === (valueOf(answer, field) & mask)) continue;
    report(
      'result-lost',
      rip,
      exitOf(vc),
      `${registerNames[register]} is ${hex(kept)} as before; ${spelled(field)} of the answer was never read`,
    );
  }
}

const returns = ({ last }: Vc, field: GhcbField): boolean => last !== null && (rowOf(last)?.returns.includes(field) ?? false);

/** Loads and stores of devices by MOV and its kin. */
function judgeMmio({ facts, state, vc, after, rip, report }: AtReturn): void {
  const { last, answer, before, bytes } = vc;
  if (last === null || answer === null || !isMmio(last) || !isDone(vc)) return;
  const load = loadIn(bytes, before.mode);
  if (load === null && !isPlainStore(bytes, before.mode)) return;
  const changed = after.gpr.flatMap((value, n) =>
    n !== Gpr.RSP && n !== load?.register && value !== before.gpr[n] ? [registerNames[n]!] : [],
  );
  if (changed.length > 0) report('register-changed', rip, last.name, `${changed.join(', ')} changed`);
  if (load === null || last.code !== BigInt(GhcbEvent.MMIO_READ) || last.info2 !== BigInt(load.from)) return;
  const raw = returnedIn(facts, state, answer, load.from);
  if (raw === null) return;
  const got = after.gpr[load.register]!;
  const should = loaded(load, before.gpr[load.register]!, raw);
  const low = ((1n << BigInt(8 * load.from)) - 1n) << BigInt(load.shift);
  if (got !== should && (got & low) === (should & low))
    report('register-width', rip, last.name, `${registerNames[load.register]} is ${hex(got)} and should be ${hex(should)}`);
}

/** The value in the shared buffer; null: it is somewhere else. */
function returnedIn(facts: Facts, state: number, answer: PageImage, size: number): bigint | null {
  const scratch = valueOf(answer, 'swScratch');
  const offset = Number(scratch & 0xfffn);
  if (scratch >> 12n !== facts.u64(state, State.GHCB) >> 12n || offset < GHCB_BUFFER.start || offset + size > GHCB_BUFFER.end) return null;
  let value = 0n;
  for (let n = size - 1; n >= 0; n--) value = (value << 8n) | BigInt(answer[offset + n]!);
  return value;
}

/** Bytes and words leave the rest of the register alone, doublewords clear the upper half (APM vol. 1, 3.1.2). */
function loaded({ from, to, sign, shift }: Load, was: bigint, raw: bigint): bigint {
  const value = BigInt.asUintN(8 * to, sign ? BigInt.asIntN(8 * from, raw) : raw);
  if (to >= 4) return value;
  const mask = ((1n << BigInt(8 * to)) - 1n) << BigInt(shift);
  return (was & ~mask) | (value << BigInt(shift));
}
