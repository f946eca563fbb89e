// What a rule for a system routine (routines.ts) works with.

import type { Processor } from '../cpu/processor.ts';
import { Gpr, gprAt, State } from '../memory/state.ts';
import type { SystemResult } from '../x86/emitter.ts';

/** An access that a routine made: host address and bytes. */
export type Noted = { readonly address: number; readonly size: number };

/** What a rule works with. Labels are those of bytes in memory; `at` are offsets into the state block. */
export interface Work {
  readonly p: Processor;
  readonly record: number;
  readonly low: number;
  readonly high: number;
  /** The label of the operand that semantics handed over. */
  readonly operand: number;
  /** Calls the routine; then `loads` and `stores` are what it accessed. */
  call(): SystemResult;
  readonly loads: readonly Noted[];
  readonly stores: readonly Noted[];
  /** The label of all bytes of a range. */
  read(at: number, length: number): number;
  write(at: number, length: number, label: number): void;
  /** Of memory, by host address. */
  readMemory(address: number, length: number): number;
  writeMemory(address: number, length: number, label: number): void;
  copy(from: number, to: number, length: number): void;
  join(...labels: readonly number[]): number;
  /** A new origin: something of the hypervisor's. */
  hypervisor(what: string): number;
  /** The same of the GHCB MSR; 0: it has what the guest has written. */
  ghcbMsr(): number;
  /** To be called before the routine: reports, once it has gone where a value with this label says. */
  branching(label: number): () => void;
  /** A private value goes where the hypervisor reads it. */
  leak(text: string): void;
  /** VMGEXIT: the GHCB is handed over. */
  handOver(): void;
  wroteGhcbMsr(): void;
  /** Linear addresses may lead elsewhere now. */
  paged(): void;
}

export type Rule = (w: Work) => SystemResult;

export const RAX = gprAt(Gpr.RAX);
export const RCX = gprAt(Gpr.RCX);
export const RDX = gprAt(Gpr.RDX);
export const RBX = gprAt(Gpr.RBX);
export const RSP = gprAt(Gpr.RSP);

export const FLAGS_BYTES = 16;
export const readFlags = (w: Work): number => w.read(State.FLAG_RESULT, FLAGS_BYTES);
export const writeFlags = (w: Work, label: number): void => w.write(State.FLAG_RESULT, FLAGS_BYTES, label);

/** Bits 31:0 of a register are written, and what is above is zero. */
export const writeLow = (w: Work, at: number, label: number): void => {
  w.write(at, 8, 0);
  w.write(at, 4, label);
};

/** The label of all that the routine loaded. */
export const loaded = (w: Work): number => w.join(...w.loads.map(({ address, size }) => w.readMemory(address, size)));
