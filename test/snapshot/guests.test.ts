// Going back to a snapshot and on from there is the run that was never interrupted: to the last event, the last byte of output and the last byte of
// memory, for every guest under every technology, at moments by chance, back and forth.

import { describe, expect, it } from 'vitest';
import { guestNames, isBare } from '../../tools/guest-manifest.ts';
import { disks, furnishedInFull, kernel, technologies } from '../system/runs.ts';
import { branched, type Settings, slicesOf, straight } from './branches.ts';

/** All guests under all technologies take minutes: CBIT_SNAPSHOTS=all. */
const all = process.env['CBIT_SNAPSHOTS'] === 'all';
const kernels = guestNames().filter((name) => !name.startsWith('bench-'));
/** Each of them with something of its own to take back: disks, timers, rings, caches, processors. */
const few: readonly string[] = ['hello', 'timer', 'user', 'flip', 'virtio-blk', 'smp'];
const bare: readonly string[] = ['hello', 'timer', 'nmi', 'user', 'mmio', 'pio', 'virtio-blk', 'flip'];

function expectSame(name: string, settings: () => Settings, longest = 20_000): void {
  const given = (): Settings => ({ image: kernel(name), maxInstructions: 400_000, ...settings() });
  const slice = slicesOf(name, longest);
  const plain = straight(given(), slice);
  const ends = branched(given(), slice, plain.slices, name);
  expect(ends.length).toBeGreaterThan(1);
  for (const end of ends) expect(end).toBe(plain.outcome);
}

describe.each(technologies)('a run under %s that goes back to snapshots is the same run:', (technology) => {
  it.each(kernels.filter((name) => all || technology === 'sev-es' || few.includes(name)))('%s', (name) => {
    expectSame(name, () => ({ technology, ...furnishedInFull[name]?.() }));
  });
});

describe('and on a bare machine:', () => {
  it.each(kernels.filter((name) => isBare(name) || (bare.includes(name) && (all || few.includes(name)))))('%s', (name) => {
    expectSame(name, () => ({ bare: true, ...furnishedInFull[name]?.() }));
  });
});

describe('and so is one of', () => {
  it.each<readonly [string, () => Settings]>([
    // Caches that are not coherent, and lines that leave by chance.
    ['hello', () => ({ cpu: 'naples' })],
    ['hello', () => ({ cpu: 'rome', evict: 'random' })],
    ['flip', () => ({ cpu: 'naples', technology: 'sev', evict: 'random' })],
    ['flip-no-flush', () => ({ cpu: 'naples', technology: 'sev' })],
    ['flip-no-flush', () => ({ cpu: 'rome', technology: 'sev', evict: 'random' })],
    ['bounce', () => ({ cpu: 'naples', evict: 'random' })],
    ['sme-full', () => ({ bare: true, cpu: 'naples', evict: 'random' })],
    ['smp', () => ({ vcpus: 4, cpu: 'rome', evict: 'random', schedule: 'random' })],
    // The host's key.
    ['hello', () => ({ sme: true })],
    ['user', () => ({ sme: true, technology: 'sev', cpu: 'naples' })],
    ['timer', () => ({ tsme: true, technology: 'none' })],
    // Several processors of both kinds.
    ['smp', () => ({ vcpus: 4, schedule: 'random', hostCpus: 2 })],
    ['smp', () => ({ vcpus: 3, hostCpus: 2, technology: 'none' })],
    ['smp', () => ({ vcpus: 2, technology: 'sev', schedule: 'random', quantum: 300, hostCpus: 3 })],
    ['smp-race', () => ({ vcpus: 4, schedule: 'random', quantum: 50 })],
    // Tiers, processor models, devices, what a person intercepts.
    ['hello', () => ({ tier: 'interpreter' })],
    ['smp', () => ({ vcpus: 2, tier: 'interpreter', technology: 'none' })],
    ['nmi', () => ({ cpu: 'genoa' })],
    ['nmi', () => ({ cpu: 'genoa', technology: 'none' })],
    ['dr7', () => ({ cpu: 'genoa', sevFeatures: ['debug-swap'] })],
    ['virtio-blk', () => ({ ...disks(), rng: true, virtio: 'mmio' })],
    ['virtio-blk', () => ({ ...disks(), rng: true, virtioConsole: { transmit: () => {}, next: () => undefined }, technology: 'none' })],
  ])('%s with other settings (row %#)', (name, settings) => {
    expectSame(name, settings);
  });

  it.each(['mix', 'page-fault', 'sort', 'syscall', 'vc-cpuid'])('code that is compiled: bench-%s', (name) => {
    expectSame(`bench-${name}`, () => ({ maxInstructions: 2_000_000 }), 200_000);
  });
});
