// From a physical page to the first of its views, in two levels so that it costs what a machine uses. An entry is a frame
// number (0: none) with two bits above it for pages that need more than a look: see Frames.

/** The contents are kept elsewhere; Frames.setLazy. */
export const LAZY_PAGE = 1 << 30;
/** Only the AMD-SP and microcode may pass; Frames.fence. */
export const FENCED = 1 << 29;
export const SPECIAL = LAZY_PAGE | FENCED;

const SHIFT = 10;
const MASK = (1 << SHIFT) - 1;

export class PageTable {
  readonly #parts: (Int32Array | undefined)[] = [];

  get(page: number): number {
    const part = this.#parts[page >>> SHIFT];
    return part === undefined ? 0 : part[page & MASK]!;
  }

  set(page: number, entry: number): void {
    const index = page >>> SHIFT;
    let part = this.#parts[index];
    if (part === undefined) {
      part = new Int32Array(MASK + 1);
      this.#parts[index] = part;
    }
    part[page & MASK] = entry;
  }
}
