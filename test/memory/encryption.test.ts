import { describe, expect, it } from 'vitest';
import { nobleAes } from '../../src/memory/aes-noble.ts';
import { bytesOf, counter, decryptXe, encryptXe, engine, KEYS, LATER_BOARDS, MILAN, NAPLES } from './fixture.ts';
import { EncryptionEngine, type Tweak } from '../../src/memory/encryption.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('memory encryption', () => {
  it.each([
    [0x0, 'c6a13b37878f5b826f4f8162a1c8d879', 'c6a13b37878f5b826f4f8162a1c8d879'],
    [0x10, '4fe50171829ed1d549b684b82f48d57b', 'cdc0394900bbe9edcb93bc80ad6ded43'],
    [0x1230, 'e30f7cd8c07a553d279806c691441cbc', '8da1c17eaed4e89b4936bb60ffeaa11a'],
    [0x1234_5670, 'd52d4e16d5d81bd7a489a618c1e40be6', '316b2fc3319e7a0240cfc7cd25a26a33'],
  ])('of a zero block at %s is the published vector under XE and XEX', (address, xe, xex) => {
    for (const [tweak, expected] of [
      [NAPLES, xe],
      [LATER_BOARDS, xex],
    ] as const) {
      const block = new Uint8Array(16);
      const encryption = engine(tweak);
      encryption.encrypt(1, address, block);
      expect(hex(block)).toBe(expected);
      encryption.decrypt(1, address, block);
      expect(hex(block)).toBe('00'.repeat(16));
    }
  });

  it('agrees with a second implementation over ranges that cross pages', () => {
    const encryption = engine();
    const plain = bytesOf(3 * 4096 + 32);
    const bytes = plain.slice();
    encryption.encrypt(2, 0x7_0ff0, bytes);
    expect(hex(bytes)).toBe(hex(encryptXe(KEYS[2]!, 0x7_0ff0, plain)));
    expect(hex(decryptXe(KEYS[2]!, 0x7_0ff0, bytes))).toBe(hex(plain));
  });

  it('with drawn constants differs at every address, key and seed, and every address bit counts', () => {
    const block = (seed: number, slot: number, address: number): string => {
      const encryption = new EncryptionEngine(nobleAes, 4, MILAN, counter(seed));
      encryption.setKey(1, KEYS[1]!);
      encryption.setKey(2, KEYS[2]!);
      const bytes = new Uint8Array(16);
      encryption.encrypt(slot, address, bytes);
      return hex(bytes);
    };
    const all = [block(1, 1, 0x1000), block(1, 2, 0x1000), block(2, 1, 0x1000)];
    for (let bit = 4; bit < 43; bit++) all.push(block(1, 1, 0x1000 + 2 ** (bit === 12 ? 50 : bit)));
    expect(new Set(all).size).toBe(all.length);
  });

  it("has the host's key in a slot that no firmware command reaches, drawn apart from all others", () => {
    const drawn = counter(9);
    const key = new Uint8Array(16);
    counter(9)(key);
    const encryption = new EncryptionEngine(nobleAes, 16, NAPLES, counter(), { random: drawn, transparent: false });
    expect(encryption.hostKey).toBe(16);
    expect(() => encryption.setKey(encryption.hostKey, KEYS[1]!)).toThrow('no such key slot');
    const bytes = bytesOf(64);
    encryption.encrypt(encryption.hostKey, 0x1230, bytes);
    expect(hex(bytes)).toBe(hex(encryptXe(key, 0x1230, bytesOf(64))));
    const plain = bytesOf(64);
    encryption.encrypt(0, 0x1230, plain);
    expect(plain).toEqual(bytesOf(64));
  });

  it('under transparent SME encrypts with the key of the host what has none, and guests with their own', () => {
    const random = counter(9);
    const encryption = new EncryptionEngine(nobleAes, 16, NAPLES, counter(), { random, transparent: true });
    encryption.setKey(1, KEYS[1]!);
    const under = (slot: number): string => {
      const bytes = bytesOf(64);
      encryption.encrypt(slot, 0x1230, bytes);
      return hex(bytes);
    };
    expect(under(0)).toBe(under(encryption.hostKey));
    expect(under(0)).not.toBe(hex(bytesOf(64)));
    expect(under(1)).toBe(hex(encryptXe(KEYS[1]!, 0x1230, bytesOf(64))));
    const bytes = bytesOf(64);
    encryption.encrypt(0, 0x1230, bytes);
    encryption.decrypt(0, 0x1230, bytes);
    expect(bytes).toEqual(bytesOf(64));
  });

  it('uses no key in slot 0 and an unknown one in a slot never written', () => {
    const encryption = engine();
    const bytes = bytesOf(64);
    encryption.encrypt(0, 0, bytes);
    expect(bytes).toEqual(bytesOf(64));
    encryption.encrypt(7, 0, bytes);
    expect(bytes).not.toEqual(bytesOf(64));
    encryption.decrypt(7, 0, bytes);
    expect(bytes).toEqual(bytesOf(64));
  });

  describe('of a ciphertext block that the host moves', () => {
    const [from, to] = [0x1230, 0x1234_5670];
    const message = bytesOf(16);
    const combined = (...parts: Uint8Array[]): Uint8Array => message.map((_, i) => parts.reduce((sum, part) => sum ^ part[i]!, 0));
    /** T of an address: under XE, what the encryption of a block at 0 and of the same block at the address differ by before AES. */
    const tweak = (address: number): Uint8Array => {
      const block = new Uint8Array(16);
      const xe = engine(NAPLES);
      xe.encrypt(1, address, block);
      xe.decrypt(1, 0, block);
      return block;
    };
    const moved = (tweaks: Tweak, correction: Uint8Array): Uint8Array => {
      const encryption = engine(tweaks);
      const block = message.slice();
      encryption.encrypt(1, from, block);
      const arrived = combined(block, correction);
      encryption.decrypt(1, to, arrived);
      return arrived;
    };
    const nothing = new Uint8Array(16);

    it('XE makes the message combined with both tweaks, which are known', () => {
      expect(moved(NAPLES, nothing)).toEqual(combined(message, tweak(from), tweak(to)));
    });

    it('XEX makes noise, unless it is combined with both tweaks on the way', () => {
      const expected = combined(message, tweak(from), tweak(to));
      expect(moved(LATER_BOARDS, nothing)).not.toEqual(expected);
      expect(moved(LATER_BOARDS, combined(tweak(from), tweak(to)))).toEqual(expected);
    });

    it('with constants drawn at reset it is noise with the published ones, too', () => {
      const expected = combined(message, tweak(from), tweak(to));
      for (const correction of [nothing, combined(tweak(from), tweak(to))]) {
        expect(moved(MILAN, correction)).not.toEqual(expected);
        expect(moved(MILAN, correction)).not.toEqual(message);
      }
    });

    it('put back where it was it is the message again, on all: there is no freshness', () => {
      for (const tweaks of [NAPLES, LATER_BOARDS, MILAN]) {
        const encryption = engine(tweaks);
        const block = message.slice();
        encryption.encrypt(1, from, block);
        encryption.decrypt(1, from, block);
        expect(block).toEqual(message);
      }
    });
  });
});
