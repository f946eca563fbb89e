// Private bytes that lie where the hypervisor can read them, until it is known whether the protocol asks for them: a VMGEXIT asks for fields of the GHCB
// and for the scratch area of its event, a device for what it takes by DMA. What is left when a page turns private, and at the end of the run, nobody asked for.

/** Who stored a private byte. */
export type Leak = { readonly rip: bigint; readonly exit: string; readonly at: number };

export type SharesState = ReadonlyMap<number, ReadonlyMap<number, Leak>>;

export class Shares {
  /** By system physical page and offset. */
  #pages = new Map<number, Map<number, Leak>>();

  /** Bytes are stored; `mask` has a bit for each that is private. The others are harmless from now on. */
  store(page: number, offset: number, size: number, mask: number, leak: () => Leak): void {
    let bytes = this.#pages.get(page);
    if (mask === 0 && bytes === undefined) return;
    if (bytes === undefined) this.#pages.set(page, (bytes = new Map()));
    let who: Leak | null = null;
    for (let k = 0; k < size; k++) {
      if (((mask >>> k) & 1) === 0) bytes.delete(offset + k);
      else bytes.set(offset + k, (who ??= leak()));
    }
    if (bytes.size === 0) this.#pages.delete(page);
  }

  has(page: number): boolean {
    return this.#pages.has(page);
  }

  /** Somebody who may has taken them. */
  taken(page: number, offset: number, length: number): void {
    const bytes = this.#pages.get(page);
    if (bytes === undefined) return;
    if (length > bytes.size) {
      for (const at of [...bytes.keys()]) if (at >= offset && at < offset + length) bytes.delete(at);
    } else for (let k = 0; k < length; k++) bytes.delete(offset + k);
    if (bytes.size === 0) this.#pages.delete(page);
  }

  /** What lies in a page and nobody asked for, in stretches that one instruction stored; it is forgotten. */
  judge(page: number, report: (leak: Leak, offset: number, length: number) => void): void {
    const bytes = this.#pages.get(page);
    if (bytes === undefined) return;
    this.#pages.delete(page);
    let start = -1;
    let last: Leak | null = null;
    let end = -1;
    for (const [offset, leak] of [...bytes].sort(([a], [b]) => a - b)) {
      if (last !== null && offset === end && leak.rip === last.rip) {
        end++;
        continue;
      }
      if (last !== null) report(last, start, end - start);
      start = offset;
      end = offset + 1;
      last = leak;
    }
    if (last !== null) report(last, start, end - start);
  }

  pages(): number[] {
    return [...this.#pages.keys()].sort((a, b) => a - b);
  }

  capture(): SharesState {
    return new Map([...this.#pages].map(([page, bytes]) => [page, new Map(bytes)]));
  }

  restore(state: SharesState): void {
    this.#pages = new Map([...state].map(([page, bytes]) => [page, new Map(bytes)]));
  }
}
