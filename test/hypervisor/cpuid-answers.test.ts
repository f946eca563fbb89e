// The answers that are kept: what a guest is told must not depend on what was asked before.

import { expect, it } from 'vitest';
import { Cr4 } from '../../src/arch/registers.ts';
import { GuestCpuid, guestCpuid } from '../../src/hypervisor/cpuid.ts';

const guest = { technology: 'sev', cBit: 51, apicFeatures: 0 } as const;
const processor = (leaf: number, subleaf: number) => [leaf, subleaf, 0xffff_ffff, 0xffff_ffff] as const;
const leaves = [0, 1, 7, 0xb, 0xd, 0x4000_0000, 0x8000_0001, 0x8000_0008, 0x8000_001f, 0xffff_ffff];

it('are those that a first question gets, whatever changes in between', () => {
  const answers = new GuestCpuid(processor, guest);
  for (const cr4 of [0, Cr4.OSXSAVE, Cr4.OSXSAVE | Cr4.PKE, Cr4.PAE]) {
    for (const apic of [true, false]) {
      for (const xcr0 of [1n, 0x203n]) {
        for (const leaf of leaves) {
          for (const subleaf of [0, 1, 2, 16]) {
            const fresh = guestCpuid(processor, { ...guest, cr4, apic, xcr0 }, leaf, subleaf);
            expect(answers.answer(leaf, subleaf, cr4, xcr0, apic)).toEqual(fresh);
            expect(answers.answer(leaf, subleaf, cr4, xcr0, apic)).toEqual(fresh);
          }
        }
      }
    }
  }
});
