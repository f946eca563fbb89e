// Virtio block device (OASIS Virtual I/O Device, version 1.2, 5.2): sectors of 512 bytes over whatever keeps them.

import type { Chain } from './virtio-chain.ts';
import type { VirtioKind } from './virtio-device.ts';
import type { Fields } from '../util/stateful.ts';
import { SavedStore } from './saved-store.ts';

/** What keeps the sectors. False: it could not. Offsets and lengths are whole sectors within `size`. */
export interface BlockStore {
  /** Bytes, a whole number of sectors. */
  readonly size: number;
  readonly readOnly: boolean;
  read(offset: number, into: Uint8Array): boolean;
  write(offset: number, from: Uint8Array): boolean;
  /** What was written is safe behind this. */
  flush(): boolean;
}

export const SECTOR = 512;

/** 5.2.3 */
const Feature = { SIZE_MAX: 1, SEG_MAX: 2, RO: 5, BLK_SIZE: 6, FLUSH: 9, DISCARD: 13, WRITE_ZEROES: 14 } as const;
/** 5.2.6 */
export const BlockRequest = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;
export const BlockStatus = { OK: 0, IO_ERROR: 1, UNSUPPORTED: 2 } as const;
const Header = { TYPE: 0, SECTOR: 8, SIZE: 16 } as const;
/** A range to discard or to fill with zeros: sector, sectors, flags. */
const Range = { SECTOR: 0, SECTORS: 8, FLAGS: 12, SIZE: 16, UNMAP: 1 } as const;
/** 5.2.4 */
const Configuration = {
  CAPACITY: 0x00,
  SIZE_MAX: 0x08,
  SEG_MAX: 0x0c,
  BLK_SIZE: 0x14,
  MAX_DISCARD_SECTORS: 0x24,
  MAX_DISCARD_SEG: 0x28,
  DISCARD_ALIGNMENT: 0x2c,
  MAX_WRITE_ZEROES_SECTORS: 0x30,
  MAX_WRITE_ZEROES_SEG: 0x34,
  WRITE_ZEROES_MAY_UNMAP: 0x38,
  SIZE: 0x3c,
} as const;

const QUEUE_SIZE = 64;
const SEGMENTS = QUEUE_SIZE - 2; // header and status are descriptors, too
const SEGMENT = 0x8000;
/** The most that one request may ask for, which is what SEG_MAX and SIZE_MAX allow: 1.9 MiB. */
const MOST_BYTES = SEGMENTS * SEGMENT;
const MOST_SECTORS = MOST_BYTES / SECTOR;
const STEP = 0x1_0000;
const ID_BYTES = 20;

export class VirtioBlock implements VirtioKind {
  readonly name = 'virtio block device';
  readonly id = 2;
  readonly classCode = 0x01_00_00;
  readonly queues = 1;
  readonly queueSize = QUEUE_SIZE;
  readonly features: readonly number[];
  readonly configuration = new Uint8Array(Configuration.SIZE);
  readonly #store: SavedStore;
  readonly #serial: string;
  readonly #buffer = new Uint8Array(STEP);

  /** `serial`: what GET_ID tells, up to 20 bytes of ASCII. */
  constructor(store: BlockStore, serial: string) {
    this.#store = new SavedStore(store);
    this.#serial = serial;
    const common = [Feature.SIZE_MAX, Feature.SEG_MAX, Feature.BLK_SIZE, Feature.FLUSH];
    this.features = [...common, ...(store.readOnly ? [Feature.RO] : [Feature.DISCARD, Feature.WRITE_ZEROES])];
    const view = new DataView(this.configuration.buffer);
    view.setBigUint64(Configuration.CAPACITY, BigInt(store.size / SECTOR), true);
    view.setUint32(Configuration.SIZE_MAX, SEGMENT, true);
    view.setUint32(Configuration.SEG_MAX, SEGMENTS, true);
    view.setUint32(Configuration.BLK_SIZE, SECTOR, true);
    if (store.readOnly) return;
    view.setUint32(Configuration.MAX_DISCARD_SECTORS, MOST_SECTORS, true);
    view.setUint32(Configuration.MAX_DISCARD_SEG, 1, true);
    view.setUint32(Configuration.DISCARD_ALIGNMENT, 1, true);
    view.setUint32(Configuration.MAX_WRITE_ZEROES_SECTORS, MOST_SECTORS, true);
    view.setUint32(Configuration.MAX_WRITE_ZEROES_SEG, 1, true);
    view.setUint8(Configuration.WRITE_ZEROES_MAY_UNMAP, 1);
  }

