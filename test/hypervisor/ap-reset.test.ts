import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { apResetAddress } from '../../src/hypervisor/ap-reset.ts';
import { planRom } from '../../src/hypervisor/boot-rom.ts';
import { romPath, root } from '../../tools/guest-manifest.ts';

const RESET_BLOCK = 'de71f7007e1acb4f890e68c77e2fb44e';
const FOOTER = 'de82b596b21ff745baeaa366c55a082d';
const SECRETS = '61b32e4c9b7dc34c8081127c90d3d294';

type Entry = { readonly guid: string; readonly data: readonly number[]; readonly length?: number };

/** A ROM of 4 KiB with a table before its last 32 bytes, entries in ascending address. */
function rom(entries: readonly Entry[], total?: number): Uint8Array {
  const encode = (data: readonly number[], length: number, guid: string): Buffer =>
    Buffer.concat([Buffer.from(data), Buffer.of(length & 0xff, length >>> 8), Buffer.from(guid, 'hex')]);
  const parts = entries.map(({ guid, data, length }) => encode(data, length ?? data.length + 18, guid));
  const size = parts.reduce((sum, { length }) => sum + length, 18);
  const table = Buffer.concat([...parts, encode([], total ?? size, FOOTER)]);
  const image = new Uint8Array(4096).fill(0x90);
  image.set(table, image.length - 32 - table.length);
  return image;
}

const block: Entry = { guid: RESET_BLOCK, data: [0x04, 0xb0, 0x80, 0x00] };
const other: Entry = { guid: SECRETS, data: [1, 2, 3, 4, 5, 6, 7, 8] };

describe('the SEV-ES reset block of a ROM', () => {
  it('holds the address at which application processors begin, wherever it stands in the table', () => {
    expect(apResetAddress(rom([block]))).toBe(0x80_b004);
    expect(apResetAddress(rom([other, block]))).toBe(0x80_b004);
    expect(apResetAddress(rom([block, other, other]))).toBe(0x80_b004);
  });

  it('need not be there, nor the table', () => {
    expect(apResetAddress(new Uint8Array(4096))).toBeNull();
    expect(apResetAddress(rom([]))).toBeNull();
    expect(apResetAddress(rom([other]))).toBeNull();
  });

  it('is not looked for outside the table', () => {
    expect(apResetAddress(rom([block, other], 18 + 26))).toBeNull();
    for (const total of [0, 17, 5000, 0xffff]) expect(apResetAddress(rom([block], total))).toBeNull();
  });

  it('is nothing if an entry says a length that cannot be', () => {
    for (const length of [0, 1, 17, 27, 0x200, 0xffff]) expect(apResetAddress(rom([block, { ...other, length }]))).toBeNull();
    expect(apResetAddress(rom([{ guid: RESET_BLOCK, data: [1, 2] }]))).toBeNull();
  });

  it('is that of early-boot, in its last 256 bytes', () => {
    const address = apResetAddress(readFileSync(join(root, romPath('early-boot'))));
    expect(address).toBeGreaterThanOrEqual(0xffff_ff00);
  });
});

describe('the other processors of a ROM', () => {
  it('begin in real mode at the address of the reset block: base and IP part at 16 bits, selector F000h', () => {
    const { state, apState } = planRom(rom([block]), 0xa0_0f11, 'sev-es');
    const ap = apState?.(1);
    expect(ap).toEqual({ ...state, cs: { ...state.cs, base: 0x80_0000n }, rip: 0xb004n });
    expect(ap?.cs.selector).toBe(0xf000);
    expect(planRom(rom([]), 0, 'sev-es').apState).toBeUndefined();
  });
});
