// INS and OUTS as a whole: how many elements go, where to, and what RCX says afterwards (APM vol. 3, INS, OUTS and REP).

import { ExitCode } from '../arch/exit-code.ts';
import { GHCB_BUFFER, GhcbResponse } from '../arch/ghcb.ts';
import { Rflags } from '../arch/registers.ts';
import { Gpr, Segment, State } from '../memory/state.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { info1Of } from './answer-rules.ts';
import type { AtReturn } from './completion-rules.ts';
import type { Facts, Report } from './facts.ts';
import { valueOf } from './page-image.ts';
import { portAccess, type Request } from './protocol.ts';
import { hex } from './request-rules.ts';
import type { Registers, Vc } from './state.ts';

/** Of EXITINFO1 of an IOIO exit (APM vol. 2, 15.10.2). */
const IN = 1n;
const STRING = 4n;
const REP = 8n;
const LOW = 0xffff_ffffn;
/** More do not fit into any request. */
const MOST_ELEMENTS = 0x7f0n;

type Shape = {
  readonly input: boolean;
  readonly repeat: boolean;
  /** Bits of RSI, RDI and RCX that count. */
  readonly width: number;
  readonly size: bigint;
  readonly pointer: number;
  readonly segment: Segment;
};

/** What the processor said of the instruction; null: it is none of these. */
function shapeOf({ code, info1 }: Vc): Shape | null {
  if (code !== ExitCode.IOIO || (info1 & STRING) === 0n) return null;
  const input = (info1 & IN) !== 0n;
  return {
    input,
    repeat: (info1 & REP) !== 0n,
    width: (info1 & 0x200n) !== 0n ? 64 : (info1 & 0x100n) !== 0n ? 32 : 16,
    size: (info1 >> 4n) & 7n,
    pointer: input ? Gpr.RDI : Gpr.RSI,
    segment: input ? Segment.ES : (Number((info1 >> 10n) & 7n) as Segment),
  };
}

const countOf = ({ repeat, width }: Shape, { gpr }: Registers): bigint => (repeat ? BigInt.asUintN(width, gpr[Gpr.RCX]!) : 1n);
const isDown = ({ rflags }: Registers): boolean => (rflags & Rflags.DF) !== 0;

/** The linear address of the element that a pointer names. */
const linearOf = (facts: Facts, state: number, { segment, width, pointer }: Shape, { mode, gpr }: Registers): bigint =>
  facts.linear(state, mode, segment, BigInt.asUintN(width, gpr[pointer]!));

/** At VMGEXIT. */
export function judgeStringRequest(facts: Facts, state: number, vc: Vc, request: Request, rip: bigint, report: Report): void {
  const shape = vc.changed || !vc.real ? null : shapeOf(vc);
  const port = portAccess(request);
  if (shape === null || port?.string !== true) return;
  if (port.repeat && !shape.repeat) report('wrong-request', rip, request.name, 'the request has REP, and the instruction has not');
  else if (shape.repeat && !port.repeat && request.info2 > 1n)
    report('wrong-request', rip, request.name, `the request has no REP, and ${request.info2} elements; the instruction has REP`);
  const count = countOf(shape, vc.before);
  if (request.info2 > count)
    report('string-count', rip, request.name, `${request.info2} elements are asked for, where the instruction has ${count}`);
  if (vc.before.cpl === 3 && !shape.input && request.info2 <= MOST_ELEMENTS)
    judgeRange(facts, state, vc.before, shape, request.info2, (text) => report('user-access', rip, request.name, text));
}

