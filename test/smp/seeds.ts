// One guest with several virtual CPUs under one seed, twice: what it says, and whether both runs are the same.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { type GuestOptions, run } from '../../src/cbit.ts';
import { elfPath, root } from '../../tools/guest-manifest.ts';

export type Verdict = {
  /** Status 0 and no line that begins with FAIL. */
  readonly passed: boolean;
  /** Both runs have the same trace hash. */
  readonly same: boolean;
  readonly traceHash: string;
  readonly instructions: number;
  /** The first line that begins with FAIL, or how else the run ended. */
  readonly complaint: string;
};

const images = new Map<string, Uint8Array>();
function imageOf(name: string): Uint8Array {
  const bytes = images.get(name) ?? new Uint8Array(readFileSync(join(root, elfPath(name))));
  images.set(name, bytes);
  return bytes;
}

export type SmpOptions = Pick<GuestOptions, 'technology' | 'cpu' | 'hostCpus' | 'schedule' | 'quantum'> & { readonly vcpus: number };

/** `again`: runs it a second time and compares. */
export function trySeed(name: string, seed: number, options: SmpOptions, again = true): Verdict {
  const once = () =>
    run({
      image: { name, bytes: imageOf(name) },
      schedule: 'random',
      ...options,
      seed: String(seed),
      maxInstructions: 50_000_000,
      aes: nodeAes,
    });
  const { outcome, status, serial, traceHash, instructions } = once();
  const complaint = serial.split('\n').find((line) => line.startsWith('FAIL')) ?? (status === 0 ? '' : `ended: ${outcome.kind}`);
  return { passed: complaint === '', same: !again || once().traceHash === traceHash, traceHash, instructions, complaint };
}
