// Writes vector files (test/vectors/README.md).

import { gzipSync } from 'node:zlib';
import { baseSlots } from '../../test/vectors/base-state.ts';
import { COMPLETED, type Patch, Slot, type Slots, slotSize } from '../../test/vectors/format.ts';
import type { Outcome, Start } from './native.ts';

export type Recorded = { readonly start: Start; readonly outcome: Outcome; readonly undefinedFlags: number };
export type RecordedSection = { readonly name: string; readonly bits: 16 | 32 | 64; readonly cases: readonly Recorded[] };

const PAGE_FAULT = 14;
const modes = { 64: 0, 32: 1, 16: 2 } as const;

class Bytes {
  readonly list: number[] = [];
  number(value: number | bigint, size: number): void {
    for (let n = 0, rest = BigInt(value); n < size; n++, rest >>= 8n) this.list.push(Number(rest & 0xffn));
  }
  bytes(bytes: Uint8Array): void {
    for (const byte of bytes) this.list.push(byte);
  }
}

/** The slots whose values differ from those of another state; RIP only if it is not the one that is taken for granted. */
function slots(out: Bytes, from: Slots, to: Slots, rip: bigint, cr2?: bigint): void {
  const changed = [...to].filter(([slot, value]) => (slot === Slot.RIP ? value !== rip : value !== (from.get(slot) ?? 0n)));
  if (cr2 !== undefined) changed.push([Slot.CR2, cr2]);
  changed.sort(([a], [b]) => a - b);
  out.number(changed.length, 1);
  for (const [slot, value] of changed) {
    out.number(slot, 1);
    out.number(value, slotSize(slot));
  }
}

function patches(out: Bytes, memory: readonly Patch[]): void {
  out.number(memory.length, 1);
  for (const { offset, bytes } of memory) {
    out.number(offset, 2);
    out.number(bytes.length, 2);
    out.bytes(bytes);
  }
}

function encodeCase({ start, outcome, undefinedFlags }: Recorded): number[] {
  const out = new Bytes();
  const base = baseSlots(start.bits);
  const from = start.slots.get(Slot.RIP) ?? 0n;
  const completed = outcome.status === COMPLETED;
  out.number(start.bytes.length, 1);
  out.bytes(start.bytes);
  slots(out, base, start.slots, base.get(Slot.RIP) ?? 0n);
  patches(out, start.memory);
  out.number(outcome.status, 1);
  out.number(completed ? undefinedFlags : outcome.errorCode & 0xffff, 2);
  const next = completed ? from + BigInt(start.bytes.length) : from;
  slots(out, start.slots, outcome.slots, next, outcome.status === PAGE_FAULT ? outcome.cr2 : undefined);
  patches(out, outcome.memory);
  return out.list;
}

export function vectorFile(sections: readonly RecordedSection[]): Uint8Array {
  const out = new Bytes();
  out.bytes(new TextEncoder().encode('X86VEC1\n'));
  out.number(sections.length, 4);
  for (const { name, bits, cases } of sections) {
    const encoded = cases.map(encodeCase);
    out.number(name.length, 1);
    out.bytes(new TextEncoder().encode(name));
    out.number(modes[bits] << 4, 1);
    out.number(encoded.length, 4);
    out.number(
      encoded.reduce((sum, c) => sum + c.length, 0),
      4,
    );
    for (const c of encoded) out.bytes(Uint8Array.from(c));
  }
  return gzipSync(Uint8Array.from(out.list), { level: 9 });
}
