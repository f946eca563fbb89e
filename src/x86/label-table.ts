// What is known about where values come from, as the reader of tainted.ts computes it: labels, and how operations combine them. A label is an i64,
// 0 for a value that nobody has to be told about:
//   bits 15:0   a bit for each byte of the value that is private;
//   bits 23:16  how much of the value the hypervisor chose: the binary logarithm of how many values it could have chosen among;
//   bits 46:32  which sets of accesses that came from (0: none), as the keeper of labels numbers them.
// In memory each byte has 16 bits: bit 15 is private, bits 14:0 the number. The functions here are one small WebAssembly module for each memory, called by
// handlers; they know nothing of instructions. An operation on values without labels costs one comparison.

import { Type } from '../wasm/function.ts';

/** Number in memory of what everybody can write: each byte of a page that is shared. No set has it. */
export const SHARED = 0x7fff;
export const PRIVATE_BYTE = 0x8000;
/** Up to so many bits that the hypervisor chose are an offset into something: a byte, scaled. */
export const FEW_BITS = 14;

/** What a label is looked at for. WITNESS: something private has decided, whatever its number. */
export const LabelUse = { ADDRESS: 0, BRANCH: 1, COUNT: 2, VALIDATION: 3, WITNESS: 4 } as const;
export type LabelUse = (typeof LabelUse)[keyof typeof LabelUse];

/** What handlers and the functions here ask the keeper of labels. `address` is a host address. */
export type LabelCallbacks = {
  /** Bytes of which some have a number are loaded: number of their union | bits that the hypervisor chose << 16. */
  labelLoad(record: number, address: number, size: number): number;
  /** Bytes are stored to a shared page; bits of `label` as above. */
  labelShare(record: number, address: number, size: number, label: number): void;
  labelUnion(a: number, b: number): number;
  labelUse(record: number, number: number, use: LabelUse): void;
};

const { I32: I, I64: L } = Type;
/** Functions of the module: parameters and result. */
// biome-ignore format: a table
export const labelFunctions = {
  /** record, host address, label of the address */
  load1: [[I, I, L], [L]], load2: [[I, I, L], [L]], load4: [[I, I, L], [L]], load8: [[I, I, L], [L]], load16: [[I, I, L], [L]],
  /** record, host address, label */
  store1: [[I, I, L], []], store2: [[I, I, L], []], store4: [[I, I, L], []], store8: [[I, I, L], []], store16: [[I, I, L], []],
  /** Byte by byte. */
  join: [[L, L], [L]],
  /** What the low byte has reaches the bytes above it; the width in bytes. */
  sum: [[L, L, I], [L]],
  /** label, value, label, value, width */
  product: [[L, L, L, L, I], [L]],
  both: [[L, L, L, L], [L]],
  /** Everything depends on everything: the width of the result. */
  all: [[L, L, I], [L]],
  /** One of two, by a condition: all bytes of the width, but only two values. */
  either: [[L, I], [L]],
  /** What a division leaves is less than the divisor: label, label of the divisor, divisor, width. */
  remainder: [[L, L, L, I], [L]],
  /** A condition. */
  test: [[L, L], [L]],
  /** label, label of the count, count, width */
  left: [[L, L, L, I], [L]], right: [[L, L, L, I], [L]], rightSigned: [[L, L, L, I], [L]], around: [[L, L, L, I], [L]],
  /** Low bytes only. */
  cut: [[L, I], [L]],
  /** From so many bytes to so many. */
  signed: [[L, I, I], [L]],
  /** Lanes of so many bytes: a lane depends on itself only. */
  lanes: [[L, L, I], [L]],
  /** label, first byte, bytes */
  extract: [[L, I, I], [L]],
  /** label, label of what is put in, first byte, bytes */
  insert: [[L, L, I, I], [L]],
  /** record, label, LabelUse */
  use: [[I, L, I], []],
} as const satisfies Readonly<Record<string, readonly [readonly Type[], readonly Type[]]>>;
export type LabelFunction = keyof typeof labelFunctions;
