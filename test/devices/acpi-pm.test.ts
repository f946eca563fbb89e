// ACPI fixed hardware of the PIIX4: PM1, the timer at its offset, soft off, and the way to ACPI mode. 82371AB, 7.2.

import { beforeEach, describe, expect, it } from 'vitest';
import { AcpiPm, ApmPorts } from '../../src/devices/acpi-pm.ts';
import { CmosRtc } from '../../src/devices/cmos-rtc.ts';
import { IoBus } from '../../src/devices/io-bus.ts';
import { PmTimer } from '../../src/devices/pm-timer.ts';

let time: number;
let off: number;
let pm: AcpiPm;

beforeEach(() => {
  time = 0;
  off = 0;
  pm = new AcpiPm(new PmTimer(() => time), () => off++);
});

describe('the ACPI registers', () => {
  it('have the timer at offset 8', () => {
    time = 1e9;
    expect([pm.in(8, 4), pm.in(9, 1)]).toEqual([3_579_545, (3_579_545 >>> 8) & 0xff]);
  });

  it('keep enable bits and the type of sleep; status has none', () => {
    pm.out(2, 2, 0xffff);
    pm.out(4, 2, 0x1c01);
    expect([pm.in(0, 2), pm.in(2, 2), pm.in(4, 2), pm.in(0, 4), pm.in(0x30, 4)]).toEqual([0, 0x0521, 0x1c00, 0x0521_0000, 0]);
  });

  it('turn the machine off for the type of S5, and for no other', () => {
    pm.out(4, 2, 0x2000 | (1 << 10));
    expect(off).toBe(0);
    pm.out(4, 2, 0x2000);
    expect([off, pm.in(4, 2)]).toEqual([1, 0]);
  });

  it('are in ACPI mode from the command to port B2h on', () => {
    const apm = new ApmPorts(pm);
    apm.out(0, 1, 0xf1);
    expect([pm.in(4, 2), apm.in(0)]).toEqual([1, 0xf1]);
    apm.out(0, 1, 0xf0);
    apm.out(1, 1, 0x77);
    expect([pm.in(4, 2), apm.in(1)]).toEqual([0, 0x77]);
  });
});

describe('a device whose place software chooses', () => {
  it('answers where it is, behind what has a place of its own', () => {
    const io = new IoBus();
    io.map(0xb004, 1, { name: 'fixed', width: 1, in: () => 0x11, out: () => {} });
    const place = io.place(64, pm);
    expect(io.in(0xb002, 2)).toBe(0xffff);
    place.base = 0xb000;
    place.enabled = true;
    io.out(0xb002, 2, 0x0100);
    expect([io.in(0xb002, 2), io.in(0xb004, 1), io.in(0xb040, 1), io.in(0xb03f, 2)]).toEqual([0x0100, 0x11, 0xff, 0xff00]);
    place.base = 0xc000;
    expect([io.in(0xb002, 2), io.in(0xc002, 2)]).toEqual([0xffff, 0x0100]);
  });
});

describe('CMOS RAM', () => {
  const cmos = (memory: number, processors: number) => {
    const rtc = new CmosRtc(() => 0, { memory, processors });
    return (...registers: readonly number[]): number =>
      registers.reduce((sum, register, n) => {
        rtc.out(0, 1, register);
        return sum + rtc.in(1) * 2 ** (8 * n);
      }, 0);
  };

  it('says how much memory there is, as firmware reads it', () => {
    const read = cmos(256 << 20, 4);
    expect([read(0x15, 0x16), read(0x17, 0x18), read(0x30, 0x31), read(0x34, 0x35), read(0x5b, 0x5c, 0x5d), read(0x5f)]).toEqual([
      640,
      0xffff,
      0xffff,
      240 * 16,
      0,
      3,
    ]);
  });

  it('of a small machine, too', () => {
    const read = cmos(4 << 20, 1);
    expect([read(0x17, 0x18), read(0x34, 0x35), read(0x5f)]).toEqual([3 * 1024, 0, 0]);
  });
});
