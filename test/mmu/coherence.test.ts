// TLBs, contexts and frames are caches: whatever is stored where and whatever is dropped when, an access gives what a walk
// from nothing would give.

import { describe, expect, it, vi } from 'vitest';
import { Cr0, Rflags, Cr4 } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import { bytesOf, counter, smallMemory } from '../memory/fixture.ts';
import { ALL, Bench, C, halves, NESTED, NESTED_SEV, P, RW, SEV, US } from './fixture.ts';

const PAGE = 4096;
const va = 0x40_0000n;

describe('a store into a table', () => {
  it('by the guest itself takes effect at once', () => {
    const bench = new Bench();
    const leaf = bench.map(va, 0x30_0000, ALL);
    bench.map(va + 0x1000n, leaf & ~0xfff, ALL); // the table maps itself
    bench.write(va, bytesOf(4));
    expect(bench.hits(va, 'write')).toBe(true);
    bench.write(va + 0x1000n + BigInt(leaf & 0xfff), new Uint8Array(8));
    expect(bench.hits(va, 'write') || bench.hits(va, 'read')).toBe(false);
    expect(bench.read(va)).toBe(null);
    expect(bench.fault()).toEqual([14, 0, va]);
  });

  it('kills only the page of a changed entry, and nothing where none was accessed', () => {
    const bench = new Bench();
    const leaf = bench.map(va, 0x30_0000, ALL);
    const other = bench.map(va + 0x1000n, 0x30_1000, ALL);
    const fresh = bench.map(va + 0x2000n, 0x30_2000, ALL);
    bench.read(va);
    bench.read(va + 0x1000n);
    bench.setEntry(fresh, 0, 0n);
    expect(bench.hits(va, 'read') && bench.hits(va + 0x1000n, 'read')).toBe(true);
    bench.setEntry(other, 0, 0n);
    expect([bench.hits(va, 'read'), bench.hits(va + 0x1000n, 'read')]).toEqual([true, false]);
    bench.setEntry(leaf, 0, 0x30_3000n | ALL);
    expect(bench.hits(va, 'read')).toBe(false);
  });

  it('on a higher level, by the host or under another key kills what came through it', () => {
    const stores: ((bench: Bench) => void)[] = [
      (bench) => bench.setEntry(0x10_0000, 1, 0n),
      (bench) => bench.setEntry(0x10_1000, 0, 0n),
      (bench) => bench.setEntry(0x10_2010, 2, 0n),
    ];
    for (const store of stores) {
      const bench = new Bench(SEV);
      bench.map(va, 0x30_0000, ALL | C);
      bench.write(va, bytesOf(4));
      store(bench);
      expect(bench.hits(va, 'write') || bench.hits(va, 'read')).toBe(false);
      expect(bench.read(va)).toBe(null);
    }
  });

  it('of the nested level kills translations and jump caches', () => {
    const bench = new Bench(NESTED);
    bench.nestRange(0x10_0000, 0x10_0000, 16 * PAGE);
    const entry = bench.nest(0x12_3000, 0x30_0000);
    bench.map(va, 0x12_3000, ALL);
    bench.write(va, bytesOf(4));
    const changed = vi.fn();
    bench.mmu.onFetchChange = changed;
    bench.setEntry(entry, 0, 0x31_0000n | ALL);
    expect(changed).toHaveBeenCalled();
    expect(bench.read(va, 4)).toEqual(new Uint8Array(4));
  });

  it('that nothing was fetched through leaves jump caches alone', () => {
    const bench = new Bench();
    const leaf = bench.map(va, 0x30_0000, ALL);
    const changed = vi.fn();
    bench.mmu.onFetchChange = changed;
    bench.read(va);
    bench.setEntry(leaf, 0, 0x31_0000n | ALL);
    expect(changed).not.toHaveBeenCalled();
    bench.fetch(va);
    bench.setEntry(leaf, 0, 0x30_0000n | ALL);
    expect(changed).toHaveBeenCalled();
  });

  it('happens at full speed again after many without a walk', () => {
    const bench = new Bench();
    const leaf = bench.map(va, 0x30_0000, ALL);
    bench.map(va + 0x20_0000n, leaf & ~0xfff, ALL);
    bench.read(va);
    for (let n = 100; n < 230; n++) bench.write(va + 0x20_0000n + BigInt(8 * n), new Uint8Array(8));
    expect(bench.hits(va + 0x20_0000n, 'write')).toBe(true);
    expect(bench.hits(va, 'read')).toBe(false);
    expect(bench.read(va)).not.toBe(null);
    expect(bench.hits(va + 0x20_0000n, 'write')).toBe(false);
  });
});

