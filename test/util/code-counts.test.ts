import { expect, it } from 'vitest';
import { CodeCounts } from '../../src/util/code-counts.ts';

it('gives the codes that came, in ascending order, small or not', () => {
  const counts = new CodeCounts();
  for (const code of [0x403, 0x72, 0x72, -1, 0x8000_0001, 0]) counts.add(code);
  expect([...counts]).toEqual([
    [-1, 1],
    [0, 1],
    [0x72, 2],
    [0x403, 1],
    [0x8000_0001, 1],
  ]);
});
