// SME as the hypervisor uses it and transparent SME, over all pages of a run: the chips hold nothing but ciphertext, everybody sees what
// he sees without either, and nobody is told the key.

import { afterEach, describe, expect, it } from 'vitest';
import type { GuestOptions, VirtualMachine } from '../../src/cbit.ts';
import { hostMap } from '../../src/machine/memory-map.ts';
import { PAGE_SIZE, spa } from '../../src/util/address.ts';
import { RandomSource } from '../../src/util/random.ts';
import { guestNames, isBare } from '../../tools/guest-manifest.ts';
import { cipherOf, opened, recordingAes } from './chips.ts';
import { finished, runKernel, technologies } from './runs.ts';

let vm: VirtualMachine | null = null;
afterEach(() => {
  vm?.dispose();
  vm = null;
});

const MEMORY = 4 * 2 ** 20;
const kernels = guestNames().filter((name) => !name.startsWith('bench-') && !isBare(name));
/** They compare noise with data, which takes until the first byte that differs; and noise depends on the host's key. */
const comparesNoise = (name: string): boolean => name === 'bounce' || name === 'dma';
const options = [['sme'], ['tsme']] as const;
const choose = (option: 'sme' | 'tsme', more: Partial<GuestOptions> = {}): Partial<GuestOptions> => ({
  [option]: true,
  memory: MEMORY,
  ...more,
});

/** Bits of entropy in a byte of a page: 7.9 and more in ciphertext. */
function entropy(bytes: Uint8Array): number {
  const counts = new Uint32Array(256);
  for (const byte of bytes) counts[byte]!++;
  return counts.reduce((sum, count) => (count === 0 ? sum : sum - (count / bytes.length) * Math.log2(count / bytes.length)), 0);
}

/** The blocks of 16 bytes that somebody wrote: the chips hold zeros in others. */
function written(page: Uint8Array): Uint8Array {
  const blocks = Array.from({ length: PAGE_SIZE / 16 }, (_, n) => page.subarray(16 * n, 16 * n + 16));
  return Uint8Array.from(blocks.filter((block) => block.some((byte) => byte !== 0)).flatMap((block) => [...block]));
}

/** Numbers of the pages that are no ciphertext in the chips: what was written has less entropy than so many random bytes. */
function plainPages({ machine }: VirtualMachine): number[] {
  const page = new Uint8Array(PAGE_SIZE);
  const isPlain = (bytes: Uint8Array): boolean => bytes.length > 0 && entropy(bytes) < 0.93 * Math.log2(Math.min(bytes.length, 256));
  return Array.from({ length: machine.pages }, (_, n) => n).filter((n) => machine.readCiphertext(n, page) && isPlain(written(page)));
}

const isTrusted = (page: number): boolean => {
  const { start, size } = hostMap.trustedMemory;
  return page * PAGE_SIZE >= start && page * PAGE_SIZE < start + size;
};

describe.each(options)('--%s', (option) => {
  describe.each(technologies)('under %s', (technology) => {
    it.each(kernels)('%s passes, in as many instructions as without', (name) => {
      const { serial, status, instructions } = runKernel(name, choose(option, { technology }));
      expect(serial.split('\n').filter((line) => line.startsWith('FAIL'))).toEqual([]);
      expect(status).toBe(0);
      if (technology !== 'none' && comparesNoise(name)) return;
      expect(instructions).toBe(runKernel(name, { technology, memory: MEMORY }).instructions);
    });

    it('leaves no plaintext in any page of DRAM', () => {
      vm = finished('hello', choose(option, { technology }));
      // The AMD-SP's own memory takes part in transparent encryption only: no C-bit goes with it.
      expect(plainPages(vm).filter((page) => option === 'tsme' || !isTrusted(page))).toEqual([]);
      vm.dispose();
      vm = finished('hello', { technology, memory: MEMORY });
      expect(plainPages(vm).length).toBeGreaterThan(0);
    });

    it('shows host and guest what they see without it', () => {
      const seen = (given: Partial<GuestOptions>): string[] => {
        vm?.dispose();
        vm = finished('hello', { technology, memory: MEMORY, ...given });
        const { machine } = vm;
        const page = Buffer.alloc(PAGE_SIZE);
        return ['This page is private to the guest.', 'This page is shared with the hypervisor.'].map((text) => {
          const found = Array.from({ length: MEMORY / PAGE_SIZE }, (_, n) => n).filter((n) => {
            machine.host.memory.read(spa(hostMap.guest + n * PAGE_SIZE), page);
            return page.includes(text);
          });
          return found.join();
        });
      };
      expect(seen(choose(option))).toEqual(seen({}));
    });
  });

  it.each(['naples', 'rome', 'genoa', 'turin'])('hello passes on %s', (cpu) => {
    for (const technology of technologies) expect(runKernel('hello', choose(option, { cpu, technology })).status).toBe(0);
  });

  it("is AES under a key of the machine's own: a second implementation with it reads what the host reads", () => {
    const seed = '7';
    const { aes, hostKey } = recordingAes();
    vm = finished('hello', choose(option, { technology: 'none', seed, aes }));
    expect(Buffer.from(hostKey()).equals(new RandomSource(seed).stream('memory host key').bytes(16))).toBe(true);
    const bytes = Buffer.alloc(PAGE_SIZE);
    for (const at of [0x10_0000, 0x10_1000]) {
      const page = (hostMap.guest + at) / PAGE_SIZE;
      vm.machine.host.memory.read(spa(page * PAGE_SIZE), bytes);
      expect(opened(vm, cipherOf('milan', seed), hostKey(), page).equals(bytes)).toBe(true);
    }
  });

  it('has the same launch measurement: the AMD-SP measures plaintext', () => {
    const measurement = (given: Partial<GuestOptions>) => runKernel('hello', { memory: MEMORY, ...given }).measurement;
    expect(measurement(choose(option))).toBe(measurement({}));
  });

  it('has noise for a plain guest in memory that nobody wrote', () => {
    vm = finished('hello', choose(option, { technology: 'none' }));
    const bytes = new Uint8Array(PAGE_SIZE);
    vm.machine.host.memory.read(spa(hostMap.guest + MEMORY - 64 * PAGE_SIZE), bytes);
    expect(entropy(bytes)).toBeGreaterThan(7.9);
  });
});

describe('the key of the host', () => {
  it('is another one with another seed, and no trace and no report has it', () => {
    const recorded = ['1', '2'].map((seed) => {
      const { aes, hostKey } = recordingAes();
      const run = runKernel('hello', choose('sme', { seed, aes }));
      const { events, ...report } = run;
      const text = JSON.stringify([events, report], (_, value: unknown) => (typeof value === 'bigint' ? value.toString(16) : value));
      const key = Buffer.from(hostKey()).toString('hex');
      expect(text.toLowerCase()).not.toContain(key);
      return key;
    });
    expect(recorded[0]).not.toBe(recorded[1]);
  });
});
