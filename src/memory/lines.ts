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

/** Bytes of a line. */
export const LINE = 64;

/** Runs of lines that a mask names, as byte offsets into the page. */
export function forLineRuns(low: number, high: number, each: (from: number, to: number) => void): void {
  let start = -1;
  for (let line = 0; line <= 64; line++) {
    const set = line < 64 && ((line < 32 ? low >>> line : high >>> (line - 32)) & 1) !== 0;
    if (set && start < 0) start = line;
    if (!set && start >= 0) {
      each(start * LINE, line * LINE);
      start = -1;
    }
  }
}
