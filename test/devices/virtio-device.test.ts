// What every virtio device does whatever it is: status, features, queues, and what becomes of drivers that make no sense. OASIS Virtual I/O
// Device, version 1.2, chapters 2 and 3.

import { beforeEach, describe, expect, it } from 'vitest';
import type { Chain } from '../../src/devices/virtio-chain.ts';
import { VirtioDevice, VirtioFeature, type VirtioKind, VirtioStatus } from '../../src/devices/virtio-device.ts';
import { DriverQueue, Flag, GuestMemory, MEMORY_SIZE, PLACES } from './virtio-driver.ts';

const SIZE = 8;
const { ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK, NEEDS_RESET } = VirtioStatus;
const NEGOTIATING = ACKNOWLEDGE | DRIVER;
const LIVE = NEGOTIATING | FEATURES_OK | DRIVER_OK;

let memory: GuestMemory;
let queue: DriverQueue;
let device: VirtioDevice;
let served: string[];
let interrupts: string[];

/** Copies what it is given, as far as there is room. */
const echo = (): VirtioKind => ({
  name: 'echo',
  id: 42,
  classCode: 0xff_00_00,
  features: [3],
  queues: 1,
  queueSize: SIZE,
  configuration: new Uint8Array(0),
  serve: (_queue: number, chain: Chain) => {
    const bytes = new Uint8Array(Math.min(chain.readable, 0x1000));
    if (!chain.readAt(0, bytes)) return 0;
    served.push(new TextDecoder().decode(bytes));
    const answer = bytes.subarray(0, Math.min(bytes.length, chain.writable));
    return chain.writeAt(0, answer) ? answer.length : 0;
  },
});

const has = (bit: number): boolean => ((device.offered(bit >>> 5) >>> (bit & 31)) & 1) === 1;
const word = (...bits: readonly number[]): number => bits.reduce((sum, bit) => sum | (1 << (bit & 31)), 0) >>> 0;

function make(accessPlatform = false): void {
  device = new VirtioDevice(echo(), memory, accessPlatform);
  device.transport = {
    queueInterrupt: (n) => interrupts.push(`queue ${n}`),
    configurationInterrupt: () => interrupts.push('configuration'),
  };
}

function start(low: readonly number[] = [], high: readonly number[] = [VirtioFeature.VERSION_1]): void {
  device.status = NEGOTIATING;
  device.accept(0, word(...low));
  device.accept(1, word(...high));
  device.status = NEGOTIATING | FEATURES_OK;
  const ring = device.queues[0];
  if (ring === undefined) throw new Error('no queue');
  ring.descriptors = BigInt(PLACES.descriptors);
  ring.available = BigInt(PLACES.available);
  ring.used = BigInt(PLACES.used);
  ring.ready = true;
  device.status = LIVE;
}

const text = (at: number, letters: string): void => memory.bytes.set(new TextEncoder().encode(letters), at);
const at = (place: number, length: number): string => new TextDecoder().decode(memory.bytes.subarray(place, place + length));

beforeEach(() => {
  memory = new GuestMemory();
  queue = new DriverQueue(memory, SIZE);
  served = [];
  interrupts = [];
  make();
});

describe('feature negotiation', () => {
  it('offers what rings can do, version 1, and that access is by the platform', () => {
    for (const bit of [3, VirtioFeature.INDIRECT_DESC, VirtioFeature.EVENT_IDX, VirtioFeature.VERSION_1, VirtioFeature.ACCESS_PLATFORM])
      expect(has(bit)).toBe(true);
    expect(has(4)).toBe(false);
  });

  it('FEATURES_OK stays clear without VERSION_1, and for a feature that was not offered', () => {
    device.status = NEGOTIATING;
    device.status = NEGOTIATING | FEATURES_OK;
    expect(device.status).toBe(NEGOTIATING);
    device.accept(1, word(VirtioFeature.VERSION_1));
    device.accept(0, word(4));
    device.status = NEGOTIATING | FEATURES_OK;
    expect(device.status).toBe(NEGOTIATING);
    device.accept(0, word(3));
    device.status = NEGOTIATING | FEATURES_OK;
    expect(device.status).toBe(NEGOTIATING | FEATURES_OK);
  });

  it('FEATURES_OK stays clear without ACCESS_PLATFORM where memory is encrypted', () => {
    make(true);
    device.status = NEGOTIATING;
    device.accept(1, word(VirtioFeature.VERSION_1));
    device.status = NEGOTIATING | FEATURES_OK;
    expect(device.status).toBe(NEGOTIATING);
    device.accept(1, word(VirtioFeature.VERSION_1, VirtioFeature.ACCESS_PLATFORM));
    device.status = NEGOTIATING | FEATURES_OK;
    expect(device.status).toBe(NEGOTIATING | FEATURES_OK);
  });

  it('is over once FEATURES_OK is set', () => {
    start();
    device.accept(0, word(3));
    expect(device.accepted(0)).toBe(0);
  });

  it('begins again with a reset, which takes everything back', () => {
    start();
    device.status = 0;
    expect([device.status, device.accepted(1), device.queues[0]?.ready, device.queues[0]?.size]).toEqual([0, 0, false, SIZE]);
  });
});

