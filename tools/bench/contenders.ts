// Who runs the workloads: we, under each technology; we again, with the 32-bit builds or with the interpreter alone; the peers.

import { launch, UserError } from '../../src/cbit.ts';
import { type Deadline, OutOfTime } from './deadline.ts';
import { runGuest, technologies, type Tier, tierOf } from './guest.ts';
import type { Contender } from './measure.ts';
import { findPeer } from './peers/all.ts';
import { type Peer, PeerFailure, type PeerName } from './peers/peer.ts';
import { readImage, type Workload, workloads } from './workloads.ts';

/** Our runs of the 32-bit builds, to hold against a peer that boots nothing else. */
export const OURS_32 = 'ours, 32 bits';
/** Our runs without a compiler, where there is one. */
export const INTERPRETER = 'interpreter';
/** Seconds that a peer is given for one run, however much time there is. */
const PATIENCE = 300;

type Present = { readonly peers: readonly Peer[]; readonly skipped: readonly { readonly peer: PeerName; readonly reason: string }[] };

const isCompute = ({ kind }: Workload): boolean => kind === 'compute';

/** Why we cannot boot this image; null: we can. */
function refusalOf(path: string): string | null {
  try {
    launch({ image: { name: path, bytes: readImage(path) }, technology: 'none' }).dispose();
    return null;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

/** The tier of an engine that nobody told; null: engines are all alike. */
export function usualTier(path: string): Tier | null {
  const vm = launch({ image: { name: path, bytes: readImage(path) }, technology: 'none', mode: 64 });
  try {
    return tierOf(vm.machine.engine);
  } finally {
    vm.dispose();
  }
}

/** Those of the wanted peers that can take part. */
export function presentPeers(wanted: readonly PeerName[]): Present {
  const peers: Peer[] = [];
  const skipped: { peer: PeerName; reason: string }[] = [];
  for (const name of wanted) {
    const peer = findPeer(name);
    const path32 = workloads.find(isCompute)?.path32 ?? '';
    const reason = 'absent' in peer ? peer.absent : peer.bits === 32 ? refusalOf(path32) : null;
    if (reason !== null) skipped.push({ peer: name, reason });
    else if (!('absent' in peer)) peers.push(peer);
  }
  return { peers, skipped };
}

/** A peer that hangs does not hold up the run. */
async function patiently(peer: Peer, workload: Workload, limit: number): Promise<number> {
  try {
    return await peer.run(workload, Math.min(limit, PATIENCE));
  } catch (error) {
    throw error instanceof OutOfTime && limit > PATIENCE ? new PeerFailure(`it took more than ${PATIENCE} s`) : error;
  }
}

type Wanted = {
  readonly tier: Tier | null;
  readonly peers: readonly Peer[];
  readonly alsoInterpreter: boolean;
  readonly deadline: Deadline;
};

export function contendersFor({ tier, peers, alsoInterpreter, deadline }: Wanted): Contender[] {
  const ours = technologies.map((technology): Contender => {
    const takes = (): boolean => true;
    return { name: technology, takes, run: ({ path }) => runGuest({ path, bits: 64 }, technology, tier, deadline) };
  });
  const interpreter: Contender = {
    name: INTERPRETER,
    takes: isCompute,
    run: ({ path }) => runGuest({ path, bits: 64 }, 'none', 'interpreter', deadline),
  };
  const ours32: Contender = {
    name: OURS_32,
    takes: ({ path32 }) => path32 !== null,
    run: ({ path32 }) => runGuest({ path: path32 ?? '', bits: 32 }, 'none', tier, deadline),
  };
  const theirs = peers.map(
    (peer): Contender => ({
      name: peer.name,
      // A peer has no hypervisor beneath it: round trips to one cannot be compared.
      takes: ({ kind, path32 }) => (peer.bits === 32 ? path32 !== null : kind !== 'round trips'),
      run: async (workload, limit) => ({ seconds: await patiently(peer, workload, limit) }),
    }),
  );
  return [...ours, ...(alsoInterpreter ? [interpreter] : []), ...(peers.some(({ bits }) => bits === 32) ? [ours32] : []), ...theirs];
}
