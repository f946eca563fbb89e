// docs/specs/fw_cfg of QEMU.

import { describe, expect, it } from 'vitest';
import { e820File, FwCfg, FwCfgItem } from '../../src/devices/fw-cfg.ts';
import { IoBus } from '../../src/devices/io-bus.ts';

const MEMORY = 0x4_0000;

function config() {
  const memory = new Uint8Array(MEMORY);
  const inside = (address: bigint, length: number): boolean => address + BigInt(length) <= BigInt(MEMORY);
  const device = new FwCfg({
    read: (address, into) =>
      inside(address, into.length) && (into.set(memory.subarray(Number(address), Number(address) + into.length)), true),
    write: (address, from) => inside(address, from.length) && (memory.set(from, Number(address)), true),
  });
  const bus = new IoBus();
  bus.map(0x510, 12, device);
  const select = (item: number): void => bus.out(0x510, 2, item);
  const bytes = (count: number): number[] => Array.from({ length: count }, () => bus.in(0x511, 1));
  const view = new DataView(memory.buffer);
  /** Builds the structure at 100h and starts it; gives control afterwards. */
  const dma = (control: number, length: number, address: number): number => {
    view.setUint32(0x100, control);
    view.setUint32(0x104, length);
    view.setBigUint64(0x108, BigInt(address));
    bus.out(0x514, 4, 0);
    bus.out(0x518, 4, 0x0001_0000); // 100h, big-endian
    return view.getUint32(0x100);
  };
  return { device, memory, bus, select, bytes, dma };
}
const text = (bytes: ArrayLike<number>): string => String.fromCharCode(...Array.from(bytes));

describe('fw_cfg by ports', () => {
  it('has its signature, and says that it does DMA', () => {
    const { select, bytes, bus } = config();
    select(FwCfgItem.SIGNATURE);
    expect(text(bytes(4))).toBe('QEMU');
    select(FwCfgItem.ID);
    expect(bytes(4)).toEqual([3, 0, 0, 0]);
    expect(text(Array.from({ length: 8 }, (_, n) => bus.in(0x514 + n, 1)))).toBe('QEMU CFG');
  });

  it('gives zeros behind the end of an item and for one that does not exist', () => {
    const { select, bytes, device } = config();
    device.addNumber(FwCfgItem.CPU_COUNT, 1, 2);
    select(FwCfgItem.CPU_COUNT);
    expect(bytes(4)).toEqual([1, 0, 0, 0]);
    select(0x777);
    expect(bytes(2)).toEqual([0, 0]);
  });

  it('its directory lists the files, big-endian', () => {
    const { select, bytes, device } = config();
    device.addFile('etc/e820', e820File([{ start: 0, size: 0x100_0000, type: 1 }]));
    device.addFile('opt/x', Uint8Array.of(7, 8));
    select(FwCfgItem.DIRECTORY);
    expect(bytes(4)).toEqual([0, 0, 0, 2]);
    const [first, second] = [bytes(64), bytes(64)];
    expect(first.slice(0, 8)).toEqual([0, 0, 0, 20, 0, 0x20, 0, 0]);
    expect(text(first.slice(8)).replaceAll('\0', '')).toBe('etc/e820');
    expect(second.slice(0, 6)).toEqual([0, 0, 0, 2, 0, 0x21]);
    select(0x20);
    expect(bytes(20)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0]);
    select(0x21);
    expect(bytes(2)).toEqual([7, 8]);
  });
});

describe('fw_cfg by DMA', () => {
  it('selects, skips and reads', () => {
    const { dma, memory } = config();
    expect(dma(0x0000_0008 | 4, 1, 0)).toBe(0); // item 0, one byte further
    expect(dma(2, 3, 0x2000)).toBe(0);
    expect(text(memory.subarray(0x2000, 0x2003))).toBe('EMU');
    expect(dma(0x0001_000a, 4, 0x2000)).toBe(0); // select and read at once
    expect([...memory.subarray(0x2000, 0x2004)]).toEqual([3, 0, 0, 0]);
  });

  it('goes over more than one step, with zeros behind the item', () => {
    const { dma, memory, device } = config();
    device.add(0x30, new Uint8Array(0x1_8000).fill(9));
    memory.fill(5, 0x2000);
    expect(dma(0x0030_000a, 0x1_8010, 0x2000)).toBe(0);
    expect([memory[0x2000], memory[0x1_9fff], memory[0x1_a000], memory[0x1_a00f], memory[0x1_a010]]).toEqual([9, 9, 0, 0, 5]);
  });

  it('refuses writes, addresses outside of memory, and lengths without end', () => {
    const { dma } = config();
    expect(dma(0x10, 4, 0x2000)).toBe(1);
    expect(dma(2, 4, MEMORY - 2)).toBe(1);
    expect(dma(2, 0xffff_ffff, 0x2000)).toBe(1);
  });

  it('a structure outside of memory is not touched', () => {
    const { bus, memory } = config();
    bus.out(0x514, 4, 0x0100_0000);
    bus.out(0x518, 4, 0);
    expect(memory.every((byte) => byte === 0)).toBe(true);
  });
});
