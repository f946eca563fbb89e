// A firmware image starts as a processor does that comes out of reset (APM vol. 2, 14.1.3): real mode, CS with the base of the
// last 64 KiB below 4 GiB, where the image ends. Nothing else is in memory.
//
// The registers of an SEV-ES guest are measured, and who verifies the measurement computes them: they are the ones with which
// QEMU and KVM launch. These differ from a reset in CR0 (without CD and NW), CR4 (MCE) and the x87 tag word.

import type { Technology } from '../arch/boot-page.ts';
import { Cr0, Cr4 } from '../arch/registers.ts';
import { apResetAddress } from './ap-reset.ts';
import { Attributes, type BootPlan, common, type InitialState, REAL } from './boot-plan.ts';
import { GIB_4 } from './guest-memory.ts';

const RESET_VECTOR = 0xffff_fff0;
const RESET_SELECTOR = 0xf000;
const NO_RESET_BLOCK = 'the ROM does not say where the other processors begin (no SEV-ES reset block): they begin at the reset vector';

/** `signature`: family, model and stepping, which the processor leaves in EDX. */
export function planRom(rom: Uint8Array, signature: number, technology: Technology, vcpus = 1): BootPlan {
  const start = GIB_4 - rom.length;
  const ap = apResetAddress(rom);
  return {
    ranges: [{ start, end: GIB_4 }],
    contents: [{ start, bytes: rom }],
    state: resetState(RESET_VECTOR, signature, technology),
    apState: ap === null ? undefined : () => resetState(ap, signature, technology),
    warnings: ap === null && vcpus > 1 && technology === 'sev-es' ? [NO_RESET_BLOCK] : [],
  };
}

/** A processor out of reset that begins at an address in real mode: the last 16 bits are IP, the others the base of CS. */
function resetState(address: number, signature: number, technology: Technology): InitialState {
  const table = { selector: 0, attributes: 0, limit: REAL, base: 0n };
  const data = { selector: 0, attributes: Attributes.DATA16, limit: REAL, base: 0n };
  const rip = address & 0xffff;
  return {
    ...common,
    cs: { selector: RESET_SELECTOR, attributes: Attributes.CODE16, limit: REAL, base: BigInt(address - rip) },
    ss: data,
    data,
    gdtr: table,
    idtr: table,
    cr0: BigInt(Cr0.CD + Cr0.NW + Cr0.ET),
    rip: BigInt(rip),
    rdx: BigInt(signature >>> 0),
    ...(technology === 'sev-es' ? { cr0: BigInt(Cr0.ET), cr4: BigInt(Cr4.MCE), x87Tags: 0 } : {}),
  };
}
