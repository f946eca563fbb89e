// Whose memory is whose, and what a page holds for each side, on real runs.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type GuestOptions, launch } from '../../src/cbit.ts';
import { TraceHash } from '../../src/debug/trace-hash.ts';
import { sceneOf } from '../../src/debug/pages-machine.ts';
import { inspect, mapMemory, type PageReport, type PageRun, readUnder } from '../../src/debug/pages.ts';
import { PAGE_SIZE, pageOf, spa } from '../../src/util/address.ts';
import type { VirtualMachine } from '../../src/virtual-machine.ts';

const hello = { name: 'hello', bytes: new Uint8Array(readFileSync('guests/hello/hello.elf')) };
/** Where the guest says that its two pages are. */
const PRIVATE = 0x10_9000;
const SHARED = 0x13_9000;
const text = (bytes: Uint8Array | undefined): string => new TextDecoder('latin1').decode(bytes);

function ran(options: Partial<GuestOptions> = {}): VirtualMachine {
  const vm = launch({ image: hello, ...options });
  while (!vm.advance(1_000_000));
  return vm;
}

/** A page of a machine that is thrown away afterwards. */
function page(address: number, options: Partial<GuestOptions> = {}, before: (vm: VirtualMachine) => void = () => {}): PageReport {
  const vm = ran(options);
  try {
    before(vm);
    const found = inspect(sceneOf(vm), address, PAGE_SIZE, []);
    if (found === null) throw new Error('no memory is there');
    return found;
  } finally {
    vm.dispose();
  }
}

const stateAt = (runs: readonly PageRun[] | undefined, address: number): string | undefined =>
  runs?.find(({ start, end }) => address >= start && address < end)?.state;

describe('the map', () => {
  it('has every page of guest memory once, by the key it was last written under', () => {
    const vm = ran();
    const [guest, host] = mapMemory(sceneOf(vm));
    vm.dispose();
    expect([PRIVATE, SHARED, 0x200_0000].map((at) => stateAt(guest?.runs, at))).toEqual(['private', 'shared', 'untouched']);
    expect(guest?.runs.reduce((sum, { start, end }) => sum + end - start, 0)).toBe(64 * 2 ** 20);
    guest?.runs.forEach(({ start }, i) => expect(start).toBe(guest.runs[i - 1]?.end ?? 0));
    const vmsa = host?.marks.find(({ name }) => name === 'VMSA')?.start ?? -1;
    const vmcb = host?.marks.find(({ name }) => name === 'VMCB')?.start ?? -1;
    expect([vmsa, vmcb].map((at) => stateAt(host?.runs, at))).toEqual(['private', 'host']);
  });

  it('of a guest without encryption has nothing private', () => {
    const vm = ran({ technology: 'none' });
    const [guest] = mapMemory(sceneOf(vm));
    vm.dispose();
    expect(guest?.counts.private).toBe(0);
    expect(stateAt(guest?.runs, PRIVATE)).toBe('shared');
  });

  it('names the GHCB and the page tables that the guest uses', () => {
    const vm = ran();
    const [guest] = mapMemory(sceneOf(vm));
    vm.dispose();
    const ghcb = guest?.marks.find(({ name }) => name === 'GHCB')?.start ?? -1;
    expect(stateAt(guest?.runs, ghcb)).toBe('shared');
    const tables = guest?.marks.find(({ name }) => name === 'page tables')?.start ?? -1;
    expect(stateAt(guest?.runs, tables)).toBe('private');
  });

  it('of a bare machine tells what was written with the C-bit from what was not', () => {
    const vm = ran({ technology: 'none', bare: true });
    const [system] = mapMemory(sceneOf(vm));
    vm.dispose();
    expect(system?.name).toBe('system');
    expect(stateAt(system?.runs, PRIVATE)).toBe('clear');
  });
});

