// The shape of a semantics table: one entry per instruction, keyed by iced's mnemonic.

import type { Mnemonic } from 'iced-x86';
import type { Emitter } from '../emitter.ts';

export type Semantics = (b: Emitter) => void;
export type SemanticsTable = { readonly [mnemonic in Mnemonic]?: Semantics };