  /** A chain is header, data, and one byte for the status. One without room for the status gets nothing. */
  serve(_queue: number, chain: Chain): number {
    const room = chain.writable - 1;
    if (room < 0) return 0;
    const header = new Uint8Array(Header.SIZE);
    if (!chain.readAt(0, header)) return this.#answer(chain, BlockStatus.IO_ERROR, 0);
    const view = new DataView(header.buffer);
    const sector = Number(view.getBigUint64(Header.SECTOR, true));
    const status = this.#execute(view.getUint32(Header.TYPE, true), sector, chain, room);
    return this.#answer(chain, status, room);
  }

  /** The status is the last byte that the device may write; the length covers what lies before. */
  #answer(chain: Chain, status: number, data: number): number {
    if (!chain.writeAt(chain.writable - 1, Uint8Array.of(status))) return 0;
    // Used length counts from the beginning: where nothing was put there, nothing is claimed (2.7.8.2).
    return status === BlockStatus.OK ? data + 1 : chain.writable === 1 ? 1 : 0;
  }

  #execute(type: number, sector: number, chain: Chain, room: number): number {
    switch (type) {
      case BlockRequest.IN:
        return this.#transfer(sector, room, (at, bytes, offset) => this.#store.read(at, bytes) && chain.writeAt(offset, bytes));
      case BlockRequest.OUT:
        if (this.#store.readOnly) return BlockStatus.IO_ERROR;
        return this.#transfer(
          sector,
          chain.readable - Header.SIZE,
          (at, bytes, offset) => chain.readAt(Header.SIZE + offset, bytes) && this.#store.write(at, bytes),
        );
      case BlockRequest.FLUSH:
        return this.#store.flush() ? BlockStatus.OK : BlockStatus.IO_ERROR;
      case BlockRequest.GET_ID:
        return this.#identify(chain, room);
      case BlockRequest.DISCARD:
      case BlockRequest.WRITE_ZEROES:
        return this.#clear(chain, type);
      default:
        return BlockStatus.UNSUPPORTED;
    }
  }

  #transfer(sector: number, length: number, move: (at: number, bytes: Uint8Array, offset: number) => boolean): number {
    if (length % SECTOR !== 0 || length > MOST_BYTES || !this.#has(sector, length)) return BlockStatus.IO_ERROR;
    for (let done = 0; done < length; ) {
      const bytes = this.#buffer.subarray(0, Math.min(STEP, length - done));
      if (!move(sector * SECTOR + done, bytes, done)) return BlockStatus.IO_ERROR;
      done += bytes.length;
    }
    return BlockStatus.OK;
  }

  #has(sector: number, length: number): boolean {
    return sector * SECTOR + length <= this.#store.size; // far beyond it a double is not exact, and far beyond
  }

  /** Zero-filled where it is shorter. */
  #identify(chain: Chain, room: number): number {
    if (room < ID_BYTES) return BlockStatus.IO_ERROR;
    const bytes = new Uint8Array(room > STEP ? ID_BYTES : room);
    bytes.set(new TextEncoder().encode(this.#serial).subarray(0, ID_BYTES));
    return chain.writeAt(0, bytes) ? BlockStatus.OK : BlockStatus.IO_ERROR;
  }

  /** Discarded sectors read as zeros here. */
  #clear(chain: Chain, type: number): number {
    if (this.#store.readOnly) return BlockStatus.UNSUPPORTED; // the features are not offered
    const bytes = new Uint8Array(Range.SIZE);
    if (chain.readable !== Header.SIZE + Range.SIZE || !chain.readAt(Header.SIZE, bytes)) return BlockStatus.IO_ERROR;
    const view = new DataView(bytes.buffer);
    const flags = view.getUint32(Range.FLAGS, true);
    const allowed = type === BlockRequest.WRITE_ZEROES ? Range.UNMAP : 0;
    if ((flags & ~allowed) !== 0) return BlockStatus.UNSUPPORTED;
    const sectors = view.getUint32(Range.SECTORS, true);
    const sector = Number(view.getBigUint64(Range.SECTOR, true));
    if (sectors > MOST_SECTORS) return BlockStatus.IO_ERROR;
    return this.#transfer(sector, sectors * SECTOR, (at, zeros) => this.#store.write(at, zeros.fill(0)));
  }

  exchange(fields: Fields): void {
    fields.part(this.#store);
  }
}

/** Sectors in memory. `bytes` is padded to whole sectors, and is what is written to where it is whole already. */
export function memoryStore(bytes: Uint8Array, readOnly = false): BlockStore {
  const size = Math.ceil(bytes.length / SECTOR) * SECTOR;
  const held = size === bytes.length ? bytes : new Uint8Array(size);
  if (held !== bytes) held.set(bytes);
  return {
    size,
    readOnly,
    read: (offset, into) => (into.set(held.subarray(offset, offset + into.length)), true),
    write: (offset, from) => (held.set(from, offset), true),
    flush: () => true,
  };
}
