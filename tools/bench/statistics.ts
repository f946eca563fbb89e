// Medians, means and ratios of what was measured.

/** The middle one; of an even number the upper of the two in the middle, so that it is always something that was measured. */
export function median(numbers: readonly number[]): number {
  if (numbers.length === 0) throw new Error('there is no median of nothing');
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1] as number;
}

/** null: of nothing. */
export const geometricMean = (numbers: readonly number[]): number | null =>
  numbers.length === 0 ? null : Math.exp(numbers.reduce((sum, number) => sum + Math.log(number), 0) / numbers.length);

/** How many times as fast we are as somebody who takes so long: more than 1 means that we are faster. */
export const speedRatio = (theirSeconds: number, ourSeconds: number): number => theirSeconds / ourSeconds;

/** Three digits of a small number, groups of digits of a large one. */
export const readable = (value: number): string => (value >= 1e4 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3));
