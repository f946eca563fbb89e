// The MSRs of a local APIC: APIC_BASE, the x2APIC registers, and TSC_DEADLINE (APM vol. 2, 16.3.1, 16.11).

import { Msr } from '../arch/msr.ts';
import type { LocalApic } from './local-apic.ts';
import { readX2apic, writeX2apic, X2APIC_MSRS } from './x2apic.ts';

export const isApicMsr = (index: number): boolean =>
  index === Msr.APIC_BASE || (index >= X2APIC_MSRS.first && index <= X2APIC_MSRS.last) || index === Msr.TSC_DEADLINE;

/** null: #GP. */
export function readApicMsr(apic: LocalApic, index: number): bigint | null {
  if (index === Msr.APIC_BASE) return apic.base;
  return index === Msr.TSC_DEADLINE ? apic.tscDeadline : readX2apic(apic, index);
}

/** False: #GP. */
export function writeApicMsr(apic: LocalApic, index: number, value: bigint): boolean {
  if (index === Msr.APIC_BASE) return apic.setBase(value);
  if (index !== Msr.TSC_DEADLINE) return writeX2apic(apic, index, value);
  apic.tscDeadline = value;
  return true;
}
