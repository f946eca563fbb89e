// Virtio devices and the chip set around a whole guest: both buses, the same run for the same seed, whose bytes reach the disk, interrupts by
// INTA# and MSI-X, and the ends of a run that the chip set knows.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type GuestOptions, launch, memoryDisk, run, UserError } from '../../src/cbit.ts';
import { elfPath, root } from '../../tools/guest-manifest.ts';
import { readMemory } from './runs.ts';
import { assembleGuest, MEMORY, SHARED } from './small-guest.ts';

const disk = (): Uint8Array => Uint8Array.from({ length: 0x1_0000 }, (_, n) => (n * 7) >>> 3);
const kernel = { name: 'virtio-blk', bytes: new Uint8Array(readFileSync(join(root, elfPath('virtio-blk')))) };
const technologies = ['none', 'sev', 'sev-es'] as const;

/** A guest of a few instructions, without encryption. */
const small = (code: string, options: Partial<GuestOptions> = {}) =>
  run({
    image: { name: 'small', bytes: assembleGuest(code, []).bytes },
    technology: 'none',
    memory: MEMORY,
    maxInstructions: 100_000,
    ...options,
  });
const out = (port: number, size: 'al' | 'ax' | 'eax', value: number): string => `mov dx, ${port}\n mov eax, ${value}\n out dx, ${size}`;

describe.each(technologies)('a disk under %s', (technology) => {
  it.each(['pci', 'mmio'] as const)('is found, negotiated with, read and written over %s', (virtio) => {
    const bytes = disk();
    const result = run({ image: kernel, technology, virtio, disks: [memoryDisk(bytes)], maxInstructions: 20_000_000 });
    expect(result.serial.split('\n').filter((line) => line.startsWith('FAIL'))).toEqual([]);
    expect(result).toMatchObject({ status: 0, warnings: [] });
    expect(result.serial).toContain(`a virtio disk over ${virtio.toUpperCase()}`);
    expect(bytes).toEqual(disk()); // restored
  });

  it('that is read-only stays as it is', () => {
    const bytes = disk();
    const result = run({ image: kernel, technology, disks: [memoryDisk(bytes, true)], maxInstructions: 20_000_000 });
    expect(result.serial).toContain('FAIL: and written');
    expect(bytes).toEqual(disk());
  });

  it('gives the same run for the same seed', () => {
    const play = (seed: string): string =>
      run({ image: kernel, technology, seed, rng: true, disks: [memoryDisk(disk())], maxInstructions: 20_000_000 }).traceHash;
    expect(play('1')).toBe(play('1'));
  });
});

describe('the chip set', () => {
  it('a guest turns the machine off by S5, which is success', () => {
    expect(small(out(0xb004, 'ax', 0x2000))).toMatchObject({ outcome: { kind: 'powered-off' }, status: 0 });
  });

  it.each([
    ['the keyboard controller', out(0x64, 'al', 0xfe)],
    ['the reset control register', `${out(0xcf9, 'al', 2)}\n ${out(0xcf9, 'al', 6)}`],
  ])('and resets it by %s, which ends the run', (_name, code) => {
    expect(small(code)).toMatchObject({ outcome: { kind: 'reset' }, status: 1 });
    expect(small(code, { bare: true })).toMatchObject({ outcome: { kind: 'reset' }, status: 1 });
  });

  it('without firmware the bus is as firmware would leave it: places, interrupt lines, decoding', () => {
    const read = (device: number, register: number, n: number): string =>
      `${out(0xcf8, 'eax', 0x8000_0000 + (device << 11) + register)}\n mov dx, 0xcfc\n in eax, dx\n mov [${SHARED + 4 * n}], eax`;
    const code = [read(3, 0x20, 0), read(3, 0x14, 1), read(4, 0x20, 2), read(3, 0x3c, 3), read(4, 0x3c, 4), read(4, 4, 5)];
    const vm = launch({
      image: { name: 'small', bytes: assembleGuest(code.join('\n '), []).bytes },
      technology: 'none',
      memory: MEMORY,
      maxInstructions: 100_000,
      disks: [memoryDisk(new Uint8Array(512))],
      rng: true,
    });
    try {
      while (!vm.advance(1_000_000));
      const page = new Uint8Array(32);
      readMemory(vm, SHARED, page);
      const view = new DataView(page.buffer);
      expect([0, 1, 2, 3, 4, 5].map((n) => view.getUint32(4 * n, true))).toEqual([
        0xfe00_0000,
        0xfe00_4000,
        0xfe00_8000,
        0x010b, // INTA# of device 3 is PIRQC, that of device 4 PIRQD: both line 11
        0x010b,
        0x0010_0002,
      ]);
    } finally {
      vm.dispose();
    }
  });
});

describe('what makes no sense', () => {
  const refused =
    (options: Partial<GuestOptions>): (() => unknown) =>
    () =>
      run({ image: kernel, ...options });

  it('a bus without a device, a disk of no whole sectors, more devices than there is room for', () => {
    expect(refused({ virtio: 'mmio' })).toThrow(UserError);
    expect(refused({ disks: [{ ...memoryDisk(new Uint8Array(512)), size: 100 }] })).toThrow('not whole sectors');
    expect(refused({ disks: [{ ...memoryDisk(new Uint8Array(512)), size: 0 }] })).toThrow(UserError);
    const many = Array.from({ length: 8 }, () => memoryDisk(new Uint8Array(512)));
    expect(refused({ virtio: 'mmio', disks: many })).toThrow('8 virtio devices, of which there can be 7');
  });
});
