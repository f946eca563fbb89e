// HostProcessor is the only door of the host's software, and there is no plaintext behind it: not by any property of any object that the
// hypervisor holds, not in the trusted memory region, not through the host's other instructions.

import { afterEach, describe, expect, it } from 'vitest';
import { Vector } from '../../src/arch/exception.ts';
import { launch, type Outcome, type Spa, spa, type VirtualMachine } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { Cpu } from '../../src/cpu/cpu.ts';
import { Engine } from '../../src/machine/engine.ts';
import { Machine } from '../../src/machine/machine.ts';
import { hostMap } from '../../src/machine/memory-map.ts';
import { Dram } from '../../src/memory/dram.ts';
import { EncryptionEngine } from '../../src/memory/encryption.ts';
import { Frames } from '../../src/memory/frames.ts';
import { EngineMemory } from '../../src/memory/map.ts';
import { Mmu } from '../../src/mmu/mmu.ts';
import type { HostProcessor, HostMemory, Mailbox } from '../../src/svm/host-processor.ts';
import { PAGE_SIZE } from '../../src/util/address.ts';
import { kernel } from './runs.ts';
import { SHARED, smallGuest } from './small-guest.ts';

let vm: VirtualMachine | null = null;
afterEach(() => {
  vm?.dispose();
  vm = null;
});

function begin(technology: 'none' | 'sev' | 'sev-es', image = kernel('hello')): VirtualMachine {
  vm = launch({ image, technology, memory: 8 << 20, maxInstructions: 20_000_000, aes: nodeAes });
  return vm;
}
function end(guest: VirtualMachine): Outcome {
  while (!guest.advance(1_000_000));
  return guest.result().outcome;
}

/** Everything that can be reached from an object by properties, own and inherited, getters, and entries of collections. */
function reachable(from: object): Set<object> {
  const found = new Set<object>([from]);
  const queue = [from];
  const add = (value: unknown): void => {
    if (value === null || (typeof value !== 'object' && typeof value !== 'function') || found.has(value)) return;
    found.add(value);
    queue.push(value);
  };
  for (let object = queue.pop(); object !== undefined; object = queue.pop()) {
    if (ArrayBuffer.isView(object)) add(object.buffer);
    else if (object instanceof Map || object instanceof Set) for (const entry of object.entries()) entry.forEach(add);
    if (ArrayBuffer.isView(object)) continue;
    for (
      let level: object | null = object;
      level !== null && level !== Object.prototype && level !== Function.prototype;
      level = Object.getPrototypeOf(level) as object | null
    ) {
      for (const key of Reflect.ownKeys(level)) {
        try {
          add(Reflect.get(level, key, object));
        } catch {
          // A getter that cannot be called here hands out nothing.
        }
      }
    }
  }
  return found;
}

const inside = [Machine, Engine, EngineMemory, Frames, Dram, EncryptionEngine, Mmu, Cpu, WebAssembly.Memory] as const;
function plaintextIn(objects: Set<object>, { machine }: VirtualMachine): string[] {
  const memory = machine.engine.memory.u8.buffer;
  return [...objects].flatMap((object) =>
    object === memory ? ['frames'] : inside.filter((kind) => object instanceof kind).map(({ name }) => name),
  );
}

describe('the hypervisor', () => {
  it('reaches neither frames nor keys nor registers by any property of its objects', () => {
    const guest = begin('sev-es');
    guest.advance(10_000);
    const objects = reachable(guest.vcpu);
    expect(objects.size).toBeGreaterThan(50);
    expect(objects.has(guest.machine.host)).toBe(true);
    expect(plaintextIn(objects, guest)).toEqual([]);
    expect(plaintextIn(reachable(guest.machine), guest)).toEqual(expect.arrayContaining(['frames', 'Frames', 'Dram', 'EncryptionEngine']));
  });

  it('has these doors, and of what stands beside them nothing that tells of a guest', () => {
    // Adding to HostProcessor means adding here: the compiler asks for it.
    const doors: Record<keyof HostProcessor, true> = {
      memory: true,
      cpuid: true,
      loadCr3: true,
      vmrun: true,
      vmload: true,
      vmsave: true,
      loadRegisters: true,
      storeRegisters: true,
      rdmsr: true,
      wrmsr: true,
      wbinvd: true,
      setTimer: true,
      idle: true,
      time: true,
      mailbox: true,
      retired: true,
      elements: true,
      xcr0: true,
    };
    const memoryDoors: Record<keyof HostMemory, true> = { size: true, read: true, write: true, zero: true, flush: true, page: true };
    const mailboxDoors: Record<keyof Mailbox, true> = { read: true, write: true };
    const { host } = begin('sev-es').machine;
    const names = (object: object): string[] =>
      [...Reflect.ownKeys(object), ...Reflect.ownKeys(Object.getPrototypeOf(object) as object)]
        .map(String)
        .filter((name) => name !== 'constructor');
    expect(names(host.memory).sort()).toEqual(Object.keys(memoryDoors).sort());
    // Snapshots are made, and observers set, by those who see everything; no type that the hypervisor knows has them.
    const snapshots = 'exchange';
    expect(names(host.mailbox).sort()).toEqual([...Object.keys(mailboxDoors), snapshots].sort());
    const beside = names(host).filter((name) => !(name in doors));
    // For reports, made by those who see everything, and for the AMD-SP: counts, a reason in words, a number, which bit is the C-bit.
    expect(beside.sort()).toEqual(['addresses', snapshots, 'guestState', 'observer', 'refusal', 'vcCounts']);
  });

  it.each(['sev', 'sev-es'] as const)('reads under %s through a page as it reads through a range: the same ciphertext', (technology) => {
    const guest = begin(technology);
    guest.advance(10_000);
    const { memory } = guest.machine.host;
    const at = spa(hostMap.guest + 0x10_0000);
    const range = Buffer.alloc(PAGE_SIZE);
    memory.read(at, range);
    const page = memory.page(at);
    for (let offset = 0; offset < PAGE_SIZE; offset += 8) expect(page.u64(offset)).toBe(range.readBigUInt64LE(offset));
    const plaintext = Buffer.alloc(PAGE_SIZE);
    guest.machine.engine.frames.read(at, guest.vcpu.vm.config.asid, plaintext);
    expect(plaintext).not.toEqual(range);
  });
});

