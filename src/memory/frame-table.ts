// What is known of each frame, in parallel arrays that grow with use: a machine with few pages pays for few frames.

/** In readSlot and writeSlot: more than one TLB entry may point to the frame. 0: none. */
export const MANY = -1;

const FIRST = 1024;
/** Frames that belong to no page (FrameStore: VOID_FRAME, SINK_FRAME, GLIMPSE_FRAME). */
const RESERVED = 3;

export class FrameTable {
  status = new Uint8Array(FIRST);
  /** Physical page, -1 if the frame is free. */
  pages = new Int32Array(FIRST);
  keys = new Uint16Array(FIRST);
  /** Next view of the same page, or next free frame; 0 ends the list. */
  next = new Int32Array(FIRST);
  /** Looked up since the clock hand last passed. */
  used = new Uint8Array(FIRST);
  /** Address of the one TLB entry that points here, 0 or MANY. */
  readSlot = new Int32Array(FIRST);
  writeSlot = new Int32Array(FIRST);
  /** The 64 lines of the page that hold decoded code. */
  codeLow = new Int32Array(FIRST);
  codeHigh = new Int32Array(FIRST);
  /** Of a view that is kept by line: those that it holds, and those that differ from DRAM. */
  validLow = new Int32Array(FIRST);
  validHigh = new Int32Array(FIRST);
  dirtyLow = new Int32Array(FIRST);
  dirtyHigh = new Int32Array(FIRST);
  /** Frames from here on were never used. */
  end = RESERVED;
  readonly #limit: number;
  #free = 0;
  #most = 0;

  constructor(limit: number) {
    this.#limit = limit;
    this.pages.fill(-1, 0, RESERVED);
  }

  reset(): void {
    const end = this.end;
    const { status, keys, next, used, readSlot, writeSlot, codeLow, codeHigh, validLow, validHigh, dirtyLow, dirtyHigh } = this;
    const all = [status, keys, next, used, readSlot, writeSlot, codeLow, codeHigh, validLow, validHigh, dirtyLow, dirtyHigh];
    for (const array of all) array.fill(0, 0, end);
    this.pages.fill(-1, 0, end);
    this.#most = this.touched;
    this.end = RESERVED;
    this.#free = 0;
  }

  /** Frames that were ever used. */
  get touched(): number {
    return Math.max(this.#most, this.end);
  }

  /** A frame for `claim`, 0 if there is none left. */
  allocate(): number {
    const f = this.#free;
    if (f !== 0) {
      this.#free = this.next[f]!;
      return f;
    }
    if (this.end >= this.#limit) return 0;
    if (this.end >= this.pages.length) this.#grow();
    return this.end++;
  }

  claim(frame: number, page: number, key: number, next: number): void {
    this.pages[frame] = page;
    this.keys[frame] = key;
    this.next[frame] = next;
    this.status[frame] = 0;
    this.used[frame] = 1;
    this.readSlot[frame] = 0;
    this.writeSlot[frame] = 0;
    this.codeLow[frame] = 0;
    this.codeHigh[frame] = 0;
    this.validLow[frame] = 0;
    this.validHigh[frame] = 0;
    this.dirtyLow[frame] = 0;
    this.dirtyHigh[frame] = 0;
  }

  release(frame: number): void {
    this.pages[frame] = -1;
    this.status[frame] = 0;
    this.next[frame] = this.#free;
    this.#free = frame;
  }

  #grow(): void {
    this.status = longer(this.status, Uint8Array);
    this.pages = longer(this.pages, Int32Array);
    this.keys = longer(this.keys, Uint16Array);
    this.next = longer(this.next, Int32Array);
    this.used = longer(this.used, Uint8Array);
    this.readSlot = longer(this.readSlot, Int32Array);
    this.writeSlot = longer(this.writeSlot, Int32Array);
    this.codeLow = longer(this.codeLow, Int32Array);
    this.codeHigh = longer(this.codeHigh, Int32Array);
    this.validLow = longer(this.validLow, Int32Array);
    this.validHigh = longer(this.validHigh, Int32Array);
    this.dirtyLow = longer(this.dirtyLow, Int32Array);
    this.dirtyHigh = longer(this.dirtyHigh, Int32Array);
  }
}

type Numbers = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

function longer<T extends Numbers>(array: T, type: new (length: number) => T): T {
  const copy = new type(array.length * 2);
  copy.set(array);
  return copy;
}
