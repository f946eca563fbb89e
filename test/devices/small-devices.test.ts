import { describe, expect, it } from 'vitest';
import { CmosRtc } from '../../src/devices/cmos-rtc.ts';
import { DebugConsole } from '../../src/devices/debug-console.ts';
import { IoBus } from '../../src/devices/io-bus.ts';
import { PmTimer } from '../../src/devices/pm-timer.ts';
import { TestDevice } from '../../src/devices/test-device.ts';
import { EchoPorts, LinePorts } from '../../src/devices/test-ports.ts';

describe('test device', () => {
  it('reports what a guest writes, whatever the size', () => {
    const values: number[] = [];
    const bus = new IoBus();
    bus.map(0xf4, 4, new TestDevice((value) => values.push(value)));
    bus.out(0xf4, 1, 0);
    bus.out(0xf4, 2, 0x1234);
    bus.out(0xf4, 4, 0xffff_ffff);
    expect(values).toEqual([0, 0x1234, 0xffff_ffff]);
    expect(bus.in(0xf4, 4)).toBe(0xffff_ffff);
  });
});

describe('debug console', () => {
  it('shows what is written and reads E9h', () => {
    const bytes: number[] = [];
    const bus = new IoBus();
    bus.map(0xe9, 1, new DebugConsole((byte) => bytes.push(byte)));
    bus.out(0xe9, 1, 0x41);
    bus.out(0xe9, 2, 0x4342); // the high byte goes to port EAh, where nobody is
    expect(bytes).toEqual([0x41, 0x42]);
    expect(bus.in(0xe9, 1)).toBe(0xe9);
  });
});

describe('real-time clock', () => {
  const at = (date: string, statusB?: number) => {
    const rtc = new CmosRtc(() => Date.parse(date));
    const read = (index: number): number => {
      rtc.out(0, 1, index);
      return rtc.in(1);
    };
    if (statusB !== undefined) {
      rtc.out(0, 1, 0x0b);
      rtc.out(1, 1, statusB);
    }
    return read;
  };

  it('gives the date in BCD and 24 hours after reset', () => {
    const read = at('2026-11-21T23:59:08Z');
    expect([0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x32].map(read)).toEqual([0x08, 0x59, 0x23, 7, 0x21, 0x11, 0x26, 0x20]);
  });

  it('gives it in binary and 12 hours if status B says so', () => {
    const read = at('2026-11-21T23:59:08Z', 0x04);
    expect([0x02, 0x04, 0x09].map(read)).toEqual([59, 0x80 | 11, 26]);
    expect(at('2026-11-21T00:00:00Z', 0x04)(0x04)).toBe(12);
  });

  it('is never in update, asks for no interrupt, and has valid memory', () => {
    const read = at('2026-11-21T00:00:00Z');
    expect([0x0a, 0x0c, 0x0d].map(read)).toEqual([0x26, 0, 0x80]);
  });

  it('ignores the NMI mask in bit 7 of the index and keeps CMOS RAM', () => {
    const rtc = new CmosRtc(() => 0);
    rtc.out(0, 1, 0x80 | 0x50);
    rtc.out(1, 1, 0x77);
    rtc.out(0, 1, 0x50);
    expect(rtc.in(1)).toBe(0x77);
  });
});

describe('echo ports', () => {
  it('read back in any width what was written in any width', () => {
    const bus = new IoBus();
    bus.map(0xe0, 4, new EchoPorts());
    bus.out(0xe0, 4, 0x8765_4321);
    expect([bus.in(0xe0, 1), bus.in(0xe1, 2), bus.in(0xe0, 4)]).toEqual([0x21, 0x6543, 0x8765_4321]);
    bus.out(0xe2, 2, 0xabcd);
    bus.out(0xe1, 1, 0x11);
    expect(bus.in(0xe0, 4)).toBe(0xabcd_1121);
  });
});

describe('interrupt lines', () => {
  it('follow the bytes that are written to their ports', () => {
    const seen: [number, boolean][] = [];
    const bus = new IoBus();
    bus.map(0x2000, 24, new LinePorts((pin, level) => seen.push([pin, level])));
    bus.out(0x200e, 1, 1);
    bus.out(0x2017, 1, 0);
    expect(seen).toEqual([
      [14, true],
      [23, false],
    ]);
  });
});

describe('ACPI PM timer', () => {
  it('counts at 3.579545 MHz in 24 bits', () => {
    let now = 0;
    const timer = new PmTimer(() => now);
    expect(timer.in(0, 4)).toBe(0);
    now = 1e9;
    expect(timer.in(0, 4)).toBe(3_579_545);
    now = 1e9 + 500_000;
    expect([timer.in(0, 4), timer.in(0, 2), timer.in(1, 1)]).toEqual([3_581_334, 3_581_334 & 0xffff, (3_581_334 >> 8) & 0xff]);
    now = 3_600e9;
    expect(timer.in(0, 4)).toBe((3600 * 3_579_545) % 2 ** 24);
  });
});
