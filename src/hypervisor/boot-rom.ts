// A firmware image starts as a processor does that comes out of reset (APM vol. 2, 14.1.3): real mode, CS with the base of the
// last 64 KiB below 4 GiB, where the image ends. Nothing else is in memory.

import { Cr0 } from '../arch/registers.ts';
import { Attributes, type BootPlan, common, REAL } from './boot-plan.ts';
import { GIB_4 } from './guest-memory.ts';

const RESET_BASE = 0xffff_0000n;
const RESET_SELECTOR = 0xf000;
const RESET_IP = 0xfff0n;

/** `signature`: family, model and stepping, which the processor leaves in EDX. */
export function planRom(rom: Uint8Array, signature: number): BootPlan {
  const start = GIB_4 - rom.length;
  const table = { selector: 0, attributes: 0, limit: REAL, base: 0n };
  const data = { selector: 0, attributes: Attributes.DATA16, limit: REAL, base: 0n };
  return {
    ranges: [{ start, end: GIB_4 }],
    contents: [{ start, bytes: rom }],
    state: {
      ...common,
      cs: { selector: RESET_SELECTOR, attributes: Attributes.CODE16, limit: REAL, base: RESET_BASE },
      ss: data,
      data,
      gdtr: table,
      idtr: table,
      cr0: BigInt(Cr0.CD + Cr0.NW + Cr0.ET),
      rip: RESET_IP,
      rdx: BigInt(signature >>> 0),
    },
    warnings: [],
  };
}