describe('a page', () => {
  it('that is private: plaintext for the guest, ciphertext for the hypervisor, and that is what the chips hold', () => {
    for (const technology of ['sev', 'sev-es'] as const) {
      const { state, views, access } = page(PRIVATE, { technology });
      const [guest, hypervisor, dram] = views.map(({ bytes }) => bytes);
      expect([state, access.why]).toEqual(['private', 'the guest maps it private']);
      expect(text(guest)).toContain('This page is private to the guest.');
      expect(text(hypervisor)).not.toContain('private');
      expect(hypervisor).toEqual(dram);
    }
  });

  it('that is shared: the same for all', () => {
    const { state, views } = page(SHARED);
    expect(state).toBe('shared');
    for (const { bytes } of views) expect(text(bytes)).toContain('This page is shared with the hypervisor.');
  });

  it('that nobody has written: zeros in the chips, noise through a key', () => {
    const vm = ran();
    const scene = sceneOf(vm);
    const found = inspect(scene, 0x200_0000, PAGE_SIZE, [scene.keys.guest ?? 0]);
    vm.dispose();
    expect([found?.state, found?.key]).toEqual(['untouched', null]);
    const zeros = (side: string): number | undefined =>
      found?.views.find((view) => view.side === side)?.bytes.reduce((n, byte) => n + (byte === 0 ? 1 : 0), 0);
    expect(zeros('dram')).toBe(PAGE_SIZE);
    expect(zeros('key')).toBeLessThan(100);
  });

  it('that the hypervisor wrote over: shared by who wrote it, and noise for the guest, which still maps it private', () => {
    const { state, access, views } = page(PRIVATE, {}, (vm) => {
      vm.machine.host.memory.write(
        spa(vm.vcpu.vm.regions[0]!.at + PRIVATE),
        new TextEncoder().encode("This page is the hypervisor's now."),
      );
    });
    const [guest, hypervisor] = views.map(({ bytes }) => text(bytes));
    expect([state, access.why]).toEqual(['shared', 'the guest maps it private']);
    expect(hypervisor).toContain("the hypervisor's now");
    expect(guest).not.toContain('now.');
  });

  it('with SME: the hypervisor reads shared pages under its key, and the chips hold ciphertext', () => {
    const { state, views, key } = page(SHARED, { sme: true });
    const [guest, hypervisor, dram] = views.map(({ bytes }) => text(bytes));
    expect(state).toBe('shared');
    expect(key).toBeGreaterThan(0);
    expect(guest).toContain('This page is shared');
    expect(hypervisor).toBe(guest);
    expect(dram).not.toContain('shared');
  });

  it('shows from an address on, so many bytes', () => {
    const vm = ran();
    const scene = sceneOf(vm);
    const found = inspect(scene, PRIVATE + 0x23, 32, []);
    vm.dispose();
    expect(found?.gpa).toBe(PRIVATE);
    expect([found?.offset, found?.views[0]?.bytes.length]).toEqual([0x20, 32]);
  });

  it('that is no memory is none', () => {
    const vm = ran();
    expect(inspect(sceneOf(vm), 0xfee0_0000, PAGE_SIZE, [])).toBeNull();
    vm.dispose();
  });
});

describe('where caches are not coherent', () => {
  it('shows what caches hold and how many lines DRAM has otherwise', () => {
    const { views } = page(PRIVATE, { cpu: 'rome' });
    const [guest, hypervisor] = views;
    expect(text(guest?.bytes)).toContain('This page is private to the guest.');
    expect(guest?.staleLines).toBeGreaterThan(0);
    expect(hypervisor?.staleLines).toBe(0);
  });
});

describe('looking', () => {
  it.each([
    ['sev-es', 'milan'],
    ['sev', 'milan'],
    ['none', 'genoa'],
    ['sev-es', 'rome'],
    ['sev', 'naples'],
  ] as const)('changes nothing: same trace, same memory (%s on %s)', (technology, cpu) => {
    const hashOf = (look: (vm: VirtualMachine) => void): string => {
      const hash = new TraceHash();
      const vm = launch({ image: hello, technology, cpu, onEvent: (event) => hash.note(event) });
      while (!vm.advance(20_000)) look(vm);
      const { machine } = vm;
      const found = hash.finish({ pages: machine.pages, read: (at, into) => machine.readCiphertext(at, into) });
      vm.dispose();
      return found;
    };
    const looked = hashOf((vm) => {
      const scene = sceneOf(vm);
      mapMemory(scene);
      for (const at of [PRIVATE, SHARED, 0x10_a000, 0x200_0000]) inspect(scene, at, PAGE_SIZE, [0, 1, 2, scene.keys.host]);
      for (let at = 0; at < 16; at++) readUnder(scene.memory, pageOf(at * PAGE_SIZE), 1);
    });
    expect(looked).toBe(hashOf(() => {}));
  });
});
