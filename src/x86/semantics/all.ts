// Every instruction that is implemented, by mnemonic: the one place that says what the processor can do.

import { aes } from './aes.ts';
import { alu } from './alu.ts';
import { bits } from './bits.ts';
import { control } from './control.ts';
import { extendedState } from './extended-state.ts';
import { flags } from './flags.ts';
import { legacy } from './legacy.ts';
import { moves } from './move.ts';
import { multiplyDivide } from './muldiv.ts';
import { privilege } from './privilege.ts';
import { sha } from './sha.ts';
import { shifts } from './shift.ts';
import { sseConvert } from './sse-convert.ts';
import { sseFloat } from './sse-float.ts';
import { strings } from './strings.ts';
import { flushLineOf, popSegment, specialMoves, system, throughPointer } from './system.ts';
import { text } from './text.ts';
import { vectorArithmetic } from './vector-arithmetic.ts';
import { vectorMoves } from './vector-move.ts';
import { vectorShifts } from './vector-shift.ts';
import { vectorShuffles } from './vector-shuffle.ts';
import { x87 } from './x87.ts';
import type { Form } from '../form.ts';
import type { Semantics, SemanticsTable } from './table.ts';

const table: SemanticsTable = {
  ...moves,
  ...alu,
  ...shifts,
  ...multiplyDivide,
  ...bits,
  ...control,
  ...strings,
  ...flags,
  ...legacy,
  ...system,
  ...privilege,
  ...sseFloat,
  ...sseConvert,
  ...vectorMoves,
  ...vectorArithmetic,
  ...vectorShifts,
  ...vectorShuffles,
  ...text,
  ...aes,
  ...sha,
  ...x87,
  ...extendedState,
};

/** The meaning of a form; undefined if the processor does not implement it. */
export function semanticsOf(form: Form): Semantics | undefined {
  switch (form.special) {
    case undefined:
      return table[form.mnemonic as keyof SemanticsTable];
    case 'popSegment':
      return popSegment;
    case 'flushLine':
      return flushLineOf(form.mnemonic);
    case 'farJump':
    case 'farCall': {
      const { special } = form;
      return form.memory === 'none' ? (b) => b.system(special) : throughPointer(special);
    }
    case 'invalid':
      return (b) => b.system('invalidOpcode');
    default:
      return specialMoves[form.special];
  }
}