describe('a store to code', () => {
  it('reaches the owner for lines with code, and never takes the fast path', () => {
    const bench = new Bench();
    bench.map(va, 0x30_0000, ALL);
    bench.write(va, bytesOf(4));
    const owner = { onCodeStore: vi.fn(), onDrop: vi.fn() };
    bench.system.frames.codeOwner = owner;
    const frame = bench.fetch(va);
    bench.system.frames.watchCode(frame, 0x100, 0x40);
    expect(bench.hits(va, 'write')).toBe(false);
    for (let n = 0; n < 3; n++) bench.write(va + 0x800n, bytesOf(4));
    expect(bench.hits(va, 'write')).toBe(false);
    expect(owner.onCodeStore).not.toHaveBeenCalled();
    bench.write(va + 0x13fn, bytesOf(2));
    expect(owner.onCodeStore).toHaveBeenCalledWith(frame, 0x13f, 2);
    bench.system.frames.unwatchCode(frame);
    bench.write(va + 0x13fn, bytesOf(2));
    expect(owner.onCodeStore).toHaveBeenCalledTimes(1);
    expect(bench.hits(va, 'write')).toBe(true);
  });

  it('counts across a page border, and for accessed bits that a walk sets', () => {
    const bench = new Bench();
    const leaf = bench.map(va, 0x30_0000, ALL);
    bench.map(va + 0x1000n, 0x30_1000, ALL);
    const owner = { onCodeStore: vi.fn(), onDrop: vi.fn() };
    bench.system.frames.codeOwner = owner;
    const second = bench.fetch(va + 0x1000n);
    bench.system.frames.watchCode(second, 0, 4);
    bench.write(va + 0xffen, bytesOf(4));
    expect(owner.onCodeStore).toHaveBeenCalledWith(second, 0, 2);
    const table = bench.system.frames.view(Math.floor(leaf / PAGE), 0);
    bench.system.frames.watchCode(table, leaf & 0xfff, 1);
    bench.read(va);
    expect(owner.onCodeStore).toHaveBeenCalledTimes(2 - 1); // that bit was set by the store above
    bench.setEntry(leaf, 0, 0x30_0000n | ALL);
    owner.onCodeStore.mockClear();
    bench.read(va);
    expect(owner.onCodeStore).toHaveBeenCalledWith(table, leaf & 0xff8, 8);
  });
});

describe('contexts', () => {
  it('keep the classes apart and come back with their entries', () => {
    const bench = new Bench();
    bench.map(va, 0x30_0000, P | RW);
    bench.read(va);
    bench.u32(State.CPL, 3);
    expect(bench.hits(va, 'read')).toBe(false);
    bench.u32(State.CPL, 0);
    expect(bench.hits(va, 'read')).toBe(true);
  });

  it('keep address spaces apart, and are recycled', () => {
    const bench = new Bench();
    bench.map(va, 0x30_0000, ALL);
    bench.read(va);
    for (let n = 1; n < 40; n++) {
      bench.set(State.CR3, BigInt(0x10_0000 + n * 0x10_0000));
      expect(bench.hits(va, 'read')).toBe(false);
    }
    bench.set(State.CR3, 0x10_0000n);
    expect(bench.hits(va, 'read')).toBe(false);
    expect(bench.read(va)).not.toBe(null);
  });

  it('drop entries to a page that is mapped more than once when its frame goes', () => {
    const bench = new Bench();
    for (let n = 0n; n < 3n; n++) {
      bench.map(va + 0x1000n * n, 0x30_0000, ALL);
      bench.write(va + 0x1000n * n, bytesOf(4));
      expect(bench.hits(va + 0x1000n * n, 'write')).toBe(true);
    }
    bench.system.frames.view(0x300, 1); // another view: the dirty one is written back
    for (let n = 0n; n < 3n; n++) expect(bench.hits(va + 0x1000n * n, 'write')).toBe(false);
    bench.system.frames.own(0x300, 1);
    for (let n = 0n; n < 3n; n++) expect(bench.hits(va + 0x1000n * n, 'read')).toBe(false);
  });

  it('are void for the next machine in the same memory', () => {
    const memory = smallMemory();
    const first = new Bench(NESTED, memory);
    first.nestRange(0x10_0000, 0x10_0000, 16 * PAGE);
    first.nest(0x12_3000, 0x30_0000);
    first.map(va, 0x12_3000, ALL);
    first.write(va, bytesOf(4));
    const second = new Bench(NESTED, memory);
    expect(second.hits(va, 'read')).toBe(false);
    expect(second.read(va)).toBe(null);
    expect(second.exit()[0]).toBe(0x400);
  });
});

