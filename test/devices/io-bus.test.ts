import { describe, expect, it } from 'vitest';
import type { PortDevice } from '../../src/devices/device.ts';
import { IoBus } from '../../src/devices/io-bus.ts';
import { InternalError } from '../../src/util/errors.ts';

function recorder(width?: 1 | 2 | 4): PortDevice & { readonly log: string[] } {
  const log: string[] = [];
  return {
    name: 'recorder',
    ...(width === undefined ? {} : { width }),
    log,
    in: (offset, size) => {
      log.push(`in ${offset}/${size}`);
      return 0x11 * (offset + 1);
    },
    out: (offset, size, value) => void log.push(`out ${offset}/${size} ${value.toString(16)}`),
  };
}

describe('the I/O bus', () => {
  it.each([
    [1, 0xff],
    [2, 0xffff],
    [4, 0xffff_ffff],
  ] as const)('reads all-ones of %i bytes from ports nobody claims', (size, value) => {
    expect(new IoBus().in(0x80, size)).toBe(value);
  });

  it('swallows writes to ports nobody claims', () => {
    expect(() => new IoBus().out(0xffff, 4, 0x1234_5678)).not.toThrow();
  });

  it('gives a device offsets, not addresses', () => {
    const bus = new IoBus();
    const device = recorder();
    bus.map(0x3f8, 8, device);
    expect(bus.in(0x3fb, 1)).toBe(0x44);
    bus.out(0x3f8, 4, 0xdead_beef);
    expect(device.log).toEqual(['in 3/1', 'out 0/4 deadbeef']);
  });

  it('splits an access wider than the device decodes, low byte first', () => {
    const bus = new IoBus();
    const device = recorder(1);
    bus.map(0x3f8, 8, device);
    expect(bus.in(0x3f8, 4)).toBe(0x4433_2211);
    bus.out(0x3fe, 2, 0xabcd);
    expect(device.log).toEqual(['in 0/1', 'in 1/1', 'in 2/1', 'in 3/1', 'out 6/1 cd', 'out 7/1 ab']);
  });

  it('splits an access that reaches over the end of a range, the rest being all-ones', () => {
    const bus = new IoBus();
    bus.map(0x100, 1, recorder());
    expect(bus.in(0x100, 2)).toBe(0xff11);
    expect(bus.in(0xff, 2)).toBe(0x11ff);
  });

  it('wraps at the end of the I/O space', () => {
    const bus = new IoBus();
    bus.map(0, 1, recorder());
    expect(bus.in(0xffff, 2)).toBe(0x11ff);
  });

  it('hands a device only as many bits as were written', () => {
    const bus = new IoBus();
    const device = recorder();
    bus.map(0, 4, device);
    bus.out(0, 1, 0x1_02ff);
    bus.out(0, 2, 0x1_02ff);
    bus.out(0, 4, -1);
    expect(device.log).toEqual(['out 0/1 ff', 'out 0/2 2ff', 'out 0/4 ffffffff']);
  });

  it('refuses two devices on one port', () => {
    const bus = new IoBus();
    bus.map(0x3f8, 8, recorder());
    expect(() => bus.map(0x3ff, 1, recorder())).toThrow(InternalError);
    expect(() => bus.map(0xffff, 2, recorder())).toThrow(InternalError);
  });
});
