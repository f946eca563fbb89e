// The shape of a system routine: the instruction's record and its operand (a value or a linear address) in 32-bit halves.

import type { SystemResult, SystemRoutine } from '../../x86/emitter.ts';
import type { Processor } from '../processor.ts';

export type Routine = (p: Processor, record: number, low: number, high: number) => SystemResult;
export type Routines = { readonly [name in SystemRoutine]?: Routine };

/** The operand as 64 bits. */
export const operand64 = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
