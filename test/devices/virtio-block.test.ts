// The virtio block device by its requests. OASIS Virtual I/O Device, version 1.2, 5.2.

import { beforeEach, describe, expect, it } from 'vitest';
import { BlockRequest, BlockStatus, type BlockStore, memoryStore, VirtioBlock } from '../../src/devices/virtio-block.ts';
import { VirtioDevice, VirtioFeature, VirtioStatus } from '../../src/devices/virtio-device.ts';
import { type Descriptor, DriverQueue, Flag, GuestMemory, MEMORY_SIZE, PLACES } from './virtio-driver.ts';

const SECTORS = 64;
const HEADER = 0x4000;
const STATUS = 0x4100;
const DATA = 0x1_0000;

let memory: GuestMemory;
let queue: DriverQueue;
let device: VirtioDevice;
let disk: Uint8Array;

function make(store: BlockStore): void {
  memory = new GuestMemory();
  const kind = new VirtioBlock(store, 'serial-number');
  queue = new DriverQueue(memory, kind.queueSize);
  device = new VirtioDevice(kind, memory, false);
  device.status = VirtioStatus.DRIVER;
  device.accept(1, 1 << (VirtioFeature.VERSION_1 - 32));
  device.status = VirtioStatus.DRIVER | VirtioStatus.FEATURES_OK;
  Object.assign(device.queues[0] ?? {}, {
    descriptors: BigInt(PLACES.descriptors),
    available: BigInt(PLACES.available),
    used: BigInt(PLACES.used),
    ready: true,
  });
  device.status = VirtioStatus.DRIVER | VirtioStatus.FEATURES_OK | VirtioStatus.DRIVER_OK;
}

beforeEach(() => {
  disk = Uint8Array.from({ length: SECTORS * 512 }, (_, n) => n >>> 9);
  make(memoryStore(disk));
});

/** Sends a request; gives its status and the used length. */
function request(type: number, sector: number | bigint, data: readonly Descriptor[] = []): [status: number, length: number] {
  memory.view.setUint32(HEADER, type, true);
  memory.view.setBigUint64(HEADER + 8, BigInt.asUintN(64, BigInt(sector)), true);
  memory.bytes[STATUS] = 0xee;
  queue.offer(queue.chain([{ at: HEADER, length: 16 }, ...data, { at: STATUS, length: 1, flags: Flag.WRITE }]));
  device.notify(0);
  return [memory.bytes[STATUS] ?? 0, queue.used.at(-1)?.length ?? -1];
}
const into = (length: number, at = DATA): Descriptor => ({ at, length, flags: Flag.WRITE });
const from = (length: number, at = DATA): Descriptor => ({ at, length });
const configuration = (): DataView => new DataView(device.kind.configuration.buffer);

describe('its configuration', () => {
  it('has the capacity in sectors, the block size, and bounds that hold together', () => {
    const view = configuration();
    expect([view.getBigUint64(0, true), view.getUint32(0x14, true)]).toEqual([BigInt(SECTORS), 512]);
    expect(view.getUint32(0x0c, true) + 2).toBe(device.kind.queueSize);
  });

  it('says that a disk is read-only, and offers no writes of zeros then', () => {
    expect(device.kind.features).not.toContain(5);
    make(memoryStore(disk, true));
    expect(device.kind.features).toContain(5);
    expect(device.kind.features).not.toContain(13);
  });
});

