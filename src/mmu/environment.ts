// What decides the meaning of a guest's tables besides its own registers: set by VMRUN, constant until the next one.
// APM vol. 2, 15.25 (nested paging), 15.34.4-15.34.8 (encryption).

import type { Spa } from '../util/address.ts';

export type Environment = {
  /** Nested paging is on; without it guest physical addresses are system physical ones. */
  readonly nested: boolean;
  readonly nCr3: Spa;
  readonly asid: number;
  /** SEV is active: fetches, walks and C-bit data go under `guestKey`. */
  readonly sev: boolean;
  /** Key slot of the ASID while SEV is active, else 0. */
  readonly guestKey: number;
  /** Transparent encryption of a SEV guest (15.34.11): its data goes under `guestKey` whatever the C-bit says. */
  readonly vte: boolean;
  /** Key slot that the C-bit of a system physical address selects; 0 while SYSCFG.MemEncryptionModEn is clear: then it is an address bit. */
  readonly hostKey: number;
  /** Position of the C-bit, 32 or more; -1 where the processor has none. */
  readonly cBit: number;
  /**
   * Width of the addresses in guest tables: under nested paging not subject to the host's reduction (CPUID 8000_0008 EAX as the guest
   * may use it), without it the same as `hostPhysicalBits`.
   */
  readonly guestPhysicalBits: number;
  /** Width of the addresses in nested tables: the processor's, reduced while memory encryption is enabled. */
  readonly hostPhysicalBits: number;
  /** The host's EFER.NXE: without it, bit 63 of a nested entry is reserved. */
  readonly hostNx: boolean;
};

/** No SVM guest: tables translate to system physical addresses, no key: as after reset. */
export const BARE: Environment = {
  nested: false,
  nCr3: 0 as Spa,
  asid: 0,
  sev: false,
  guestKey: 0,
  vte: false,
  hostKey: 0,
  cBit: -1,
  guestPhysicalBits: 48,
  hostPhysicalBits: 48,
  hostNx: true,
};

export function sameEnvironment(a: Environment, b: Environment): boolean {
  return (
    a.nested === b.nested &&
    a.nCr3 === b.nCr3 &&
    a.asid === b.asid &&
    a.sev === b.sev &&
    a.guestKey === b.guestKey &&
    a.vte === b.vte &&
    a.hostKey === b.hostKey &&
    a.cBit === b.cBit &&
    a.guestPhysicalBits === b.guestPhysicalBits &&
    a.hostPhysicalBits === b.hostPhysicalBits &&
    a.hostNx === b.hostNx
  );
}

/** The C-bit in the high half of a system physical address or of a host's entry, 0 while it is none. */
export const hostCMask = ({ hostKey, cBit }: Environment): number => (hostKey !== 0 && cBit >= 32 ? 1 << (cBit - 32) : 0);

/** Bits 31:0 are address bits 63:32 of an entry: those that a width of `bits` leaves for addresses. */
export const highAddressMask = (bits: number): number => (bits >= 52 ? 0xf_ffff : bits <= 32 ? 0 : (1 << (bits - 32)) - 1);
