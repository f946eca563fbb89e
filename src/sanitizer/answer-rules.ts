// What the hypervisor did between a VMGEXIT and the VMRUN that answers it: the page before and after, the GHCB MSR before and after.

import { SEV_LEAF } from '../arch/cpuid.ts';
import { ExitCode } from '../arch/exit-code.ts';
import { EventInj, GHCB_BUFFER, GhcbEvent, type GhcbField, GhcbInfo, GhcbReason, GhcbResponse } from '../arch/ghcb.ts';
import type { Facts, Report } from './facts.ts';
import { BITMAP, isValid, layout, type PageImage, spelled, usageOf, valueOf, versionOf } from './page-image.ts';
import { every, msrRequestOf, needsOf, type Request, rowOf, scratchOf } from './protocol.ts';
import { hex } from './request-rules.ts';
import type { SanitizerState } from './state.ts';

export type Answer = {
  readonly facts: Facts;
  readonly known: SanitizerState;
  readonly gpa: number;
  readonly request: Request;
  readonly before: PageImage;
  readonly after: PageImage;
  readonly rip: bigint;
  readonly report: Report;
};

export const info1Of = (image: PageImage): number => Number(valueOf(image, 'swExitInfo1') & 0xffff_ffffn);

/** Is SW_EXITINFO2 an exception that may be asked for: #GP or #UD, valid, type 3? */
export function isAllowedException(info2: bigint): boolean {
  const vector = Number(info2 & 0xffn);
  return (info2 & 0x8000_0700n) === BigInt(EventInj.VALID + EventInj.TYPE_EXCEPTION) && (vector === 13 || vector === 6);
}

/** Fields that a hypervisor may write in the save area: results, whatever the event. */
const results: readonly GhcbField[] = ['rax', 'rbx', 'rcx', 'rdx', 'swExitInfo1', 'swExitInfo2'];
/** Inputs that no answer has. */
const inputs: readonly GhcbField[] = ['swExitCode', 'swScratch', 'cpl', 'xcr0', 'xss'];

export function judgeAnswer(answer: Answer): void {
  const { request, after, rip, report } = answer;
  const { name } = request;
  const left = inputs.filter((field) => isValid(after, field));
  if (left.length > 0) report('answer-bitmap', rip, name, `left valid: ${left.map(spelled).join(', ')}`);
  judgePlaces(answer);
  const row = rowOf(request);
  const info1 = info1Of(after);
  const needed: readonly GhcbField[] = ['swExitInfo1', 'swExitInfo2', ...(info1 === GhcbResponse.OK ? (row?.returns ?? []) : [])];
  const missing = needed.filter((field) => !isValid(after, field));
  if (missing.length > 0) report('answer-incomplete', rip, name, `not marked valid: ${missing.map(spelled).join(', ')}`);
  const info2 = valueOf(after, 'swExitInfo2');
  if (info1 === GhcbResponse.EXCEPTION && !isAllowedException(info2))
    report('answer-malformed', rip, name, `${hex(info2)} is no #GP or #UD`);
  const reserved = info2 < GhcbReason.NOT_REGISTERED || (info2 > GhcbReason.INVALID_EVENT && info2 < 0x1_0000n);
  if (info1 === GhcbResponse.MALFORMED && reserved) report('answer-malformed', rip, name, `${hex(info2)} is no reason`);
  if (info1 > GhcbResponse.MALFORMED) report('answer-malformed', rip, name, `SW_EXITINFO1 ${hex(info1)} is no answer`);
  if (info1 !== GhcbResponse.OK) return;
  const problem = unservable(answer);
  if (problem !== null) report('bad-request-served', rip, name, problem);
  if (row?.code === ExitCode.CPUID) judgeIdentity(answer);
}

function judgePlaces({ request, before, after, rip, report }: Answer): void {
  const area = scratchOf(request, before);
  const from = area === null ? 0 : Number(area.start & 0xfffn);
  const to = area === null || !area.toGuest || area.bytes > 0x7f0n ? from : from + Number(area.bytes);
  for (const offset of differences(before, after)) {
    if (offset >= BITMAP.start && offset < BITMAP.end) continue;
    if (results.some((field) => offset >= layout[field].offset && offset < layout[field].offset + 8)) continue;
    if (offset >= GHCB_BUFFER.start && offset < GHCB_BUFFER.end && offset >= from && offset < to) continue;
    report('answer-elsewhere', rip, request.name, `the byte at offset ${hex(offset)} of the GHCB was changed`);
    return;
  }
}

/** Offsets of bytes that differ; most pages differ in a few words. */
function* differences(a: PageImage, b: PageImage): Generator<number> {
  const words = new Int32Array(a.buffer, a.byteOffset, a.length >>> 2);
  const others = new Int32Array(b.buffer, b.byteOffset, b.length >>> 2);
  for (let n = 0; n < words.length; n++) {
    if (words[n] === others[n]) continue;
    for (let offset = 4 * n; offset < 4 * n + 4; offset++) if (a[offset] !== b[offset]) yield offset;
  }
}

