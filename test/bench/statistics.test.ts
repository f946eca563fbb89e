import { describe, expect, it } from 'vitest';
import { geometricMean, median, readable, speedRatio } from '../../tools/bench/statistics.ts';

describe('median', () => {
  it('is the middle one, whatever the order', () => {
    expect(median([5, 1, 9])).toBe(5);
    expect(median([7])).toBe(7);
  });

  it('of an even number is one that was measured', () => {
    expect(median([4, 1, 3, 2])).toBe(3);
  });

  it('leaves what it is given as it is', () => {
    const given = [3, 1, 2];
    median(given);
    expect(given).toEqual([3, 1, 2]);
  });

  it('of nothing does not exist', () => {
    expect(() => median([])).toThrow('no median');
  });
});

describe('geometric mean', () => {
  it('weighs twice as fast and half as fast alike', () => {
    expect(geometricMean([2, 0.5])).toBeCloseTo(1);
    expect(geometricMean([1, 10, 100])).toBeCloseTo(10);
  });

  it('of nothing is null', () => {
    expect(geometricMean([])).toBeNull();
  });
});

it('a ratio of more than 1 means that we are faster', () => {
  expect(speedRatio(3, 1.5)).toBe(2);
});

it('figures are written with three digits, or in full with groups', () => {
  expect([readable(0.12345), readable(12.345), readable(1234567.8)]).toEqual(['0.123', '12.3', '1,234,568']);
});
