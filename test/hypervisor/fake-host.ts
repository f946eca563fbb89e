// A host whose processor is a script: each VMRUN runs the next step, which plays the guest by writing the VMCB. What the
// hypervisor does about an exit is seen without any emulation.

import { VmcbControl } from '../../src/arch/vmcb.ts';
import { IoApic } from '../../src/devices/io-apic.ts';
import { IoBus } from '../../src/devices/io-bus.ts';
import { MmioBus } from '../../src/devices/mmio-bus.ts';
import { Pic8259Pair } from '../../src/devices/pic8259.ts';
import { Pit8254 } from '../../src/devices/pit8254.ts';
import { noIntercepts, type Intercepts } from '../../src/hypervisor/intercepts.ts';
import { Vcpu } from '../../src/hypervisor/vcpu.ts';
import { MemoryHeap } from '../../src/hypervisor/memory-heap.ts';
import { Vm, type VmHost } from '../../src/hypervisor/vm.ts';
import type { GuestRegisters, HostProcessor, HostMemory } from '../../src/svm/host-processor.ts';
import { spa } from '../../src/util/address.ts';
import { BytesPort } from '../../src/util/struct.ts';
import type { Technology } from '../../src/arch/boot-page.ts';

const SIZE = 0x120_0000;
export const VMCB = spa(0x2000);
export const RAM = { at: spa(0x100_0000), size: 0x20_0000 } as const;

export class FakeHost implements HostProcessor {
  readonly bytes = new Uint8Array(SIZE);
  readonly memory: HostMemory = {
    size: SIZE,
    read: (at, into) => into.set(this.bytes.subarray(at, at + into.length)),
    write: (at, from) => this.bytes.set(from, at),
    zero: (at, length) => void this.bytes.fill(0, at, at + length),
    flush: () => {},
    page: (at) => new BytesPort(this.bytes.subarray(at, at + 4096)),
  };
  readonly mailbox = { read: () => 0xffff_ffff, write: () => {} };
  retired = 0;
  idled = 0;
  elements = 0;
  readonly xcr0 = 1n;
  timer = Number.POSITIVE_INFINITY;
  writeBacks = 0;
  script: ((registers: GuestRegisters) => void)[] = [];

  cpuid(leaf: number, subleaf: number) {
    if (leaf === 0x8000_001f) return [0, 51, 10, 5] as const;
    if (leaf === 0x8000_000a) return [1, 100, 0, 0] as const;
    return [leaf, subleaf, 0, 0] as const;
  }
  vmrun(_vmcb: number, registers: GuestRegisters) {
    const vmcb = VmcbControl(this.memory.page(VMCB));
    vmcb.eventInj = 0n;
    vmcb.exitIntInfo = 0n;
    const step = this.script.shift();
    if (step === undefined) {
      this.retired += this.timer;
      vmcb.exitCode = 0x60n;
    } else step(registers);
    return null;
  }
  vmload() {
    return null;
  }
  vmsave() {
    return null;
  }
  loadRegisters(): void {}
  storeRegisters(): void {}
  rdmsr() {
    return 0n;
  }
  wrmsr() {
    return true;
  }
  loadCr3() {
    return true;
  }
  wbinvd() {
    this.writeBacks++;
  }
  idle(instructions: number) {
    this.idled += instructions;
  }
  get time() {
    return this.retired + this.idled;
  }
  setTimer(instructions: number) {
    this.timer = instructions;
  }
}

/** A vCPU on a scripted processor. `exit` queues a #VMEXIT. */
export function scripted(technology: Technology, intercepts: Intercepts = noIntercepts) {
  const host = new FakeHost();
  const io = new IoBus();
  const home: VmHost = {
    first: host,
    heap: new MemoryHeap(),
    cMask: 0n,
    physical: (place) => place,
    wbinvd: () => host.wbinvd(),
    enter: () => host,
    evict: () => {},
  };
  const vm = new Vm(home, {
    technology,
    vcpus: 1,
    schedule: { policy: 'round-robin', quantum: 10_000, chance: () => 0 },
    placement: () => 0,
    ram: RAM,
    asid: 1,
    cBit: 51,
    intercepts,
    io,
    mmio: new MmioBus(),
    ioApic: new IoApic((message): boolean => vcpu.interrupts.apic.deliver(message)),
    pic: new Pic8259Pair((level) => vcpu.interrupts.apic.lint0(level)),
    pit: new Pit8254(
      () => 0,
      () => {},
    ),
    emulator: { execute: () => false },
    trace: null,
  });
  const vcpu: Vcpu = new Vcpu(vm, 0, { vmcb: VMCB, registers: spa(0x5000) }, { cr0: 0x8001_0033n, cr4: 0x620n, efer: 0x1d00n });
  vm.vcpus.push(vcpu);
  const exit = (code: number, info1 = 0n, info2 = 0n, then: (registers: GuestRegisters) => void = () => {}): void => {
    host.script.push((registers) => {
      host.retired++;
      vcpu.vmcb.exitCode = BigInt(code);
      vcpu.vmcb.exitInfo1 = info1;
      vcpu.vmcb.exitInfo2 = info2;
      vcpu.vmcb.nRip = vcpu.save.rip + 2n;
      then(registers);
    });
  };
  return { host, io, vm, vcpu, exit };
}
