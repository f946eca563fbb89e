// A hypervisor that cheats by what it has, bytes of memory and the VMCB: under which ASID a guest runs, what its VMSA holds and where it
// lies. What comes of it is the processor's answer: INVALID, or a guest that dies of noise. (APM vol. 2, 15.34.3, 15.35.3, 15.35.8.)

import { afterEach, describe, expect, it } from 'vitest';
import { GuestPolicy } from '../../src/arch/asp.ts';
import { NestedControl } from '../../src/arch/vmcb.ts';
import { type GuestOptions, launch, type Outcome, spa, type Spa, type VirtualMachine } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { AspDriver } from '../../src/hypervisor/asp-driver.ts';
import { PAGE_SIZE } from '../../src/util/address.ts';
import { vmsaImage } from '../../src/hypervisor/launcher.ts';
import { planBoot } from '../../src/hypervisor/boot.ts';
import { readFlat } from '../../src/hypervisor/images/flat.ts';
import { IMAGE, MEMORY, smallGuest } from './small-guest.ts';

let vm: VirtualMachine | null = null;
afterEach(() => {
  vm?.dispose();
  vm = null;
});

/** Counts in RBX for ever, so that no two VMSAs of it are alike. */
const counting = smallGuest('again: inc rbx\n jmp again');

function begin(technology: 'none' | 'sev' | 'sev-es', options: Partial<GuestOptions> = {}): VirtualMachine {
  vm?.dispose();
  vm = launch({
    image: { name: 'counting', bytes: counting },
    memory: MEMORY,
    technology,
    maxInstructions: 10_000,
    aes: nodeAes,
    ...options,
  });
  return vm;
}

function end(guest: VirtualMachine): Outcome {
  while (!guest.advance(1_000));
  return guest.result().outcome;
}

const invalid = { kind: 'refused', reason: 'the integrity value of the VMSA does not match' };
const vmsaAt = ({ vcpu }: VirtualMachine): Spa => spa(Number(vcpu.vmcb.vmsaPointer));

function read({ machine }: VirtualMachine, at: Spa, length = PAGE_SIZE): Uint8Array {
  const bytes = new Uint8Array(length);
  machine.host.memory.read(at, bytes);
  return bytes;
}
function flipBit(guest: VirtualMachine, at: Spa, bit: number): void {
  const [byte = 0] = read(guest, at, 1);
  guest.machine.host.memory.write(at, Uint8Array.of(byte ^ (1 << bit)));
}

/** One VMRUN by hand, for a hundred instructions at most: the exit code. */
function vmrun({ machine, vcpu }: VirtualMachine): bigint {
  machine.host.setTimer(100);
  expect(machine.host.vmrun(vcpu.vmcbAddress, vcpu.registers)).toBeNull();
  return BigInt.asIntN(64, vcpu.vmcb.exitCode);
}
const INVALID = -1n;
const INTR = 0x60n;

/** A second guest, launched to its end under an ASID; nobody runs it. */
function otherGuest({ machine, vcpu }: VirtualMachine, asid: number, policy: number): void {
  const { pages } = vcpu.vm;
  const asp = new AspDriver(machine.host, pages.take(), null);
  const started = asp.launchStart(policy);
  if (!started.ok) throw new Error(started.name);
  const { handle } = started;
  expect(asp.activate(handle, asid).ok).toBe(true);
  if ((policy & GuestPolicy.ES) !== 0) expect(asp.launchUpdateVmsa(handle, pages.take()).ok).toBe(true);
  expect(asp.launchMeasure(handle).ok).toBe(true);
  expect(asp.launchFinish(handle).ok).toBe(true);
}

describe('a plain SEV guest', () => {
  const seeds = ['0', '1', '2', '3', '4', '5', '6', '7'];
  const FIRST_ASID = 15;
  /** Dead before its first instruction: triple fault, or its page tables point outside of memory. */
  const dies = (guest: VirtualMachine): void => {
    const outcome = end(guest);
    expect(outcome.kind).toBeOneOf(['shutdown', 'stopped']);
    expect(guest.result().instructions).toBe(0);
  };

  it.each(seeds)('under an ASID that nobody has dies at its first fetch (seed %s)', (seed) => {
    const guest = begin('sev', { seed });
    expect(guest.vcpu.vmcb.guestAsid).toBe(FIRST_ASID);
    guest.vcpu.vmcb.guestAsid = FIRST_ASID + 1;
    dies(guest);
  });

  it.each(seeds)('under the ASID of another guest dies at its first fetch (seed %s)', (seed) => {
    const guest = begin('sev', { seed });
    otherGuest(guest, FIRST_ASID + 1, 0);
    guest.vcpu.vmcb.guestAsid = FIRST_ASID + 1;
    dies(guest);
  });

  it('whose key was replaced dies at its next fetch', () => {
    const guest = begin('sev');
    guest.advance(1_000);
    const before = guest.result().instructions;
    guest.machine.encryption.setKey(FIRST_ASID, new Uint8Array(16));
    expect(end(guest).kind).toBeOneOf(['shutdown', 'stopped']);
    expect(guest.result().instructions).toBe(before);
  });

  it('that gets its ASID back goes on as if nothing had been', () => {
    const guest = begin('sev');
    guest.advance(1_000);
    guest.vcpu.vmcb.guestAsid = 5; // of an SEV-ES guest
    expect(vmrun(guest)).toBe(INVALID);
    guest.vcpu.vmcb.guestAsid = FIRST_ASID;
    expect(end(guest).kind).toBe('limit');
  });

  it('under an ASID beyond the last one for encrypted guests is refused', () => {
    const guest = begin('sev');
    guest.vcpu.vmcb.guestAsid = 254;
    expect(end(guest)).toEqual({ kind: 'refused', reason: 'the ASID is beyond the last one for encrypted guests' });
  });
});

