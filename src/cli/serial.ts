// The last part of what a guest sent over its serial port, for the JSON report. A guest may send for ever: only the end is kept.

const MOST = 1 << 20;

export class SerialLog {
  #bytes = new Uint8Array(4096);
  #length = 0;
  /** Bytes that are no longer here. */
  dropped = 0;

  add(byte: number): void {
    if (this.#length === this.#bytes.length) this.#makeRoom();
    this.#bytes[this.#length++] = byte;
  }

  /** As UTF-8; what is not valid becomes U+FFFD. */
  get text(): string {
    return new TextDecoder().decode(this.#bytes.subarray(0, this.#length));
  }

  #makeRoom(): void {
    if (this.#length < 2 * MOST) {
      const larger = new Uint8Array(this.#length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
      return;
    }
    this.#bytes.copyWithin(0, MOST);
    this.#length = MOST;
    this.dropped += MOST;
  }
}
