// The memory map of the box, as literals. System physical memory begins with what belongs to the host; guest RAM lies above
// it, so that a guest physical address is never by accident the system physical one.

import { gpa, spa, type Spa } from '../util/address.ts';

const MIB = 0x10_0000;

/** System physical memory. */
export const hostMap = {
  /** Pages that the hypervisor hands out: VMCB, host save area, permission maps, nested tables, VMSA, AMD-SP buffers. */
  pages: { start: spa(0x1000), end: spa(6 * MIB) },
  /** The AMD-SP's trusted memory region for SEV-ES: aligned to its size (publication 55766, INIT). */
  trustedMemory: { start: spa(8 * MIB), size: MIB },
  /** First byte of guest RAM; everything above it is the guest's. */
  guest: spa(16 * MIB) as Spa,
} as const;

/** Guest physical memory: RAM from 0 up to at most here; above it the devices have their place. */
export const guestMap = {
  least: 0x10_0000,
  most: 0xc000_0000,
  ram: gpa(0),
  ioApic: gpa(0xfec0_0000),
  dmaEngine: gpa(0xfeb0_0000),
  /** Virtio devices where they are not on the PCI bus: a page each. */
  virtioMmio: { start: gpa(0xfeb1_0000), step: 0x1000 },
  /** Base address registers of PCI functions begin here where no firmware chose places for them. */
  pciMemory: gpa(0xfe00_0000),
  /** Of machines without a hypervisor. */
  iommu: gpa(0xfeb8_0000),
  /** 64 KiB that are memory to guests that test device accesses, as QEMU's pc-testdev has them. */
  testMemory: { start: gpa(0xff00_0000), size: 0x1_0000 },
} as const;
