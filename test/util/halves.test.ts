import { expect, it } from 'vitest';
import { fromHalves, highHalf, lowHalf } from '../../src/util/halves.ts';

it('a 64-bit value and its halves, unsigned', () => {
  expect(fromHalves(-1, 0x8000_0000)).toBe(0x8000_0000_ffff_ffffn);
  expect(lowHalf(0x1234_5678_9abc_def0n)).toBe(0x9abc_def0);
  expect(highHalf(0xf234_5678_9abc_def0n)).toBe(0xf234_5678);
});
