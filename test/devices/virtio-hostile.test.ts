// Rings, descriptors and registers filled by chance: whatever a driver does, a device answers, in bounded work, and stays in its memory.

import { describe, expect, it } from 'vitest';
import { memoryStore, VirtioBlock } from '../../src/devices/virtio-block.ts';
import { VirtioConsole } from '../../src/devices/virtio-console.ts';
import { VirtioDevice, type VirtioKind, VirtioStatus } from '../../src/devices/virtio-device.ts';
import { VirtioMmio } from '../../src/devices/virtio-mmio.ts';
import { virtioFunction, VirtioPci } from '../../src/devices/virtio-pci.ts';
import { VirtioRng } from '../../src/devices/virtio-rng.ts';
import type { MmioDevice } from '../../src/devices/mmio-bus.ts';
import { RandomSource } from '../../src/util/random.ts';
import { GuestMemory, MEMORY_SIZE, PLACES } from './virtio-driver.ts';

const SEEDS = 300;
/** Elements of the largest queue, with a chain of its length each, of requests of the largest size. */
const MOST_ACCESSES = 64 * (64 + 64 * 40 + 10);

const kinds: Readonly<Record<string, (random: (into: Uint8Array) => void) => VirtioKind>> = {
  block: () => new VirtioBlock(memoryStore(new Uint8Array(0x1_0000)), 'disk'),
  console: () => new VirtioConsole({ transmit: () => {}, next: () => 0x41 }),
  entropy: (random) => new VirtioRng(random),
};

describe.each(Object.keys(kinds))('%s', (name) => {
  it('survives rings and descriptors by chance', () => {
    let answered = 0;
    let refused = 0;
    for (let seed = 0; seed < SEEDS; seed++) {
      const random = new RandomSource(`${name} ${seed}`).stream('driver');
      const memory = new GuestMemory();
      const make = kinds[name];
      if (make === undefined) throw new Error('no such kind');
      const device = new VirtioDevice(
        make((into) => random.fill(into)),
        memory,
        false,
      );
      for (let round = 0; round < 4; round++) {
        device.status = 0;
        device.status = VirtioStatus.DRIVER;
        for (const word of [0, 1]) device.accept(word, device.offered(word) & (random.u32() | (word === 1 ? 1 : 0)));
        device.status = VirtioStatus.DRIVER | VirtioStatus.FEATURES_OK;
        for (const queue of device.queues) {
          queue.descriptors = BigInt(PLACES.descriptors);
          queue.available = BigInt(PLACES.available);
          queue.used = BigInt(PLACES.used);
          queue.resize(1 << (random.u32() % 7));
          queue.ready = true;
        }
        device.status = VirtioStatus.DRIVER | VirtioStatus.FEATURES_OK | VirtioStatus.DRIVER_OK;
        for (let n = 0; n < 64; n++) {
          const at = PLACES.descriptors + 16 * n;
          const wild = random.u32() % 16 === 0;
          memory.view.setBigUint64(at, wild ? random.u64() : BigInt(random.u32() % MEMORY_SIZE), true);
          memory.view.setUint32(at + 8, random.u32() >>> (random.u32() % 32), true);
          memory.view.setUint16(at + 12, random.u32() & (wild ? 0xffff : 3), true);
          memory.view.setUint16(at + 14, random.u32() % (wild ? 0x1_0000 : 64), true);
          memory.view.setUint16(PLACES.available + 4 + 2 * n, random.u32() % (wild ? 0x1_0000 : 64), true);
        }
        memory.view.setUint16(PLACES.available + 2, random.u32() % 70, true);
        memory.accesses = 0;
        device.poll();
        expect(memory.accesses).toBeLessThan(MOST_ACCESSES * device.queues.length);
        if ((device.status & VirtioStatus.NEEDS_RESET) !== 0) refused++;
        else answered++;
      }
    }
    expect(answered).toBeGreaterThan(SEEDS / 20);
    expect(refused).toBeGreaterThan(SEEDS / 20);
  });
});

describe('registers by chance', () => {
  const sizes = [1, 2, 4] as const;

  it('of the MMIO transport', () => {
    const random = new RandomSource('registers').stream('mmio');
    const device = new VirtioDevice(new VirtioBlock(memoryStore(new Uint8Array(4096)), 'disk'), new GuestMemory(), false);
    const mmio = new VirtioMmio(device, () => {});
    for (let n = 0; n < 50_000; n++) {
      const offset = (random.u32() % 0x80) * 4;
      if (n % 2 === 0) mmio.write(offset, 4, random.u32() >>> (random.u32() % 32));
      else expect(mmio.read(offset, sizes[n % 3] ?? 1)).toBeGreaterThanOrEqual(0);
    }
  });

  it('of the PCI transport, configuration space among them', () => {
    const random = new RandomSource('registers').stream('pci');
    const device = new VirtioDevice(new VirtioBlock(memoryStore(new Uint8Array(4096)), 'disk'), new GuestMemory(), false);
    const bars: MmioDevice[] = [];
    const fn = virtioFunction('disk', 2, 0);
    const pci = new VirtioPci(
      fn,
      device,
      (mmio) => {
        bars.push(mmio);
        return () => {};
      },
      () => {},
    );
    for (let n = 0; n < 50_000; n++) {
      const size = sizes[random.u32() % 3] ?? 4;
      const bar = bars[random.u32() % 3];
      const offset = (random.u32() % (bar === undefined ? 0x100 : 0x1000)) & -size;
      const value = size === 4 ? random.u32() : random.u32() & ((1 << (8 * size)) - 1);
      if (bar === undefined) {
        fn.write(offset, size, value);
        expect(fn.read(offset, size)).toBeGreaterThanOrEqual(0);
      } else {
        bar.write(offset, size, value);
        expect(bar.read(offset, size)).toBeGreaterThanOrEqual(0);
      }
    }
    expect(pci.fn.get(0, 4)).toBe(0x1042_1af4);
  });
});