describe('a request', () => {
  it('IN reads sectors, wherever the pieces lie', () => {
    expect(request(BlockRequest.IN, 3, [into(100), into(924, DATA + 0x1000)])).toEqual([BlockStatus.OK, 1025]);
    expect([memory.bytes[DATA], memory.bytes[DATA + 0x1000 + 412], memory.bytes[DATA + 0x1000 + 923]]).toEqual([3, 4, 4]);
  });

  it('OUT writes them', () => {
    memory.bytes.fill(0xaa, DATA, DATA + 1024);
    expect(request(BlockRequest.OUT, 62, [from(1000), from(24, DATA + 1000)])).toEqual([BlockStatus.OK, 1]);
    expect([disk[62 * 512 - 1], disk[62 * 512], disk.at(-1)]).toEqual([61, 0xaa, 0xaa]);
  });

  it('FLUSH and GET_ID answer', () => {
    expect(request(BlockRequest.FLUSH, 0)).toEqual([BlockStatus.OK, 1]);
    expect(request(BlockRequest.GET_ID, 0, [into(20)])).toEqual([BlockStatus.OK, 21]);
    expect(new TextDecoder().decode(memory.bytes.subarray(DATA, DATA + 14))).toBe('serial-number\0');
    expect(request(BlockRequest.GET_ID, 0, [into(19)])[0]).toBe(BlockStatus.IO_ERROR);
  });

  it.each([BlockRequest.DISCARD, BlockRequest.WRITE_ZEROES])('%i makes zeros of a range', (type) => {
    memory.view.setBigUint64(DATA, 5n, true);
    memory.view.setUint32(DATA + 8, 2, true);
    memory.view.setUint32(DATA + 12, 0, true);
    expect(request(type, 0, [from(16)])).toEqual([BlockStatus.OK, 1]);
    expect([disk[5 * 512 - 1], disk[5 * 512], disk[7 * 512 - 1], disk[7 * 512]]).toEqual([4, 0, 0, 7]);
    memory.view.setUint32(DATA + 12, 2, true); // reserved
    expect(request(type, 0, [from(16)])[0]).toBe(BlockStatus.UNSUPPORTED);
    memory.view.setUint32(DATA + 12, 1, true); // unmap, which a discard must not have
    expect(request(type, 0, [from(16)])[0]).toBe(type === BlockRequest.DISCARD ? BlockStatus.UNSUPPORTED : BlockStatus.OK);
    memory.view.setUint32(DATA + 12, 0, true);
    memory.view.setUint32(DATA + 8, 0xffff_ffff, true);
    expect(request(type, 0, [from(16)])[0]).toBe(BlockStatus.IO_ERROR);
    expect(request(type, 0, [from(8)])[0]).toBe(BlockStatus.IO_ERROR);
  });

  it('of another type is not supported', () => {
    expect(request(2, 0, [into(512)])[0]).toBe(BlockStatus.UNSUPPORTED);
  });

  it('may have its header in pieces', () => {
    memory.bytes.fill(0, HEADER, HEADER + 16);
    queue.offer(
      queue.chain([{ at: HEADER, length: 5 }, { at: HEADER + 5, length: 11 }, into(512), { at: STATUS, length: 1, flags: Flag.WRITE }]),
    );
    device.notify(0);
    expect(queue.used).toEqual([{ head: 0, length: 513 }]);
  });
});

describe('refused', () => {
  it('a write to a disk that is read-only', () => {
    make(memoryStore(disk, true));
    expect(request(BlockRequest.OUT, 0, [from(512)])).toEqual([BlockStatus.IO_ERROR, 1]);
    expect(request(BlockRequest.WRITE_ZEROES, 0, [from(16)])[0]).toBe(BlockStatus.UNSUPPORTED);
  });

  it.each([SECTORS, SECTORS - 1, 2 ** 53, 2n ** 64n - 1n])('sectors behind the end, from %s on', (sector) => {
    expect(request(BlockRequest.IN, sector, [into(1024)])[0]).toBe(BlockStatus.IO_ERROR);
    expect(request(BlockRequest.OUT, sector, [from(1024)])[0]).toBe(BlockStatus.IO_ERROR);
  });

  it('what is no whole number of sectors, or more than the bounds allow', () => {
    expect(request(BlockRequest.IN, 0, [into(511)])[0]).toBe(BlockStatus.IO_ERROR);
    make(memoryStore(new Uint8Array(64 << 20)));
    memory.accesses = 0;
    expect(request(BlockRequest.IN, 0, [into(4 << 20, 0)])[0]).toBe(BlockStatus.IO_ERROR);
    expect(request(BlockRequest.IN, 0, [into(0xffff_fe00), into(0xffff_fe00)])[0]).toBe(BlockStatus.IO_ERROR);
    expect(memory.accesses).toBeLessThan(40);
  });

  it('data that is not memory', () => {
    expect(request(BlockRequest.IN, 0, [into(512, MEMORY_SIZE - 1)])).toEqual([BlockStatus.IO_ERROR, 0]);
    expect(request(BlockRequest.OUT, 0, [from(512, MEMORY_SIZE)])).toEqual([BlockStatus.IO_ERROR, 1]);
    expect(disk[0]).toBe(0);
  });

  it('a chain without a header, or without room for the status: a used element of length 0', () => {
    queue.offer(queue.chain([{ at: STATUS, length: 1, flags: Flag.WRITE }]));
    device.notify(0);
    expect([memory.bytes[STATUS], queue.used.at(-1)]).toEqual([BlockStatus.IO_ERROR, { head: 0, length: 1 }]);
    queue.offer(queue.chain([{ at: HEADER, length: 16 }]));
    device.notify(0);
    queue.offer(queue.chain([{ at: HEADER, length: 16 }, into(1, MEMORY_SIZE)]));
    device.notify(0);
    expect(queue.used.slice(1).map(({ length }) => length)).toEqual([0, 0]);
  });

  it('what the store refuses', () => {
    make({ size: 512, readOnly: false, read: () => false, write: () => false, flush: () => false });
    expect([
      request(BlockRequest.IN, 0, [into(512)])[0],
      request(BlockRequest.OUT, 0, [from(512)])[0],
      request(BlockRequest.FLUSH, 0)[0],
    ]).toEqual([1, 1, 1]);
  });
});
