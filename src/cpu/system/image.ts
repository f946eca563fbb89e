// Operands of many bytes in memory (FSAVE, FXSAVE, XSAVE ...), read and written as a whole: both ends are probed first, and nothing is
// written unless all of it can be.

import { Vector } from '../../arch/exception.ts';
import { Cr0, Rflags } from '../../arch/registers.ts';
import { State } from '../../memory/state.ts';
import { type By, isCanonical, type Processor } from '../processor.ts';

/** Is the program's alignment checked (APM vol. 2, 8.2.18)? */
const alignmentChecked = (p: Processor): boolean => p.cpl === 3 && (p.u32(State.CR0) & Cr0.AM) !== 0 && (p.rflags & Rflags.AC) !== 0;

/** False: #AC is recorded. Non-canonical addresses fault later. */
export function isAligned(p: Processor, address: bigint, unit: number): boolean {
  if (Number(address & BigInt(unit - 1)) === 0 || !isCanonical(address) || !alignmentChecked(p)) return true;
  p.fault(Vector.AC);
  return false;
}

/** The parts of an operand that lie on one page each. */
function parts(address: bigint, bytes: number): readonly [start: number, length: number][] {
  const first = Math.min(bytes, 0x1000 - Number(address & 0xfffn));
  return first === bytes
    ? [[0, bytes]]
    : [
        [0, first],
        [first, bytes - first],
      ];
}

/** In which order the ends of an operand are probed, which decides the address that a page fault names. */
export type Probe = readonly (readonly [offset: number, bytes: number])[];
/** x87 environments: the first word or double word, then the last byte (seen on Zen 5). */
export const firstUnit = (bytes: number, unit: 2 | 4): Probe => [
  [0, unit],
  [bytes - 1, 1],
];
/** FXSAVE: the last byte, then the first. */
export const lastByte = (bytes: number): Probe => [
  [bytes - 1, 1],
  [0, 1],
];

/** Undefined: a fault is recorded. */
export function readImage(p: Processor, address: bigint, bytes: number, by: By, probe: Probe): DataView | undefined {
  for (const [offset, size] of probe) if (p.load(address + BigInt(offset), size, by) === 0) return undefined;
  const image = new Uint8Array(bytes);
  for (const [start, length] of parts(address, bytes)) {
    const at = p.load(address + BigInt(start), 1, by);
    if (at === 0) return undefined;
    image.set(p.memory.u8.subarray(at, at + length), start);
  }
  return new DataView(image.buffer);
}

/**
 * Writes an image, or only the parts of it from one offset up to another. The whole must be writable all the same.
 * False: a fault is recorded and nothing is written.
 */
export function writeImage(
  p: Processor,
  address: bigint,
  image: DataView,
  by: By,
  probe: Probe,
  ranges: readonly (readonly [from: number, to: number])[] = [[0, image.byteLength]],
): boolean {
  for (const [offset, size] of probe) if (!p.canStore(address + BigInt(offset), size, by)) return false;
  for (const [from, to] of ranges) if (!writeRange(p, address, image, from, to, by)) return false;
  return true;
}

/** In pieces that do not cross a page. */
function writeRange(p: Processor, address: bigint, image: DataView, from: number, to: number, by: By): boolean {
  for (let n = from; n < to; ) {
    const length = Math.min(to - n, LINE - Number((address + BigInt(n)) & BigInt(LINE - 1)));
    const at = p.store(address + BigInt(n), length, by);
    if (at === 0) return false;
    p.memory.u8.set(new Uint8Array(image.buffer, n, length), at);
    p.mmu.commit(p.state);
    n += length;
  }
  return true;
}
const LINE = 64;