describe('a queue', () => {
  it('gives chains to the device and back, with what was written', () => {
    start();
    text(0x5000, 'hello');
    queue.offer(
      queue.chain([
        { at: 0x5000, length: 2 },
        { at: 0x5002, length: 3 },
        { at: 0x6000, length: 4, flags: Flag.WRITE },
      ]),
    );
    device.notify(0);
    expect([served, queue.used, at(0x6000, 5), interrupts]).toEqual([['hello'], [{ head: 0, length: 4 }], 'hell\0', ['queue 0']]);
  });

  it('is not looked at before DRIVER_OK, nor without FEATURES_OK', () => {
    start();
    queue.offer(queue.chain([{ at: 0x5000, length: 1 }]));
    device.status = NEGOTIATING | FEATURES_OK;
    device.notify(0);
    device.status = NEGOTIATING | DRIVER_OK;
    device.notify(0);
    expect(served).toEqual([]);
  });

  it('goes round: indices are of 16 bits and wrap', () => {
    start();
    for (let n = 0; n < 0x1_0000 + 3; n++) {
      queue.offer(queue.chain([{ at: 0x5000, length: 0 }]));
      device.notify(0);
    }
    expect([served.length, device.status, memory.view.getUint16(PLACES.used + 2, true)]).toEqual([0x1_0003, LIVE, 3]);
  });

  it('takes sizes that are powers of two up to its most', () => {
    const ring = device.queues[0];
    for (const [asked, got] of [
      [4, 4],
      [3, 4],
      [0, 4],
      [16, 4],
      [8, 8],
    ] as const) {
      ring?.resize(asked);
      expect(ring?.size).toBe(got);
    }
  });

  it('one descriptor may name a table of others, and be the end of a chain', () => {
    start([VirtioFeature.INDIRECT_DESC]);
    text(0x5000, 'abcd');
    queue.chain(
      [
        { at: 0x5001, length: 3 },
        { at: 0x6000, length: 9, flags: Flag.WRITE },
      ],
      0,
      0x7000,
    );
    queue.describe(1, { at: 0x5000, length: 1, flags: Flag.NEXT, next: 2 });
    queue.describe(2, { at: 0x7000, length: 32, flags: Flag.INDIRECT });
    queue.offer(1);
    device.notify(0);
    expect([served, queue.used]).toEqual([['abcd'], [{ head: 1, length: 4 }]]);
  });
});

describe('interrupts', () => {
  const round = (): void => {
    queue.offer(queue.chain([{ at: 0x5000, length: 1 }]));
    device.notify(0);
  };

  it('do not come while the driver says so in the available ring', () => {
    start();
    memory.view.setUint16(PLACES.available, 1, true);
    round();
    expect(interrupts).toEqual([]);
    memory.view.setUint16(PLACES.available, 0, true);
    round();
    expect(interrupts).toEqual(['queue 0']);
  });

  it('with EVENT_IDX come when the used index passes used_event, and avail_event asks for the next notification', () => {
    start([VirtioFeature.EVENT_IDX]);
    memory.view.setUint16(PLACES.available + 4 + 2 * SIZE, 1, true);
    round();
    expect(interrupts).toEqual([]);
    round();
    expect(interrupts).toEqual(['queue 0']);
    round();
    expect(interrupts).toEqual(['queue 0']);
    expect(memory.view.getUint16(PLACES.used + 4 + 8 * SIZE, true)).toBe(3);
  });

  it('do not come for a notification without anything to do', () => {
    start();
    device.notify(0);
    device.notify(7);
    expect(interrupts).toEqual([]);
  });
});

