// The registers of a local APIC as MSRs 800h to 83Fh, in x2APIC mode. APM vol. 2, 16.11: reserved registers and bits are #GP.

import { Register, x2apicUnreadable, x2apicWritable } from './apic-registers.ts';
import type { LocalApic } from './local-apic.ts';

export const X2APIC_MSRS = { first: 0x800, last: 0x83f } as const;

/** null: #GP. */
export function readX2apic(apic: LocalApic, index: number): bigint | null {
  const register = index - X2APIC_MSRS.first;
  if (!apic.x2apic || x2apicUnreadable.has(register)) return null;
  const value = apic.readRegister(register);
  if (value === undefined) return null;
  const high = register === Register.ICR_LOW ? (apic.readRegister(Register.ICR_HIGH) ?? 0) : 0;
  return (BigInt(high >>> 0) << 32n) | BigInt(value >>> 0);
}

/** False: #GP. */
export function writeX2apic(apic: LocalApic, index: number, value: bigint): boolean {
  const register = index - X2APIC_MSRS.first;
  const bits = x2apicWritable.get(register);
  if (!apic.x2apic || bits === undefined) return false;
  const low = Number(value & 0xffff_ffffn) | 0;
  const high = Number(value >> 32n) | 0;
  if ((low & ~bits) !== 0 || (high !== 0 && register !== Register.ICR_LOW)) return false;
  if (register === Register.SELF_IPI) {
    apic.selfIpi(low);
    return true;
  }
  if (register === Register.ICR_LOW) apic.writeRegister(Register.ICR_HIGH, high);
  apic.writeRegister(register, low);
  return true;
}
