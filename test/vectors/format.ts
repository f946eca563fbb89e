// Reader of instruction vectors ("x86vec"): start state, instruction and end state as a processor gave them. README.md describes the
// format. Integers are little endian.

import { gunzipSync } from 'node:zlib';
import { assert } from '../../src/util/errors.ts';

/** Numbers of the registers in a vector. */
export const Slot = {
  GPR: 0,
  RIP: 16,
  RFLAGS: 17,
  FS_BASE: 18,
  GS_BASE: 19,
  MXCSR: 20,
  FCW: 21,
  FSW: 22,
  FTW: 23,
  CR2: 24,
  XMM: 32,
  X87: 48,
} as const;

export type Patch = { readonly offset: number; readonly bytes: Uint8Array };
export type Slots = ReadonlyMap<number, bigint>;
export type Case = {
  /** The case as it stands in the file. */
  readonly raw: Uint8Array;
  readonly bytes: Uint8Array;
  readonly slotsIn: Slots;
  readonly memoryIn: readonly Patch[];
  /** The exception vector, COMPLETED if there was none. */
  readonly status: number;
  /** Undefined bits of RFLAGS after completion, else the error code. */
  readonly auxiliary: number;
  readonly slotsOut: Slots;
  readonly memoryOut: readonly Patch[];
};
export type Section = {
  readonly name: string;
  readonly bits: 16 | 32 | 64;
  readonly approximate: boolean;
  readonly cases: readonly Case[];
};

export const COMPLETED = 255;
export const MAGIC = 'X86VEC1\n';

export const slotSize = (slot: number): number => {
  if (slot >= Slot.X87) return 10;
  if (slot >= Slot.XMM) return 16;
  if (slot === Slot.FTW) return 1;
  if (slot === Slot.FCW || slot === Slot.FSW) return 2;
  return slot === Slot.RFLAGS || slot === Slot.MXCSR ? 4 : 8;
};

class Cursor {
  readonly bytes: Uint8Array;
  at = 0;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
  number(size: number): number {
    let value = 0;
    for (let n = size - 1; n >= 0; n--) value = value * 256 + (this.bytes[this.at + n] ?? 0);
    this.at += size;
    return value;
  }
  wide(size: number): bigint {
    let value = 0n;
    for (let n = size - 1; n >= 0; n--) value = (value << 8n) | BigInt(this.bytes[this.at + n] ?? 0);
    this.at += size;
    return value;
  }
  take(length: number): Uint8Array {
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
  text(length: number): string {
    return String.fromCharCode(...this.take(length));
  }
  slots(): Slots {
    const found = new Map<number, bigint>();
    for (let n = this.number(1); n > 0; n--) {
      const slot = this.number(1);
      found.set(slot, this.wide(slotSize(slot)));
    }
    return found;
  }
  patches(): Patch[] {
    return Array.from({ length: this.number(1) }, () => {
      const offset = this.number(2);
      return { offset, bytes: this.take(this.number(2)) };
    });
  }
}

export function* sections(file: Uint8Array): Generator<Section> {
  const cursor = new Cursor(gunzipSync(file));
  assert(cursor.text(MAGIC.length) === MAGIC, 'not a vector file');
  for (let n = cursor.number(4); n > 0; n--) {
    const name = cursor.text(cursor.number(1));
    const flags = cursor.number(1);
    const count = cursor.number(4);
    const end = cursor.number(4) + cursor.at;
    const cases = Array.from({ length: count }, () => readCase(cursor));
    assert(cursor.at === end, `section ${name} has another length than it says`);
    yield { name, bits: ([64, 32, 16] as const)[(flags >> 4) & 3] ?? 64, approximate: (flags & 1) !== 0, cases };
  }
}

function readCase(cursor: Cursor): Case {
  const from = cursor.at;
  const bytes = cursor.take(cursor.number(1));
  const slotsIn = cursor.slots();
  const memoryIn = cursor.patches();
  const status = cursor.number(1);
  const auxiliary = cursor.number(2);
  const slotsOut = cursor.slots();
  const memoryOut = cursor.patches();
  return { raw: cursor.bytes.subarray(from, cursor.at), bytes, slotsIn, memoryIn, status, auxiliary, slotsOut, memoryOut };
}
