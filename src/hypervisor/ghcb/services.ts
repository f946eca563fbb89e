// What the answers to a guest need of the hypervisor, whichever way the guest asked: by an exit of its own, through the GHCB
// page or through the GHCB MSR.

import type { GhcbVersion } from '../../arch/ghcb.ts';
import type { PortSize } from '../../devices/device.ts';
import type { TraceNote } from '../../util/trace.ts';
import type { HypercallArguments } from '../hypercalls.ts';
import type { Outcome } from '../outcome.ts';

export type CpuidResult = readonly [eax: number, ebx: number, ecx: number, edx: number];

export interface Services {
  /** Guest RAM in bytes. */
  readonly memorySize: number;
  /** Position of the C-bit in the guest's page tables. */
  readonly cBit: number;
  /** The highest protocol version that the hypervisor speaks in this run. */
  readonly ghcbVersion: GhcbVersion;
  /** APIC IDs of the guest's virtual processors, ascending. */
  readonly apicIds: readonly number[];
  /** `xcr0`, `xss`: what the guest has there, for leaf Dh. */
  cpuid(leaf: number, subleaf: number, xcr0: bigint, xss: bigint): CpuidResult;
  /** null: the register does not exist or may not be read, #GP. */
  readMsr(index: number): bigint | null;
  /** false: #GP. */
  writeMsr(index: number, value: bigint): boolean;
  /** The guest's time-stamp counter. */
  tsc(): bigint;
  tscAux(): bigint;
  portIn(port: number, size: PortSize): number;
  portOut(port: number, size: PortSize, value: number): void;
  /** Unclaimed addresses read all-ones and swallow writes. */
  mmioRead(gpa: bigint, into: Uint8Array): void;
  mmioWrite(gpa: bigint, from: Uint8Array): void;
  /** Guest RAM under the host's mapping; false if the range is not all RAM. */
  readMemory(gpa: bigint, into: Uint8Array): boolean;
  writeMemory(gpa: bigint, from: Uint8Array): boolean;
  /** Is the whole range RAM of the guest's? */
  isRam(gpa: bigint, length: number): boolean;
  wbinvd(): void;
  /** The guest has finished with an NMI: the next may come. */
  nmiComplete(): void;
  /**
   * Parks the virtual processor until it is sent a SIPI. The answer is there already and says that none came; when one comes it is
   * changed, in the page that asked (SW_EXITINFO2) or in the GHCB MSR, whichever way the guest asked.
   */
  apResetHold(by: 'ghcb' | 'msr'): void;
  /** Where the guest's processors find the AP jump table, one for all; 0: never set. */
  jumpTable: bigint;
  /** The guest waits for something: other virtual processors may go first. */
  yield(): void;
  /** What a VMMCALL returns in RAX. */
  hypercall(number: bigint, cpl: number, values: HypercallArguments): bigint;
  /** CR accesses as events, if the run has them (--intercept cr). */
  readonly controlRegisters: boolean;
  /** What the hypervisor knows of CR0, CR4 or CR8: from the initial VMSA and the write traps. */
  readControlRegister(n: number): bigint;
  /** Lets the next write of a control register through; false: the value is one that the processor would refuse, #GP. */
  allowControlRegister(n: number, value: bigint): boolean;
  /** DR7 as the guest last set it. */
  debugControl: bigint;
  /** Has somebody ended the run meanwhile (a write to the test device)? */
  readonly ended: Outcome | null;
  /** A line for the log: something odd that the hypervisor got over. */
  warn(text: string): void;
  readonly tracing: boolean;
  note(note: TraceNote): void;
}
