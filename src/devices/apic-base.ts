// Which values APIC_BASE takes. APM vol. 2, 16.3.1; the changes of mode: 16.9, figure 16-32.

import { ApicBase } from './apic-registers.ts';

/** False: a reserved bit, or a change of mode that does not exist. Into x2APIC mode only from xAPIC mode, out of it only by disabling. */
export function mayBecome(now: bigint, next: bigint, physicalBits: number): boolean {
  const { BOOT, ENABLE, X2APIC, ADDRESS } = ApicBase;
  if ((next & ~(BOOT | ENABLE | X2APIC | ADDRESS)) !== 0n || next >> BigInt(physicalBits) !== 0n) return false;
  const before = now & (ENABLE | X2APIC);
  const mode = next & (ENABLE | X2APIC);
  if (mode === X2APIC) return false;
  if (before === 0n) return mode !== (ENABLE | X2APIC);
  return !(before === (ENABLE | X2APIC) && mode === ENABLE);
}
