// A second, small implementation of memory behind caches that tag a line by address and key and keep nothing coherent: lines in maps, a
// memory controller on node:crypto. It shares no code with src/memory.

import { createCipheriv, createDecipheriv } from 'node:crypto';
import { tweakOf } from './fixture.ts';

const PAGE = 4096;
const LINE = 64;
const LINES = PAGE / LINE;

type Line = { bytes: Uint8Array; dirty: boolean };
/** Lines of one page under one key, by number. */
type View = Map<number, Line>;

/** XE with the published constants; keys by slot, slot 0 has none. */
class Controller {
  readonly #keys = new Map<number, Uint8Array>();
  readonly #tweaks = new Map<number, Uint8Array>();

  setKey(slot: number, key: Uint8Array): void {
    this.#keys.set(slot, key);
  }

  #tweaked(address: number, bytes: Uint8Array): Uint8Array {
    const out = new Uint8Array(bytes); // a Buffer would not be copied by slice
    for (let at = 0; at < bytes.length; at += 16) {
      let tweak = this.#tweaks.get(address + at);
      if (tweak === undefined) this.#tweaks.set(address + at, (tweak = tweakOf(address + at)));
      for (let i = 0; i < 16; i++) out[at + i]! ^= tweak[i]!;
    }
    return out;
  }

  encrypt(slot: number, address: number, bytes: Uint8Array): Uint8Array {
    const key = this.#keys.get(slot);
    if (key === undefined) return bytes.slice();
    return new Uint8Array(createCipheriv('aes-128-ecb', key, null).setAutoPadding(false).update(this.#tweaked(address, bytes)));
  }

  decrypt(slot: number, address: number, bytes: Uint8Array): Uint8Array {
    const key = this.#keys.get(slot);
    if (key === undefined) return bytes.slice();
    return this.#tweaked(address, createDecipheriv('aes-128-ecb', key, null).setAutoPadding(false).update(bytes));
  }
}

export class TaggedCaches {
  readonly chips: Uint8Array;
  readonly controller = new Controller();
  /** By page, then by key slot. */
  readonly #pages = new Map<number, Map<number, View>>();

  constructor(pages: number) {
    this.chips = new Uint8Array(pages * PAGE);
  }

  read(key: number, address: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) out[i] = this.#line(key, address + i).bytes[(address + i) % LINE]!;
    return out;
  }

  write(key: number, address: number, bytes: Uint8Array): void {
    bytes.forEach((byte, i) => {
      const line = this.#line(key, address + i);
      line.bytes[(address + i) % LINE] = byte;
      line.dirty = true;
    });
  }

  /** CLFLUSH, or CLWB with `keep`. */
  flush(key: number, address: number, keep = false): void {
    const page = Math.floor(address / PAGE);
    const number = Math.floor((address % PAGE) / LINE);
    this.#writeBack(page, key, number);
    if (!keep) this.#invalidate(page, key, number);
  }

  flushPage(key: number, page: number): void {
    for (let number = 0; number < LINES; number++) this.flush(key, page * PAGE + number * LINE);
  }

  /** WBINVD, or WBNOINVD with `keep`. */
  flushAll(keep = false): void {
    for (const page of [...this.#pages.keys()].sort((a, b) => a - b)) {
      for (const key of [...this.#pages.get(page)!.keys()].sort((a, b) => a - b)) {
        for (let number = 0; number < LINES; number++) this.flush(key, page * PAGE + number * LINE, keep);
      }
    }
  }

  readByDevice(key: number, address: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) {
      const at = address + i;
      const line = this.#pages
        .get(Math.floor(at / PAGE))
        ?.get(key)
        ?.get(Math.floor((at % PAGE) / LINE));
      out[i] = line?.dirty ? line.bytes[at % LINE]! : this.#fromChips(key, at - (at % LINE))[at % LINE]!;
    }
    return out;
  }

  writeByDevice(key: number, address: number, bytes: Uint8Array): void {
    bytes.forEach((byte, i) => {
      const at = address + i;
      this.flush(key, at);
      const start = at - (at % LINE);
      const line = this.#fromChips(key, start);
      line[at % LINE] = byte;
      this.chips.set(this.controller.encrypt(key, start, line), start);
    });
  }

  /** The line through a view, fetched if need be. Who touches a page of which nothing is cached gets all of it. */
  #line(key: number, address: number): Line {
    const page = Math.floor(address / PAGE);
    const number = Math.floor((address % PAGE) / LINE);
    let views = this.#pages.get(page);
    if (views === undefined) this.#pages.set(page, (views = new Map()));
    if (views.size === 0) {
      const all: View = new Map();
      for (let n = 0; n < LINES; n++) all.set(n, { bytes: this.#fromChips(key, page * PAGE + n * LINE), dirty: false });
      views.set(key, all);
    }
    let view = views.get(key);
    if (view === undefined) views.set(key, (view = new Map()));
    let line = view.get(number);
    if (line === undefined) view.set(number, (line = { bytes: this.#fromChips(key, address - (address % LINE)), dirty: false }));
    return line;
  }

  #fromChips(key: number, address: number): Uint8Array {
    return this.controller.decrypt(key, address, this.chips.subarray(address, address + LINE));
  }

  #writeBack(page: number, key: number, number: number): void {
    const line = this.#pages.get(page)?.get(key)?.get(number);
    if (!line?.dirty) return;
    const address = page * PAGE + number * LINE;
    this.chips.set(this.controller.encrypt(key, address, line.bytes), address);
    line.dirty = false;
  }

  #invalidate(page: number, key: number, number: number): void {
    const views = this.#pages.get(page);
    const view = views?.get(key);
    view?.delete(number);
    if (view?.size === 0) views?.delete(key);
  }
}
