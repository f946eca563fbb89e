// DRAM as the chips hold it: ciphertext where a key applies. Storage is allocated in chunks when something is written, so
// that a machine costs what it uses. A byte nobody wrote is zero in the chips; through a key it reads as noise.
// Beside the bytes stands under which key slot a page was last written: chips know nothing of it, reports do.

import { PAGE_SIZE } from '../util/address.ts';
import { assert } from '../util/errors.ts';

const CHUNK_PAGES = 16;
const CHUNK_SHIFT = 4;
/** Page numbers stay below 2^31, so that they are small integers everywhere: 8 TiB. */
const MAX_SIZE = 2 ** 43;
/** In place of a key slot: nobody has written the page. */
const UNWRITTEN = 0xffff;

type Chunk = { readonly bytes: Uint8Array; readonly keys: Uint16Array };

export class Dram {
  /** Size in bytes, a multiple of 4096. */
  readonly size: number;
  readonly pages: number;
  readonly #chunks = new Map<number, Chunk>();

  constructor(size: number) {
    assert(size > 0 && size <= MAX_SIZE && size % PAGE_SIZE === 0, 'the size of DRAM is not a whole number of pages up to 8 TiB');
    this.size = size;
    this.pages = size / PAGE_SIZE;
  }

  /** The 4096 bytes of a page, for writing what is encrypted under a key slot. */
  page(page: number, key = 0): Uint8Array {
    assert(page >= 0 && page < this.pages, 'page outside DRAM');
    const index = page >>> CHUNK_SHIFT;
    let chunk = this.#chunks.get(index);
    if (chunk === undefined) {
      chunk = { bytes: new Uint8Array(CHUNK_PAGES * PAGE_SIZE), keys: new Uint16Array(CHUNK_PAGES).fill(UNWRITTEN) };
      this.#chunks.set(index, chunk);
    }
    chunk.keys[page & (CHUNK_PAGES - 1)] = key;
    return at(chunk.bytes, page);
  }

  /** A page is as it was: null are zeros that nobody wrote. */
  put(page: number, bytes: Uint8Array | null, writtenUnder: number | null): void {
    if (bytes === null || writtenUnder === null) this.discard(page);
    else this.page(page, writtenUnder).set(bytes);
  }

  /** The page is as if nobody had ever written it: zeros. */
  discard(page: number): void {
    const index = page >>> CHUNK_SHIFT;
    const chunk = this.#chunks.get(index);
    if (chunk === undefined) return;
    chunk.keys[page & (CHUNK_PAGES - 1)] = UNWRITTEN;
    if (chunk.keys.every((key) => key === UNWRITTEN)) this.#chunks.delete(index);
    else at(chunk.bytes, page).fill(0);
  }

  /** The key slot under which the page was last written; null: never. */
  writtenUnder(page: number): number | null {
    const key = this.#chunks.get(page >>> CHUNK_SHIFT)?.keys[page & (CHUNK_PAGES - 1)];
    return key === undefined || key === UNWRITTEN ? null : key;
  }

  /** The bytes of a page for reading, undefined if they are all zero because nobody ever wrote it. */
  peek(page: number): Uint8Array | undefined {
    const chunk = this.#chunks.get(page >>> CHUNK_SHIFT);
    return chunk === undefined || chunk.keys[page & (CHUNK_PAGES - 1)] === UNWRITTEN ? undefined : at(chunk.bytes, page);
  }
}

function at(chunk: Uint8Array, page: number): Uint8Array {
  const offset = (page & (CHUNK_PAGES - 1)) * PAGE_SIZE;
  return chunk.subarray(offset, offset + PAGE_SIZE);
}
