// Runs workloads on our machine and on the peers in turn, round by round, so that whatever else the computer does falls on all
// of them alike. A round that cannot end within the limit is not begun.

import { type Deadline, OutOfTime } from './deadline.ts';
import type { Sample } from './guest.ts';
import { PeerFailure } from './peers/peer.ts';
import type { Workload } from './workloads.ts';

/** Peers tell how long it took and nothing else. */
export type Timing = Pick<Sample, 'seconds'> & Partial<Sample>;

/** Whoever can run a workload; `limit` in seconds. */
export type Contender = {
  readonly name: string;
  takes(workload: Workload): boolean;
  run(workload: Workload, limit: number): Timing | Promise<Timing>;
};

export type Measurements = {
  /** By workload, then by contender; in the order of the rounds. */
  readonly timings: ReadonlyMap<Workload, ReadonlyMap<string, readonly Timing[]>>;
  /** What there was no time for at all. */
  readonly leftOut: readonly string[];
  /** What a peer did not get through. */
  readonly peerFailures: readonly string[];
  /** What we did not get through. */
  readonly failures: readonly string[];
};

type Plan = {
  readonly workloads: readonly Workload[];
  readonly contenders: readonly Contender[];
  readonly rounds: number;
  readonly deadline: Deadline;
  readonly progress: (text: string) => void;
};

/** Nobody is always the first to meet a workload, or always behind the same other. */
const rotated = <T>(all: readonly T[], by: number): T[] => all.map((_, i) => all[(i + by) % all.length] as T);

export async function measure({ workloads, contenders, rounds, deadline, progress }: Plan): Promise<Measurements> {
  const timings = new Map(workloads.map((workload) => [workload, new Map<string, Timing[]>()]));
  const lasted = new Map<string, number>();
  const given = new Set<string>();
  const peerFailures: string[] = [];
  const failures: string[] = [];

  async function once(workload: Workload, { name, run }: Contender): Promise<void> {
    const what = `${workload.name} ${name}`;
    if (given.has(what) || (lasted.get(what) ?? 0) > deadline.left) return;
    const started = performance.now();
    try {
      const timing = await run(workload, deadline.left);
      const all = timings.get(workload);
      all?.set(name, [...(all.get(name) ?? []), timing]);
      lasted.set(what, (performance.now() - started) / 1000);
    } catch (error) {
      if (error instanceof OutOfTime) return;
      given.add(what); // it would fail the same way in every round
      const text = `${what}: ${error instanceof Error ? error.message : String(error)}`;
      (error instanceof PeerFailure ? peerFailures : failures).push(text);
    }
  }

  for (let round = 1; round <= rounds; round++)
    for (const workload of workloads)
      for (const contender of rotated(contenders, round - 1))
        if (contender.takes(workload)) {
          progress(`round ${round} of ${rounds}: ${workload.name}, ${contender.name}`);
          await once(workload, contender);
        }
  const leftOut = workloads.flatMap((workload) =>
    contenders
      .filter((contender) => contender.takes(workload) && !given.has(`${workload.name} ${contender.name}`))
      .filter(({ name }) => !timings.get(workload)?.has(name))
      .map(({ name }) => `${workload.name} ${name}`),
  );
  return { timings, leftOut, peerFailures, failures };
}
