// Rounds of workloads and contenders, and the report that comes of them.

import { describe, expect, it } from 'vitest';
import { OURS_32 } from '../../tools/bench/contenders.ts';
import { Deadline, OutOfTime } from '../../tools/bench/deadline.ts';
import { type Figure, figure, isMissed, repeat } from '../../tools/bench/figures.ts';
import { type Contender, measure, type Timing } from '../../tools/bench/measure.ts';
import { PeerFailure } from '../../tools/bench/peers/peer.ts';
import { makeReport, type Setting } from '../../tools/bench/report.ts';
import { markdown, missedLines, terminalText } from '../../tools/bench/table.ts';
import { type Workload, workloads } from '../../tools/bench/workloads.ts';

const named = (...names: readonly string[]): Workload[] => workloads.filter(({ name }) => names.includes(name));
const forever = new Deadline(Number.POSITIVE_INFINITY);
const setting: Setting = {
  date: '2026-01-31',
  node: 'v20.19.0',
  processor: 'A Processor',
  quick: false,
  rounds: 3,
  tier: 'interpreter',
  versions: { qemu: '7.2.0' },
  skipped: [{ peer: 'bochs', reason: 'there is no bochs here' }],
};

/** A contender that takes these times in turn. */
function contender(name: string, seconds: readonly number[], more: Partial<Timing> = {}): Contender {
  let next = 0;
  return { name, takes: () => true, run: () => ({ seconds: seconds[next++] ?? Number.NaN, instructions: 100e6, elements: 0, ...more }) };
}

const measureThree = (chosen: readonly Workload[], contenders: readonly Contender[], deadline = forever) =>
  measure({ workloads: chosen, contenders, rounds: 3, deadline, progress: () => {} });

describe('measuring', () => {
  it('runs all contenders in every round, and none always first', async () => {
    const order: string[] = [];
    const noting = (name: string): Contender => ({ name, takes: () => true, run: () => (order.push(name), { seconds: 1 }) });
    await measureThree(named('mix'), [noting('a'), noting('b'), noting('c')]);
    expect(order.join('')).toBe('abcbcacab');
  });

  it('leaves out what a contender does not take', async () => {
    const only64: Contender = { ...contender('none', [1, 1, 1]), takes: ({ path32 }) => path32 === null };
    const { timings, leftOut } = await measureThree(named('mix', 'syscall'), [only64]);
    expect([...timings].map(([{ name }, all]) => [name, all.size])).toEqual([
      ['mix', 0],
      ['syscall', 1],
    ]);
    expect(leftOut).toEqual([]);
  });

  it('does not try again what failed, and tells a failure of a peer from one of ours', async () => {
    let tries = 0;
    const failing = (name: string, error: Error): Contender => ({
      name,
      takes: () => true,
      run: () => {
        tries++;
        throw error;
      },
    });
    const { failures, peerFailures } = await measureThree(named('mix'), [
      failing('sev', new Error('it printed no PASS')),
      failing('qemu', new PeerFailure('FAIL: x')),
    ]);
    expect(failures).toEqual(['mix sev: it printed no PASS']);
    expect(peerFailures).toEqual(['mix qemu: FAIL: x']);
    expect(tries).toBe(2);
  });

  it('names what there was no time for', async () => {
    const late: Contender = {
      name: 'none',
      takes: () => true,
      run: () => {
        throw new OutOfTime();
      },
    };
    expect(await measureThree(named('mix'), [late])).toMatchObject({ leftOut: ['mix none'], failures: [] });
  });
});

describe('a report', () => {
  const make = async () =>
    makeReport(
      setting,
      await measureThree(named('mix'), [
        contender('none', [2, 9, 1]),
        contender('sev-es', [4, 4, 4]),
        contender('qemu', [3, 3, 3]),
        contender(OURS_32, [1, 1, 1]),
        contender('v86', [5, 5, 5]),
      ]),
      [figure('start', 's', [3, 2, 4], { most: 1 })],
    );

  it('has medians, and ratios to peers that are more than 1 where we are faster', async () => {
    const { workloads: rows, geomean } = await make();
    expect(rows).toMatchObject([
      {
        name: 'mix',
        technology: 'none',
        seconds: 2,
        instructions: 100e6,
        peers: { qemu: { seconds: 3, ratio: 1.5 }, v86: { seconds: 5, ratio: 5, ourSeconds: 1 } },
      },
      { name: 'mix', technology: 'sev-es', seconds: 4, peers: { qemu: { seconds: 3, ratio: 0.75 } } },
    ]);
    expect(rows[1]?.peers.v86).toBeUndefined();
    expect(geomean).toEqual({ qemu: expect.closeTo(1.5), bochs: null, v86: expect.closeTo(5) });
  });

  it('has the speed of SEV-ES against none, and that of the interpreter', async () => {
    expect(await make()).toMatchObject({ sevEsAgainstNone: expect.closeTo(0.5), interpreter: expect.closeTo(50) });
  });

  it('has round trips a second where the workload counts them', async () => {
    const measured = await measureThree(named('vc-cpuid'), [contender('sev-es', [0.5, 0.5, 0.5], { roundTrips: 100_000 })]);
    expect(makeReport(setting, measured, []).workloads).toMatchObject([{ roundTripsPerSecond: 200_000, peers: {} }]);
  });

  it('names on the terminal what was skipped, and what it was measured with', async () => {
    const text = terminalText(await make());
    expect(text).toContain('bochs skipped: there is no bochs here');
    expect(text).toMatch(/^mix +none +2\.000 +100 +50\.0 +1\.50x +5\.00x$/m);
    expect(text).toContain('2026-01-31; Node v20.19.0, A Processor, QEMU TCG 7.2.0');
  });

  it('is a table in Markdown, with date, machine and versions', async () => {
    const text = markdown(await make());
    expect(text).toContain('on 2026-01-31; A Processor, Node v20.19.0, QEMU TCG 7.2.0');
    expect(text).toContain('| workload | none | sev | sev-es | against QEMU TCG | against v86 (32 bits) |');
    expect(text).toContain('| mix | 2.00 s |  | 4.00 s | 1.50x | 5.00x |');
    expect(text).toContain('| **geometric mean, compute** |  |  |  | **1.50x** | **5.00x** |');
  });

  it('says what --check misses', async () => {
    expect(missedLines(await make())).toEqual(['MISSED start: 3.00, 2.00, 4.00 s, wanted at most 1']);
  });
});

describe('a figure', () => {
  const bounded = (all: readonly number[], bounds: Pick<Figure, 'least' | 'most'>): boolean => isMissed(figure('f', '', all, bounds));

  it('is missed only if even the best repeat misses it', () => {
    expect(bounded([1, 2, 3], { least: 3 })).toBe(false);
    expect(bounded([1, 2, 3], { least: 4 })).toBe(true);
    expect(bounded([1, 2, 3], { most: 1 })).toBe(false);
    expect(bounded([1, 2, 3], { most: 0.5 })).toBe(true);
    expect(bounded([1, 2, 3], {})).toBe(false);
  });

  it('is taken once even if there is no time left', () => {
    expect(repeat(5, new Deadline(0), () => 1)).toEqual([1]);
    expect(repeat(5, forever, () => 1)).toHaveLength(5);
  });
});
