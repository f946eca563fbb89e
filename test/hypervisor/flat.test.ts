import { describe, expect, it } from 'vitest';
import { readFlat } from '../../src/hypervisor/images/flat.ts';

const MEMORY = 64 << 20;
const read = (bytes: readonly number[], placement = {}) => readFlat('flat.bin', new Uint8Array(bytes), MEMORY, placement);

describe('flat binaries', () => {
  it.each([
    [64, 0x10_0000],
    [32, 0x10_0000],
    [16, 0x7c00],
  ] as const)('in mode %i go to %i unless --load says otherwise', (mode, load) => {
    expect(read([0xf4], { mode })).toMatchObject({ mode, entry: load, segments: [{ start: load, size: 1 }] });
  });

  it('are entered at --entry', () => {
    expect(read([0x90, 0xf4], { load: 0x8000, entry: 0x8001 }).entry).toBe(0x8001);
  });

  it.each([
    [[], {}, /empty/],
    [[0xf4], { load: MEMORY }, /outside/],
    [[0xf4], { load: Number.MAX_SAFE_INTEGER }, /outside/],
    [[0xf4], { load: -1 }, /--load/],
    [[0xf4], { load: Number.NaN }, /--load/],
    [[0xf4], { entry: 0x10_0001 }, /--entry/],
    [[0xf4], { entry: Number.NaN }, /--entry/],
    [[0xf4], { mode: 16, load: 0x10_0000 }, /--mode 16/],
  ] as const)('%j with %j are refused', (bytes, placement, says) => {
    expect(() => read(bytes, placement)).toThrow(says);
  });
});
