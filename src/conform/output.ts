// What a guest sends, for comparisons: text from its beginning, and of what is beyond that count and checksum. It may send for ever.

/** Bytes. */
const MOST_KEPT = 1 << 20;
/** FNV-1a. */
const FNV = { BASIS: 0x811c_9dc5 | 0, PRIME: 0x0100_0193 } as const;

export class Output {
  #bytes = new Uint8Array(4096);
  #length = 0;
  #checksum: number = FNV.BASIS;

  add(byte: number): void {
    const at = this.#length++;
    if (at >= MOST_KEPT) {
      this.#checksum = Math.imul(this.#checksum ^ byte, FNV.PRIME);
      return;
    }
    if (at === this.#bytes.length) {
      const more = new Uint8Array(2 * at);
      more.set(this.#bytes);
      this.#bytes = more;
    }
    this.#bytes[at] = byte;
  }

  get text(): string {
    const rest = this.#length - MOST_KEPT;
    const kept = new TextDecoder().decode(this.#bytes.subarray(0, Math.min(this.#length, MOST_KEPT)));
    return rest <= 0 ? kept : `${kept}\n[${rest} bytes more, checksum ${(this.#checksum >>> 0).toString(16)}]\n`;
  }

  /** Runs that go on from the same place have sent the same up to there. */
  capture(): { readonly length: number; readonly checksum: number } {
    return { length: this.#length, checksum: this.#checksum };
  }

  restore({ length, checksum }: ReturnType<Output['capture']>): void {
    this.#length = length;
    this.#checksum = checksum;
  }
}
