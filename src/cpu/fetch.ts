// From RIP to a record: the jump cache, else the frame that an instruction fetch reaches, decoded if need be.

import { Context, jumpEntry } from '../memory/map.ts';
import { Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';
import { Vector } from '../arch/exception.ts';
import { DecodeProblem } from '../x86/decode.ts';
import { Record, Steering } from '../x86/record.ts';
import type { CodeCache } from './code-cache.ts';
import { FIRST_REGION } from './interpreter.ts';
import type { Processor } from './processor.ts';

/**
 * A target that displaces another from its entry of the jump cache leaves it in one of these: code that is generated asks the first place only,
 * but functions that call each other and share it need not be fetched again each time.
 */
const PLACES = 4;
const APART = 0x400 << 4;

/** Does the record's instruction begin on one page and end on another? */
const straddles = (p: Processor, record: number): boolean => p.offsetOf(record) + p.instructionLength(record) > 4096;

export class Fetch {
  readonly #p: Processor;
  readonly #i32: Int32Array;
  readonly #code: CodeCache;
  /** Each so many look-ups of a record that is not compiled (a power of two) it counts as hot; 0: they are not counted. */
  readonly #threshold: number;
  /** Was that the case in the last one? Behind VMGEXIT or at the entry of a handler no branch says so. */
  hot = false;
  /** Did the budget end here? No branch led to where it does, and a place in the midst of a loop must not look like the target of one. */
  resumes = false;

  constructor(p: Processor, code: CodeCache, threshold: number) {
    this.#p = p;
    this.#i32 = p.i32;
    this.#code = code;
    this.#threshold = threshold;
  }

  /** The record at RIP, decoded if need be; 0: fetching or decoding it faulted. Fills the jump cache and the link that asked. */
  lookUp(): number {
    const p = this.#p;
    const i32 = this.#i32;
    this.hot = false;
    this.#code.stopped.resume();
    if (this.#code.full) this.#startOver();
    const { mode } = p;
    const s = p.state >>> 2;
    const ripLow = i32[s + (State.RIP >> 2)]!;
    const ripHigh = i32[s + (State.RIP >> 2) + 1]!;
    const jumps = i32[s + (State.CONTEXT >> 2)]! + Context.JUMP;
    const place = jumpEntry(ripLow);
    const jump = (jumps + place) >>> 2;
    let known = this.#cached(jump, ripLow, ripHigh);
    for (let k = 1; known === 0 && k < PLACES; k++) known = this.#cached((jumps + (place ^ (k * APART))) >>> 2, ripLow, ripHigh);
    if (known !== 0) {
      i32[s + (State.LINK >> 2)] = 0;
      this.#enterPage(s, ripLow, ripHigh, p.offsetOf(known));
      return known;
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
    if (i32[jump] !== ripLow || i32[jump + 1] !== ripHigh) this.#displace(jumps, place);
    i32[jump] = ripLow;
    i32[jump + 1] = ripHigh;
    i32[jump + 2] = found;
    i32[jump + 3] = 0;
    return found;
  }

  /** Puts what an entry of the jump cache holds elsewhere, where there is room if possible. */
  #displace(jumps: number, place: number): void {
    const i32 = this.#i32;
    const at = (k: number): number => (jumps + (place ^ (k * APART))) >>> 2;
    const record = Context.RECORD >> 2;
    // One that is invalid must stay where it is: its zeros would be RIP 0 elsewhere (memory/map.ts).
    if (i32[at(0) + record] === 0) return;
    let k = PLACES - 1;
    while (k > 1 && i32[at(k) + record] !== 0) k--;
    i32.copyWithin(at(k), at(0), at(0) + 4);
  }

  /**
   * The record in an entry of the jump cache: what an indirect branch would find, too, unless it is to be decoded anew. A branch that
   * waits for its link needs the frame besides, but an instruction across two pages is never linked: the second page may come to
   * be another. 0: none that will do.
   */
  #cached(jump: number, ripLow: number, ripHigh: number): number {
    const i32 = this.#i32;
    if (i32[jump] !== ripLow || i32[jump + 1] !== ripHigh) return 0;
    const p = this.#p;
    const known = i32[jump + 2]!;
    if (known === 0) return 0;
    const form = p.view.getUint16(known + Record.FORM, true);
    // A record that was stopped stays in the cache: who arrives there comes here to have it decoded anew.
    if (form === Steering.STOP || (i32[(p.state + State.LINK) >>> 2] !== 0 && !straddles(p, known))) return 0;
    if (form < FIRST_REGION && this.#threshold !== 0 && !this.resumes) this.hot = (++i32[jump + 3]! & (this.#threshold - 1)) === 0;
    return known;
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
