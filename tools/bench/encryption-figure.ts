// What memory encryption costs a guest that computes: nothing that the processor does between two misses of its caches.

import type { GuestOptions } from '../../src/cbit.ts';
import type { Deadline } from './deadline.ts';
import { runGuest, type Technology } from './guest.ts';
import { geometricMean } from './statistics.ts';
import { workloads } from './workloads.ts';

type Way = { readonly technology: Technology; readonly options: Pick<GuestOptions, 'sme' | 'tsme'> };
const plain: Way = { technology: 'none', options: {} };
const encrypted: readonly Way[] = [
  { technology: 'none', options: { sme: true } },
  { technology: 'none', options: { tsme: true } },
  { technology: 'sev', options: {} },
];

/** Speed of the compute workloads against none, geometric mean, of whichever is the slowest. One after the other falls on all alike. */
export function encryptedAgainstPlain(deadline: Deadline): number {
  const ratios = encrypted.map((): number[] => []);
  for (const { kind, path } of workloads) {
    if (kind !== 'compute') continue;
    const seconds = ({ technology, options }: Way): number => runGuest({ path, bits: 64 }, technology, null, deadline, options).seconds;
    const none = seconds(plain);
    encrypted.forEach((way, n) => ratios[n]?.push(none / seconds(way)));
  }
  return Math.min(...ratios.map((all) => geometricMean(all) ?? Number.NaN));
}
