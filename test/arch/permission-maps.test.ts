import { expect, it } from 'vitest';
import { iopmByte, iopmMask, msrpmBit, msrpmRanges } from '../../src/arch/permission-maps.ts';

it('an MSR has two bits in one of three ranges of the map', () => {
  expect(msrpmBit(0)).toBe(0);
  expect(msrpmBit(0x1fff)).toBe(0x3ffe);
  expect(msrpmBit(0x2000)).toBe(-1);
  for (const { first, offset } of msrpmRanges) {
    expect(msrpmBit(first)).toBe(8 * offset);
    expect(msrpmBit(first + 0x1fff)).toBe(8 * offset + 0x3ffe);
    expect(msrpmBit((first + 0x2000) | 0)).toBe(-1);
  }
  expect(msrpmBit(0xc000_0080)).toBe(8 * 0x800 + 0x100);
  expect(msrpmBit(0xc001_0130 | 0)).toBe(8 * 0x1000 + 0x260);
  expect(msrpmBit(0xffff_ffff)).toBe(-1);
});

it('an access tests one bit for each port that it touches', () => {
  expect([iopmByte(0x3f8), iopmMask(0x3f8, 1)]).toEqual([0x7f, 1]);
  expect([iopmByte(0xcfe), iopmMask(0xcfe, 4)]).toEqual([0x19f, 0x3c0]);
  expect([iopmByte(0xffff), iopmMask(0xffff, 4)]).toEqual([0x1fff, 0x780]);
});
