// Virtio console and entropy device. OASIS Virtual I/O Device, version 1.2, 5.3 and 5.4.

import { describe, expect, it } from 'vitest';
import { VirtioConsole } from '../../src/devices/virtio-console.ts';
import { VirtioDevice, VirtioFeature, type VirtioKind, VirtioStatus } from '../../src/devices/virtio-device.ts';
import { VirtioRng } from '../../src/devices/virtio-rng.ts';
import { DriverQueue, Flag, GuestMemory, MEMORY_SIZE } from './virtio-driver.ts';

const LIVE = VirtioStatus.DRIVER | VirtioStatus.FEATURES_OK | VirtioStatus.DRIVER_OK;

function driver(kind: VirtioKind) {
  const memory = new GuestMemory();
  const interrupts: number[] = [];
  const device = new VirtioDevice(kind, memory, false);
  device.transport = { queueInterrupt: (n) => interrupts.push(n), configurationInterrupt: () => interrupts.push(-1) };
  device.accept(1, 1 << (VirtioFeature.VERSION_1 - 32));
  device.status = VirtioStatus.DRIVER | VirtioStatus.FEATURES_OK;
  const queues = device.queues.map((ring, n) => {
    const base = 0x1_0000 * (n + 1);
    const places = { descriptors: base, available: base + 0x1000, used: base + 0x2000 };
    ring.descriptors = BigInt(places.descriptors);
    ring.available = BigInt(places.available);
    ring.used = BigInt(places.used);
    ring.ready = true;
    return new DriverQueue(memory, ring.size, places);
  });
  device.status = LIVE;
  return { memory, device, interrupts, queue: (n: number) => queues[n] ?? new DriverQueue(memory, 1) };
}

function consoleOf(input: string) {
  const waiting = [...new TextEncoder().encode(input)];
  const sent: number[] = [];
  const made = driver(new VirtioConsole({ transmit: (byte) => sent.push(byte), next: () => waiting.shift() }));
  return { ...made, waiting, sent: () => new TextDecoder().decode(Uint8Array.from(sent)) };
}

describe('the console', () => {
  it('sends what the driver puts into queue 1', () => {
    const { memory, device, queue, sent } = consoleOf('');
    memory.bytes.set(new TextEncoder().encode('hello'), 0x8000);
    queue(1).offer(
      queue(1).chain([
        { at: 0x8000, length: 3 },
        { at: 0x8003, length: 2 },
      ]),
    );
    device.notify(1);
    expect([sent(), queue(1).used]).toEqual(['hello', [{ head: 0, length: 0 }]]);
  });

  it('fills buffers of queue 0 with what waits, and keeps the others for what comes', () => {
    const { memory, device, queue, waiting, interrupts } = consoleOf('abcde');
    queue(0).offer(queue(0).chain([{ at: 0x8000, length: 3, flags: Flag.WRITE }], 0));
    queue(0).offer(queue(0).chain([{ at: 0x8010, length: 16, flags: Flag.WRITE }], 1));
    queue(0).offer(queue(0).chain([{ at: 0x8020, length: 16, flags: Flag.WRITE }], 2));
    device.notify(0);
    expect(queue(0).used.map(({ length }) => length)).toEqual([3, 2]);
    expect(new TextDecoder().decode(memory.bytes.subarray(0x8010, 0x8012))).toBe('de');
    waiting.push(0x21);
    device.poll();
    expect([queue(0).used.at(-1), memory.bytes[0x8020], interrupts]).toEqual([{ head: 2, length: 1 }, 0x21, [0, 0]]);
  });

  it('loses what is not memory, and what is longer than anybody sends', () => {
    const { device, queue, sent, memory } = consoleOf('abc');
    queue(1).offer(queue(1).chain([{ at: MEMORY_SIZE, length: 5 }]));
    queue(0).offer(queue(0).chain([{ at: MEMORY_SIZE, length: 5, flags: Flag.WRITE }]));
    device.poll();
    expect([sent(), queue(0).used, queue(1).used]).toEqual(['', [{ head: 0, length: 0 }], [{ head: 0, length: 0 }]]);
    memory.accesses = 0;
    queue(1).offer(
      queue(1).chain([
        { at: 0, length: 0x1_0000 },
        { at: 0, length: 0xffff_ffff },
      ]),
    );
    device.notify(1);
    expect([sent().length, memory.accesses < 40]).toEqual([0x1_0000, true]);
  });
});

describe('the entropy device', () => {
  const random = (into: Uint8Array): void => {
    into.fill(0x5a);
  };

  it('fills buffers, up to a bound, and says how much', () => {
    const { device, queue, memory } = driver(new VirtioRng(random));
    queue(0).offer(queue(0).chain([{ at: 0x8000, length: 7, flags: Flag.WRITE }]));
    device.notify(0);
    queue(0).offer(queue(0).chain([{ at: 0x9000, length: 0xffff_ffff, flags: Flag.WRITE }]));
    device.notify(0);
    expect([queue(0).used, memory.bytes[0x8006], memory.bytes[0x8007]]).toEqual([
      [
        { head: 0, length: 7 },
        { head: 0, length: 0x1000 },
      ],
      0x5a,
      0,
    ]);
  });

  it('gives nothing where there is no memory', () => {
    const { device, queue } = driver(new VirtioRng(random));
    queue(0).offer(queue(0).chain([{ at: 2n ** 64n - 1n, length: 7, flags: Flag.WRITE }]));
    device.notify(0);
    expect([queue(0).used, device.status]).toEqual([[{ head: 0, length: 0 }], LIVE]);
  });
});
