// A hypervisor that tampers with a running guest through the means it has: bytes of memory and the VMCB.

import { describe, expect, it } from 'vitest';
import { VmcbControl } from '../../src/arch/vmcb.ts';
import { launch, type RunResult, type VirtualMachine } from '../../src/cbit.ts';
import { type Spa, spa } from '../../src/util/address.ts';
import { kernel } from './runs.ts';

/** Lets a guest run for a while, does something to it behind its back, and lets it run to its end. */
function tampered(technology: 'none' | 'sev' | 'sev-es', tamper: (vm: VirtualMachine) => void): RunResult {
  const vm = launch({ image: kernel('hello'), technology, maxInstructions: 5_000_000 });
  try {
    expect(vm.advance(10_000)).toBe(false);
    tamper(vm);
    while (!vm.advance(1_000_000));
    return vm.result();
  } finally {
    vm.dispose();
  }
}

function flipBit({ machine }: VirtualMachine, at: Spa): void {
  const byte = new Uint8Array(1);
  machine.host.memory.read(at, byte);
  byte[0] = (byte[0] as number) ^ 1;
  machine.host.memory.write(at, byte);
}

const vmsaOf = ({ vcpu }: VirtualMachine): number => Number(vcpu.vmcb.vmsaPointer);

describe('a VMSA', () => {
  it('that nobody touches lets the guest end well', () => {
    expect(tampered('sev-es', () => {})).toMatchObject({ outcome: { kind: 'ended', value: 0 } });
  });

  it('that the host only reads does, too', () => {
    const result = tampered('sev-es', (vm) => vm.machine.host.memory.read(spa(vmsaOf(vm)), new Uint8Array(4096)));
    expect(result).toMatchObject({ outcome: { kind: 'ended', value: 0 } });
  });

  it.each([0x000, 0x158, 0x178, 0x1f8, 0x3b0])('altered by one bit at %i is refused by VMRUN', (offset) => {
    expect(tampered('sev-es', (vm) => flipBit(vm, spa(vmsaOf(vm) + offset)))).toMatchObject({ outcome: { kind: 'refused' }, status: 1 });
  });

  it('altered and put back is accepted', () => {
    const twice = (vm: VirtualMachine): void => [1, 2].forEach(() => flipBit(vm, spa(vmsaOf(vm) + 0x178)));
    expect(tampered('sev-es', twice)).toMatchObject({ outcome: { kind: 'ended', value: 0 } });
  });
});

describe('another ASID', () => {
  const otherAsid = (vm: VirtualMachine): void => {
    vm.vcpu.vmcb.guestAsid += 1;
  };

  it('under SEV-ES: VMRUN refuses', () => {
    expect(tampered('sev-es', otherAsid)).toMatchObject({ outcome: { kind: 'refused' } });
  });

  it('under SEV: the guest is told nothing and dies of the noise it fetches, or is refused for want of a key', () => {
    expect(tampered('sev', otherAsid).outcome.kind).toBeOneOf(['shutdown', 'refused', 'stopped']);
  });

  it('without encryption: nothing happens', () => {
    expect(tampered('none', otherAsid)).toMatchObject({ outcome: { kind: 'ended', value: 0 } });
  });
});

describe('a page of the image', () => {
  it.each(['sev', 'sev-es'] as const)('overwritten by the host under %s does not run as the host wishes', (technology) => {
    const ended = tampered(technology, (vm) => {
      const { ram } = vm.vcpu.vm.config;
      // mov al, 0; out 0xf4, al; hlt: all over the code
      const wish = Uint8Array.from({ length: 0x3000 }, (_, n) => [0xb0, 0x00, 0xe6, 0xf4, 0xf4, 0x90, 0x90, 0x90][n % 8] as number);
      vm.machine.host.memory.write(spa(ram.at + 0x10_0000), wish);
    });
    expect(ended.value).not.toBe(0);
  });

  it('of a plain guest does', () => {
    const ended = tampered('none', (vm) => {
      const wish = Uint8Array.from({ length: 0x2000 }, (_, n) => [0xb0, 0x00, 0xe6, 0xf4, 0xf4, 0x90, 0x90, 0x90][n % 8] as number);
      vm.machine.host.memory.write(spa(vm.vcpu.vm.config.ram.at + 0x10_0000), wish);
    });
    expect(ended.instructions).toBeLessThan(12_000);
  });
});

it('VMCB fields lie where the manual has them', () => {
  expect(VmcbControl.layout.guestAsid.offset).toBe(0x58);
  expect(VmcbControl.layout.vmsaPointer.offset).toBe(0x108);
});
