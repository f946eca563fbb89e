// Workloads of the benchmark, under every technology. Those that take long, which are pure computation or tens of thousands of page
// faults, are held against their checksums by `npm run bench`.

import { describe, expect, it } from 'vitest';
import { Deadline } from '../../tools/bench/deadline.ts';
import { runGuest, technologies } from '../../tools/bench/guest.ts';
import { failureOf, roundTripsOf, workloads } from '../../tools/bench/workloads.ts';

const SHORT = ['syscall', 'context-switch', 'vc-cpuid', 'vc-msr', 'vc-pio'];
const SECONDS = 25;

describe.each(technologies)('under %s', (technology) => {
  it.each(workloads.filter(({ name }) => SHORT.includes(name)))('$name passes and marks its begin and end', ({ kind, path }) => {
    const { seconds, instructions, roundTrips } = runGuest({ path, bits: 64 }, technology, null, new Deadline(SECONDS));
    expect(seconds).toBeGreaterThan(0);
    expect(instructions).toBeGreaterThan(500_000);
    expect(roundTrips).toBe(kind === 'round trips' ? 400_000 : null);
  });
});

describe('the output of a workload', () => {
  it('passes with a PASS and without a FAIL', () => {
    expect(failureOf('\nmix: checksum 1\nPASS: as elsewhere\n')).toBeNull();
    expect(failureOf('PASS: one\r\nFAIL: two\r\n')).toBe('FAIL: two');
    expect(failureOf('mix: checksum 1\n')).toBe('it printed no PASS');
  });

  it('may count round trips', () => {
    expect(roundTripsOf('x\n100000 round trips\nPASS: y\n')).toBe(100_000);
    expect(roundTripsOf('PASS: y\n')).toBeNull();
  });
});
