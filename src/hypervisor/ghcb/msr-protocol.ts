// The GHCB MSR protocol as a table: a request in the GHCB MSR, answered in the same place (GHCB specification 2.3.1, table 2). What is
// not a request that we know leaves the MSR as it is, as KVM does: a guest that compares sees its own request and gives up. What only
// an SEV-SNP guest may ask ends the run, as with KVM.

import { GHCB_VERSIONS, GhcbInfo, type GhcbVersion } from '../../arch/ghcb.ts';
import { lowHalf } from '../../util/halves.ts';
import type { Outcome } from '../outcome.ts';
import { LEAF_XSAVE } from './instruction-events.ts';
import { FEATURES } from './machine-events.ts';
import type { Services } from './services.ts';

export type MsrAnswer =
  | { readonly kind: 'respond'; readonly value: bigint }
  | { readonly kind: 'ignore'; readonly why: string }
  | { readonly kind: 'end'; readonly outcome: Outcome };

export type MsrRequest = {
  /** GHCBInfo of the request, and of its response; null: none follows. */
  readonly code: number;
  readonly response: number | null;
  readonly name: string;
  /** The protocol version that brought it; left out: 1. */
  readonly since?: GhcbVersion;
  /** Bits that must be zero; a request in which one is set is ignored. */
  readonly zero: bigint;
  /** Also ignored: when. */
  readonly ignores?: string;
  /** For documents: what the response says. */
  readonly says: string;
  handle(vcpu: Services, request: bigint): MsrAnswer;
};

const INFO = 0xfffn;
const DATA = ~INFO & 0xffff_ffff_ffff_ffffn;
/** Of a CPUID request: neither the function nor which register. */
const CPUID_ZERO = 0x3fff_f000n;

/** [63:48] highest version, [47:32] lowest, [31:24] C-bit position. Also what the MSR holds before the guest's first request. */
export const sevInformation = (cBit: number, most: GhcbVersion): bigint =>
  (BigInt(most) << 48n) | (BigInt(GHCB_VERSIONS.least) << 32n) | (BigInt(cBit) << 24n) | BigInt(GhcbInfo.SEV_INFORMATION);

const respond = (value: bigint): MsrAnswer => ({ kind: 'respond', value });

// biome-ignore format: a table
export const msrRequests: readonly MsrRequest[] = [
  { code: GhcbInfo.SEV_INFORMATION_REQUEST,     response: GhcbInfo.SEV_INFORMATION,              name: 'SEV information',     zero: DATA,
    says: 'highest and lowest version, C-bit', handle: (vcpu) => respond(sevInformation(vcpu.cBit, vcpu.ghcbVersion)) },
  { code: GhcbInfo.CPUID_REQUEST,               response: GhcbInfo.CPUID_RESPONSE,               name: 'CPUID',               zero: CPUID_ZERO,
    says: 'one register of the leaf, sub-leaf 0', ignores: 'leaf Dh, which needs XCR0', handle: cpuid },
  { code: GhcbInfo.AP_RESET_HOLD_REQUEST,       response: GhcbInfo.AP_RESET_HOLD_RESPONSE,       name: 'AP reset hold',       zero: DATA,
    since: 2, says: '1 once a SIPI came, else 0', handle: apResetHold },
  snpOnly(GhcbInfo.PREFERRED_GPA_REQUEST,       GhcbInfo.PREFERRED_GPA_RESPONSE,       'preferred GHCB address'),
  snpOnly(GhcbInfo.REGISTER_GPA_REQUEST,        GhcbInfo.REGISTER_GPA_RESPONSE,        'registration of a GHCB'),
  snpOnly(GhcbInfo.PAGE_STATE_CHANGE_REQUEST,   GhcbInfo.PAGE_STATE_CHANGE_RESPONSE,   'page state change'),
  snpOnly(GhcbInfo.RUN_VMPL_REQUEST,            GhcbInfo.RUN_VMPL_RESPONSE,            'run VMPL'),
  { code: GhcbInfo.HYPERVISOR_FEATURES_REQUEST, response: GhcbInfo.HYPERVISOR_FEATURES_RESPONSE, name: 'hypervisor features', zero: DATA,
    since: 2, says: 'features', handle: () => respond((FEATURES << 12n) | BigInt(GhcbInfo.HYPERVISOR_FEATURES_RESPONSE)) },
  { code: GhcbInfo.TERMINATION_REQUEST,         response: null,                                  name: 'termination',         zero: 0n,
    says: 'the end of the run, with the guest’s reason', handle: terminate },
];

/** Whoever asks for it believes to be an SEV-SNP guest, and must not go on in that belief. */
function snpOnly(code: number, response: number, name: string): MsrRequest {
  const reason = `the guest asks for ${name} (GHCB MSR ${code.toString(16).padStart(3, '0')}h), which is for SEV-SNP guests`;
  const answer: MsrAnswer = { kind: 'end', outcome: { kind: 'stopped', reason } };
  return { code, response, name, since: 2, zero: 0n, says: 'the end of the run: only SEV-SNP guests may ask', handle: () => answer };
}

const byCode: ReadonlyMap<number, MsrRequest> = new Map(msrRequests.map((row) => [row.code, row]));

export function answerMsrProtocol(vcpu: Services, request: bigint): MsrAnswer {
  const info = lowHalf(request) & Number(INFO);
  const row = byCode.get(info);
  if (row === undefined || (row.since ?? 1) > vcpu.ghcbVersion)
    return { kind: 'ignore', why: `0x${info.toString(16)} is not a request of this hypervisor` };
  if ((request & row.zero) !== 0n) return { kind: 'ignore', why: `bits are set that must be zero in a request for ${row.name}` };
  return row.handle(vcpu, request);
}

function cpuid(vcpu: Services, request: bigint): MsrAnswer {
  const leaf = Number(request >> 32n);
  const register = Number((request >> 30n) & 3n);
  if (leaf === LEAF_XSAVE) return { kind: 'ignore', why: 'CPUID leaf 0xd needs the GHCB page' };
  const value = vcpu.cpuid(leaf, 0, 1n, 0n)[register] ?? 0;
  return respond((BigInt(value >>> 0) << 32n) | (BigInt(register) << 30n) | BigInt(GhcbInfo.CPUID_RESPONSE));
}

/** The answer stands while the processor is parked; a SIPI changes it. */
function apResetHold(vcpu: Services): MsrAnswer {
  vcpu.apResetHold('msr');
  return respond(BigInt(GhcbInfo.AP_RESET_HOLD_RESPONSE));
}

function terminate(_vcpu: Services, request: bigint): MsrAnswer {
  const outcome: Outcome = { kind: 'terminated', set: Number((request >> 12n) & 0xfn), code: Number((request >> 16n) & 0xffn), info: 0n };
  return { kind: 'end', outcome };
}
