// The host's own log, for `dmesg`: what the toolstack did, what the AMD-SP was asked, how guests ended. A stamp is the number of
// instructions that the host's processors had retired. Only the end is kept.

const KEPT = 4096;

export class HostLog {
  /** Set once there is a host. */
  clock: () => number = () => 0;
  readonly #lines: string[] = [];
  #from = 0;

  note(text: string): void {
    this.#lines[(this.#from + this.#count) % KEPT] = `[${String(this.clock()).padStart(14)}] ${text}`;
    if (this.#count < KEPT) this.#count++;
    else this.#from = (this.#from + 1) % KEPT;
  }

  #count = 0;

  /** Oldest first. */
  get lines(): string[] {
    return Array.from({ length: this.#count }, (_, i) => this.#lines[(this.#from + i) % KEPT] ?? '');
  }
}
