// Under which key a page was last written, and looking on: for reports, which must not disturb.

import { describe, expect, it } from 'vitest';
import { PAGE_SIZE } from '../../src/util/address.ts';
import { memorySystem } from './fixture.ts';

const one = Uint8Array.of(1);
const page = (): Uint8Array => new Uint8Array(PAGE_SIZE);

describe('the key a page was last written under', () => {
  it('is none until somebody writes it; reading changes nothing', () => {
    const { frames } = memorySystem();
    frames.read(3 * PAGE_SIZE, 1, page());
    expect(frames.writtenUnder(3)).toBeNull();
    frames.write(4 * PAGE_SIZE, 1, one);
    expect([frames.writtenUnder(3), frames.writtenUnder(4)]).toEqual([null, 1]);
  });

  it('is the same before and after caches write back', () => {
    const { frames, dram } = memorySystem();
    frames.write(4 * PAGE_SIZE, 1, one);
    expect(dram.writtenUnder(4)).toBeNull();
    frames.flush();
    expect([dram.writtenUnder(4), dram.writtenUnder(5), frames.writtenUnder(4)]).toEqual([1, null, 1]);
    frames.evictAll();
    expect(frames.writtenUnder(4)).toBe(1);
  });

  it('is that of the last writer, whoever reads since', () => {
    const { frames } = memorySystem();
    frames.write(4 * PAGE_SIZE, 1, one);
    frames.write(4 * PAGE_SIZE + 100, 0, one);
    frames.read(4 * PAGE_SIZE, 2, page());
    expect(frames.writtenUnder(4)).toBe(0);
  });
});

describe('looking on', () => {
  it('sees what the chips would hold, and leaves the view in the cache dirty and alone', () => {
    const { frames, dram } = memorySystem();
    frames.write(4 * PAGE_SIZE, 1, one);
    const [seen, cached] = [page(), page()];
    frames.look(4, seen);
    expect(dram.peek(4)).toBeUndefined();
    expect([frames.cached(4, 1, cached), frames.cached(4, 2, page())]).toEqual([true, false]);
    expect(cached[0]).toBe(1);
    frames.flush();
    expect(dram.peek(4)).toEqual(seen);
  });
});
