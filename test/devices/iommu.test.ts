// The IOMMU by its registers and tables: publication 48882. Memory has 1 MiB, and addresses with bit 47 reach a second view of it, as
// the C-bit does.

import { beforeEach, describe, expect, it } from 'vitest';
import type { DmaMemory } from '../../src/devices/device.ts';
import { Iommu } from '../../src/devices/iommu.ts';
import { Control, Event, EventFlag, Register, Status } from '../../src/devices/iommu-layout.ts';

const SIZE = 0x10_0000;
const C = 1n << 47n;
const DEVICE = 0x10;
const DOMAIN = 7;
const TABLES = { devices: 0x1000, commands: 0x2000, events: 0x3000, top: 0x4000, middle: 0x5000, leaf: 0x6000 } as const;
const V = 1n;
const TV = 2n;
const PR = 1n;
const IR = 1n << 61n;
const IW = 1n << 62n;
const RW = IR | IW;
const next = (level: number): bigint => BigInt(level) << 9n;

let plain: DataView<ArrayBuffer>;
let encrypted: DataView<ArrayBuffer>;
let iommu: Iommu;
let master: DmaMemory;

beforeEach(() => {
  plain = new DataView(new ArrayBuffer(SIZE));
  encrypted = new DataView(new ArrayBuffer(SIZE));
  const find = (address: bigint, length: number): Uint8Array | null => {
    const at = Number(address & ~C);
    return at + length <= SIZE ? new Uint8Array(((address & C) !== 0n ? encrypted : plain).buffer, at, length) : null;
  };
  iommu = new Iommu({
    read: (address, into) => {
      const bytes = find(address, into.length);
      if (bytes !== null) into.set(bytes);
      return bytes !== null;
    },
    write: (address, from) => {
      const bytes = find(address, from.length);
      bytes?.set(from);
      return bytes !== null;
    },
  });
  master = iommu.behind(DEVICE);
});

const set = (register: number, value: bigint): void => {
  iommu.write(register, 4, Number(value & 0xffff_ffffn));
  iommu.write(register + 4, 4, Number(value >> 32n));
};
const get = (register: number): bigint => (BigInt(iommu.read(register + 4, 4)) << 32n) | BigInt(iommu.read(register, 4));
const status = (): number => Number(get(Register.STATUS));
function enable(control: number = Control.IOMMU_EN | Control.EVENT_LOG_EN | Control.CMD_BUF_EN): void {
  set(Register.DEVICE_TABLE, BigInt(TABLES.devices));
  set(Register.COMMAND_BASE, BigInt(TABLES.commands) | (8n << 56n));
  set(Register.EVENT_BASE, BigInt(TABLES.events) | (8n << 56n));
  set(Register.CONTROL, BigInt(control));
}
function deviceEntry(first: bigint, second = BigInt(DOMAIN), view = plain): void {
  view.setBigUint64(TABLES.devices + 32 * DEVICE, first, true);
  view.setBigUint64(TABLES.devices + 32 * DEVICE + 8, second, true);
}
const entry = (table: number, index: number, value: bigint, view = plain): void => view.setBigUint64(table + 8 * index, value, true);
/** Two levels: the device's page 5 is at 8000h. */
function twoLevels(leaf: bigint = 0x8000n | PR | RW, top: bigint = RW): void {
  deviceEntry(BigInt(TABLES.top) | next(2) | V | TV | RW);
  entry(TABLES.top, 0, BigInt(TABLES.leaf) | next(1) | PR | top);
  entry(TABLES.leaf, 5, leaf);
}
const reads = (address: bigint): number | null => {
  const byte = new Uint8Array(1);
  return master.read(address, byte) ? (byte[0] ?? null) : null;
};
const writes = (address: bigint, value = 1): boolean => master.write(address, Uint8Array.of(value));
/** Events that nobody has fetched. */
function events(): { code: number; device: number; domain: number; flags: number; address: bigint }[] {
  const found = [];
  const tail = Number(get(Register.EVENT_TAIL));
  for (let at = Number(get(Register.EVENT_HEAD)); at !== tail; at = (at + 16) % 4096) {
    const second = plain.getUint32(TABLES.events + at + 4, true);
    found.push({
      code: second >>> 28,
      device: plain.getUint32(TABLES.events + at, true),
      domain: second & 0xffff,
      flags: second & 0x0fff_0000,
      address: plain.getBigUint64(TABLES.events + at + 8, true),
    });
  }
  set(Register.EVENT_HEAD, BigInt(tail));
  return found;
}
let tail = 0;
function command(first: bigint, second = 0n): void {
  tail = Number(get(Register.COMMAND_TAIL));
  plain.setBigUint64(TABLES.commands + tail, first, true);
  plain.setBigUint64(TABLES.commands + tail + 8, second, true);
  set(Register.COMMAND_TAIL, BigInt((tail + 16) % 4096));
}
const invalidatePages = (second: bigint, domain = DOMAIN): void => command((3n << 60n) | (BigInt(domain) << 32n), second);
const ALL_PAGES = 0x7fff_ffff_ffff_f001n;

