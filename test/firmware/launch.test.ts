// Launch updates, measurement and finish, judged by a second implementation. Publication 55766.

import { describe, expect, it } from 'vitest';
import { ASP_API, AspCommand, AspStatus, GuestPolicy, LaunchRegionBuffer } from '../../src/arch/asp.ts';
import { decryptMemory, launchDigest, measureLaunch, publishedTweak, vmsaIntegrityValue } from '../second-implementation.ts';
import { type Box, BUFFER, C_BIT, DRAM_SIZE, ES_ASID, hex, launching, MEASURE_AT, PAGE, pattern, ready, TMR } from './box.ts';

const cipher = { mode: 'xe', constants: publishedTweak } as const;
const api = [ASP_API.major, ASP_API.minor, ASP_API.build] as const;
const chips = (box: Box, at: number): Uint8Array => {
  const page = new Uint8Array(4096);
  box.frames.ciphertext(at / 4096, page);
  return page;
};
const measure = (box: Box, handle: number) => {
  expect(box.region('LAUNCH_MEASURE', handle, MEASURE_AT, 48)).toBe('SUCCESS');
  const out = box.read(MEASURE_AT, 48);
  return { measure: hex(out.subarray(0, 32)), nonce: out.subarray(32) };
};

describe.each(['LAUNCH_UPDATE_DATA', 'LAUNCH_UPDATE_VMSA'] as const)('%s', (name) => {
  it('of a guest that is not active gives INACTIVE, whatever the address', () => {
    const box = ready();
    expect(box.region(name, box.start(GuestPolicy.ES), 1, 4096)).toBe('INACTIVE');
  });

  it.each([
    ['not aligned to 16 bytes', PAGE + 8],
    ['beyond DRAM', DRAM_SIZE],
    ['partly beyond DRAM', DRAM_SIZE - 16],
    ['in the trusted memory region', TMR + 0x8_0000],
    ['reaching into the trusted memory region', TMR - 16],
    ['beyond DRAM, with the C-bit', BigInt(DRAM_SIZE) | (1n << BigInt(C_BIT))],
    ['with a bit above the C-bit', BigInt(PAGE) | (1n << 48n)],
    ['in the trusted memory region, with the C-bit', BigInt(TMR + 0x8_0000) | (1n << BigInt(C_BIT))],
    ['at the end of the address space', 0xffff_ffff_ffff_fff0n],
  ])('at an address %s gives INVALID_ADDRESS and changes nothing', (_, address) => {
    const { box, handle } = launching();
    expect(box.region(name, handle, address, 4096)).toBe('INVALID_ADDRESS');
    expect(measure(box, handle).measure).toBe(measureLaunch(api, GuestPolicy.ES, launchDigest(), box.drawn[1]!).toString('hex'));
  });
});

it("a command buffer and LAUNCH_MEASURE's results may lie at addresses with the C-bit: they are read and written under the host's key", () => {
  const { box, handle } = launching();
  const c = 1n << BigInt(C_BIT);
  const { hostKey } = box.encryption;
  const { view, bytes } = LaunchRegionBuffer.create();
  Object.assign(view, { handle, paddr: BigInt(MEASURE_AT) | c, length: 48 });
  box.frames.write(BUFFER, hostKey, bytes);
  expect(box.asp.execute(AspCommand.LAUNCH_MEASURE, BigInt(BUFFER))).not.toBe(AspStatus.SUCCESS); // noise without it
  expect(box.asp.execute(AspCommand.LAUNCH_MEASURE, BigInt(BUFFER) | c)).toBe(AspStatus.SUCCESS);
  const out = new Uint8Array(48);
  box.frames.read(MEASURE_AT, hostKey, out);
  expect(hex(out.subarray(0, 32))).toBe(measureLaunch(api, GuestPolicy.ES, launchDigest(), out.subarray(32)).toString('hex'));
});

