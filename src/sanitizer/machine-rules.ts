// Rules that look at no request in particular: the stack that a handler stands on, the end of an NMI, the reason for a termination.

import { Vector } from '../arch/exception.ts';
import { gprAt, Gpr, Segment, State } from '../memory/state.ts';
import type { Facts, Report } from './facts.ts';
import { hex } from './request-rules.ts';
import type { Level, SanitizerState, VirtualCpu } from './state.ts';

/**
 * A handler's stack in memory that user mode may write, by every level of the page tables. It counts once there has been user mode: a kernel that has none
 * may map its memory as it likes.
 */
export function judgeUserStack(facts: Facts, state: number, known: SanitizerState, rip: bigint, what: string, report: Report): void {
  if (!known.userMode) return;
  const rsp = facts.u64(state, gprAt(Gpr.RSP));
  const stack = facts.linear(state, facts.u32(state, State.MODE), Segment.SS, rsp);
  if (facts.look(state, stack, true, true) !== null)
    report('user-stack', rip, '', `${what} is at ${hex(stack)}, which user mode can write`);
}

/** An NMI's handler has returned: it is complete once the guest says so, before or after. */
export function noteNmiReturn(cpu: VirtualCpu, level: Level, rip: bigint): void {
  if (level.vector === Vector.NMI && cpu.inNmi) cpu.leftNmi = rip;
}

/** At the end of a run: it has done harm if the next one still waits. */
export function judgeNmi({ nmiWaits }: Facts, { leftNmi, levels }: VirtualCpu, report: Report): void {
  if (leftNmi === null || !nmiWaits || levels.some(({ vector }) => vector === Vector.NMI)) return;
  report('nmi-incomplete', leftNmi, '', 'the handler of an NMI returned, NMI complete never came, and the next NMI waits');
}

/** Set 0 belongs to the specification, which has these codes: general, protocol, SEV-SNP features. */
const MOST_DEFINED = 2;

export function judgeReason(set: number, code: number, rip: bigint, report: Report): void {
  if (set === 0 && code > MOST_DEFINED) report('termination-reason', rip, '', `reason set 0 has no code ${code}`);
}
