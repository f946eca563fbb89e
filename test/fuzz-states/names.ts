// Names for places in a state block, for reports.

import { Segment, State, segmentAt } from '../../src/memory/state.ts';

const places: (readonly [number, string])[] = [
  ...Object.entries(State).map(([name, at]) => [at, name] as const),
  ...Object.entries(Segment).map(([name, n]) => [segmentAt(n), name] as const),
];
places.sort(([a], [b]) => b - a);

/** The field that an offset in a state block belongs to. */
export function layoutOfState(offset: number): string {
  const [at, name] = places.find(([start]) => start <= offset) ?? [0, '?'];
  return offset === at ? name : `${name} + ${offset - at}`;
}
