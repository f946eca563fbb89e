// What surrounds a handler: how it ends, and what it calls. Handlers are functions of (0) the state block and (1) the record.

import type { I32 } from '../wasm/function.ts';
import type { Fuel } from './string-runs.ts';

/** How a handler ends. Each of these emits a transfer of control. */
export type Embedding = {
  /** Goes on at a record. */
  readonly next: (record: I32) => void;
  /** The instruction faulted: the fault is in the state. */
  readonly fault: () => void;
  /** The instruction is retired and State.RIP, LEAVE and LINK are set. */
  readonly leave: () => void;
  /** Each so many executions of a branch (a power of two) it leaves with Leave.HOT; 0: they are not counted. */
  readonly threshold?: number;
  /** Goes where the instruction, of which nothing is committed, is begun anew with all that it seldom needs. Left out: that is here. */
  readonly elsewhere?: () => void;
  /** The budget, for whoever does many elements of a string at once. */
  readonly fuel?: Fuel;
};

/** Indices of the imported functions; see cpu/interpreter.ts for their meaning. */
export type Imports = {
  readonly load: number;
  readonly store: number;
  readonly modify: number;
  readonly commit: number;
  readonly limit: number;
  readonly system: number;
};

/** Flag beside the size of an access that a segment is asked to admit: it writes. */
export const SEGMENT_WRITE = 0x1_0000;
