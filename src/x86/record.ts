// An instruction record: 32 bytes in the WebAssembly memory, written once by the decoder, read by the interpreter. Register
// fields are byte offsets into the processor state, so AH is RAX + 1 and segment and control registers need no forms of
// their own. Records hold no absolute address (RIP = State.PAGE + page offset): one set serves every mapping of a page.

export const RECORD_SIZE = 32;

export const Record = {
  FORM: 0, // u16, index of the handler
  PLACE: 2, // u16: [11:0] page offset of the instruction, [15:12] its length
  REGISTERS: 4, // u16[3]: register operands by operand number
  BASE: 10, // u16: base register of the memory operand, State.ZERO if none
  INDEX: 12, // u16: index register
  SCALE: 14, // u8: [1:0] log2 of the scale
  SEGMENT: 15, // u8: segment register of the memory operand
  DISPLACEMENT: 16, // i64: displacement, or branch target relative to the page
  IMMEDIATE: 24, // i64: immediate operand
  LINK: 24, // u32: record of the branch target, once known
  COUNT: 28, // u32: how often a branch that holds a link went to its target
} as const;

/** Forms that are not instructions: they steer the interpreter and give their unit of fuel back. */
export const Steering = {
  STOP: 0, // nothing is decoded here (any more): look up RIP again
  LINK: 1, // go on at the record that LINK names
  CROSS: 2, // go on at DISPLACEMENT from the page, on another page
} as const;
