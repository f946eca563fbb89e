// Memory by linear address for those who look on: the debugger, reports, and the processor's copy of an intercepted instruction. No fault is recorded,
// no bit of a table is set, no cache changes.

import type { Frames } from '../memory/frames.ts';
import { Access } from './access.ts';
import { BARE } from './environment.ts';
import { isCanonical } from './linear-address.ts';
import { NO_MEMORY } from './nested.ts';
import type { Walk } from './walk.ts';

const PAGE = 4096;

/** Page of system physical memory, key slot, guest physical address. */
export type Place = { page: number; key: number; gpa: number };

export class Onlooker {
  /** What VMRUN decided (Mmu.enter). */
  environment = BARE;
  readonly #frames: Frames;
  readonly #walk: Walk;
  readonly #place: Place = { page: 0, key: 0, gpa: 0 };

  /** `walk`: that of the program in execution. */
  constructor(frames: Frames, walk: Walk) {
    this.#frames = frames;
    this.#walk = walk;
  }

  /**
   * Reads memory as the guest's supervisor would see it, without any effect: for the debugger and reports. `fetch` reads
   * what an instruction fetch would get. Returns how many bytes could be read.
   */
  peek(state: number, lo: number, hi: number, into: Uint8Array, fetch = false): number {
    const walk = this.#walk;
    let done = 0;
    let low = lo;
    let high = hi;
    while (done < into.length) {
      if (!isCanonical(high)) break;
      if (!walk.translate(state, low, high, Access.READ | Access.OPEN | Access.PEEK)) break;
      const offset = low & 0xfff;
      const length = Math.min(PAGE - offset, into.length - done);
      const at =
        this.#frames.address(this.#frames.glimpse(walk.page, fetch && this.environment.sev ? this.environment.guestKey : walk.key)) +
        offset;
      into.set(this.#frames.memory.u8.subarray(at, at + length), done);
      done += length;
      low = (low + length) | 0;
      if (low === 0) high = (high + 1) | 0;
    }
    return done;
  }

  /**
   * Where a linear address leads, for those who look on: with the rights of a supervisor, or of a user. Null: nowhere. No fault is recorded. The object
   * is overwritten by the next call.
   */
  look(state: number, lo: number, hi: number, user = false, write = false): Readonly<Place> | null {
    const walk = this.#walk;
    const access = (write ? Access.WRITE : Access.READ) | (user ? Access.USER : Access.OPEN) | Access.PEEK;
    if (!isCanonical(hi) || !walk.translate(state, lo, hi, access) || walk.page === NO_MEMORY) return null;
    const place = this.#place;
    place.page = walk.page;
    place.key = walk.key;
    place.gpa = (walk.gpaHigh >>> 0) * 2 ** 32 + ((walk.gpaLow & ~0xfff) >>> 0) + (lo & 0xfff);
    return place;
  }
}
