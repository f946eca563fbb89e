// Memory as the hypervisor reaches it: by linear address, through the page tables that the host's CR3 names, under the key that an entry's
// C-bit selects. Until it has tables of its own it runs on those of the computer's firmware, which map memory one to one and know
// no C-bit. What its tables do not map reads as all ones and keeps nothing: this program survives its page faults.

import type { Frames } from '../memory/frames.ts';
import { PagePort } from '../memory/host-page.ts';
import type { HostTables } from '../mmu/host-tables.ts';
import { PAGE_SIZE, pageOf, type Spa } from '../util/address.ts';
import type { QuadwordPort } from '../util/struct.ts';
import type { HostMemory } from './host-processor.ts';
import type { HostState } from './host-state.ts';

const TWO_32 = 2 ** 32;
const UNMAPPED = -1;

class HostAddressSpace {
  /** Result of `find`: page of system physical memory, UNMAPPED, and key slot. */
  page = UNMAPPED;
  key = 0;
  readonly #tables: HostTables;
  readonly #host: HostState;

  constructor(tables: HostTables, host: HostState) {
    this.#tables = tables;
    this.#host = host;
  }

  get generation(): number {
    return this.#tables.generation;
  }

  find(linear: number, write: boolean): void {
    const { control, ownTables } = this.#host;
    if (!ownTables) {
      this.page = pageOf(linear);
      this.key = 0;
    } else if (this.#tables.translate(control, linear | 0, Math.floor(linear / TWO_32) | 0, write)) {
      this.page = this.#tables.page;
      this.key = this.#tables.key;
    } else this.page = UNMAPPED;
  }
}

export class HostMapping implements HostMemory {
  readonly size: number;
  readonly #frames: Frames;
  readonly #space: HostAddressSpace;

  constructor(frames: Frames, tables: HostTables, host: HostState) {
    this.#frames = frames;
    this.#space = new HostAddressSpace(tables, host);
    this.size = frames.pageCount * PAGE_SIZE;
  }

  read(at: Spa, into: Uint8Array): void {
    const space = this.#space;
    for (let done = 0; done < into.length; ) {
      const from = at + done;
      const piece = into.subarray(done, done + PAGE_SIZE - (from % PAGE_SIZE));
      space.find(from, false);
      if (space.page === UNMAPPED) piece.fill(0xff);
      else this.#frames.read(space.page * PAGE_SIZE + (from % PAGE_SIZE), space.key, piece);
      done += piece.length;
    }
  }

  write(at: Spa, from: Uint8Array): void {
    const space = this.#space;
    for (let done = 0; done < from.length; ) {
      const to = at + done;
      const piece = from.subarray(done, done + PAGE_SIZE - (to % PAGE_SIZE));
      space.find(to, true);
      if (space.page !== UNMAPPED) this.#frames.write(space.page * PAGE_SIZE + (to % PAGE_SIZE), space.key, piece);
      done += piece.length;
    }
  }

  zero(at: Spa, length: number): void {
    const space = this.#space;
    const frames = this.#frames;
    for (let from: number = at; from < at + length; from += PAGE_SIZE) {
      space.find(from, true);
      if (space.page === UNMAPPED) continue;
      frames.flushPage(space.page, space.key);
      frames.discard(space.page);
    }
  }

  flush(at: Spa, length: number): void {
    const space = this.#space;
    for (let from: number = at; from < at + length; ) {
      const inPage = from % PAGE_SIZE;
      const piece = Math.min(PAGE_SIZE - inPage, at + length - from);
      space.find(from, false);
      if (space.page !== UNMAPPED) this.#frames.flushRange(space.page, space.key, inPage, piece);
      from += piece;
    }
  }

  page(at: Spa): QuadwordPort {
    return new MappedPage(this.#frames, this.#space, at);
  }
}

/** One page by its linear address; looked up anew when tables changed. */
class MappedPage implements QuadwordPort {
  readonly #frames: Frames;
  readonly #space: HostAddressSpace;
  readonly #linear: number;
  #port: PagePort;
  #page = UNMAPPED;
  #key = 0;
  #generation = 0;

  constructor(frames: Frames, space: HostAddressSpace, linear: number) {
    this.#frames = frames;
    this.#space = space;
    this.#linear = linear;
    this.#port = new PagePort(frames, UNMAPPED);
  }

  u8(offset: number): number {
    return this.#mapped().u8(offset);
  }
  u16(offset: number): number {
    return this.#mapped().u16(offset);
  }
  u32(offset: number): number {
    return this.#mapped().u32(offset);
  }
  u64(offset: number): bigint {
    return this.#mapped().u64(offset);
  }
  setU8(offset: number, value: number): void {
    this.#mapped().setU8(offset, value);
  }
  setU16(offset: number, value: number): void {
    this.#mapped().setU16(offset, value);
  }
  setU32(offset: number, value: number): void {
    this.#mapped().setU32(offset, value);
  }
  setU64(offset: number, value: bigint): void {
    this.#mapped().setU64(offset, value);
  }
  readQuadwords(first: number, bits: number, into: Int32Array): void {
    this.#mapped().readQuadwords(first, bits, into);
  }
  writeQuadwords(first: number, bits: number, from: Int32Array): void {
    this.#mapped().writeQuadwords(first, bits, from);
  }

  #mapped(): PagePort {
    return this.#generation === this.#space.generation ? this.#port : this.#find();
  }

  #find(): PagePort {
    const space = this.#space;
    space.find(this.#linear, true);
    this.#generation = space.generation;
    if (space.page !== this.#page || space.key !== this.#key) {
      this.#page = space.page;
      this.#key = space.key;
      this.#port = new PagePort(this.#frames, this.#page, this.#key);
    }
    return this.#port;
  }
}