describe('any order of accesses, table changes, privilege changes and evictions', () => {
  it.each([
    ['plain', NESTED],
    ['SEV', NESTED_SEV],
  ] as const)('gives what a fresh walk gives: %s', (_, environment) => {
    const random = counter(7);
    const draw = (below: number): number => {
      const bytes = new Uint8Array(2);
      random(bytes);
      return (bytes[0]! | (bytes[1]! << 8)) % below;
    };
    const bench = new Bench(environment);
    bench.nestRange(0x10_0000, 0x10_0000, 16 * PAGE);
    const guest: number[] = [];
    const host: number[] = [];
    const page = (n: number): bigint => va + BigInt(n * PAGE);
    for (let n = 0; n < 8; n++) {
      guest.push(bench.map(page(n), 0x12_0000 + n * PAGE, ALL));
      host.push(bench.nest(0x12_0000 + n * PAGE, 0x30_0000 + n * PAGE));
    }
    bench.map(va + 0x20_0000n, guest[0]! & ~0xfff, ALL | C); // the guest's own way to its table
    if (!environment.sev) bench.map(va + 0x20_0000n, guest[0]! & ~0xfff, ALL);
    const large = bench.map(va + 0x60_0000n, 0, ALL, 2); // 2 MiB that contain the same pages
    const flags = [0n, P, P | RW, P | US, ALL, ALL, ALL, ALL];
    let successes = 0;
    for (let step = 0; step < 20_000; step++) {
      const n = draw(8);
      const leaf = BigInt(0x12_0000 + draw(8) * PAGE) | flags[draw(8)]! | (environment.sev && draw(2) === 1 ? C : 0n);
      const entry = new Uint8Array(BigUint64Array.of(leaf).buffer);
      switch (draw(12)) {
        case 0:
          bench.setEntry(guest[n]!, bench.tableKey, leaf);
          break;
        case 1:
          bench.write(va + 0x20_0000n + BigInt(guest[n]! & 0xfff), entry);
          bench.clearFaults();
          break;
        case 2:
          bench.setEntry(host[n]!, 0, BigInt(0x30_0000 + draw(8) * PAGE) | flags[draw(8)]!);
          break;
        case 3:
          bench.u32(State.CPL, draw(2) * 3);
          bench.set(State.CR4, BigInt(Cr4.PAE | (draw(2) === 1 ? Cr4.SMAP : 0)));
          bench.u32(State.RFLAGS, Rflags.ALWAYS_1 | (draw(2) === 1 ? Rflags.AC : 0));
          bench.set(State.CR0, BigInt(Cr0.PG + Cr0.PE + draw(2) * Cr0.WP));
          break;
        case 4:
          if (draw(50) === 0) bench.system.frames.evictAll();
          break;
        case 5:
          if (draw(20) === 0) bench.setEntry(large, bench.tableKey, flags[draw(8)]! | 0x80n | (environment.sev && draw(2) === 1 ? C : 0n));
          bench.system.frames.view(0x300 + draw(8), draw(3));
          break;
        default: {
          const at = (draw(3) === 0 ? va + 0x72_0000n + BigInt(n * PAGE) : page(n)) + BigInt(draw(PAGE));
          const size = 1 << draw(4);
          const write = draw(2) === 1;
          const access = (): unknown => {
            const address = write
              ? bench.mmu.store(bench.state, ...halves(at), size, 0)
              : bench.mmu.load(bench.state, ...halves(at), size, 0);
            const { pages, keys } = bench.system.frames.table;
            const frame = Math.floor((address - bench.memory.frames) / PAGE);
            const where =
              frame < 0 ? bench.memory.u8.slice(address, address + (write ? 0 : size)) : [pages[frame], keys[frame], address % PAGE];
            return [address === 0 ? 'fault' : where, bench.fault(), bench.exit()];
          };
          const outcome = access();
          // The same again, from nothing.
          bench.mmu.flush();
          bench.system.frames.evictAll();
          expect(access()).toEqual(outcome);
          successes += Array.isArray((outcome as unknown[])[0]) ? 1 : 0;
        }
      }
    }
    expect(successes).toBeGreaterThan(1000);
  });
});
