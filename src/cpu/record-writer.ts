// Writes instruction records: what the decoder found, at the offsets of x86/record.ts.

import type { Decoded } from '../x86/decode.ts';
import { Record } from '../x86/record.ts';
import type { Interpreter } from './interpreter.ts';

/** The record of an instruction that starts at `offset` of its page. */
export function writeInstruction(view: DataView, interpreter: Interpreter, at: number, offset: number, d: Decoded): void {
  view.setUint16(at + Record.FORM, interpreter.formIndex(d.form), true);
  view.setUint16(at + Record.PLACE, offset | (d.length << 12), true);
  for (let n = 0; n < 3; n++) view.setUint16(at + Record.REGISTERS + 2 * n, d.registers[n] ?? 0, true);
  view.setUint16(at + Record.BASE, d.base, true);
  view.setUint16(at + Record.INDEX, d.index, true);
  view.setUint8(at + Record.SCALE, d.scale);
  view.setUint8(at + Record.SEGMENT, d.segment);
  view.setBigInt64(at + Record.DISPLACEMENT, d.displacement, true);
  view.setBigInt64(at + Record.IMMEDIATE, BigInt.asIntN(64, d.immediate), true);
}

/** A steering record; `displacement` is where control goes on, relative to the page. */
export function writeSteering(view: DataView, at: number, offset: number, form: number, displacement: bigint): void {
  view.setUint16(at + Record.FORM, form, true);
  view.setUint16(at + Record.PLACE, offset & 0xfff, true);
  view.setBigInt64(at + Record.DISPLACEMENT, displacement, true);
  view.setBigInt64(at + Record.IMMEDIATE, 0n, true);
}
