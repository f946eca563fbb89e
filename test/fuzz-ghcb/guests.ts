// The same by real guests: one that sends a few messages and writes down the answers. Everything is under way then: VMRUN, the
// registers in the VMSA, interrupts and NMIs that the messages themselves caused.

import { exitStatus } from '../../src/hypervisor/outcome.ts';
import { Dice } from '../fuzz-states/dice.ts';
import { converse, SHARED_AREA } from '../hypervisor/ghcb/messenger.ts';
import { GHCB, MEMORY } from '../system/small-guest.ts';
import { Attempts, type Attempt } from './attempt.ts';
import { comparePage, describe, settingOf, type Verdict } from './judge.ts';
import { Oracle } from './oracle.ts';

const MESSAGES = 24;

export function judgeGuest(seed: string, number: number): Verdict {
  const dice = new Dice(seed, `ghcb guest ${number}`);
  const { ghcbVersion, intercepts, cpu } = settingOf(number);
  // Its own code and what it writes down must stay as they are: data go to the page or to an area for them.
  const source = new Attempts(dice, { memory: MEMORY, pages: [GHCB], safe: SHARED_AREA });
  const attempts = Array.from({ length: MESSAGES }, (): Attempt => {
    const { msr, page } = source.next();
    return { msr, page: page.slice() };
  });
  const { replies, result } = converse(
    attempts.map(({ msr }) => msr),
    attempts.map(({ page }) => page),
    { ghcbVersion, intercepts, cpu },
  );
  const oracle = new Oracle({ memory: MEMORY, version: ghcbVersion, cr: intercepts.includes('cr'), cBit: cpu === 'rome' ? 47 : 51 }, [0]);
  const faults: string[] = [];
  replies.forEach((reply, n) => {
    const { msr, page } = attempts[n]!;
    const expected = oracle.expect(msr, page);
    const problem =
      expected.kind === 'answer'
        ? comparePage(expected, page, reply.page, BigInt(GHCB), [])
        : expected.kind === 'ended'
          ? 'the guest goes on'
          : expected.kind === 'msr' && expected.value !== null && reply.msr !== expected.value
            ? `the MSR became 0x${reply.msr.toString(16)}`
            : null;
    if (problem !== null) faults.push(`message ${n} of the guest: ${problem}; ${describe(attempts[n]!)}`);
  });
  const { kind } = result.outcome;
  if (kind === 'refused' || kind === 'interrupted' || exitStatus(result.outcome, false) > 3) faults.push(`the guest ended: ${kind}`);
  return { faults, kinds: new Map([[kind, 1]]) };
}
