import { expect, it } from 'vitest';
import { EVICTION_INTERVAL, Evictions } from '../../src/memory/evictions.ts';
import { Frames } from '../../src/memory/frames.ts';
import { bytesOf, decryptXe, KEYS, memorySystem } from './fixture.ts';

const PAGE = 4096;

function scene(coherent: boolean) {
  const { memory, dram, encryption } = memorySystem();
  const frames = new Frames(memory, dram, encryption, coherent);
  const draws = [200, 0b101, 0];
  return { frames, dram, evictions: new Evictions(frames, () => draws.shift() ?? 0) };
}

it('chance writes lines back at fixed numbers of instructions, of the next page that is cached', () => {
  const { frames, dram, evictions } = scene(false);
  frames.write(3 * PAGE, 1, bytesOf(PAGE));
  expect(evictions.advance(EVICTION_INTERVAL - 1)).toBe(1);
  expect(dram.peek(3)).toBeUndefined();
  expect(evictions.advance(EVICTION_INTERVAL)).toBe(EVICTION_INTERVAL);
  const plain = decryptXe(KEYS[1]!, 3 * PAGE, dram.peek(3)!);
  const written = [0, 1, 2, 3].map(
    (line) => Buffer.compare(plain.subarray(64 * line, 64 * line + 64), bytesOf(PAGE).subarray(64 * line, 64 * line + 64)) === 0,
  );
  expect(written).toEqual([true, false, true, false]);
  const seen = new Uint8Array(PAGE);
  frames.read(3 * PAGE, 1, seen);
  expect(seen).toEqual(bytesOf(PAGE));
});

it('a line that leaves a page with two views is fetched anew', () => {
  const { frames, evictions } = scene(false);
  frames.write(3 * PAGE, 1, bytesOf(64));
  const seen = new Uint8Array(64);
  frames.read(3 * PAGE, 0, seen);
  evictions.advance(EVICTION_INTERVAL);
  frames.read(3 * PAGE, 0, seen);
  expect(decryptXe(KEYS[1]!, 3 * PAGE, seen)).toEqual(bytesOf(64));
});

it('where views are coherent nothing happens', () => {
  const { frames, dram, evictions } = scene(true);
  frames.write(3 * PAGE, 1, bytesOf(64));
  evictions.advance(3 * EVICTION_INTERVAL);
  expect(dram.peek(3)).toBeUndefined();
});
