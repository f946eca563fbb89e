// How an x87 instruction tells its routine where the source is and how the stack ends. The operand of such a routine is one of
// the sources (NEXT is ST(1) where no operand names it), with POP added once for each pop. A memory operand's value, or its linear address if it has more than 8 bytes
// or is written, stands in State.OPERAND.

export const X87Source = { REGISTER: 0, SINGLE: 1, DOUBLE: 2, EXTENDED: 3, INTEGER16: 4, INTEGER32: 5, INTEGER64: 6, NEXT: 7 } as const;
export type X87Source = (typeof X87Source)[keyof typeof X87Source];
export const SOURCE_MASK = 7;
export const POP_SHIFT = 3;

/** Constants that FLD1 and its kin load, in the order of their opcodes D9 E8 to D9 EE. */
export const x87Constants = ['one', 'log2Of10', 'log2OfE', 'pi', 'log10Of2', 'ln2', 'zero'] as const;
