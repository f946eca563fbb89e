// The second implementation against published vectors, so that it may judge the first.

import { describe, expect, it } from 'vitest';
import {
  decryptMemory,
  encryptMemory,
  launchDigest,
  measureLaunch,
  publishedTweak,
  tweakOf,
  vmsaIntegrityValue,
} from './second-implementation.ts';

const key = Uint8Array.from({ length: 16 }, (_, i) => i);
const zeros = new Uint8Array(16);

describe('the second implementation', () => {
  it.each([
    [0x0, '00000000', 'c6a13b37878f5b826f4f8162a1c8d879', 'c6a13b37878f5b826f4f8162a1c8d879'],
    [0x10, '82253838', '4fe50171829ed1d549b684b82f48d57b', 'cdc0394900bbe9edcb93bc80ad6ded43'],
    [0x1230, '6eaebda6', 'e30f7cd8c07a553d279806c691441cbc', '8da1c17eaed4e89b4936bb60ffeaa11a'],
    [0x1234_5670, 'e44661d5', 'd52d4e16d5d81bd7a489a618c1e40be6', '316b2fc3319e7a0240cfc7cd25a26a33'],
  ])('encrypts memory at %i as Zen 1 does', (address, tweak, xe, xex) => {
    expect(tweakOf(address, publishedTweak).toString('hex')).toBe(tweak.repeat(4));
    for (const [mode, expected] of [
      ['xe', xe],
      ['xex', xex],
    ] as const) {
      const cipher = { mode, constants: publishedTweak };
      const ciphertext = encryptMemory(cipher, key, address, zeros);
      expect(ciphertext.toString('hex')).toBe(expected);
      expect(decryptMemory(cipher, key, address, ciphertext)).toEqual(Buffer.from(zeros));
    }
  });

  it('measures a launch', () => {
    const digest = launchDigest(new Uint8Array(4096));
    const nonce = Uint8Array.from({ length: 16 }, (_, i) => 0x40 + i);
    const tik = Uint8Array.from({ length: 16 }, (_, i) => 0x20 + i);
    expect(measureLaunch([1, 55, 21], 0x1_0001, digest, nonce, tik).toString('hex')).toBe(
      '93d84fbad24d26fa6017de5d629f978b3afe6ed0147b44590531b6910de86094',
    );
  });

  it('computes the integrity value of a VMSA', () => {
    expect(vmsaIntegrityValue(new Uint8Array(4096)).toString(16)).toBe('74887af2b7a19c8f');
    expect(vmsaIntegrityValue(Uint8Array.from({ length: 4096 }, (_, i) => 7 * i + 3)).toString(16)).toBe('331e072c1a76d748');
  });
});
