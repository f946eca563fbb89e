// The GHCB MSR protocol: a request in the GHCB MSR, answered in the same place (GHCB specification 2.3.1, table 2). What is not
// a request that we know leaves the MSR as it is, as KVM does: a guest that compares sees its own request and gives up.

import { GHCB_VERSIONS, GhcbInfo } from '../../arch/ghcb.ts';
import type { Outcome } from '../outcome.ts';
import type { Services } from './services.ts';

export type MsrAnswer =
  | { readonly kind: 'respond'; readonly value: bigint }
  | { readonly kind: 'ignore'; readonly why: string }
  | { readonly kind: 'end'; readonly outcome: Outcome };

const INFO = 0xfffn;
/** The one leaf whose answer depends on more than a request can carry. */
const LEAF_XSAVE = 0xd;

/** [63:48] highest version, [47:32] lowest, [31:24] C-bit position. Also what the MSR holds before the guest's first request. */
export const sevInformation = (cBit: number): bigint =>
  (BigInt(GHCB_VERSIONS.most) << 48n) | (BigInt(GHCB_VERSIONS.least) << 32n) | (BigInt(cBit) << 24n) | BigInt(GhcbInfo.SEV_INFORMATION);

export function answerMsrProtocol(vcpu: Services, request: bigint): MsrAnswer {
  const info = Number(request & INFO);
  const handler = requests.get(info);
  return handler === undefined
    ? { kind: 'ignore', why: `0x${info.toString(16)} is not a request of this hypervisor` }
    : handler(vcpu, request);
}

const respond = (value: bigint): MsrAnswer => ({ kind: 'respond', value });

const requests: ReadonlyMap<number, (vcpu: Services, request: bigint) => MsrAnswer> = new Map([
  [GhcbInfo.SEV_INFORMATION_REQUEST, (vcpu) => respond(sevInformation(vcpu.cBit))],
  [GhcbInfo.CPUID_REQUEST, cpuid],
  [GhcbInfo.HYPERVISOR_FEATURES_REQUEST, () => respond(BigInt(GhcbInfo.HYPERVISOR_FEATURES_RESPONSE))], // none of table 1
  [GhcbInfo.TERMINATION_REQUEST, terminate],
]);

function cpuid(vcpu: Services, request: bigint): MsrAnswer {
  const leaf = Number(request >> 32n);
  const register = Number((request >> 30n) & 3n);
  if (((request >> 12n) & 0x3_ffffn) !== 0n) return { kind: 'ignore', why: 'bits 29:12 of a CPUID request must be zero' };
  if (leaf === LEAF_XSAVE) return { kind: 'ignore', why: 'CPUID leaf 0xd needs the GHCB page' };
  const value = vcpu.cpuid(leaf, 0, 1n)[register] ?? 0;
  return respond((BigInt(value >>> 0) << 32n) | (BigInt(register) << 30n) | BigInt(GhcbInfo.CPUID_RESPONSE));
}

function terminate(_vcpu: Services, request: bigint): MsrAnswer {
  const outcome: Outcome = { kind: 'terminated', set: Number((request >> 12n) & 0xfn), code: Number((request >> 16n) & 0xffn), info: 0n };
  return { kind: 'end', outcome };
}
