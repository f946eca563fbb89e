// The map of the one WebAssembly memory: everything that generated code touches lies here, at addresses that only this file
// decides. State blocks, translation contexts, instruction records and plaintext frames. Addresses are unsigned 32-bit;
// 0 is never a valid one.

import { State, STATE_SIZE } from './state.ts';
import type { Fields } from '../util/stateful.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** One translation context: read array, write array, jump cache; entries of 16 bytes. Zeros are invalid in each, so what was never used needs no memory. */
export const Context = {
  READ: 0,
  WRITE: 256 * KIB,
  JUMP: 512 * KIB,
  SIZE: 576 * KIB,
  /** So many units of 64 KiB. */
  UNITS: 9,
  /** Entries of a read or write array: they reach over 64 MiB. */
  ENTRIES: 16_384,
  JUMPS: 4096,
  /**
   * Parts of a read or write entry: u64 tag (last byte of a linear page), i32 delta (host address = delta + low half of the linear one), u32 frame.
   * Bit 0 of the tag is clear if the page is watched: translation known, but only the slow path may store.
   */
  TAG: 0,
  DELTA: 8,
  FRAME: 12,
  /** Parts of a jump cache entry: u64 linear RIP, u32 record, u32 how often it was used. */
  TARGET: 0,
  RECORD: 8,
  COUNT: 12,
} as const;

/**
 * Where a jump cache has the entry of a linear RIP: offset from Context.JUMP. Functions begin at multiples of 16, so the low bits alone
 * would leave them a sixteenth of the entries.
 */
export const jumpEntry = (low: number): number => ((low ^ (low >>> JUMP_FOLD)) << 4) & ((Context.JUMPS - 1) << 4);
/** For code that is generated: how far RIP is shifted before it is combined with itself. */
export const JUMP_FOLD = 6;

/** Where a read or write array has the entry of a linear address: offset from its beginning. */
export const pageEntry = (low: number): number => (low >>> 8) & ((Context.ENTRIES - 1) << 4);

/** Low half of the tag of a page, and its bit that is clear in watched ones. */
export const tagLow = (low: number): number => low | 0xfff;
export const UNWATCHED = 1;
/** RIP 0 would find zeros where its own entry belongs, the first one: that holds another's target while it is invalid. */
export const INVALID_FIRST_TARGET = 1;

export type MapSize = {
  readonly states: number;
  readonly contexts: number;
  readonly recordBytes: number;
  readonly pages: readonly number[];
  /** Room for labels of all that lies in the memory, at the cost of two thirds of the frames. */
  readonly labels?: boolean;
};
/** Full size: as much memory as the platform reserves, 4 GiB first (64 KiB pages). */
export const FULL_MAP: MapSize = { states: 384, contexts: 64, recordBytes: 64 * MIB, pages: [65536, 32768, 16384, 8192] };

/** The one WebAssembly memory, its views and its layout. The views never change: the memory does not grow. */
export class EngineMemory {
  readonly memory: WebAssembly.Memory;
  readonly u8: Uint8Array;
  readonly i32: Int32Array;
  readonly view: DataView;
  readonly states: number;
  readonly stateCount: number;
  readonly contexts: number;
  readonly contextCount: number;
  /** What of each context holds entries, at the number of its first unit: bits for stretches of the two arrays, and whether its jump cache does. */
  readonly used: { readonly reads: Int32Array; readonly writes: Int32Array; readonly jumps: Uint8Array };
  readonly records: number;
  readonly recordsEnd: number;
  /** For each record a u32: how often compiled code left at it for want of a TLB entry. */
  readonly misses: number;
  /** For each record what only the code cache asks: u32 frame, u32 next record of its line, u16 form that it had before it was stopped. */
  readonly owners: number;
  readonly chains: number;
  readonly stopped: number;
  readonly frames: number;
  readonly frameCount: number;
  /** The label of the byte at address a is the u16 at labels + 2a; 0: there are none. */
  readonly labels: number;

  constructor(size: MapSize = FULL_MAP) {
    this.memory = reserve(size.pages);
    const buffer = this.memory.buffer;
    this.u8 = new Uint8Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.view = new DataView(buffer);
    this.states = 64 * KIB;
    this.stateCount = size.states;
    this.contexts = this.states + size.states * STATE_SIZE;
    this.contextCount = size.contexts;
    const units = size.contexts * Context.UNITS;
    this.used = { reads: new Int32Array(units), writes: new Int32Array(units), jumps: new Uint8Array(units) };
    this.records = this.contexts + size.contexts * Context.SIZE;
    this.recordsEnd = this.records + size.recordBytes;
    this.misses = this.recordsEnd;
    this.owners = this.misses + size.recordBytes / 8;
    this.chains = this.owners + size.recordBytes / 8;
    this.stopped = this.chains + size.recordBytes / 8;
    this.frames = Math.ceil((this.stopped + size.recordBytes / 16) / MIB) * MIB;
    const end = size.labels === true ? Math.floor(buffer.byteLength / 3 / (4 * KIB)) * 4 * KIB : buffer.byteLength;
    this.labels = size.labels === true ? end : 0;
    this.frameCount = Math.floor((end - this.frames) / (4 * KIB));
  }

  /** State blocks as after power-on, for the next machine in this memory. Contexts, records and frames belong to their owners. */
  reset(): void {
    this.u8.fill(0, this.states, this.contexts);
  }

  /** A state block, for snapshots. Addresses of records in it are void: those may have gone meanwhile. */
  exchangeState(fields: Fields, block: number): void {
    fields.numbers(this.u8.subarray(block, block + STATE_SIZE));
    if (!fields.restoring) return;
    for (const offset of [State.LINK, State.RECORD, State.MISSED]) this.i32[(block + offset) >>> 2] = 0;
  }
}

function reserve(sizes: readonly number[]): WebAssembly.Memory {
  for (const pages of sizes) {
    try {
      return new WebAssembly.Memory({ initial: pages, maximum: pages });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  }
  throw new RangeError('the platform reserves no memory for the guest');
}
