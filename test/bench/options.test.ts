import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/cbit.ts';
import { parseOptions } from '../../tools/bench/options.ts';
import { bench } from '../../tools/bench/run.ts';

describe('options of the benchmark', () => {
  it('may all be left out', () => {
    expect(parseOptions([])).toMatchObject({
      quick: false,
      json: false,
      markdown: false,
      check: false,
      manyGuests: false,
      peers: [],
      tier: null,
    });
    expect(parseOptions([]).only.test('mix')).toBe(true);
  });

  it('take peers one by one or in a list, each once', () => {
    expect(parseOptions(['--peer', 'v86', '--peer', 'qemu,v86']).peers).toEqual(['qemu', 'v86']);
  });

  it('take a regular expression over the names of workloads', () => {
    const { only } = parseOptions(['--only', '^vc-']);
    expect([only.test('vc-msr'), only.test('mix')]).toEqual([true, false]);
  });

  it.each([
    [['--peer', 'virtualbox'], '--peer virtualbox: choose one of qemu, bochs, v86'],
    [['--tier', 'turbo'], '--tier turbo: choose one of interpreter, compiler'],
    [['--only', '['], "--only [: is no regular expression; give for example 'vc-' or '^(mix|sort)$'"],
    [['--json', '--markdown'], '--json and --markdown are two renderings of one report: give one of them'],
    [['--fast'], "Unknown option '--fast'"],
    [['--only'], "Option '--only <value>' argument missing"],
    [['mix'], "Unexpected argument 'mix'"],
  ])('%j is refused with one line', (args, message) => {
    expect(() => parseOptions(args)).toThrow(new UserError(message));
  });

  it('an expression that no workload matches is refused with their names', async () => {
    const options = parseOptions(['--only', 'nothing']);
    await expect(bench(options, () => {})).rejects.toThrow(/^--only nothing: no workload is called so; there are mix, sha256, .*vc-pio$/);
  });
});
