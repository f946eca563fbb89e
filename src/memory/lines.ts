// The 64 cache lines of a page as a mask in two halves: bit n of the low half is line n, of the high half line n + 32.

const from = (line: number): number => (line >= 32 ? 0 : -1 << line);
const upTo = (line: number): number => (line >= 31 ? -1 : ~(-2 << line));

export function lineMaskLow(offset: number, length: number): number {
  return from(offset >>> 6) & upTo((offset + length - 1) >>> 6);
}

export function lineMaskHigh(offset: number, length: number): number {
  const last = ((offset + length - 1) >>> 6) - 32;
  return last < 0 ? 0 : from(Math.max((offset >>> 6) - 32, 0)) & upTo(last);
}
