// Nested page tables in host memory: guest physical to system physical (APM vol. 2, 15.25). Memory is mapped in 2 MiB pages where it
// can be, else in 4 KiB ones; ROM is read-only. Everything else is the devices' place: not present for guests whose instructions the hypervisor can
// read, so that an access leaves as a nested page fault; for SEV-ES guests present with reserved bits, which makes the access a
// #VC 400h in the guest (15.35.4; GHCB specification 4.1.5).

import { PAGE_SIZE, type Spa } from '../util/address.ts';
import type { HostMemory } from '../svm/host-processor.ts';
import type { MemoryRegion } from './guest-memory.ts';
import type { HostPages } from './host-pages.ts';

const Pte = { P: 1n << 0n, RW: 1n << 1n, US: 1n << 2n, A: 1n << 5n, D: 1n << 6n, PS: 1n << 7n } as const;
const TABLE = Pte.P | Pte.RW | Pte.US | Pte.A;
const LEAF = TABLE | Pte.D;
const ENTRIES = 512;
const LEVEL = [4096, 4096 * 512, 4096 * 512 * 512, 4096 * 512 * 512 * 512] as const;

/**
 * Builds the tables for regions in ascending order; gives the place of the first. `trap`: what stands in entries outside of memory; `cMask`: the
 * C-bit where the host encrypts its memory and that of guests (SME), which tables and entries then have throughout, as KVM's.
 */
export function buildNestedTables(memory: HostMemory, pages: HostPages, regions: readonly MemoryRegion[], trap: bigint, cMask = 0n): Spa {
  const table = (level: 1 | 2 | 3 | 4, base: number): Spa => {
    const at = pages.take();
    const port = memory.page(at);
    const span = LEVEL[level - 1] ?? PAGE_SIZE;
    for (let i = 0; i < ENTRIES; i++) {
      const start = base + i * span;
      const region = regions.find((found) => start < found.start + found.size && found.start < start + span);
      let entry = trap;
      if (region !== undefined) {
        const target = region.at + (start - region.start);
        const whole = start >= region.start && start + span <= region.start + region.size;
        const leaf = region.writable ? LEAF : LEAF & ~Pte.RW;
        if (level === 1) entry = BigInt(target) | leaf | cMask;
        else if (level === 2 && whole && target % span === 0) entry = BigInt(target) | leaf | Pte.PS | cMask;
        else entry = BigInt(table((level - 1) as 1 | 2 | 3, start)) | TABLE | cMask;
      }
      if (entry !== 0n) port.setU64(8 * i, entry);
    }
    return at;
  };
  return table(4, 0);
}

/**
 * An entry that is present and has reserved bits: the physical address bits that the processor lacks, without the C-bit.
 * `width`: physical address bits after reduction. 0n if the processor has none to spare.
 */
export function reservedEntry(width: number, cBit: number): bigint {
  let bits = 0n;
  for (let bit = width; bit < 52; bit++) if (bit !== cBit) bits |= 1n << BigInt(bit);
  return bits === 0n ? 0n : bits | TABLE;
}
