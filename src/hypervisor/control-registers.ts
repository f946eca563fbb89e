// Which values of CR0, CR4 and CR8 the processor would take: the hypervisor must refuse the others before it lets a guest's
// write through. APM vol. 2, 3.1.1, 3.1.3, 3.1.5 and 5.5.

import { Cr0, Cr4, Efer } from '../arch/registers.ts';
import type { CpuidSource } from './cpuid.ts';

export type ControlRegisters = { readonly cr0: bigint; readonly cr4: bigint; readonly efer: bigint };

const has = (value: bigint, bit: number): boolean => (value & BigInt(bit)) !== 0n;

const ALWAYS = Cr4.VME | Cr4.PVI | Cr4.TSD | Cr4.DE | Cr4.PSE | Cr4.PAE | Cr4.MCE | Cr4.PGE | Cr4.PCE | Cr4.OSFXSR | Cr4.OSXMMEXCPT;
const EBX = 1;
const ECX = 2;
/** Bits that exist with a feature, and where CPUID reports it. LA57 is never offered. */
const byFeature = [
  { bit: Cr4.PCIDE, leaf: 1, register: ECX, feature: 17 },
  { bit: Cr4.OSXSAVE, leaf: 1, register: ECX, feature: 26 },
  { bit: Cr4.FSGSBASE, leaf: 7, register: EBX, feature: 0 },
  { bit: Cr4.SMEP, leaf: 7, register: EBX, feature: 7 },
  { bit: Cr4.SMAP, leaf: 7, register: EBX, feature: 20 },
  { bit: Cr4.UMIP, leaf: 7, register: ECX, feature: 2 },
  { bit: Cr4.PKE, leaf: 7, register: ECX, feature: 3 },
  { bit: Cr4.CET, leaf: 7, register: ECX, feature: 7 },
] as const;

/** The bits of CR4 that a processor has. */
export const cr4Bits = (cpuid: CpuidSource): number =>
  byFeature.reduce(
    (bits, { bit, leaf, register, feature }) => bits | (((cpuid(leaf, 0)[register] >>> feature) & 1) === 1 ? bit : 0),
    ALWAYS,
  );

/** Bits of EFER that a guest has; SVME is the host's, and not shown. */
const EFER_GUEST = Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE | Efer.FFXSR | Efer.TCE;

/** EFER as a guest reads it. */
export const shownEfer = (efer: bigint): bigint => efer & BigInt(EFER_GUEST);

/** EFER of a guest after WRMSR; null: #GP. LMA stays what it is, and SVME set (15.5.1). */
export function eferAfter(value: bigint, now: Pick<ControlRegisters, 'cr0' | 'efer'>): bigint | null {
  if ((value & ~BigInt(EFER_GUEST)) !== 0n) return null;
  if (has(now.cr0, Cr0.PG) && has(value, Efer.LME) !== has(now.efer, Efer.LME)) return null;
  const kept = BigInt(Efer.LMA | Efer.SVME);
  return (value & ~kept) | (now.efer & kept);
}

/** Would MOV to CRn with this value raise #GP? `cr4Known`: the bits of CR4 that the processor has. */
export function refusesControlRegister(n: number, value: bigint, now: ControlRegisters, cr4Known: number): boolean {
  switch (n) {
    case 0:
      return (
        value > 0xffff_ffffn ||
        (has(value, Cr0.NW) && !has(value, Cr0.CD)) ||
        (has(value, Cr0.PG) && !has(value, Cr0.PE)) ||
        (has(value, Cr0.PG) && has(now.efer, Efer.LME) && !has(now.cr4, Cr4.PAE)) ||
        (!has(value, Cr0.PG) && has(now.cr0, Cr0.PG) && has(now.cr4, Cr4.PCIDE))
      );
    case 4:
      return (
        (value & ~BigInt(cr4Known)) !== 0n ||
        (has(now.efer, Efer.LMA) && !has(value, Cr4.PAE)) ||
        (has(value, Cr4.PCIDE) && !has(now.efer, Efer.LMA)) ||
        (has(value, Cr4.CET) && !has(now.cr0, Cr0.WP))
      );
    case 8:
      return value > 0xfn;
    default:
      return true;
  }
}