describe('the trusted memory region', () => {
  const { start, size } = hostMap.trustedMemory;
  const values = spa(start + size / 2);
  const ones = Buffer.alloc(PAGE_SIZE, 0xff);
  const places: readonly Spa[] = [start, values, spa(start + size - PAGE_SIZE)];

  it('reads as all ones for the host, by ranges and by pages', () => {
    const guest = begin('sev-es');
    guest.advance(10_000);
    const { memory } = guest.machine.host;
    for (const at of places) {
      const read = Buffer.alloc(PAGE_SIZE);
      memory.read(at, read);
      expect(read).toEqual(ones);
      expect(memory.page(at).u64(0)).toBe(0xffff_ffff_ffff_ffffn);
    }
    const beside = Buffer.alloc(PAGE_SIZE);
    memory.read(spa(start - PAGE_SIZE), beside);
    expect(beside).not.toEqual(ones);
  });

  it('keeps nothing that the host writes: the guest runs on', () => {
    const guest = begin('sev-es');
    guest.advance(10_000);
    const { memory } = guest.machine.host;
    memory.read(spa(Number(guest.vcpu.vmcb.vmsaPointer)), new Uint8Array(16)); // the next VMRUN has to check the VMSA
    for (const at of places) {
      memory.write(at, new Uint8Array(PAGE_SIZE));
      memory.page(at).setU64(0, 0n);
    }
    expect(end(guest)).toEqual({ kind: 'ended', value: 0 });
  });

  it('is ordinary memory where no guest with SEV-ES is wanted', () => {
    const { memory } = begin('sev').machine.host;
    memory.write(values, Uint8Array.of(1, 2, 3));
    const read = new Uint8Array(3);
    memory.read(values, read);
    expect([...read]).toEqual([1, 2, 3]);
  });

  it('holds no VMCB: VMRUN, VMLOAD and VMSAVE raise #GP', () => {
    const guest = begin('sev-es');
    const { host } = guest.machine;
    expect(host.vmrun(values, guest.vcpu.registers)).toBe(Vector.GP);
    expect(host.vmload(values)).toBe(Vector.GP);
    expect(host.vmsave(values)).toBe(Vector.GP);
    expect(end(guest)).toEqual({ kind: 'ended', value: 0 });
  });

  it('is out of reach of a guest whose nested page tables point there', () => {
    // GPA 400000h is mapped to it; the guest overwrites its own integrity value, reads it back and shares what it got.
    const code = `
      mov rdi, 0x480000
      mov qword [rdi], 0
      mov rsi, rdi
      mov edi, ${SHARED}
      mov ecx, 512
      rep movsq
      again: inc rbx
      jmp again`;
    const guest = begin('sev-es', { name: 'small', bytes: smallGuest(code) });
    const { memory } = guest.machine.host;
    let table = spa(Number(guest.vcpu.vmcb.nCr3));
    for (const index of [0, 0]) table = spa(Number(memory.page(table).u64(8 * index) & 0x000f_ffff_ffff_f000n));
    const entry = 8 * (0x40_0000 >> 21);
    const mapped = memory.page(table).u64(entry);
    expect(mapped & 0xffff_f000n).toBe(BigInt(hostMap.guest + 0x40_0000));
    memory.page(table).setU64(entry, (mapped & 0xfffn) | BigInt(start));
    guest.advance(10_000);
    expect(guest.outcome).toBeNull();
    const got = Buffer.alloc(PAGE_SIZE);
    memory.read(spa(hostMap.guest + SHARED), got);
    expect(got).toEqual(ones);
    memory.read(spa(Number(guest.vcpu.vmcb.vmsaPointer)), new Uint8Array(16));
    guest.advance(10_000);
    expect(guest.outcome).toBeNull();
  });
});
