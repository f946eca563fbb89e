// A whole run of the benchmark, from options to report.

import { cpus } from 'node:os';
import { UserError } from '../../src/cbit.ts';
import { takeFigures } from './all-figures.ts';
import { contendersFor, presentPeers, usualTier } from './contenders.ts';
import { Deadline } from './deadline.ts';
import { type Figure, figure } from './figures.ts';
import { measure, type Measurements } from './measure.ts';
import type { Options } from './options.ts';
import { makeReport, type Report, type Setting } from './report.ts';
import { workloads } from './workloads.ts';

const ROUNDS = { full: 5, quick: 3 };
/** Of hosts of many guests: each takes some 8 s. */
const HOSTS = { full: 3, quick: 1 };
const EVERYTHING = new RegExp('').source;
/** Seconds. A quick run ends within 50: what has begun ends when its time is over, and starting and reporting take some, too. */
const QUICK = { figures: 14, all: 40, hosts: 10 };

const speedOfMix = ({ timings }: Measurements): number[] =>
  [...timings].flatMap(([{ name }, all]) =>
    name === 'mix' ? (all.get('sev-es') ?? []).map(({ seconds, instructions = 0 }) => instructions / seconds / 1e6) : [],
  );

/** The interpreter's figure is that of a workload; --check wants it among the others. */
function figuresOf(measurements: Measurements): Figure[] {
  const speeds = speedOfMix(measurements);
  return speeds.length === 0 ? [] : [figure('compiled C under SEV-ES (mix)', 'million instructions/s', speeds, { least: 300 })];
}

export async function bench(options: Options, progress: (text: string) => void): Promise<Report> {
  const { quick, tier, only } = options;
  const chosen = workloads.filter(({ name }) => only.test(name));
  const [first] = chosen;
  if (first === undefined)
    throw new UserError(`--only ${only.source}: no workload is called so; there are ${workloads.map(({ name }) => name).join(', ')}`);
  const usual = usualTier(first.path);
  if (tier !== null && usual === null) throw new UserError(`--tier ${tier}: the engine of this version has no tiers to choose from`);
  const rounds = quick ? ROUNDS.quick : ROUNDS.full;
  const limit = (seconds: number): Deadline => new Deadline(quick ? seconds : Number.POSITIVE_INFINITY);
  const deadline = limit(QUICK.all + (options.manyGuests ? QUICK.hosts : 0));
  const { peers, skipped } = presentPeers(options.peers);
  const effective = tier ?? usual ?? 'interpreter';
  const setting: Setting = {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    processor: cpus()[0]?.model.trim() ?? 'unknown processor',
    quick,
    rounds,
    tier: effective,
    versions: Object.fromEntries(peers.map(({ name, version }) => [name, version])),
    skipped,
  };
  // --only asks for workloads, and for nothing else.
  const hosts = !quick ? HOSTS.full : options.manyGuests ? HOSTS.quick : 0;
  const others =
    only.source === EVERYTHING ? await takeFigures({ rounds, hosts }, limit(QUICK.figures), progress) : { figures: [], leftOut: [] };
  const contenders = contendersFor({ tier, peers, alsoInterpreter: effective === 'compiler' && !quick, deadline });
  const measurements = await measure({ workloads: chosen, contenders, rounds, deadline, progress });
  const leftOut = [...others.leftOut, ...measurements.leftOut];
  return makeReport(setting, { ...measurements, leftOut }, [...figuresOf(measurements), ...others.figures]);
}
