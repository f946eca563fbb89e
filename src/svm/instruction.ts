// The instruction at RIP, read without any effect: for nRIP, for the instruction bytes of a nested page fault (decode assists,
// APM vol. 2, 15.8.4), and for the trace.

import type { EngineMemory } from '../memory/map.ts';
import { Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';
import type { Onlooker } from '../mmu/onlooker.ts';
import { InstructionDecoder } from '../x86/decode.ts';
import { type Mode, mnemonicOf } from '../x86/form.ts';

const MOST = 15;

export class InstructionReader {
  readonly #memory: EngineMemory;
  readonly #onlooker: Onlooker;
  readonly #decoder = new InstructionDecoder();
  readonly #bytes = new Uint8Array(MOST);
  /** What the last `decode` took: bytes already known to be of this length in this mode. */
  readonly #last = { bytes: new Uint8Array(MOST), mode: 0, length: 0, name: '' };

  constructor(memory: EngineMemory, onlooker: Onlooker) {
    this.#memory = memory;
    this.#onlooker = onlooker;
  }

  /** Up to 15 bytes at CS:RIP, as an instruction fetch would get them. The array is overwritten by the next call. */
  fetch(state: number): Uint8Array {
    const { i32, view } = this.#memory;
    const rip = (state + State.RIP) >>> 2;
    let low = i32[rip]!;
    let high = i32[rip + 1]!;
    if (i32[(state + State.MODE) >>> 2] !== 64) {
      low = (low + view.getInt32(state + segmentAt(Segment.CS) + SegmentPart.BASE, true)) | 0;
      high = 0;
    }
    return this.#bytes.subarray(0, this.#onlooker.peek(state, low, high, this.#bytes, true));
  }

  /** Length of the instruction at CS:RIP; 0 if it does not decode. */
  length(state: number): number {
    const bytes = this.fetch(state);
    const mode = this.#memory.i32[(state + State.MODE) >>> 2]! as Mode;
    const last = this.#last;
    if (last.length > 0 && last.mode === mode && last.length <= bytes.length && same(last.bytes, bytes, last.length)) return last.length;
    last.length = 0;
    this.#decoder.decode(bytes, 0, mode, (decoded) => {
      last.length = decoded.length;
      last.name = mnemonicOf(decoded.form.name);
      return false;
    });
    last.mode = mode;
    last.bytes.set(bytes);
    return last.length;
  }

  /** What the instruction at CS:RIP is called. */
  name(state: number): string {
    return this.length(state) === 0 ? 'an unreadable instruction' : this.#last.name;
  }
}

function same(a: Uint8Array, b: Uint8Array, length: number): boolean {
  for (let k = 0; k < length; k++) if (a[k] !== b[k]) return false;
  return true;
}