describe('what no driver means', () => {
  const broken = (why: () => void, features: readonly number[] = []): void => {
    start(features);
    why();
    memory.accesses = 0;
    device.notify(0);
    expect([device.status, interrupts, queue.used]).toEqual([LIVE | NEEDS_RESET, ['configuration'], []]);
    expect(memory.accesses).toBeLessThan(40);
    // Nothing more is done until a reset.
    interrupts = [];
    device.notify(0);
    expect([interrupts, served]).toEqual([[], []]);
    device.status = LIVE;
    expect(device.status).toBe(LIVE | NEEDS_RESET);
    device.status = 0;
    expect(device.status).toBe(0);
  };
  const one = { at: 0x5000, length: 1 };

  it('a descriptor that leads back to itself', () =>
    broken(() => {
      queue.describe(0, { ...one, flags: Flag.NEXT, next: 0 });
      queue.offer(0);
    }));
  it('a chain in a circle', () =>
    broken(() => {
      queue.chain([one, one, one]);
      queue.describe(2, { ...one, flags: Flag.NEXT, next: 0 });
      queue.offer(0);
    }));
  it('a head beyond the table', () => broken(() => queue.offer(SIZE)));
  it('a next beyond the table', () =>
    broken(() => {
      queue.describe(0, { ...one, flags: Flag.NEXT, next: 0xffff });
      queue.offer(0);
    }));
  it('an available index that is further ahead than the queue is long', () => broken(() => queue.claim(SIZE + 1)));
  it('bytes to read behind bytes to write', () => broken(() => queue.offer(queue.chain([{ ...one, flags: Flag.WRITE }, one]))));
  it('a table that was not negotiated', () =>
    broken(() => {
      queue.describe(0, { at: 0x7000, length: 16, flags: Flag.INDIRECT });
      queue.offer(0);
    }));

  const table = (length: number, flags: number, inside: () => void = () => {}): void =>
    broken(() => {
      queue.describe(0, { at: 0x7000, length, flags: Flag.INDIRECT | flags });
      inside();
      queue.offer(0);
    }, [VirtioFeature.INDIRECT_DESC]);
  it('an empty table', () => table(0, 0));
  it('a table of no whole descriptors', () => table(24, 0));
  it('a table longer than the queue', () => table(16 * (SIZE + 1), 0));
  it('a table with a next', () => table(16, Flag.NEXT));
  it('a table in a table', () => table(16, 0, () => queue.describe(0, { at: 0x7000, length: 16, flags: Flag.INDIRECT }, 0x7000)));
  it('a circle in a table', () => table(32, 0, () => queue.describe(0, { at: 0x7000, length: 16, flags: Flag.NEXT, next: 0 }, 0x7000)));
  it('a next beyond a table', () => table(32, 0, () => queue.describe(0, { at: 0x7000, length: 16, flags: Flag.NEXT, next: 2 }, 0x7000)));

  const moved = (name: 'descriptors' | 'available' | 'used', to: bigint): void =>
    broken(() => {
      queue.offer(queue.chain([one]));
      const ring = device.queues[0];
      if (ring !== undefined) ring[name] = to;
      // Whatever happens behind the used ring's end, the chain has been looked at by then.
      if (name === 'used') device.kind.serve = () => 0;
    });
  it.each(['descriptors', 'available', 'used'] as const)('%s outside of memory', (name) => {
    moved(name, BigInt(MEMORY_SIZE));
  });
  it.each(['descriptors', 'available', 'used'] as const)('%s at the end of all addresses', (name) => {
    moved(name, 0xffff_ffff_ffff_ffffn);
  });

  it('buffers that are not memory fail the request alone', () => {
    start();
    queue.offer(
      queue.chain([
        { at: 0xffff_ffff_ffff_fff0n, length: 0xffff_ffff },
        { at: 0, length: 0xffff_ffff, flags: Flag.WRITE },
      ]),
    );
    queue.offer(queue.chain([one, { at: MEMORY_SIZE, length: 1, flags: Flag.WRITE }], 4));
    memory.accesses = 0;
    device.notify(0);
    expect([device.status, queue.used]).toEqual([
      LIVE,
      [
        { head: 0, length: 0 },
        { head: 4, length: 0 },
      ],
    ]);
    expect(memory.accesses).toBeLessThan(60);
  });
});
