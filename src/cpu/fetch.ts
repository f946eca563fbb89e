// From RIP to a record: the jump cache, else the frame that an instruction fetch reaches, decoded if need be.

import { Context, jumpEntry } from '../memory/map.ts';
import { Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';
import { Vector } from '../arch/exception.ts';
import { DecodeProblem } from '../x86/decode.ts';
import { Record, Steering } from '../x86/record.ts';
import type { CodeCache } from './code-cache.ts';
import type { Processor } from './processor.ts';

/** Does the record's instruction begin on one page and end on another? */
const straddles = (p: Processor, record: number): boolean => p.offsetOf(record) + p.instructionLength(record) > 4096;

export class Fetch {
  readonly #p: Processor;
  readonly #i32: Int32Array;
  readonly #code: CodeCache;

  constructor(p: Processor, code: CodeCache) {
    this.#p = p;
    this.#i32 = p.i32;
    this.#code = code;
  }

  /** The record at RIP, decoded if need be; 0: fetching or decoding it faulted. Fills the jump cache and the link that asked. */
  lookUp(): number {
    const p = this.#p;
    const i32 = this.#i32;
    this.#code.resume();
    if (this.#code.full) this.#startOver();
    const { mode } = p;
    const s = p.state >>> 2;
    const ripLow = i32[s + (State.RIP >> 2)]!;
    const ripHigh = i32[s + (State.RIP >> 2) + 1]!;
    const jump = (i32[s + (State.CONTEXT >> 2)]! + Context.JUMP + jumpEntry(ripLow)) >>> 2;
    // What an indirect branch would find, too, unless it is to be decoded anew. A branch that waits for its link needs the frame besides,
    // but an instruction across two pages is never linked: the second page may come to be another.
    if (i32[jump] === ripLow && i32[jump + 1] === ripHigh) {
      const known = i32[jump + 2]!;
      // A record that was stopped stays in the cache: who arrives there comes here to have it decoded anew.
      if (p.view.getUint16(known + Record.FORM, true) !== Steering.STOP && (i32[s + (State.LINK >> 2)] === 0 || straddles(p, known))) {
        i32[s + (State.LINK >> 2)] = 0;
        this.#enterPage(s, ripLow, ripHigh, p.offsetOf(known));
        return known;
      }
    }
    let low = ripLow;
    let high = ripHigh;
    /** Last offset that the code segment admits; 64-bit mode has no limit. */
    let limit = Number.POSITIVE_INFINITY;
    if (mode === 64) {
      // Canonical: bits 63:47 are equal.
      if ((high << 16) >> 16 !== high) return this.#refuseFetch();
    } else {
      const cs = (p.state + segmentAt(Segment.CS)) >>> 2;
      limit = i32[cs + (SegmentPart.LIMIT >> 2)]! >>> 0;
      if (ripHigh !== 0 || ripLow >>> 0 > limit) return this.#refuseFetch();
      low = (ripLow + i32[cs + (SegmentPart.BASE >> 2)]!) | 0;
      high = 0;
    }
    const frame = p.mmu.fetch(p.state, low, high);
    if (frame < 0) return 0;
    const offset = low & 0xfff;
    const generation = this.#code.generation;
    /** Offset on the page of the last byte that the code segment admits. */
    const last = limit - ((ripLow >>> 0) - offset);
    // Where the code segment ends within the page, every instruction is held against its limit.
    const cut = last < 4095;
    let found = cut ? this.#code.findSingle(frame, offset, mode, last + 1) : this.#code.find(frame, offset, mode);
    if (found === DecodeProblem.MORE_BYTES) {
      if (last < 4096) return this.#refuseFetch();
      const carry = mode === 64 && low >>> 12 === 0xf_ffff ? 1 : 0;
      const second = p.mmu.fetch(p.state, ((low & ~0xfff) + 4096) | 0, (high + carry) | 0);
      if (second < 0) return 0;
      found = this.#code.findStraddler(frame, second, offset, mode);
      if (typeof found === 'number' && offset + p.instructionLength(found) - 1 > last) return this.#refuseFetch();
    }
    if (typeof found !== 'number') {
      // More than 15 bytes is #GP, what has no meaning #UD.
      if (found === DecodeProblem.TOO_LONG) p.generalProtection();
      else p.fault(Vector.UD);
      return 0;
    }
    const link = i32[s + (State.LINK >> 2)]! >>> 0;
    i32[s + (State.LINK >> 2)] = 0;
    if (link !== 0 && !cut && generation === this.#code.generation && !straddles(p, found)) this.#code.link(link, frame, found);
    this.#enterPage(s, ripLow, ripHigh, offset);
    if (cut || (p.breakpoints.ofCode && p.breakpoints.onPage(p.linearRip)) || !p.mmu.keepsJump(p.state)) return found;
    i32[jump] = ripLow;
    i32[jump + 1] = ripHigh;
    i32[jump + 2] = found;
    i32[jump + 3] = 0;
    return found;
  }

  /** PAGE = RIP - page offset; it borrows only where a segment base is not page-aligned. */
  #enterPage(s: number, ripLow: number, ripHigh: number, offset: number): void {
    const i32 = this.#i32;
    i32[s + (State.PAGE >> 2)] = (ripLow - offset) | 0;
    i32[s + (State.PAGE >> 2) + 1] = (ripHigh - (ripLow >>> 0 < offset ? 1 : 0)) | 0;
  }

  #refuseFetch(): number {
    this.#p.generalProtection();
    return 0;
  }

  /** The records are full: everything decoded is dropped, and with it every jump cache. */
  #startOver(): void {
    this.#code.reset();
    this.#p.mmu.clearJumps();
    this.#i32[(this.#p.state + State.LINK) >>> 2] = 0;
  }
}
