// What a hostile guest can make the label reader remember: bytes that nobody takes, instructions that store them, unions of origins.

import { serialize } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { Origins } from '../../src/taint/origins.ts';
import { type Leak, Shares } from '../../src/taint/shares.ts';

const leak = (rip: number, at = 0): Leak => ({ rip: BigInt(rip), exit: '', at });
function judged(shares: Shares, page: number): string[] {
  const found: string[] = [];
  shares.judge(page, ({ rip, at }, offset, length) => found.push(`${rip} (${at}): ${offset}+${length}`));
  return found;
}

describe('private bytes in shared pages', () => {
  it('are told by stretches that one instruction stored', () => {
    const shares = new Shares();
    shares.store(7, 0, 8, 0xff, () => leak(1));
    shares.store(7, 8, 8, 0xff, () => leak(1));
    shares.store(7, 16, 8, 0b0000_0110, () => leak(2));
    shares.store(7, 4088, 8, 0x80, () => leak(1));
    expect(judged(shares, 7)).toEqual(['1 (0): 0+16', '2 (0): 17+2', '1 (0): 4095+1']);
    expect(shares.has(7)).toBe(false);
  });

  it('are harmless once something else was stored there, or somebody has taken them', () => {
    const shares = new Shares();
    shares.store(7, 0, 8, 0xff, () => leak(1));
    shares.store(7, 0, 4, 0, () => leak(1));
    shares.taken(7, 6, 100);
    expect(judged(shares, 7)).toEqual(['1 (0): 4+2']);
    shares.store(8, 0, 2, 0b11, () => leak(1));
    shares.taken(8, 0, 2);
    expect(shares.pages()).toEqual([]);
  });

  it('may be stored again by an instruction whose last byte goes with the same store', () => {
    const shares = new Shares();
    shares.store(7, 0, 1, 1, () => leak(1));
    shares.store(7, 0, 2, 0b10, () => leak(1));
    expect(judged(shares, 7)).toEqual(['1 (0): 1+1']);
  });

  it('have the time of the first that is still there', () => {
    const shares = new Shares();
    shares.store(7, 0, 1, 1, () => leak(1, 10));
    shares.taken(7, 0, 1);
    shares.store(7, 0, 1, 1, () => leak(1, 20));
    shares.store(7, 1, 1, 1, () => leak(1, 30));
    expect(judged(shares, 7)).toEqual(['1 (20): 0+2']);
  });

  it('are a few bytes each, however many there are and whoever stores them', () => {
    const shares = new Shares();
    const pages = 256;
    for (let page = 0; page < pages; page++)
      for (let offset = 0; offset < 4096; offset += 8) shares.store(page, offset, 8, 0xff, () => leak(page * 512 + offset));
    expect(serialize(shares.capture()).length).toBeLessThan(pages * 4096 * 2 + 65_535 * 100);
    for (const page of shares.pages()) shares.taken(page, 0, 4096);
    expect(serialize(shares.capture()).length).toBeLessThan(100);
  });

  it('go back with a snapshot', () => {
    const shares = new Shares();
    shares.store(7, 0, 8, 0xff, () => leak(1));
    shares.store(8, 0, 8, 0xff, () => leak(2));
    shares.taken(8, 0, 8);
    const before = shares.capture();
    shares.store(7, 4, 8, 0xff, () => leak(3));
    expect(judged(shares, 7)).toEqual(['1 (0): 0+4', '3 (0): 4+8']);
    shares.restore(before);
    shares.store(7, 4, 8, 0xff, () => leak(3));
    expect(judged(shares, 7)).toEqual(['1 (0): 0+4', '3 (0): 4+8']);
  });
});

describe('unions of origins', () => {
  const MOST = 1 << 18;

  it('are forgotten when there are too many', () => {
    const origins = new Origins();
    const many = Array.from({ length: 64 }, () => origins.add(1n, 'x')).reduce((a, b) => origins.union(a, b));
    const sets = Array.from({ length: 32 }, () => origins.union(origins.add(1n, 'y'), many));
    const others = Array.from({ length: 10_000 }, () => origins.add(2n, 'z'));
    // Each set is full, so that none of these is a new one.
    for (const set of sets) for (const other of others) origins.union(set, other);
    expect(origins.capture().unions.size).toBeLessThanOrEqual(MOST);
  });

  it('are numbered alike behind a snapshot', () => {
    const origins = new Origins();
    const [a, b] = [origins.add(1n, 'a'), origins.add(2n, 'b')];
    const known = origins.union(a, b);
    const before = origins.capture();
    const next = origins.add(3n, 'c');
    origins.restore(before);
    expect(origins.union(a, b)).toBe(known);
    expect(origins.add(3n, 'c')).toBe(next);
  });
});
