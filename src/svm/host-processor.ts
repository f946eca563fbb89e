// The only door of hypervisor and device code into the machine: memory under the host's mapping, the
// SVM instructions, a few MSRs, and the mailbox of the AMD-SP. Types only: nothing here could hand out a frame or a register.

import type { Vector } from '../arch/exception.ts';
import type { Spa } from '../util/address.ts';
import type { QuadwordPort } from '../util/struct.ts';

/**
 * Memory as the host's program reaches it, through the page tables in memory that its CR3 names (HostProcessor.loadCr3): without a key, or where an
 * entry has the C-bit under the host's. A guest's private page reads as noise either way. Addresses are linear ones below 2^47; the
 * hypervisor maps memory one to one there, so they have the type of the system physical addresses that they stand for.
 */
export interface HostMemory {
  /** Bytes of system physical memory, from address 0. */
  readonly size: number;
  /** Any address and length; what is not memory, or fenced off, reads as all ones. */
  read(spa: Spa, into: Uint8Array): void;
  /** Any address and length; what is not memory, or fenced off, keeps nothing. */
  write(spa: Spa, from: Uint8Array): void;
  /**
   * Whole pages become as they were at power-on: zeros in the chips, which CLFLUSH of the host's lines and non-temporal stores without a key bring
   * about. Lines under other keys stay. Memory that nobody ever wrote costs nothing.
   */
  zero(spa: Spa, length: number): void;
  /** CLFLUSH of every line of a range, as the host maps it: lines under other keys stay. */
  flush(spa: Spa, length: number): void;
  /** One 4 KiB page, by the address of its first byte. Cheap, and stays valid for good. */
  page(spa: Spa): QuadwordPort;
}

/** Registers of the AMD-SP's mailbox by offset, 32 bits each (publication 55766, chapter 4). */
export interface Mailbox {
  read(offset: number): number;
  write(offset: number, value: number): void;
}

/** RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8..R15 as software keeps them across VMRUN; RAX and RSP are in the VMCB. */
export type GuestRegisters = BigUint64Array;

/** An exception that an instruction of the host met; it did nothing then. */
export type HostFault = typeof Vector.UD | typeof Vector.GP;

export interface HostProcessor {
  readonly memory: HostMemory;
  /** CPUID of the processor itself: EAX, EBX, ECX, EDX. */
  cpuid(leaf: number, subleaf: number): readonly [number, number, number, number];
  /** XCR0 (XGETBV). No world switch changes it but those of SEV-ES guests: after #VMEXIT it is what the guest set. */
  readonly xcr0: bigint;
  /** MOV CR3: from now on these tables translate the host's addresses; the C-bit says whether the first is encrypted. False: #GP, reserved bits. */
  loadCr3(value: bigint): boolean;
  /**
   * System physical addresses, here and in the MSRs and the VMCB, carry the C-bit where what lies there is under the host's key.
   * World switch into the guest until the next #VMEXIT, which the VMCB then describes. `registers` counts for nothing under SEV-ES.
   */
  vmrun(vmcb: Spa, registers: GuestRegisters): HostFault | null;
  /** FS, GS, TR, LDTR, KernelGSBase, STAR, LSTAR, CSTAR, SFMASK, SYSENTER_*: from the save area at `vmcb` + 400h. */
  vmload(vmcb: Spa): HostFault | null;
  /** The same registers to the save area at `vmcb` + 400h; with VM_HSAVE_PA that fills in type B state of the host save area. */
  vmsave(vmcb: Spa): HostFault | null;
  /**
   * What neither VMRUN nor VMLOAD loads for a guest without SEV-ES: x87, SSE and AVX state, XCR0, XSS, PKRU, TSC_AUX, debug registers. From a
   * page of the host's that has them at their offsets in a VMSA; what a host does by XRSTORS, XSETBV, WRPKRU, WRMSR and MOV to DRn.
   */
  loadRegisters(page: Spa): void;
  /** The same registers to that page, before another guest gets the processor. */
  storeRegisters(page: Spa): void;
  /** null: #GP. Known: EFER, SYSCFG, HWCR, VM_CR, VM_HSAVE_PA, SEV_STATUS; VM_PAGE_FLUSH to be written. */
  rdmsr(index: number): bigint | null;
  /** false: #GP, nothing is written. */
  wrmsr(index: number, value: bigint): boolean;
  /** Where caches are not coherent all lines go back to DRAM; where they are, only the AMD-SP notices, which wants it before DF_FLUSH. */
  wbinvd(): void;
  /** A physical interrupt after so many more retired instructions: the guest then leaves with INTR. Infinity: none. */
  setTimer(instructions: number): void;
  /** There is nothing to execute for so many instructions: time passes, and nothing is retired. */
  idle(instructions: number): void;
  readonly mailbox: Mailbox;
  /** Time since reset: instructions retired, and what it took to be idle. */
  readonly time: number;
  /** Instructions retired by this processor since reset. */
  readonly retired: number;
  /** Elements of repeated string instructions beyond the first of each, as far as they count in `retired`. */
  readonly elements: number;
}