describe('an SEV-ES guest', () => {
  it.each([
    ['that nobody has', 2, false, 'no guest has this ASID'],
    ['of another SEV-ES guest', 2, true, 'the integrity value of the VMSA does not match'],
    ['for guests without SEV-ES', 15, false, 'the ASID is for guests without SEV-ES'],
    ['of the host', 0, false, 'the ASID is 0'],
  ])('under an ASID %s never starts', (_, asid, taken, reason) => {
    const guest = begin('sev-es');
    if (taken) otherGuest(guest, asid, GuestPolicy.ES);
    guest.vcpu.vmcb.guestAsid = asid;
    expect(end(guest)).toEqual({ kind: 'refused', reason });
    expect(guest.result()).toMatchObject({ status: 1, instructions: 0, exits: { INVALID: 1 }, vc: {} });
  });

  it('whose key was replaced is refused, and goes on with its own', () => {
    const guest = begin('sev-es');
    guest.advance(1_000);
    otherGuest(guest, 2, GuestPolicy.ES);
    guest.vcpu.vmcb.guestAsid = 2;
    expect(vmrun(guest)).toBe(INVALID);
    guest.vcpu.vmcb.guestAsid = 1;
    expect(end(guest).kind).toBe('limit');
  });

  it.each([
    ['SEV-ES', NestedControl.SEV_ES, 'the ASID is for SEV-ES guests'],
    ['SEV', NestedControl.SEV, 'SEV-ES without SEV'],
    ['nested paging', NestedControl.NP_ENABLE, 'SEV without nested paging'],
  ])('cannot be run without %s', (_, bit, reason) => {
    const guest = begin('sev-es');
    guest.vcpu.vmcb.nestedControl &= ~BigInt(bit);
    expect(end(guest)).toEqual({ kind: 'refused', reason });
  });
});

describe('a VMSA', () => {
  /** The integrity value covers the page up to here. */
  const PROTECTED = 0xfc0;

  it('altered by one bit is refused: the guest is told nothing and executes nothing more', () => {
    const guest = begin('sev-es');
    guest.advance(1_000);
    const before = guest.result().instructions;
    flipBit(guest, spa(vmsaAt(guest) + 0x178), 0);
    expect(end(guest)).toEqual(invalid);
    expect(guest.result()).toMatchObject({ status: 1, instructions: before });
  });

  it('altered by one bit before the first VMRUN is refused', () => {
    const guest = begin('sev-es');
    flipBit(guest, spa(vmsaAt(guest) + 0x178), 7);
    expect(end(guest)).toEqual(invalid);
    expect(guest.result().instructions).toBe(0);
  });

  it('altered by one bit anywhere is refused, and accepted when the bit is put back', () => {
    const guest = begin('sev-es');
    expect(vmrun(guest)).toBe(INTR);
    const answers = new Set<bigint>();
    for (let at = 0; at < PROTECTED; at += 5) {
      flipBit(guest, spa(vmsaAt(guest) + at), at & 7);
      answers.add(vmrun(guest));
      flipBit(guest, spa(vmsaAt(guest) + at), at & 7);
    }
    expect(answers).toEqual(new Set([INVALID]));
    expect(vmrun(guest)).toBe(INTR);
  });

  it('replayed, an older copy in the same place, is refused', () => {
    const guest = begin('sev-es');
    guest.advance(1_000);
    const older = read(guest, vmsaAt(guest));
    guest.advance(1_000);
    const newer = read(guest, vmsaAt(guest));
    expect(newer).not.toEqual(older);
    guest.machine.host.memory.write(vmsaAt(guest), older);
    expect(end(guest)).toEqual(invalid);
  });

  it('as it was at launch, to start the guest anew, is refused', () => {
    const guest = begin('sev-es');
    const first = read(guest, vmsaAt(guest));
    guest.advance(1_000);
    guest.machine.host.memory.write(vmsaAt(guest), first);
    expect(end(guest)).toEqual(invalid);
  });

  it('moved to another page is refused: the tweak is that of another address', () => {
    const guest = begin('sev-es');
    guest.advance(1_000);
    const elsewhere = guest.vcpu.vm.pages.take();
    guest.machine.host.memory.write(elsewhere, read(guest, vmsaAt(guest)));
    guest.vcpu.vmcb.vmsaPointer = BigInt(elsewhere);
    expect(end(guest)).toEqual(invalid);
  });

  it('of the host’s own making, in plaintext, is refused', () => {
    const guest = begin('sev-es');
    const image = readFlat('counting', counting, MEMORY, {});
    const { state } = planBoot('counting', image, { technology: 'sev-es', memory: MEMORY, cBit: 51, append: '' });
    guest.machine.host.memory.write(vmsaAt(guest), vmsaImage({ ...state, rip: BigInt(IMAGE + 0x100) }));
    expect(end(guest)).toEqual(invalid);
  });

  it('outside of memory is refused', () => {
    const guest = begin('sev-es');
    guest.vcpu.vmcb.vmsaPointer = BigInt(guest.machine.host.memory.size);
    expect(end(guest)).toEqual({ kind: 'refused', reason: 'the VMSA lies outside of memory' });
  });

  it('that was refused is left alone', () => {
    const guest = begin('sev-es');
    guest.advance(1_000);
    flipBit(guest, spa(vmsaAt(guest) + 0x200), 3);
    const before = read(guest, vmsaAt(guest));
    expect(vmrun(guest)).toBe(INVALID);
    expect(read(guest, vmsaAt(guest))).toEqual(before);
  });
});