describe('LAUNCH_UPDATE_DATA', () => {
  it.each([0, 8, 4095])('of %i bytes gives INVALID_LEN', (length) => {
    const { box, handle } = launching();
    expect(box.region('LAUNCH_UPDATE_DATA', handle, PAGE, length)).toBe('INVALID_LEN');
  });

  it('looks at the address before the length, and at both before the range', () => {
    const { box, handle } = launching();
    expect(box.region('LAUNCH_UPDATE_DATA', handle, PAGE + 1, 0)).toBe('INVALID_ADDRESS');
    expect(box.region('LAUNCH_UPDATE_DATA', handle, DRAM_SIZE, 0)).toBe('INVALID_LEN');
  });

  it("encrypts in place under the guest's key: a second implementation decrypts what the chips hold", () => {
    const { box, handle } = launching(false);
    box.write(PAGE, pattern(8192));
    expect(box.region('LAUNCH_UPDATE_DATA', handle, PAGE, 8192)).toBe('SUCCESS');
    for (const at of [0, 4096]) {
      const held = chips(box, PAGE + at);
      expect(hex(held)).not.toBe(hex(pattern(8192).subarray(at, at + 4096)));
      expect(hex(decryptMemory(cipher, box.drawn[0]!, PAGE + at, held))).toBe(hex(pattern(8192).subarray(at, at + 4096)));
      expect(hex(box.read(PAGE + at, 4096))).toBe(hex(held));
    }
  });

  it("of an address with the C-bit measures and encrypts what lies there under the host's key", () => {
    const { box, handle } = launching(false);
    box.frames.write(PAGE, box.encryption.hostKey, pattern(4096));
    expect(box.region('LAUNCH_UPDATE_DATA', handle, BigInt(PAGE) | (1n << BigInt(C_BIT)), 4096)).toBe('SUCCESS');
    expect(hex(decryptMemory(cipher, box.drawn[0]!, PAGE, chips(box, PAGE)))).toBe(hex(pattern(4096)));
    box.syscfg = 0;
    box.addresses.encryption = false; // then it is an address bit like any other, where no DRAM is
    expect(box.region('LAUNCH_UPDATE_DATA', handle, BigInt(PAGE) | (1n << BigInt(C_BIT)), 4096)).toBe('INVALID_ADDRESS');
  });

  it('of a part of a page leaves the rest as it was', () => {
    const { box, handle } = launching(false);
    box.write(PAGE, pattern(8192));
    expect(box.region('LAUNCH_UPDATE_DATA', handle, PAGE + 0xff0, 32)).toBe('SUCCESS');
    expect(hex(box.read(PAGE, 0xff0))).toBe(hex(pattern(8192).subarray(0, 0xff0)));
    expect(hex(box.read(PAGE + 0x1010, 0xff0))).toBe(hex(pattern(8192).subarray(0x1010)));
    const seen = new Uint8Array(32);
    box.frames.read(PAGE + 0xff0, 5, seen);
    expect(hex(seen)).toBe(hex(pattern(8192).subarray(0xff0, 0x1010)));
  });

  it('gives equal pages at different addresses different ciphertext', () => {
    const { box, handle } = launching(false);
    for (const at of [PAGE, PAGE + 4096]) box.write(at, pattern(4096));
    box.region('LAUNCH_UPDATE_DATA', handle, PAGE, 8192);
    expect(hex(box.read(PAGE, 4096))).not.toBe(hex(box.read(PAGE + 4096, 4096)));
  });
});

describe('LAUNCH_UPDATE_VMSA', () => {
  it("compares the length before anything else, the platform's state included", () => {
    const { box, handle } = launching();
    expect(box.region('LAUNCH_UPDATE_VMSA', handle, 1, 4080)).toBe('INVALID_LEN');
    expect(ready().region('LAUNCH_UPDATE_VMSA', 99, 1, 8192)).toBe('INVALID_LEN');
  });

  it('of a guest without SEV-ES gives UNSUPPORTED, active or not', () => {
    const { box, handle } = launching(false);
    expect(box.region('LAUNCH_UPDATE_VMSA', handle, PAGE, 4096)).toBe('UNSUPPORTED');
    expect(box.region('LAUNCH_UPDATE_VMSA', box.start(0), PAGE, 4096)).toBe('UNSUPPORTED');
  });

  it('encrypts the page, clears 380h, and says at 388h where its integrity value is', () => {
    const { box, handle } = launching();
    const places = [0, 1].map((n) => {
      const at = PAGE + 4096 * n;
      const supplied = pattern(4096, n);
      box.write(at, supplied);
      expect(box.region('LAUNCH_UPDATE_VMSA', handle, at, 4096)).toBe('SUCCESS');
      const vmsa = decryptMemory(cipher, box.drawn[0]!, at, chips(box, at));
      const place = Number(vmsa.readBigUInt64LE(0x388));
      const expected = Buffer.from(supplied);
      expected.writeBigUInt64LE(0n, 0x380);
      expected.writeBigUInt64LE(BigInt(place), 0x388);
      expect(hex(vmsa)).toBe(hex(expected));
      const value = new Uint8Array(8);
      box.frames.readSecure(place, 0, value);
      expect(Buffer.from(value).readBigUInt64LE()).toBe(vmsaIntegrityValue(vmsa));
      expect(box.trustedMemory.isSlot(place)).toBe(true);
      return place;
    });
    expect(places).toEqual([TMR + 0x8_0000, TMR + 0x8_0008]);
  });

  it('keeps the integrity value where the host cannot reach it', () => {
    const { box, handle } = launching();
    box.region('LAUNCH_UPDATE_VMSA', handle, PAGE, 4096);
    expect(hex(box.read(TMR + 0x8_0000, 8))).toBe('ffffffffffffffff');
  });

  it("gives the place of a decommissioned guest's value to the next", () => {
    const { box, handle, asid } = launching();
    box.region('LAUNCH_UPDATE_VMSA', handle, PAGE, 4096);
    box.forGuest('DEACTIVATE', handle);
    box.forGuest('DECOMMISSION', handle);
    const next = box.start(GuestPolicy.ES);
    box.activate(next, asid);
    box.region('LAUNCH_UPDATE_VMSA', next, PAGE + 4096, 4096);
    const vmsa = new Uint8Array(4096);
    box.frames.read(PAGE + 4096, ES_ASID, vmsa);
    expect(Buffer.from(vmsa).readBigUInt64LE(0x388)).toBe(BigInt(TMR + 0x8_0000));
  });

  it('with the trusted memory region full of integrity values gives RESOURCE_LIMIT', () => {
    const { box, handle } = launching();
    Object.defineProperty(box.trustedMemory, 'capacity', { value: 2 });
    const outcomes = [0, 1, 2].map(() => box.region('LAUNCH_UPDATE_VMSA', handle, PAGE, 4096));
    expect(outcomes).toEqual(['SUCCESS', 'SUCCESS', 'RESOURCE_LIMIT']);
  });
});

