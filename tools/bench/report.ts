// The report of a run: what --json prints, and what the renderings for people read.

import { INTERPRETER, OURS_32 } from './contenders.ts';
import type { Figure } from './figures.ts';
import { type Technology, technologies, type Tier } from './guest.ts';
import type { Measurements, Timing } from './measure.ts';
import { type PeerName, peerNames } from './peers/peer.ts';
import { geometricMean, median, speedRatio } from './statistics.ts';
import type { Workload } from './workloads.ts';

/** More than 1: we are faster. */
export type Comparison = {
  readonly seconds: number;
  readonly ratio: number;
  /** Where it was another build than that of the row. */
  readonly ourSeconds?: number;
};

export type Row = {
  readonly name: string;
  readonly kind: Workload['kind'];
  readonly technology: Technology;
  /** Between the marks, median. */
  readonly seconds: number;
  /** All of them. */
  readonly all: readonly number[];
  readonly instructions: number;
  /** Of string instructions, which count as one instruction each. */
  readonly elements: number;
  readonly roundTripsPerSecond?: number;
  readonly peers: { readonly [peer in PeerName]?: Comparison };
};

/** The setting in which the figures were taken. */
export type Setting = {
  readonly date: string;
  readonly node: string;
  readonly processor: string;
  readonly quick: boolean;
  readonly rounds: number;
  readonly tier: Tier;
  readonly versions: { readonly [peer in PeerName]?: string };
  readonly skipped: readonly { readonly peer: PeerName; readonly reason: string }[];
};

export type Report = Setting & {
  readonly workloads: readonly Row[];
  /** Over the compute workloads without encryption, like with like. null: not measured. */
  readonly geomean: Readonly<Record<PeerName, number | null>>;
  /** Speed of the compute workloads under SEV-ES against none. */
  readonly sevEsAgainstNone: number | null;
  /** Million instructions a second of the interpreter alone, geometric mean over the compute workloads. */
  readonly interpreter: number | null;
  readonly figures: readonly Figure[];
  readonly leftOut: readonly string[];
  readonly peerFailures: readonly string[];
  readonly failures: readonly string[];
};

type Timings = ReadonlyMap<string, readonly Timing[]>;

const secondsOf = (timings: readonly Timing[] | undefined): number | null =>
  timings === undefined || timings.length === 0 ? null : median(timings.map(({ seconds }) => seconds));

function comparisons(timings: Timings, technology: Technology, ourSeconds: number): Row['peers'] {
  const peers: { [peer in PeerName]?: Comparison } = {};
  for (const peer of peerNames) {
    const seconds = secondsOf(timings.get(peer));
    if (seconds === null) continue;
    if (peer !== 'v86') peers[peer] = { seconds, ratio: speedRatio(seconds, ourSeconds) };
    else {
      const ours32 = secondsOf(timings.get(OURS_32));
      if (ours32 !== null && technology === 'none') peers[peer] = { seconds, ratio: speedRatio(seconds, ours32), ourSeconds: ours32 };
    }
  }
  return peers;
}

function rowsOf(workload: Workload, timings: Timings): Row[] {
  return technologies.flatMap((technology) => {
    const ours = timings.get(technology);
    const seconds = secondsOf(ours);
    const first = ours?.[0];
    if (ours === undefined || seconds === null || first === undefined) return [];
    const { name, kind } = workload;
    const { instructions = 0, elements = 0, roundTrips } = first;
    return [
      {
        name,
        kind,
        technology,
        seconds,
        all: ours.map((timing) => timing.seconds),
        instructions,
        elements,
        ...(roundTrips ? { roundTripsPerSecond: roundTrips / seconds } : {}),
        peers: comparisons(timings, technology, seconds),
      },
    ];
  });
}

/** Over the compute workloads: the geometric mean of what `value` gives. */
function meanOver(rows: readonly Row[], technology: Technology, value: (row: Row) => number | undefined): number | null {
  const wanted = rows.filter((row) => row.kind === 'compute' && row.technology === technology);
  return geometricMean(wanted.map(value).filter((number) => number !== undefined));
}

function interpreterSpeed({ timings }: Measurements, tier: Tier): number | null {
  const speeds = [...timings].flatMap(([{ kind }, all]) => {
    const own = all.get(tier === 'interpreter' ? 'none' : INTERPRETER);
    const seconds = secondsOf(own);
    return kind === 'compute' && seconds !== null ? [(own?.[0]?.instructions ?? 0) / seconds / 1e6] : [];
  });
  return geometricMean(speeds);
}

export function makeReport(setting: Setting, measurements: Measurements, figures: readonly Figure[]): Report {
  const workloads = [...measurements.timings].flatMap(([workload, timings]) => rowsOf(workload, timings));
  const { leftOut, peerFailures, failures } = measurements;
  const secondsUnder = (technology: Technology, name: string): number | undefined =>
    workloads.find((row) => row.technology === technology && row.name === name)?.seconds;
  return {
    ...setting,
    workloads,
    geomean: Object.fromEntries(
      peerNames.map((peer) => [peer, meanOver(workloads, 'none', ({ peers }) => peers[peer]?.ratio)]),
    ) as Report['geomean'],
    sevEsAgainstNone: meanOver(workloads, 'sev-es', ({ name, seconds }) => {
      const none = secondsUnder('none', name);
      return none === undefined ? undefined : none / seconds;
    }),
    interpreter: interpreterSpeed(measurements, setting.tier),
    figures,
    leftOut,
    peerFailures,
    failures,
  };
}
