// What software says about translations: INVLPG, INVPCID, protection keys. TLBs are coherent, so that invalidating does nothing that a
// program could see; but every fault is there. APM vol. 2, 5.5; 5.6.7 (protection keys); vol. 3: INVPCID, RDPKRU, WRPKRU.

import { Feature } from '../../arch/cpuid.ts';
import { Vector } from '../../arch/exception.ts';
import { ExitCode } from '../../arch/exit-code.ts';
import { Cr4 } from '../../arch/registers.ts';
import { Gpr, State } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import type { Processor } from '../processor.ts';
import { operand64, type Routines } from './routine.ts';

/** INVPCID: the register operand. */
const Invalidation = { ADDRESS: 0, CONTEXT: 1, ALL: 2, ALL_BUT_GLOBAL: 3 } as const;
const DESCRIPTOR_BYTES = 16;

/** The register operand of INVPCID has 64 bits in 64-bit mode, else 32. */
const highOfType = (p: Processor, slot: number): number => (p.mode === 64 ? p.high32(slot) : 0);

export const translationRoutines: Routines = {
  invlpg(p, _record, low, high) {
    if (p.cpl !== 0) return p.generalProtection();
    if (p.intercepted(ExitCode.INVLPG)) return p.exit(ExitCode.INVLPG, operand64(low, high));
    return SystemResult.NEXT;
  },

  /** The intercept comes before every #GP but that of CPL, and names the descriptor's address and the type. */
  invpcid(p, record, low, high) {
    if (!p.has(Feature.INVPCID)) return p.fault(Vector.UD);
    if (p.cpl !== 0) return p.generalProtection();
    const slot = p.operandSlot(record, 0);
    const type = p.u32(slot);
    const typeHigh = highOfType(p, slot);
    if (p.intercepted(ExitCode.INVPCID)) return p.exit(ExitCode.INVPCID, operand64(low, high), operand64(type, typeHigh));
    if (typeHigh !== 0 || type > Invalidation.ALL_BUT_GLOBAL) return p.generalProtection();
    const at = p.mmu.load(p.state, low, high, DESCRIPTOR_BYTES, p.byOperand(record)) >>> 0;
    if (at === 0) return SystemResult.FAULT;
    const { view } = p;
    const pcid = view.getInt32(at, true);
    const addressHigh = view.getInt32(at + 12, true);
    if ((pcid & ~0xfff) !== 0 || view.getInt32(at + 4, true) !== 0) return p.generalProtection();
    if (type <= Invalidation.CONTEXT && pcid !== 0 && (p.u32(State.CR4) & Cr4.PCIDE) === 0) return p.generalProtection();
    if (type === Invalidation.ADDRESS && (addressHigh << 16) >> 16 !== addressHigh) return p.generalProtection();
    return SystemResult.NEXT;
  },

  rdpkru(p) {
    if ((p.u32(State.CR4) & Cr4.PKE) === 0) return p.fault(Vector.UD);
    if (p.gpr32(Gpr.RCX) !== 0) return p.generalProtection();
    p.setGpr32(Gpr.RAX, p.u32(State.PKRU));
    p.setGpr32(Gpr.RDX, 0);
    return SystemResult.NEXT;
  },

  wrpkru(p) {
    if ((p.u32(State.CR4) & Cr4.PKE) === 0) return p.fault(Vector.UD);
    if (p.gpr32(Gpr.RCX) !== 0 || p.gpr32(Gpr.RDX) !== 0) return p.generalProtection();
    p.set64(State.PKRU, p.gpr32(Gpr.RAX), 0);
    p.mmu.selectContext(p.state);
    return SystemResult.NEXT;
  },
};
