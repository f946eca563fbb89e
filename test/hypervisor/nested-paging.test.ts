import { describe, expect, it } from 'vitest';
import { memoryRegions } from '../../src/hypervisor/guest-memory.ts';
import { MemoryHeap } from '../../src/hypervisor/memory-heap.ts';
import { HostPages } from '../../src/hypervisor/host-pages.ts';
import { buildNestedTables, reservedEntry } from '../../src/hypervisor/nested-paging.ts';
import { type Spa, spa } from '../../src/util/address.ts';
import { FakeHost } from './fake-host.ts';

const AT = spa(0x100_0000);

/** Walks the tables by the manual: the leaf entry with the address in it, or the entry that ends the walk. */
function walk(host: FakeHost, nCr3: Spa, gpa: number): { entry: bigint; level: number; spa: number } {
  const view = new DataView(host.bytes.buffer);
  let table: number = nCr3;
  for (let level = 4; ; level--) {
    const span = 2 ** (12 + 9 * (level - 1));
    const entry = view.getBigUint64(table + 8 * (Math.floor(gpa / span) % 512), true);
    const leaf = level === 1 || (entry & 0x80n) !== 0n;
    if ((entry & 1n) === 0n || leaf || entry >> 44n !== 0n) return { entry, level, spa: Number(entry & 0xf_ffff_f000n) + (gpa % span) };
    table = Number(entry & 0xf_ffff_f000n);
  }
}

const pagesOf = (host: FakeHost): HostPages => {
  const heap = new MemoryHeap();
  heap.give(0x1000, 0x60_0000);
  return new HostPages(host.memory, heap);
};

describe('nested page tables', () => {
  it.each([0x10_0000, 0x20_0000, 0x2ff_3000, 0x400_0000])('map RAM of %i bytes and nothing else', (size) => {
    const host = new FakeHost();
    const root = buildNestedTables(host.memory, pagesOf(host), memoryRegions({ size, at: AT }, null), 0n);
    for (const gpa of [0, 0xfff, size >> 1, size - 1]) {
      const { entry, spa: at } = walk(host, root, gpa);
      expect(entry & 7n).toBe(7n);
      expect(at).toBe(AT + gpa);
    }
    for (const gpa of [size, size + 0x1000, 0xfee0_0000, 2 ** 40, 2 ** 47]) expect(walk(host, root, gpa).entry).toBe(0n);
  });

  it('of SEV-ES guests have reserved bits for everything outside of RAM', () => {
    const host = new FakeHost();
    const trap = reservedEntry(44, 51);
    expect(trap).toBe(0x7_f000_0000_0027n);
    const root = buildNestedTables(host.memory, pagesOf(host), memoryRegions({ size: 0x10_0000, at: AT }, null), trap);
    for (const gpa of [0x10_0000, 0x1f_f000, 0x20_0000, 0xfee0_0000, 2 ** 40, 2 ** 47]) expect(walk(host, root, gpa).entry).toBe(trap);
    expect(walk(host, root, 0xf_f000).spa).toBe(AT + 0xf_f000);
  });

  it('have no such entry on a processor that uses every bit', () => {
    expect(reservedEntry(52, 51)).toBe(0n);
    expect(reservedEntry(51, 51)).toBe(0n);
    expect(reservedEntry(43, 47) & (1n << 47n)).toBe(0n);
  });
});
