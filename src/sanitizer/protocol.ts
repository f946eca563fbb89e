// Requests of the GHCB protocol as the hypervisor's own tables know them: which event a page asks for, which fields that needs and returns.

import { ExitCode, exitName } from '../arch/exit-code.ts';
import { GhcbEvent, type GhcbField } from '../arch/ghcb.ts';
import { LEAF_XSAVE } from '../hypervisor/ghcb/instruction-events.ts';
import { decodeIoio, type PortAccess } from '../hypervisor/ghcb/ioio.ts';
import { type MsrRequest, msrRequests } from '../hypervisor/ghcb/msr-protocol.ts';
import { type NaeEvent, naeEvents } from '../hypervisor/ghcb/nae-events.ts';
import { type PageImage, valueOf } from './page-image.ts';

export type Request = {
  readonly code: bigint;
  readonly info1: bigint;
  readonly info2: bigint;
  /** Index of its row in the table of events; -1: there is none. */
  readonly row: number;
  readonly name: string;
};

const low = (value: bigint): number => Number(value & 0xffff_ffffn);
const high = (value: bigint): number => Number(value >> 32n);

export function requestOf(image: PageImage): Request {
  const code = valueOf(image, 'swExitCode');
  const info1 = valueOf(image, 'swExitInfo1');
  const row = naeEvents.findIndex((event) => BigInt(event.code) === code && (event.matches?.(low(info1), high(info1)) ?? true));
  return { code, info1, info2: valueOf(image, 'swExitInfo2'), row, name: naeEvents[row]?.name ?? nameOfCode(code) };
}

export const rowOf = ({ row }: { readonly row: number }): NaeEvent | undefined => naeEvents[row];

export const nameOfCode = (code: bigint): string => (code <= 0x404n ? exitName(Number(code)) : `event ${code.toString(16)}h`);

export const every: readonly GhcbField[] = ['swExitCode', 'swExitInfo1', 'swExitInfo2'];

/** Fields that must be valid besides those of every event. */
export function needsOf(event: NaeEvent, image: PageImage): readonly GhcbField[] {
  const { needs, needsIf } = event;
  const leaf = event.code === ExitCode.CPUID && low(valueOf(image, 'rax')) === LEAF_XSAVE;
  return needsIf !== undefined && leaf ? [...needs, needsIf.field] : needs;
}

/** Fields whose values the event is about. Guests give XCR0 for every CPUID; what a hypercall takes is the hypervisor's to say. */
export function concerns(event: NaeEvent): readonly GhcbField[] | 'any' {
  if (event.code === ExitCode.VMMCALL) return 'any';
  return [...every, ...event.needs, ...(event.needsIf === undefined ? [] : [event.needsIf.field]), ...(event.takes ?? [])];
}

/** The port access that an IOIO request asks for. */
export const portAccess = ({ code, info1 }: Request): PortAccess | null =>
  code === BigInt(ExitCode.IOIO) && high(info1) === 0 ? decodeIoio(low(info1)) : null;

export const isMmio = ({ code }: Request): boolean => code === BigInt(GhcbEvent.MMIO_READ) || code === BigInt(GhcbEvent.MMIO_WRITE);

/** The scratch area that a request names: first address and bytes; null: it has none. */
export function scratchOf(
  request: Request,
  image: PageImage,
): { readonly start: bigint; readonly bytes: bigint; readonly toGuest: boolean } | null {
  const start = valueOf(image, 'swScratch');
  if (isMmio(request)) return { start, bytes: request.info2, toGuest: request.code === BigInt(GhcbEvent.MMIO_READ) };
  const port = portAccess(request);
  return port?.string ? { start, bytes: request.info2 * BigInt(port.size), toGuest: port.input } : null;
}

/** Events of a machine rather than of an instruction: what comes back says something, or nothing, by itself. */
const ofMachine: ReadonlySet<bigint> = new Set(
  [GhcbEvent.NMI_COMPLETE, GhcbEvent.AP_RESET_HOLD, GhcbEvent.AP_JUMP_TABLE, GhcbEvent.TERMINATION, GhcbEvent.UNSUPPORTED_EVENT].map(
    BigInt,
  ),
);
export const isOfMachine = (code: bigint): boolean => ofMachine.has(code);

/** A request after which the guest does not count on anything. */
export const givesUp = (code: bigint): boolean => code === BigInt(GhcbEvent.TERMINATION) || code === BigInt(GhcbEvent.UNSUPPORTED_EVENT);

export const msrRequestOf = (value: bigint): MsrRequest | undefined => msrRequests.find(({ code }) => code === low(value & 0xfffn));
export const msrName = (value: bigint): string => `GHCB MSR ${(value & 0xfffn).toString(16).padStart(3, '0')}h`;