/** At IRET: elements that were moved, by the pointer. */
export function judgeString({ facts, state, known, vc, after, rip, report }: AtReturn): void {
  const shape = vc.changed ? null : shapeOf(vc);
  if (shape === null) return;
  const { before } = vc;
  const { size, width, input, pointer, repeat } = shape;
  const name = vc.last?.name ?? (input ? 'INS' : 'OUTS');
  const step = isDown(before) ? -size : size;
  const moved = BigInt.asIntN(width, after.gpr[pointer]! - before.gpr[pointer]!);
  const done = moved / step;
  if (moved % size !== 0n || done < 0n || done > 0x1_0000n) return;
  if (before.cpl === 3) {
    if (input) judgeRange(facts, state, before, shape, done, (text) => report('user-access', rip, name, text));
    return;
  }
  const say = (text: string): void => report('string-count', rip, name, text);
  const isBehind = after.rip - before.rip === BigInt(vc.length);
  const counted = before.gpr[Gpr.RCX]! - after.gpr[Gpr.RCX]!;
  if (!repeat) {
    if (counted !== 0n) say(`RCX was changed by ${-counted}, and there is no REP prefix`);
    else if (done > 1n) say(`${done} elements were moved, and there is no REP prefix`);
    else if (done === 1n && after.rip === before.rip) say('the instruction is executed again, and there is no REP prefix');
  } else if (BigInt.asUintN(width, counted) !== done)
    say(`${done} elements were moved, and RCX changed from ${at(before)} to ${at(after)}`);
  else if (isBehind && isLeft(facts, state, vc, shape, after)) say(`the instruction is over, and RCX is ${at(after)}`);
  if (input && done > 0n && known.cpus.size === 1)
    judgeTarget(facts, state, vc, shape, done, (text) => report('string-target', rip, name, text));
}

const at = ({ gpr }: Registers): string => hex(gpr[Gpr.RCX]!);

/** Are there elements that nothing kept from being moved? A page fault or a refusal does. */
function isLeft(facts: Facts, state: number, { answer }: Vc, shape: Shape, after: Registers): boolean {
  if (countOf(shape, after) === 0n || (answer !== null && info1Of(answer) !== GhcbResponse.OK)) return false;
  const next = linearOf(facts, state, shape, after);
  return [next, next + shape.size - 1n].every((address) => facts.look(state, address, false, shape.input) !== null);
}

/** Pages of the kernel's within what was done for user mode. The first element is judged at VMGEXIT. */
function judgeRange(facts: Facts, state: number, before: Registers, shape: Shape, count: bigint, say: (text: string) => void): void {
  if (count === 0n) return;
  const first = linearOf(facts, state, shape, before);
  const bytes = count * shape.size;
  const end = isDown(before) ? first + shape.size : first + bytes;
  for (let page = ((end - bytes) >> 12n) << 12n; page < end; page += BigInt(PAGE_SIZE)) {
    if (page >> 12n === first >> 12n || facts.look(state, page) === null || facts.look(state, page, true, shape.input) !== null) continue;
    say(`${shape.input ? 'INS' : 'OUTS'} of user mode goes on to ${hex(page)}, which is the kernel’s`);
    return;
  }
}

/** What the last request returned stands where the instruction puts it: in private memory, for what is shared may change at any time. */
function judgeTarget(
  facts: Facts,
  state: number,
  { before, last, answer }: Vc,
  shape: Shape,
  done: bigint,
  say: (text: string) => void,
): void {
  if (last === null || answer === null || info1Of(answer) !== GhcbResponse.OK || last.info2 > done) return;
  const scratch = valueOf(answer, 'swScratch');
  const offset = Number(scratch & 0xfffn);
  const length = Number(last.info2 * shape.size);
  if (scratch >> 12n !== facts.u64(state, State.GHCB) >> 12n || offset < GHCB_BUFFER.start || offset + length > GHCB_BUFFER.end) return;
  const { size, width } = shape;
  const step = isDown(before) ? -size : size;
  for (let n = 0n; n < last.info2; n++) {
    const index = BigInt.asUintN(width, before.gpr[Gpr.RDI]! + (done - last.info2 + n) * step);
    const address = facts.linear(state, before.mode, shape.segment, index);
    if (facts.look(state, address)?.key !== facts.guestKey) return;
    const found = facts.bytes(state, Number(address & LOW) | 0, Number(address >> 32n) | 0, Number(size));
    const from = offset + Number(n * size);
    if (found.every((byte, k) => byte === answer[from + k])) continue;
    say(`element ${n} of the answer is not at ${hex(address)}`);
    return;
  }
}
