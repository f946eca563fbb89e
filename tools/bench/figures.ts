// The figures besides the workloads: decoding, starting, memory.

import { type Deadline, OutOfTime } from './deadline.ts';
import { median } from './statistics.ts';

/** What --check asks for: a figure of at least, or of at most, so much. */
export type Bounds = { readonly least?: number; readonly most?: number };

export type Figure = Bounds & {
  readonly name: string;
  readonly unit: string;
  /** The median. */
  readonly value: number;
  readonly all: readonly number[];
};

export const figure = (name: string, unit: string, all: readonly number[], bounds: Bounds = {}): Figure => ({
  name,
  unit,
  value: median(all),
  all,
  ...bounds,
});

/** Takes a figure so many times, or as often as there is time for, but once. */
export function repeat(times: number, deadline: Deadline, once: () => number): number[] {
  const all = [once()];
  try {
    while (all.length < times && deadline.left > 0) all.push(once());
  } catch (error) {
    if (!(error instanceof OutOfTime)) throw error;
  }
  return all;
}

/** Even the best repeat is not what it must be: the computer may have been busy with other things, but not always. */
export const isMissed = ({ all, least, most }: Figure): boolean =>
  (least !== undefined && Math.max(...all) < least) || (most !== undefined && Math.min(...all) > most);
