// Variants of a response in the GHCB MSR (GHCB specification 2.3.1, table 2).

import { GhcbInfo } from '../arch/ghcb.ts';
import type { MsrRequest } from '../hypervisor/ghcb/msr-protocol.ts';
import { type ConformEvent, cpuidRegister, EXTENDED_MAXIMUM, INFO, leafOf, MEMORY_ENCRYPTION } from './event.ts';
import type { Group, Variant } from './variant.ts';

type Asked = { readonly value: bigint; readonly row: MsrRequest; readonly response: bigint; readonly event: ConformEvent };

/** A request in the MSR that got a response. */
function responded(event: ConformEvent): Asked | null {
  const { request, reply } = event;
  if (request.protocol !== 'msr' || request.row === null || reply === null || !('value' in reply)) return null;
  const { value, row } = request;
  return BigInt(row.response ?? -1) === (reply.value & INFO) ? { value, row, response: reply.value, event } : null;
}

/** `edit`: from the right response, and from the request. */
const response = (
  group: Group,
  id: string,
  title: string,
  applies: (asked: Asked) => boolean,
  edit: (response: bigint, request: bigint) => bigint,
  more: Partial<Variant> = {},
): Variant => ({
  id,
  group,
  title,
  applies: (event) => {
    const found = responded(event);
    return found !== null && applies(found);
  },
  play: ({ vcpu, request, answer }) => {
    const outcome = answer();
    if (outcome !== null || request.protocol !== 'msr') return outcome;
    vcpu.ghcbMsr = BigInt.asUintN(64, edit(vcpu.ghcbMsr, request.value));
    return null;
  },
  ...more,
});

const always = (): boolean => true;
const of =
  (code: number) =>
  ({ row }: Asked): boolean =>
    row.code === code;
const information = of(GhcbInfo.SEV_INFORMATION_REQUEST);
const cpuid = of(GhcbInfo.CPUID_REQUEST);
/** One register of one leaf. */
const cpuidOf =
  (leaf: number, register: number) =>
  ({ event, value }: Asked): boolean =>
    leafOf(event.request) === leaf && cpuidRegister(value) === register;

const EAX = 0;
const EBX = 1;
const field = (at: number, bits: number): bigint => ((1n << BigInt(bits)) - 1n) << BigInt(at);
const withField = (value: bigint, at: number, bits: number, to: bigint): bigint => (value & ~field(at, bits)) | (to << BigInt(at));
const versions = (value: bigint, least: bigint, most: bigint): bigint => withField(withField(value, 32, 16, least), 48, 16, most);
const cBit = (value: bigint, change: (position: bigint) => bigint): bigint => withField(value, 24, 8, change((value >> 24n) & 0xffn));
const withCode = (value: bigint, code: number): bigint => (value & ~INFO) | BigInt(code);

/** The highest of the twelve bits, which no code has set but those that nobody has defined: who compares fewer of them does not see it. */
const NEAR = 0x800;
/** What a guest can check behind the code stays right, or it would refuse for that. Features it cannot: who takes them takes others. */
const unlike = (value: bigint, asked: bigint): bigint => ((asked & INFO) === BigInt(GhcbInfo.HYPERVISOR_FEATURES_REQUEST) ? ~value : value);

const told = { told: true } as const;

export const msrVariants: readonly Variant[] = [
  response('error', 'request-code', 'leaves the code of the request in the MSR', always, (value, asked) =>
    withCode(value, Number(asked & INFO)),
  ),
  response('error', 'other-code', 'gives its answer the code of another response', always, (value) =>
    withCode(value, (value & INFO) === BigInt(GhcbInfo.CPUID_RESPONSE) ? GhcbInfo.SEV_INFORMATION : GhcbInfo.CPUID_RESPONSE),
  ),
  response('error', 'undefined-code', 'gives its answer the code FFFh, which nobody has defined', always, (value) =>
    withCode(value, 0xfff),
  ),
  response(
    'error',
    'near-code',
    'gives its answer the right code, but for bit 11, which is set; features are others',
    always,
    (value, asked) => withCode(unlike(value, asked), Number(value & INFO) | NEAR),
    {
      control: response('error', 'far-code', 'gives its answer the code FFFh', always, (value, asked) =>
        withCode(unlike(value, asked), 0xfff),
      ),
    },
  ),
  response('error', 'termination', 'gives its answer the code of a termination request', always, (value) =>
    withCode(value, GhcbInfo.TERMINATION_REQUEST),
  ),
  response('error', 'zero', 'returns 0', always, () => 0n),
  response('stale', 'unanswered', 'does not answer: the MSR is as the guest left it', always, (_, asked) => asked),
  response('changed', 'reserved', 'sets bits 23:12, which must be 0', information, (value) => value | field(12, 12)),
  response('changed', 'reserved', 'sets bits 29:12, which must be 0', cpuid, (value) => value | field(12, 18)),
  response('wrong', 'other-register', 'returns the number of another register in bits 31:30', cpuid, (value) => value ^ (1n << 30n)),
  response('wrong', 'no-sev', 'hides SEV: CPUID 8000001Fh EAX[1] is 0', cpuidOf(MEMORY_ENCRYPTION, EAX), (value) => value & ~(1n << 33n)),
  response('wrong', 'no-sev-leaf', 'hides SEV: the last extended leaf is 8000001Eh', cpuidOf(EXTENDED_MAXIMUM, EAX), (value) =>
    withField(value, 32, 32, BigInt(MEMORY_ENCRYPTION - 1)),
  ),
  response(
    'wrong',
    'c-bit',
    'returns another C-bit in CPUID 8000001Fh',
    cpuidOf(MEMORY_ENCRYPTION, EBX),
    (value) => withField(value, 32, 6, ((value >> 32n) & 0x3fn) - 1n),
    told,
  ),
  response('wrong', 'versions-above', 'speaks versions 100 to 101 of the protocol only', information, (value) =>
    versions(value, 100n, 101n),
  ),
  response('wrong', 'versions-below', 'speaks version 0 of the protocol only', information, (value) => versions(value, 0n, 0n)),
  response('wrong', 'versions-none', 'says that the highest version is below the lowest', information, (value) => versions(value, 2n, 1n)),
  response(
    'wrong',
    'c-bit',
    'says that the C-bit is the one below',
    information,
    (value) => cBit(value, (position) => position - 1n),
    told,
  ),
  response('wrong', 'c-bit-0', 'says that the C-bit is bit 0', information, (value) => cBit(value, () => 0n), told),
  response('wrong', 'c-bit-255', 'says that the C-bit is bit 255', information, (value) => cBit(value, () => 255n), told),
];
