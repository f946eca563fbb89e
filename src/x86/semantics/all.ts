// Every instruction that is implemented, by mnemonic: the one place that says what the processor can do.

import { alu } from './alu.ts';
import { bits } from './bits.ts';
import { control } from './control.ts';
import { flags } from './flags.ts';
import { moves } from './move.ts';
import { multiplyDivide } from './muldiv.ts';
import { shifts } from './shift.ts';
import { strings } from './strings.ts';
import { popSegment, specialMoves, system } from './system.ts';
import type { Form } from '../form.ts';
import type { Semantics, SemanticsTable } from './table.ts';

const table: SemanticsTable = { ...moves, ...alu, ...shifts, ...multiplyDivide, ...bits, ...control, ...strings, ...flags, ...system };

/** The meaning of a form; undefined if the processor does not implement it. */
export function semanticsOf(form: Form): Semantics | undefined {
  switch (form.special) {
    case undefined:
      return table[form.mnemonic as keyof SemanticsTable];
    case 'popSegment':
      return popSegment;
    case 'farJump':
    case 'farCall': {
      const { special } = form;
      return (b) => (form.memory === 'none' ? b.system(special) : b.system(special, b.address()));
    }
    case 'invalid':
      return (b) => b.system('invalidOpcode');
    default:
      return specialMoves[form.special];
  }
}
