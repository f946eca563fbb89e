// What world switches need of the logical processor (src/cpu) and of translation (src/mmu). Addresses are of the WebAssembly
// memory.

import type { Environment } from '../mmu/environment.ts';
import type { HostTables } from '../mmu/host-tables.ts';
import type { Onlooker } from '../mmu/onlooker.ts';

export interface CpuPort {
  /** Address of the state block in force. */
  state: number;
  /** Vector of a virtual interrupt that waits for the guest's interrupt window; -1: none. Delivery makes it -1. */
  virtualInterrupt: number;
  /** Its priority: it must be above CR8. */
  virtualPriority: number;
  /** A virtual NMI waits until NMIs are not blocked (State.NMI_BLOCKED). Delivery makes it false. */
  virtualNmi: boolean;
  /** Time that passed without an instruction retired, in instructions. */
  idle: number;
  /** Instructions retired since reset, and elements of repeated string instructions among them. */
  readonly retired: number;
  readonly elements: number;
  /** Decoding mode, stack width and translation context anew from the registers in the state block. */
  settle(): void;
  /** Retires at most so many instructions. State.STOP tells whether an intercept or a nested page fault ended it. */
  run(budget: number): number;
  /** Delivers an exception at the present RIP; -1: without error code. True: that ended in an exit, which State.STOP names. */
  raise(vector: number, errorCode: number): boolean;
  /** Delivers an event of EVENTINJ, by its vector and type. True: that ended in an exit, which State.STOP names. */
  inject(vector: number, type: number, errorCode: number): boolean;
}

export interface MmuPort {
  /** The address space of the hypervisor on one of the processors. */
  host(processor: number): HostTables;
  /** Nested paging, ASID and key of the guest to come; the same object again costs nothing. */
  enter(environment: Environment): void;
  /** The translation context for the registers in a state block. */
  selectContext(state: number): void;
  /** Bytes at a linear address, without any effect. */
  readonly onlooker: Onlooker;
}