describe('the device table entry', () => {
  it('does not count while the IOMMU is disabled', () => {
    plain.setUint8(0x8000, 42);
    expect(reads(0x8000n)).toBe(42);
  });

  it('with V = 0 lets addresses through', () => {
    enable();
    plain.setUint8(0x8000, 42);
    expect(reads(0x8000n)).toBe(42);
  });

  it('with V = 1 and TV = 0 lets nothing through', () => {
    enable();
    deviceEntry(V);
    expect([reads(0x8000n), events()[0]?.code]).toEqual([null, Event.IO_PAGE_FAULT]);
  });

  it('with Mode 0 does not translate, but has permissions', () => {
    enable();
    deviceEntry(V | TV | IR);
    plain.setUint8(0x8000, 42);
    expect([reads(0x8000n), writes(0x8000n)]).toEqual([42, false]);
    expect(events()).toEqual([
      { code: Event.IO_PAGE_FAULT, device: DEVICE, domain: DOMAIN, flags: EventFlag.PR | EventFlag.PE | EventFlag.RW, address: 0x8000n },
    ]);
  });

  it.each([
    ['Mode 7', next(7) | V | TV],
    ['a reserved bit', (1n << 63n) | V | TV],
    ['a reserved bit', 4n | V | TV],
  ])('with %s is illegal', (_, first) => {
    enable();
    deviceEntry(first);
    expect([reads(0x8000n), events().map(({ code, device }) => [code, device])]).toEqual([null, [[Event.ILLEGAL_DEV_TABLE_ENTRY, DEVICE]]]);
  });

  it('beyond the end of the table is illegal; outside of memory it is a hardware error', () => {
    enable();
    expect(iommu.behind(128).read(0n, new Uint8Array(1))).toBe(false);
    set(Register.DEVICE_TABLE, BigInt(SIZE));
    expect(reads(0n)).toBe(null);
    expect(events().map(({ code }) => code)).toEqual([Event.ILLEGAL_DEV_TABLE_ENTRY, Event.DEV_TAB_HARDWARE_ERROR]);
  });

  it('SE keeps I/O page faults out of the log', () => {
    enable();
    deviceEntry(V | TV, BigInt(DOMAIN) | (2n << 32n));
    expect([reads(0n), events()]).toEqual([null, []]);
  });
});

