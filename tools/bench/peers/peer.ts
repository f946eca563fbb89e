// Somebody else's machine that runs the same workloads.

import { spawnSync } from 'node:child_process';
import type { Workload } from '../workloads.ts';

export const peerNames = ['qemu', 'bochs', 'v86'] as const;
export type PeerName = (typeof peerNames)[number];

export type Peer = {
  readonly name: PeerName;
  readonly version: string;
  /** Which build of a workload it boots. */
  readonly bits: 64 | 32;
  /** Seconds between the marks. Throws PeerFailure, or OutOfTime if the limit in seconds is reached. */
  run(workload: Workload, limit: number): Promise<number>;
};

/** The peer did not get through a workload: it is left out of that one's comparison. */
export class PeerFailure extends Error {}

/** Why a peer cannot take part. */
export type Absent = { readonly absent: string };

/** First line of what a program says about itself that matches; null: it is not there. */
export function versionOf(command: string, args: readonly string[], pattern: RegExp): string | null {
  const { stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000 });
  return error ? null : (pattern.exec(`${stdout}\n${stderr}`)?.[0] ?? null);
}
