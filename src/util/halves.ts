// 64-bit values as two halves of 32 bits. Where every exit passes, a bigint of its own costs more than the work that it is for.

const words = new Int32Array(2);
const whole = new BigUint64Array(words.buffer);

/** The 64-bit value of two halves, signed or not. */
export function fromHalves(low: number, high: number): bigint {
  words[0] = low;
  words[1] = high;
  return whole[0]!;
}

/** Bits 31:0, unsigned. */
export function lowHalf(value: bigint): number {
  whole[0] = value;
  return words[0]! >>> 0;
}

/** Bits 63:32, unsigned. */
export function highHalf(value: bigint): number {
  whole[0] = value;
  return words[1]! >>> 0;
}
