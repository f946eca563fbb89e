// Where a seed comes from. Keys, nonces, RDRAND and everything else that is left to chance follow from it alone; only `random`
// asks the system, and the draw is shown so that the run can be had again.

import { randomInt } from 'node:crypto';
import { UserError } from '../util/errors.ts';

/** Seeds given as numbers stay exact: up to 2^64 - 1. */
const LARGEST = 2n ** 64n - 1n;
const DRAWN_BELOW = 2 ** 32;

export type Seed = { readonly value: string; readonly drawn: boolean };

/** `--seed`: a decimal or hexadecimal number, written back in decimal, or `random`. */
export function parseSeed(text: string): Seed {
  if (text === 'random') return { value: String(randomInt(DRAWN_BELOW)), drawn: true };
  if (/^(\d{1,20}|0x[0-9a-f]{1,16})$/i.test(text) && BigInt(text) <= LARGEST) return { value: BigInt(text).toString(), drawn: false };
  throw new UserError(`--seed ${text}: give a whole number from 0 to 2^64 - 1, or 'random'`);
}