describe('LAUNCH_MEASURE', () => {
  it('with a buffer that is too short gives INVALID_LEN and the length that is needed', () => {
    const { box, handle } = launching();
    for (const length of [0, 47]) {
      const { status, out } = box.call('LAUNCH_MEASURE', LaunchRegionBuffer, { handle, length });
      expect([status, out.length]).toEqual(['INVALID_LEN', 48]);
    }
    expect(measure(box, handle).nonce).toEqual(box.drawn[1]);
  });

  it("into memory that is not the host's gives INVALID_ADDRESS and leaves the guest in LUPDATE", () => {
    const { box, handle } = launching();
    for (const address of [DRAM_SIZE - 47, TMR, TMR - 47])
      expect(box.region('LAUNCH_MEASURE', handle, address, 48)).toBe('INVALID_ADDRESS');
    measure(box, handle);
  });

  it('covers all updates in order, in plaintext, the VMSA as the host supplied it', () => {
    const { box, handle } = launching();
    const [a, b, vmsa] = [pattern(4096, 1), pattern(48, 2), pattern(4096, 3)];
    box.write(PAGE, a);
    box.write(PAGE + 0x2000, b);
    box.write(PAGE + 0x4000, vmsa);
    box.region('LAUNCH_UPDATE_DATA', handle, PAGE, a.length);
    box.region('LAUNCH_UPDATE_DATA', handle, PAGE + 0x2000, b.length);
    box.region('LAUNCH_UPDATE_VMSA', handle, PAGE + 0x4000, 4096);
    const given = measure(box, handle);
    expect(given.measure).toBe(measureLaunch(api, GuestPolicy.ES, launchDigest(a, b, vmsa), given.nonce).toString('hex'));
  });

  it('differs with the order of the updates, with the policy, and with one bit of the image', () => {
    const launch = (policy: number, first: number, order: readonly number[]) => {
      const box = ready();
      const handle = box.start(policy);
      box.activate(handle, 5);
      for (const n of [0, 1]) box.write(PAGE + 4096 * n, pattern(4096, first + n));
      for (const n of order) box.region('LAUNCH_UPDATE_DATA', handle, PAGE + 4096 * n, 4096);
      return measure(box, handle).measure;
    };
    const all = [launch(0, 1, [0, 1]), launch(0, 1, [1, 0]), launch(GuestPolicy.NODBG, 1, [0, 1]), launch(0, 2, [0, 1])];
    expect(new Set(all).size).toBe(4);
    expect(launch(0, 1, [0, 1])).toBe(all[0]);
  });

  it('ends the updates: a second one, and further updates, give INVALID_GUEST_STATE', () => {
    const { box, handle } = launching();
    measure(box, handle);
    for (const name of ['LAUNCH_MEASURE', 'LAUNCH_UPDATE_DATA', 'LAUNCH_UPDATE_VMSA'] as const) {
      expect(box.region(name, handle, PAGE, 4096)).toBe('INVALID_GUEST_STATE');
    }
  });
});

describe('LAUNCH_FINISH', () => {
  it('before LAUNCH_MEASURE gives INVALID_GUEST_STATE', () => {
    const { box, handle } = launching();
    expect(box.forGuest('LAUNCH_FINISH', handle)).toBe('INVALID_GUEST_STATE');
  });
});
