// What the AMD-SP needs from the box that it sits in; the machine hands it in. No CPU is among it.

import type { Asids } from '../src/sev/asid-ownership.ts';
import type { PhysicalAddresses } from '../src/sev/physical-addresses.ts';
import type { TrustedMemory } from '../src/sev/trusted-memory.ts';
import type { Spa } from '../src/util/address.ts';

/** System physical memory as the AMD-SP reaches it: under any key slot (0: no key), and through the fence of the trusted memory region. */
export interface AspMemory {
  /** Bytes of DRAM. */
  readonly size: number;
  read(address: Spa, slot: number, into: Uint8Array): void;
  write(address: Spa, slot: number, from: Uint8Array): void;
  /** From now on only the AMD-SP and microcode reach these bytes (whole pages). */
  fence(start: Spa, length: number): void;
  unfence(start: Spa, length: number): void;
}

/** The key registers of the memory controller; slot = ASID. A key goes in and never comes out. */
export interface KeySlots {
  setKey(slot: number, key: Uint8Array | null): void;
}

export type AspPorts = {
  readonly memory: AspMemory;
  readonly keys: KeySlots;
  readonly asids: Asids;
  readonly trustedMemory: TrustedMemory;
  /** Fills bytes from the machine's seeded source: memory keys and nonces. */
  readonly random: (into: Uint8Array) => void;
  /** SYSCFG of the processors, low half: INIT wants bit 23 (MemEncryptionModEn) and looks at bit 24 (SecureNestedPagingEn). */
  readonly syscfg: () => number;
  /** What an address in a command means: it may carry the C-bit. Asked for when a command comes. */
  readonly addresses: () => Pick<PhysicalAddresses, 'place' | 'key'>;
};
