import { describe, expect, it } from 'vitest';
import { RandomSource } from '../../src/util/random.ts';

describe('the seeded source', () => {
  it('gives the same bytes for the same seed and purpose, and others for others', () => {
    const bytes = (seed: string, purpose: string) => new RandomSource(seed).stream(purpose).bytes(5000);
    expect(bytes('1', 'keys')).toEqual(bytes('1', 'keys'));
    expect(bytes('1', 'keys')).not.toEqual(bytes('2', 'keys'));
    expect(bytes('1', 'keys')).not.toEqual(bytes('1', 'nonces'));
    expect(bytes('1k', 'eys')).not.toEqual(bytes('1', 'keys'));
  });

  it('goes on from a position that was kept', () => {
    const stream = new RandomSource('7').stream('test');
    for (const skip of [0, 3, 1021, 1024, 2048, 2500]) {
      const from = new RandomSource('7').stream('test');
      from.bytes(skip);
      stream.position = from.position;
      expect(stream.bytes(3000)).toEqual(from.bytes(3000));
    }
  });

  it('draws below a limit', () => {
    const stream = new RandomSource('x').stream('dice');
    const seen = new Set(Array.from({ length: 200 }, () => stream.below(6)));
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(stream.below(1)).toBe(0);
  });
});
