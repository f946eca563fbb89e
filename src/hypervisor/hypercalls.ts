// Hypercalls by VMMCALL, in KVM's convention (Documentation/virt/kvm/x86/hypercalls.rst of Linux): number in RAX, up to four arguments in
// RBX, RCX, RDX, RSI, result in RAX. The one that there is sends an IPI to many APIC IDs at once.

import { Icr, type MessageType } from '../devices/apic-registers.ts';
import type { LocalApic } from '../devices/local-apic.ts';

const SEND_IPI = 10n;
const NO_SUCH_HYPERCALL = -1000n;
const NOT_PERMITTED = -1n;
const INVALID_ARGUMENT = -22n;

export type HypercallArguments = readonly [bigint, bigint, bigint, bigint];

/** What comes back in RAX. `wide`: the guest is in 64-bit mode. */
export function hypercall(apic: LocalApic, number: bigint, cpl: number, values: HypercallArguments, wide: boolean): bigint {
  if (cpl !== 0) return NOT_PERMITTED;
  return number === SEND_IPI ? sendIpi(apic, values, wide ? 64n : 32n) : NO_SUCH_HYPERCALL;
}

/** Two words of a bitmap of APIC IDs from `first` on, and the low half of an ICR. Gives how many processors took it. */
function sendIpi(apic: LocalApic, [low, high, first, command]: HypercallArguments, width: bigint): bigint {
  const mask = (1n << width) - 1n;
  if ((command & BigInt(Icr.LOGICAL | Icr.SHORTHAND)) !== 0n) return INVALID_ARGUMENT;
  const bit = BigInt(apic.id) - (first & 0xffff_ffffn);
  const bitmap = (low & mask) | ((high & mask) << width);
  if (bit < 0n || bit >= 2n * width || ((bitmap >> bit) & 1n) === 0n) return 0n;
  const bits = Number(command & 0xffffn);
  const message = {
    type: ((bits & Icr.TYPE) >>> 8) as MessageType,
    vector: bits & Icr.VECTOR,
    level: false,
    logical: false,
    destination: apic.id,
  };
  return apic.deliver(message) ? 1n : 0n;
}
