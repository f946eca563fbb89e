// Operands of many bytes in memory (FSAVE, FXSAVE, XSAVE ...), read and written as a whole: the first byte is probed, then the last,
// and nothing is written unless all of it can be.

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
  return first === bytes ? [[0, bytes]] : [[0, first], [first, bytes - first]];
}

/** Which of the two probes comes first decides what address a page fault names. */
export type Probe = 'first byte first' | 'last byte first';

const ends = (bytes: number, probe: Probe): readonly number[] => (probe === 'first byte first' ? [0, bytes - 1] : [bytes - 1, 0]);

/** Undefined: a fault is recorded. */
export function readImage(p: Processor, address: bigint, bytes: number, by: By, probe: Probe = 'first byte first'): DataView | undefined {
  for (const end of ends(bytes, probe)) if (p.load(address + BigInt(end), 1, by) === 0) return undefined;
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
  ranges: readonly (readonly [from: number, to: number])[] = [[0, image.byteLength]],
  probe: Probe = 'first byte first',
): boolean {
  for (const end of ends(image.byteLength, probe)) if (p.store(address + BigInt(end), 1, by) === 0) return false;
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