describe('I/O page tables', () => {
  it('translate by their levels', () => {
    enable();
    twoLevels();
    plain.setUint8(0x8123, 42);
    expect(reads(0x5123n)).toBe(42);
  });

  it('of each level have pages of its size, and of sizes that the address says', () => {
    enable();
    deviceEntry(BigInt(TABLES.top) | next(3) | V | TV | RW);
    entry(TABLES.top, 0, BigInt(TABLES.middle) | next(2) | PR | RW);
    entry(TABLES.middle, 1, 0n | PR | RW); // 2 MiB, NextLevel 0
    entry(TABLES.middle, 2, BigInt(TABLES.leaf) | next(1) | PR | RW);
    entry(TABLES.leaf, 0, 0x1_0000n | 0x7000n | next(7) | PR | RW); // 64 KiB: bits 14:12 set, 15 clear
    plain.setUint8(0x4_5678, 1);
    plain.setUint8(0x1_0abc, 2);
    expect([reads(0x24_5678n), reads(0x40_0abcn)]).toEqual([1, 2]);
  });

  it('may leave out levels whose part of the address is zero', () => {
    enable();
    deviceEntry(BigInt(TABLES.top) | next(4) | V | TV | RW);
    entry(TABLES.top, 0, BigInt(TABLES.leaf) | next(1) | PR | RW);
    entry(TABLES.leaf, 5, 0x8000n | PR | RW);
    plain.setUint8(0x8001, 3);
    expect([reads(0x5001n), reads(0x20_5001n)]).toEqual([3, null]);
    expect(events()[0]?.flags).toBe(EventFlag.PR | EventFlag.RZ);
  });

  it.each([
    ['an entry that is not present', 0n, 0],
    ['a level that is not below its own', BigInt(TABLES.leaf) | next(1) | PR | RW, EventFlag.PR | EventFlag.RZ],
    ['no permission to read', 0x8000n | PR | IW, EventFlag.PR | EventFlag.PE],
  ])('%s is an I/O page fault', (_, leaf, flags) => {
    enable();
    twoLevels(leaf);
    expect([reads(0x5000n), events()]).toEqual([
      null,
      [{ code: Event.IO_PAGE_FAULT, device: DEVICE, domain: DOMAIN, flags, address: 0x5000n }],
    ]);
  });

  it('give a permission only if all levels do', () => {
    enable();
    twoLevels(0x8000n | PR | RW, IR);
    expect([reads(0x5000n), writes(0x5000n), events()[0]?.flags]).toEqual([0, false, EventFlag.PR | EventFlag.PE | EventFlag.RW]);
  });

  it('an address beyond the highest level is a fault; a table outside of memory a hardware error', () => {
    enable();
    twoLevels();
    expect(reads(1n << 30n)).toBe(null);
    entry(TABLES.top, 1, BigInt(SIZE) | next(1) | PR | RW);
    expect(reads(0x20_0000n)).toBe(null);
    expect(events().map(({ code, address }) => [code, address])).toEqual([
      [Event.IO_PAGE_FAULT, 1n << 30n],
      [Event.PAGE_TAB_HARDWARE_ERROR, BigInt(SIZE)],
    ]);
  });

  it('an access across pages goes to each; what comes before a fault has happened', () => {
    enable();
    twoLevels();
    expect(master.write(0x5ffen, Uint8Array.of(1, 2, 3, 4))).toBe(false);
    expect([plain.getUint8(0x8ffe), plain.getUint8(0x8fff)]).toEqual([1, 2]);
    invalidatePages(ALL_PAGES);
    entry(TABLES.leaf, 6, 0xa000n | PR | RW);
    expect(master.write(0x5ffen, Uint8Array.of(5, 6, 7, 8))).toBe(true);
    expect(plain.getUint8(0xa001)).toBe(8);
  });
});

describe('the C-bit', () => {
  it('in an entry is part of the address that the device reaches', () => {
    enable();
    twoLevels(0x8000n | C | PR | RW);
    encrypted.setUint8(0x8000, 9);
    expect([reads(0x5000n), writes(0x5001n, 8), encrypted.getUint8(0x8001), plain.getUint8(0x8001)]).toEqual([9, true, 8, 0]);
  });

  it('in pointers to tables and rings reaches them', () => {
    enable(0);
    set(Register.DEVICE_TABLE, BigInt(TABLES.devices) | C);
    set(Register.EVENT_BASE, BigInt(TABLES.events) | C | (8n << 56n));
    set(Register.CONTROL, BigInt(Control.IOMMU_EN | Control.EVENT_LOG_EN));
    deviceEntry(BigInt(TABLES.top) | C | next(1) | V | TV | RW, BigInt(DOMAIN), encrypted);
    entry(TABLES.top, 5, 0x8000n | PR | RW, encrypted);
    plain.setUint8(0x8000, 9);
    expect([reads(0x5000n), reads(0x6000n)]).toEqual([9, null]);
    expect(encrypted.getUint32(TABLES.events + 4, true) >>> 28).toBe(Event.IO_PAGE_FAULT);
  });
});

describe('what it has found it keeps', () => {
  const moved = (): void => entry(TABLES.leaf, 5, 0x9000n | PR | RW);
  beforeEach(() => {
    enable();
    twoLevels();
    plain.setUint8(0x8000, 1);
    plain.setUint8(0x9000, 2);
    reads(0x5000n);
  });

  it('until INVALIDATE_IOMMU_PAGES of the page, or of a range with it, in its domain', () => {
    moved();
    expect(reads(0x5000n)).toBe(1);
    invalidatePages(0x6000n);
    invalidatePages(0x5000n, DOMAIN + 1);
    expect(reads(0x5000n)).toBe(1);
    invalidatePages(0x5000n);
    expect(reads(0x5000n)).toBe(2);
    twoLevels();
    invalidatePages(0x3000n | 1n); // S: bit 12 and 13 set, 14 clear: 32 KiB from 0
    expect(reads(0x5000n)).toBe(1);
  });

  it('until INVALIDATE_IOMMU_ALL', () => {
    moved();
    command(8n << 60n);
    expect(reads(0x5000n)).toBe(2);
  });

  it('and a device table entry until INVALIDATE_DEVTAB_ENTRY', () => {
    deviceEntry(V);
    expect(reads(0x5000n)).toBe(1);
    command((2n << 60n) | BigInt(DEVICE));
    expect(reads(0x5000n)).toBe(null);
  });

  it('but never that there was nothing', () => {
    expect(reads(0x6000n)).toBe(null);
    entry(TABLES.leaf, 6, 0x9000n | PR | RW);
    expect(reads(0x6000n)).toBe(2);
  });
});

