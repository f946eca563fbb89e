// QEMU's firmware configuration device (docs/specs/fw_cfg of QEMU): items by number, read byte by byte through a selector and a data port,
// or by DMA. The directory, item 19h, names those from 20h on. Items can be read only. The device reaches memory as the host does:
// of an encrypted guest's private pages DMA stores into, and reads, ciphertext, so that its guests must share what they name.

import type { DmaMemory, PortDevice, PortSize } from './device.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** Numbers of items that every machine has, and those of directly booted kernels. */
export const FwCfgItem = {
  SIGNATURE: 0x00,
  ID: 0x01,
  RAM_SIZE: 0x03,
  CPU_COUNT: 0x05,
  KERNEL_SIZE: 0x08,
  INITRD_SIZE: 0x0b,
  BOOT_MENU: 0x0e,
  MAX_CPUS: 0x0f,
  KERNEL_DATA: 0x11,
  INITRD_DATA: 0x12,
  COMMAND_LINE_SIZE: 0x14,
  COMMAND_LINE_DATA: 0x15,
  DIRECTORY: 0x19,
  FIRST_FILE: 0x20,
} as const;

const Offset = { SELECTOR: 0, DATA: 1, DMA_HIGH: 4, DMA_LOW: 8 } as const;
const Id = { TRADITIONAL: 1, DMA: 2 } as const;
const Control = { ERROR: 1, READ: 2, SKIP: 4, SELECT: 8, WRITE: 0x10 } as const;
/** 'QEMU CFG', which the DMA register reads as. */
const DMA_SIGNATURE = [0x51, 0x45, 0x4d, 0x55, 0x20, 0x43, 0x46, 0x47] as const;
const DIRECTORY_ENTRY = 64;
const LONGEST_NAME = 55;
/** Bytes of one step of a transfer, and how far behind the end of an item a guest may read zeros. */
const STEP = 0x1_0000;
const NONE = new Uint8Array(0);

export class FwCfg implements PortDevice, Stateful {
  readonly name = 'fw_cfg';
  readonly #memory: DmaMemory;
  readonly #items = new Map<number, Uint8Array>();
  readonly #files: { readonly name: string; readonly item: number }[] = [];
  #selected: Uint8Array = NONE;
  #position = 0;
  #dmaHigh = 0;

  constructor(memory: DmaMemory) {
    this.#memory = memory;
    this.add(FwCfgItem.SIGNATURE, new TextEncoder().encode('QEMU'));
    this.add(FwCfgItem.ID, number(Id.TRADITIONAL | Id.DMA, 4));
    this.#describeFiles();
  }

  /** Gives an item its bytes. */
  add(item: number, bytes: Uint8Array): void {
    this.#items.set(item, bytes);
  }

  /** Gives an item a number, little-endian. */
  addNumber(item: number, value: number, bytes: 2 | 4 | 8): void {
    this.add(item, number(value, bytes));
  }

  /** A named file: the directory lists it. */
  addFile(name: string, bytes: Uint8Array): void {
    const item = FwCfgItem.FIRST_FILE + this.#files.length;
    this.#files.push({ name: name.slice(0, LONGEST_NAME), item });
    this.add(item, bytes);
    this.#describeFiles();
  }

  in(offset: number, size: PortSize): number {
    if (offset >= Offset.DMA_HIGH) return this.#signature(offset - Offset.DMA_HIGH, size);
    // Only the data port can be read, whichever address was named: a byte, then the next ones.
    let value = 0;
    for (let k = 0; k < size; k++) value |= this.#next() << (8 * k);
    return value >>> 0;
  }

  out(offset: number, size: PortSize, value: number): void {
    if (offset === Offset.SELECTOR && size === 2) this.#select(value);
    else if (offset === Offset.DMA_HIGH && size === 4) this.#dmaHigh = swap32(value);
    else if (offset === Offset.DMA_LOW && size === 4) {
      const address = (BigInt(this.#dmaHigh) << 32n) | BigInt(swap32(value));
      this.#dmaHigh = 0;
      this.#transfer(address);
    }
  }

  #signature(at: number, size: PortSize): number {
    let value = 0;
    for (let k = 0; k < size; k++) value |= (DMA_SIGNATURE[at + k] ?? 0) << (8 * k);
    return value >>> 0;
  }

  #select(item: number): void {
    this.#selected = this.#items.get(item & 0xffff) ?? NONE;
    this.#position = 0;
  }

  /** Behind the end of an item there are zeros. */
  #next(): number {
    return this.#selected[this.#position++] ?? 0;
  }

  /** A structure of 16 bytes, big-endian: control, length, address. What became of it goes back into control. */
  #transfer(at: bigint): void {
    const bytes = new Uint8Array(16);
    if (!this.#memory.read(at, bytes)) return;
    const view = new DataView(bytes.buffer);
    const control = view.getUint32(0);
    const length = view.getUint32(4);
    if ((control & Control.SELECT) !== 0) this.#select(control >>> 16);
    let done = true;
    if ((control & Control.READ) !== 0) done = this.#copy(view.getBigUint64(8), length);
    else if ((control & Control.WRITE) !== 0) done = false;
    else if ((control & Control.SKIP) !== 0) this.#position += length;
    view.setUint32(0, done ? 0 : Control.ERROR);
    this.#memory.write(at, bytes.subarray(0, 4));
  }

  #copy(address: bigint, length: number): boolean {
    // Nobody needs gigabytes of zeros, and the host's time is not the guest's.
    if (length > Math.max(0, this.#selected.length - this.#position) + STEP) return false;
    for (let done = 0; done < length; done += STEP) {
      const step = Math.min(STEP, length - done);
      const bytes = new Uint8Array(step);
      bytes.set(this.#selected.subarray(this.#position, this.#position + step));
      if (!this.#memory.write(address + BigInt(done), bytes)) return false;
      this.#position += step;
    }
    return true;
  }

  /** Item 19h: how many files, and for each its size, item and name, big-endian. */
  #describeFiles(): void {
    const bytes = new Uint8Array(4 + DIRECTORY_ENTRY * this.#files.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, this.#files.length);
    this.#files.forEach(({ name, item }, n) => {
      const at = 4 + DIRECTORY_ENTRY * n;
      view.setUint32(at, this.#items.get(item)?.length ?? 0);
      view.setUint16(at + 4, item);
      bytes.set(new TextEncoder().encode(name).subarray(0, LONGEST_NAME), at + 8);
    });
    this.add(FwCfgItem.DIRECTORY, bytes);
  }

  exchange(fields: Fields): void {
    this.#selected = fields.value(this.#selected);
    this.#position = fields.value(this.#position);
    this.#dmaHigh = fields.value(this.#dmaHigh);
  }
}

function number(value: number, bytes: 2 | 4 | 8): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(value), true);
  return new Uint8Array(view.buffer, 0, bytes);
}

const swap32 = (value: number): number =>
  (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;

/** Ranges of the file etc/e820: address and length, 64 bits each, and a type of 32 bits. */
export function e820File(ranges: readonly { readonly start: number; readonly size: number; readonly type: 1 | 2 }[]): Uint8Array {
  const bytes = new Uint8Array(20 * ranges.length);
  const view = new DataView(bytes.buffer);
  ranges.forEach(({ start, size, type }, n) => {
    view.setBigUint64(20 * n, BigInt(start), true);
    view.setBigUint64(20 * n + 8, BigInt(size), true);
    view.setUint32(20 * n + 16, type, true);
  });
  return bytes;
}
