// Runs cases on the processor under us: compiles harness.c, writes its input, reads its output. Both are little endian:
//   input:  u64 count, cases { u8 bytes[16], u8 length, u8 mode, u16 patches, u32 0, state, patches { u32 offset, u32 length, bytes padded to 8 } }
//   output: results { u8 status, u8 signal, u16 patches, u32 error code, u64 CR2, state, patches as above }
//   state:  u64 RIP, RFLAGS, GPR[16], FS base, GS base; u32 MXCSR; u16 FCW, FSW; u8 tags, padding[7]; u8 R0-R7[8][16], XMM0-15[16][16]

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Patch, Slot, type Slots } from '../../test/vectors/format.ts';

export type Start = { readonly bytes: Uint8Array; readonly bits: 16 | 32 | 64; readonly slots: Slots; readonly memory: readonly Patch[] };
export type Outcome = {
  /** COMPLETED, LOST, or the exception's vector. */
  readonly status: number;
  readonly errorCode: number;
  readonly cr2: bigint;
  readonly slots: Slots;
  readonly memory: readonly Patch[];
};

/** The case hung or killed the recorder. */
export const LOST = 0xfe;

const STATE = 560;
const CASE_HEADER = 24;
const RESULT_HEADER = 16;
const padded = (length: number): number => (length + 7) & ~7;
const modes = { 64: 0, 32: 1, 16: 2 } as const;

/** Where each slot lies in the state, and its size there. */
const places: readonly { readonly slot: number; readonly at: number; readonly size: number }[] = [
  { slot: Slot.RIP, at: 0, size: 8 },
  { slot: Slot.RFLAGS, at: 8, size: 8 },
  ...Array.from({ length: 16 }, (_, n) => ({ slot: n, at: 16 + 8 * n, size: 8 })),
  { slot: Slot.FS_BASE, at: 144, size: 8 },
  { slot: Slot.GS_BASE, at: 152, size: 8 },
  { slot: Slot.MXCSR, at: 160, size: 4 },
  { slot: Slot.FCW, at: 164, size: 2 },
  { slot: Slot.FSW, at: 166, size: 2 },
  { slot: Slot.FTW, at: 168, size: 1 },
  ...Array.from({ length: 8 }, (_, n) => ({ slot: Slot.X87 + n, at: 176 + 16 * n, size: 10 })),
  ...Array.from({ length: 16 }, (_, n) => ({ slot: Slot.XMM + n, at: 304 + 16 * n, size: 16 })),
];

function putState(into: Uint8Array, slots: Slots): void {
  for (const { slot, at, size } of places) {
    let value = slots.get(slot) ?? 0n;
    for (let n = 0; n < size; n++, value >>= 8n) into[at + n] = Number(value & 0xffn);
  }
}

function stateOf(from: Uint8Array): Slots {
  const slots = new Map<number, bigint>();
  for (const { slot, at, size } of places) {
    let value = 0n;
    for (let n = size - 1; n >= 0; n--) value = (value << 8n) | BigInt(from[at + n] ?? 0);
    slots.set(slot, value);
  }
  return slots;
}

function encode(cases: readonly Start[]): Uint8Array {
  const size = cases.reduce((sum, c) => sum + CASE_HEADER + STATE + c.memory.reduce((n, { bytes }) => n + 8 + padded(bytes.length), 0), 8);
  const buffer = new Uint8Array(size);
  const view = new DataView(buffer.buffer);
  view.setBigUint64(0, BigInt(cases.length), true);
  let at = 8;
  for (const { bytes, bits, slots, memory } of cases) {
    buffer.set(bytes, at);
    buffer[at + 16] = bytes.length;
    buffer[at + 17] = modes[bits];
    view.setUint16(at + 18, memory.length, true);
    putState(buffer.subarray(at + CASE_HEADER), slots);
    at += CASE_HEADER + STATE;
    for (const patch of memory) {
      view.setUint32(at, patch.offset, true);
      view.setUint32(at + 4, patch.bytes.length, true);
      buffer.set(patch.bytes, at + 8);
      at += 8 + padded(patch.bytes.length);
    }
  }
  return buffer;
}

function decode(buffer: Uint8Array, count: number): Outcome[] {
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  const outcomes: Outcome[] = [];
  let at = 0;
  for (let n = 0; n < count; n++) {
    const start = at;
    at += RESULT_HEADER + STATE;
    const memory: Patch[] = [];
    for (let k = view.getUint16(start + 2, true); k > 0; k--) {
      const length = view.getUint32(at + 4, true);
      memory.push({ offset: view.getUint32(at, true), bytes: buffer.slice(at + 8, at + 8 + length) });
      at += 8 + padded(length);
    }
    outcomes.push({
      status: buffer[start] ?? LOST,
      errorCode: view.getUint32(start + 4, true),
      cr2: view.getBigUint64(start + 8, true),
      slots: stateOf(buffer.subarray(start + RESULT_HEADER)),
      memory,
    });
  }
  return outcomes;
}

/** A compiled harness in a directory of its own; `close` removes it. */
export class Native {
  readonly #directory = mkdtempSync(join(tmpdir(), 'record-vectors-'));
  readonly harness = join(this.#directory, 'harness');

  constructor(source: string) {
    const flags = ['-O2', '-mfsgsbase', '-mavx', '-fno-stack-protector', '-fno-tree-vectorize', '-Wall', '-Wextra'];
    execFileSync('gcc', [...flags, '-o', this.harness, source], { stdio: 'inherit' });
  }

  get directory(): string {
    return this.#directory;
  }

  run(cases: readonly Start[]): Outcome[] {
    const input = join(this.#directory, 'in');
    const output = join(this.#directory, 'out');
    writeFileSync(input, encode(cases));
    execFileSync(this.harness, [input, output]);
    return decode(readFileSync(output), cases.length);
  }

  close(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