describe('the command buffer', () => {
  it('COMPLETION_WAIT stores its data, and sets ComWaitInt if asked', () => {
    enable();
    command((1n << 60n) | 0x8008n | 1n | 2n, 0x1122_3344_5566_7788n);
    expect(plain.getBigUint64(0x8008, true)).toBe(0x1122_3344_5566_7788n);
    expect(status() & Status.COM_WAIT_INT).not.toBe(0);
    set(Register.STATUS, BigInt(Status.COM_WAIT_INT));
    expect(status()).toBe(Status.CMD_BUF_RUN | Status.EVENT_LOG_RUN);
  });

  it('goes around', () => {
    enable();
    for (let n = 1; n <= 300; n++) command((1n << 60n) | 0x8008n | 1n, BigInt(n));
    expect([plain.getBigUint64(0x8008, true), get(Register.COMMAND_HEAD)]).toEqual([300n, BigInt((300 % 256) * 16)]);
  });

  it('stops at a command that is none, and goes on when it is enabled anew', () => {
    enable();
    command(15n << 60n);
    expect([events().map(({ code, address }) => [code, address]), status() & Status.CMD_BUF_RUN]).toEqual([
      [[Event.ILLEGAL_COMMAND_ERROR, BigInt(TABLES.commands)]],
      0,
    ]);
    plain.setBigUint64(TABLES.commands, (1n << 60n) | 0x8008n | 1n, true);
    set(Register.CONTROL, BigInt(Control.IOMMU_EN));
    set(Register.CONTROL, BigInt(Control.IOMMU_EN | Control.CMD_BUF_EN));
    expect(get(Register.COMMAND_HEAD)).toBe(16n);
  });

  it('outside of memory is a hardware error', () => {
    enable();
    set(Register.COMMAND_BASE, BigInt(SIZE) | (8n << 56n));
    set(Register.COMMAND_TAIL, 16n);
    expect(events()[0]?.code).toBe(Event.COMMAND_HARDWARE_ERROR);
  });

  it('with a reserved length is none', () => {
    enable();
    set(Register.COMMAND_BASE, BigInt(TABLES.commands) | (7n << 56n));
    set(Register.COMMAND_TAIL, 16n);
    expect(get(Register.COMMAND_HEAD)).toBe(0n);
  });
});

describe('the event log', () => {
  it('says so when it is full, and stops', () => {
    enable();
    deviceEntry(V);
    for (let n = 0; n < 256; n++) reads(0n);
    expect(status() & (Status.EVENT_OVERFLOW | Status.EVENT_LOG_RUN)).toBe(Status.EVENT_OVERFLOW);
    expect(events()).toHaveLength(255);
    reads(0n);
    expect(events()).toHaveLength(0);
  });

  it('is silent while it is not enabled', () => {
    enable(Control.IOMMU_EN);
    deviceEntry(V);
    expect([reads(0n), events(), status()]).toEqual([null, [], 0]);
  });
});

it('extended features: six levels, INVALIDATE_IOMMU_ALL; they cannot be written', () => {
  set(Register.EXTENDED_FEATURES, 0n);
  expect(get(Register.EXTENDED_FEATURES)).toBe(0x840n);
});

it('registers are written by halves, and read in any width', () => {
  set(Register.DEVICE_TABLE, 0xffff_ffff_ffff_ffffn);
  expect(get(Register.DEVICE_TABLE)).toBe(0x000f_ffff_ffff_f1ffn);
  iommu.write(Register.DEVICE_TABLE, 1, 0);
  expect([iommu.read(Register.DEVICE_TABLE, 1), iommu.read(Register.DEVICE_TABLE + 6, 2), iommu.read(0x3000, 4)]).toEqual([0xff, 0xf, 0]);
});
