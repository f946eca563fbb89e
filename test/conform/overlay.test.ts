// A disk of a judged guest: it is as writable as the one below, which keeps what it has.

import { describe, expect, it } from 'vitest';
import { Overlay } from '../../src/conform/overlay.ts';
import { memoryDisk } from '../../src/cbit.ts';

const SIZE = 0x2a00; // two blocks and a half
const below = Uint8Array.from({ length: SIZE }, (_, n) => n % 251);

describe('an overlay', () => {
  it('reads what is below, and what was written over it, across blocks', () => {
    const kept = below.slice();
    const disk = new Overlay(memoryDisk(kept));
    const expected = below.slice();
    for (const [offset, length] of [
      [0xe00, 0x400],
      [0x1000, 0x200],
      [0x2600, 0x400],
    ] as const) {
      const bytes = new Uint8Array(length).fill(offset >> 8);
      expect(disk.write(offset, bytes)).toBe(true);
      expected.set(bytes, offset);
    }
    const found = new Uint8Array(SIZE);
    expect(disk.read(0, found)).toBe(true);
    expect(found).toEqual(expected);
    expect(kept).toEqual(below);
    expect(disk).toMatchObject({ size: SIZE, readOnly: false });
    expect(disk.flush()).toBe(true);
  });

  it('fails where the disk below does', () => {
    const broken = { size: SIZE, readOnly: false, read: () => false, write: () => false, flush: () => false };
    const disk = new Overlay(broken);
    expect(disk.read(0, new Uint8Array(512))).toBe(false);
    expect(disk.write(0, new Uint8Array(512))).toBe(false);
    expect(disk.write(0, new Uint8Array(4096))).toBe(false);
  });
});
