// What the hypervisor can see of a guest, over all pages of a run, through the only door it has: ciphertext and what the guest
// shares. (That the chips hold AES under the key and tweak of the page is for test/memory.)

import { afterEach, describe, expect, it } from 'vitest';
import { hostMap } from '../../src/machine/memory-map.ts';
import type { VirtualMachine } from '../../src/cbit.ts';
import { PAGE_SIZE, spa } from '../../src/util/address.ts';
import { finished, kernel, runKernel } from './runs.ts';
import { launch, run } from '../../src/cbit.ts';

let vm: VirtualMachine | null = null;
afterEach(() => {
  vm?.dispose();
  vm = null;
});

const MEMORY = 4 * 2 ** 20;
const PRIVATE_TEXT = 'This page is private to the guest.';
const SHARED_TEXT = 'This page is shared with the hypervisor.';

/** Guest pages in which the host, reading all of guest RAM through its own mapping, finds a text. */
function seenByHost({ machine }: VirtualMachine, text: string, size = MEMORY): number[] {
  const page = Buffer.alloc(PAGE_SIZE);
  const pages = Array.from({ length: size / PAGE_SIZE }, (_, n) => n);
  return pages.filter((n) => {
    machine.host.memory.read(spa(hostMap.guest + n * PAGE_SIZE), page);
    return page.includes(text);
  });
}

const bytesOf = ({ machine }: VirtualMachine, page: number): Uint8Array => {
  const bytes = new Uint8Array(PAGE_SIZE);
  machine.host.memory.read(spa(hostMap.guest + page * PAGE_SIZE), bytes);
  return bytes;
};

/** Bits of entropy in a byte of it, 8 at most. */
function entropy(bytes: Uint8Array): number {
  const counts = new Map<number, number>();
  for (const byte of bytes) counts.set(byte, (counts.get(byte) ?? 0) + 1);
  return [...counts.values()].reduce((sum, count) => sum - (count / bytes.length) * Math.log2(count / bytes.length), 0);
}

describe('over all pages of a run, the hypervisor', () => {
  it('reads a plain guest like a book', () => {
    vm = finished('hello', { technology: 'none', memory: MEMORY });
    expect(seenByHost(vm, PRIVATE_TEXT).length).toBeGreaterThan(0);
    expect(seenByHost(vm, 'PASS: ').length).toBeGreaterThan(0);
  });

  it.each(['sev', 'sev-es'] as const)('finds under %s no plaintext of a private page', (technology) => {
    vm = finished('hello', { technology, memory: MEMORY });
    for (const text of [PRIVATE_TEXT, 'PASS: ', 'Hello from inside', 'unexpected exception', '\x7fELF'])
      expect(seenByHost(vm, text)).toEqual([]);
  });

  it('finds what the guest shares: its text, and the GHCB', () => {
    vm = finished('hello', { technology: 'sev-es', memory: MEMORY });
    expect(seenByHost(vm, SHARED_TEXT)).toHaveLength(1);
    const { events } = runKernel('hello', { memory: MEMORY });
    const ghcb = events.find((event) => event.kind === 'ghcb');
    const page = bytesOf(vm, (ghcb?.kind === 'ghcb' ? ghcb.gpa : 0) / PAGE_SIZE);
    const view = new DataView(page.buffer);
    expect(view.getUint16(0xffa, true)).toBe(2); // protocol version
    expect(view.getBigUint64(0x390, true)).toBe(0x7bn); // SW_EXITCODE of the last request: the OUT that ended the run
  });

  it('finds instructions of the image nowhere', () => {
    vm = finished('hello', { technology: 'sev-es', memory: MEMORY });
    const { bytes } = kernel('hello');
    const text = Buffer.from(bytes.subarray(4096, 8192));
    for (let at = 0; at + 16 <= text.length; at += 256) {
      const piece = text.subarray(at, at + 16);
      if (piece.every((byte) => byte === 0)) continue;
      expect(seenByHost(vm, piece.toString('latin1')).length, `bytes at ${at}`).toBe(0);
    }
  });
});

describe('a page that nobody wrote', () => {
  // lea rdi, [0x300000]; sum 512 words with xor and or into RAX; 0 if all were zero
  const readsNoise = [
    0x48,
    0xc7,
    0xc6,
    0x00,
    0x00,
    0x30,
    0x00, // mov rsi, 0x300000
    0xb9,
    0x00,
    0x02,
    0x00,
    0x00, // mov ecx, 512
    0x31,
    0xdb, // xor ebx, ebx
    0x48,
    0xad, // next: lodsq
    0x48,
    0x09,
    0xc3, // or rbx, rax
    0xff,
    0xc9, // dec ecx
    0x75,
    0xf7, // jnz next
    0x48,
    0x85,
    0xdb, // test rbx, rbx
    0x0f,
    0x95,
    0xc0, // setnz al
    0xe6,
    0xf4, // out 0xf4, al
    0xf4,
  ];

  it.each([
    ['none', 0],
    ['sev', 1],
  ] as const)('reads under %s as noise: %i', (technology, noise) => {
    expect(run({ image: { name: 'noise', bytes: Uint8Array.from(readsNoise) }, technology, memory: MEMORY })).toMatchObject({
      outcome: { kind: 'ended' },
      value: noise,
    });
  });

  it('is noise to the guest because the chips hold zeros', () => {
    vm = finished('hello', { technology: 'sev-es', memory: MEMORY });
    const page =
      Array.from({ length: MEMORY / PAGE_SIZE }, (_, n) => n)
        .filter((n) => entropy(bytesOf(vm as VirtualMachine, n)) === 0)
        .at(-1) ?? -1;
    expect(page).toBeGreaterThan(0);
    const asGuest = new Uint8Array(PAGE_SIZE);
    vm.machine.engine.frames.read(hostMap.guest + page * PAGE_SIZE, vm.vcpu.vm.config.asid, asGuest);
    expect(entropy(asGuest)).toBeGreaterThan(7.9);
  });
});

describe('the launch measurement', () => {
  const measurement = (bytes: Uint8Array): string | null => {
    vm?.dispose();
    vm = launch({ image: { name: 'hello', bytes } });
    const measured = vm.measurement;
    return measured && Buffer.from(measured).toString('hex');
  };

  it('is another one for an image altered by one bit', () => {
    const { bytes } = kernel('hello');
    const altered = bytes.slice();
    altered[5000] = (altered[5000] as number) ^ 1;
    expect(measurement(bytes)).toBe(measurement(bytes.slice()));
    expect(measurement(altered)).not.toBe(measurement(bytes));
  });
});
