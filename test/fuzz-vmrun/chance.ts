// Chance for random VMCBs: a few draws a case, made at once from seed and number, so that any case can be had again by itself.

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c_9dc5;
  for (let n = 0; n < text.length; n++) value = Math.imul(value ^ text.charCodeAt(n), 0x0100_0193);
  return value;
}

export class Chance {
  readonly #seed: number;
  #a = 0;
  #b = 0;
  #c = 0;
  #n = 0;

  constructor(seed: string) {
    this.#seed = hash(seed);
  }

  /** Another case begins. */
  start(number: number): void {
    this.#a = this.#seed;
    this.#b = number | 0;
    this.#c = Math.imul(number, 0x9e37_79b9) ^ this.#seed;
    this.#n = 1;
    for (let k = 0; k < 8; k++) this.u32();
  }

  /** sfc32. */
  u32(): number {
    const t = (this.#a + this.#b + this.#n++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + t;
    return t >>> 0;
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * limit);
  }

  /** True in `n` of 256 cases. */
  chance(n: number): boolean {
    return (this.u32() & 0xff) < n;
  }

  one<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}