/** Why a request should not have been answered with success; null: it may be. */
function unservable({ facts, gpa, request, before }: Answer): string | null {
  if (usageOf(before) !== 0) return `the usage field is ${hex(usageOf(before))}`;
  const missing = every.filter((field) => !isValid(before, field));
  if (missing.length > 0) return `not marked valid: ${missing.map(spelled).join(', ')}`;
  if (request.code >> 32n !== 0n) return `bits 63:32 of SW_EXITCODE ${hex(request.code)} are set`;
  const row = rowOf(request);
  if (row === undefined) return null;
  const inputsMissing = needsOf(row, before).filter((field) => !isValid(before, field));
  if (inputsMissing.length > 0) return `not marked valid: ${inputsMissing.map(spelled).join(', ')}`;
  const area = scratchOf(request, before);
  if (area === null || area.bytes === 0n) return null;
  const page = BigInt(gpa);
  const end = area.start + area.bytes;
  if (area.start >= page + BigInt(GHCB_BUFFER.start) && end <= page + BigInt(GHCB_BUFFER.end)) return null;
  const other =
    versionOf(before) < 2 && (end <= page || area.start >= page + 0x1000n) && area.start !== 0n && facts.isRam(area.start, area.bytes);
  return other ? null : `${area.bytes} bytes at ${hex(area.start)} are no scratch area`;
}

/** CPUID says that SEV-ES is not there, or another C-bit. */
function judgeIdentity({ facts, known, request, before, after, rip, report }: Answer): void {
  const leaf = Number(valueOf(before, 'rax') & 0xffff_ffffn);
  const say = (what: string): void => report('false-identity', rip, request.name, what);
  noteIdentity(facts, known, leaf, 0, Number(valueOf(after, 'rax') & 0xffff_ffffn), say);
  noteIdentity(facts, known, leaf, 1, Number(valueOf(after, 'rbx') & 0xffff_ffffn), say);
}

const LEAF_LARGEST = 0x8000_0000;

function noteIdentity(
  facts: Facts,
  known: SanitizerState,
  leaf: number,
  register: number,
  value: number,
  say: (what: string) => void,
): void {
  if ((leaf === LEAF_LARGEST && register === 0 && value < SEV_LEAF) || (leaf === SEV_LEAF && register === 0 && (value & 2) === 0)) {
    known.hidesSev = true;
    say(`CPUID leaf ${hex(leaf)} denies SEV`);
  }
  if (leaf === SEV_LEAF && register === 1 && (value & 0x3f) !== facts.cBit) tellCBit(facts, known, value & 0x3f, say);
}

function tellCBit({ cBit }: Facts, known: SanitizerState, told: number, say: (what: string) => void): void {
  known.wrongCBit = true;
  say(`the C-bit is said to be bit ${told}, and is bit ${cBit}`);
}

/** An answer in the GHCB MSR. True: its code is not that of the request's response. */
export function judgeMsrAnswer(
  facts: Facts,
  known: SanitizerState,
  request: bigint,
  response: bigint,
  say: (rule: 'msr-response' | 'false-identity', what: string) => void,
): boolean {
  const row = msrRequestOf(request);
  if (row === undefined || row.response === null || (request & row.zero) !== 0n) return false;
  const code = Number(response & 0xfffn);
  if (code !== row.response) {
    const declined = response === request && (row.since === 2 || row.ignores !== undefined);
    if (!declined) say('msr-response', `the answer to ${row.name} is ${hex(response)}`);
    return true;
  }
  const identity = (what: string): void => say('false-identity', what);
  if (code === GhcbInfo.CPUID_RESPONSE) {
    const register = Number((request >> 30n) & 3n);
    if ((response & 0x3fff_f000n) !== 0n) say('msr-response', `bits 29:12 of ${hex(response)} are not zero`);
    if (Number((response >> 30n) & 3n) !== register) say('msr-response', `${hex(response)} names another register than the request`);
    noteIdentity(facts, known, Number(request >> 32n), register, Number(response >> 32n), identity);
  } else if (code === GhcbInfo.SEV_INFORMATION) {
    known.versions = versionsIn(response);
    const told = Number((response >> 24n) & 0xffn);
    if (told !== facts.cBit) tellCBit(facts, known, told, identity);
  }
  return false;
}

export const versionsIn = (information: bigint): NonNullable<SanitizerState['versions']> => ({
  least: Number((information >> 32n) & 0xffffn),
  most: Number(information >> 48n),
});

export const asksForTermination = (request: Request): boolean => request.code === BigInt(GhcbEvent.TERMINATION);
