// A VMGEXIT of the plain run, with what a person calls it: the request, the place that it came from, how often it came from there.

import { ExitCode, exitName } from '../arch/exit-code.ts';
import { GhcbInfo } from '../arch/ghcb.ts';
import { ioioPort } from '../hypervisor/ghcb/ioio.ts';
import { type MsrRequest, msrRequests } from '../hypervisor/ghcb/msr-protocol.ts';
import { type NaeEvent, naeEvents } from '../hypervisor/ghcb/nae-events.ts';
import { lowHalf } from '../util/halves.ts';
import type { PageBytes } from './page-bytes.ts';

/** What the guest asks: through a GHCB page, or in the GHCB MSR. */
export type Request =
  | { readonly protocol: 'page'; readonly page: PageBytes; readonly row: NaeEvent | null }
  | { readonly protocol: 'msr'; readonly value: bigint; readonly row: MsrRequest | null };

/** What the hypervisor answered; null: the guest asked for the end of its run. */
export type Reply = { readonly page: PageBytes } | { readonly value: bigint } | null;

export type ConformEvent = {
  /** Which VMGEXIT of the run it is: 1 is the first. */
  readonly number: number;
  /** SW_EXITCODE, or GHCBInfo of a request in the MSR. */
  readonly code: number;
  readonly name: string;
  /** Address of the instruction that the #VC was for; without one, behind the VMGEXIT. */
  readonly rip: bigint;
  readonly vcpu: number;
  /** Instructions before the one that the #VC was for; without a #VC, before the VMGEXIT itself. */
  readonly before: number;
  /** Can it be stopped there? It has a #VC, no VMGEXIT came between, and there is one virtual CPU, whose turn nothing ends. */
  readonly stoppable: boolean;
  /** Which one it is of those of the same kind from the same place, and how many there are. */
  readonly occurrence: number;
  occurrences: number;
  readonly request: Request;
  readonly reply: Reply;
  /** The page of the answer before this one; null: there was none. */
  readonly previous: PageBytes | null;
};

export const INFO = 0xfffn;
const CPUID_REGISTERS = ['EAX', 'EBX', 'ECX', 'EDX'] as const;

export const hex = (value: number | bigint): string => `${value.toString(16).toUpperCase()}h`;

/** The row of the protocol's table for what the page asks; null: there is none. */
export function rowOf(page: PageBytes): NaeEvent | null {
  const code = page.get('swExitCode');
  const info1 = page.get('swExitInfo1');
  const low = lowHalf(info1) >>> 0;
  const high = Number(info1 >> 32n);
  return naeEvents.find((row) => BigInt(row.code) === code && (row.matches === undefined || row.matches(low, high))) ?? null;
}

export const msrRowOf = (value: bigint): MsrRequest | null => msrRequests.find(({ code }) => BigInt(code) === (value & INFO)) ?? null;

export const codeOf = (request: Request): number =>
  request.protocol === 'page' ? Number(request.page.get('swExitCode')) : Number(request.value & INFO);

/** Leaf of a CPUID request; null: it asks for something else. */
export function leafOf(request: Request): number | null {
  if (request.protocol === 'page') return request.row?.code === ExitCode.CPUID ? lowHalf(request.page.get('rax')) >>> 0 : null;
  return request.row?.code === GhcbInfo.CPUID_REQUEST ? Number(request.value >> 32n) : null;
}

/** Register of a CPUID request in the MSR. */
export const cpuidRegister = (value: bigint): number => Number((value >> 30n) & 3n);

/** Leaves whose answers a guest can check: it knows that it is an SEV-ES guest. */
export const EXTENDED_MAXIMUM = 0x8000_0000;
export const MEMORY_ENCRYPTION = 0x8000_001f;

/** What tells requests of one row apart, in words, and whether they are judged apart. */
function detail(request: Request): { readonly text: string; readonly apart: boolean } {
  const leaf = leafOf(request);
  if (leaf !== null) {
    const register = request.protocol === 'msr' ? ` ${CPUID_REGISTERS[cpuidRegister(request.value)]}` : '';
    return {
      text: ` ${hex(leaf)}${register}`,
      apart: request.protocol === 'msr' || leaf === EXTENDED_MAXIMUM || leaf === MEMORY_ENCRYPTION,
    };
  }
  if (request.protocol === 'msr') return { text: '', apart: false };
  const { page, row } = request;
  const info1 = page.get('swExitInfo1');
  switch (row?.code) {
    case ExitCode.IOIO:
      return { text: ` ${hex(ioioPort(lowHalf(info1) >>> 0))}`, apart: true };
    case ExitCode.MSR:
      return { text: ` ${hex(lowHalf(page.get('rcx')) >>> 0)}`, apart: true };
    default:
      return { text: row?.name.startsWith('MMIO') ? ` ${hex(info1)}` : '', apart: false };
  }
}

export function nameOf(request: Request): string {
  const { row } = request;
  const code = codeOf(request);
  if (request.protocol === 'msr') return `MSR: ${row?.name ?? hex(code)}${detail(request).text}`;
  return `${row?.name ?? exitName(code)}${detail(request).text}`;
}

/** Requests with equal keys are one kind, of which a few are judged. */
export function keyOf(request: Request, rip: bigint, vmgexit: bigint): string {
  const { text, apart } = detail(request);
  return [request.protocol, request.row?.name ?? codeOf(request), apart ? text : '', rip, vmgexit].join('|');
}
