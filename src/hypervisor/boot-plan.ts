// What every way to start a guest has in common: the plan of what lies where, the registers of the first instruction, and the few
// values that the ways share. boot.ts is our own entry; boot-multiboot.ts, boot-pvh.ts, boot-linux.ts and boot-rom.ts are the others'.

import { Efer, Rflags } from '../arch/registers.ts';
import type { Technology } from '../arch/boot-page.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { BytesPort } from '../util/struct.ts';
import type { Segment } from './images/image.ts';

/** A segment register as the save area keeps it. */
export type SegmentState = { readonly selector: number; readonly attributes: number; readonly limit: number; readonly base: bigint };

/** The registers with which a guest starts. What is not here is zero, or as after reset. */
export type InitialState = {
  readonly cs: SegmentState;
  readonly ss: SegmentState;
  readonly data: SegmentState; // DS, ES, FS, GS
  readonly gdtr: SegmentState;
  readonly idtr: SegmentState;
  readonly ldtr: SegmentState;
  readonly tr: SegmentState;
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  readonly rflags: bigint;
  readonly rip: bigint;
  readonly rax: bigint;
  readonly rdx: bigint;
  readonly rbx: bigint;
  readonly rsp: bigint;
  readonly rdi: bigint;
  /** Left out: 0. */
  readonly rsi?: bigint | undefined;
  /** The x87 tag word; left out: all empty. Of SEV-ES guests only: the others start with the processor's. */
  readonly x87Tags?: number | undefined;
};

export type Range = { readonly start: number; readonly end: number };

/** Bytes for guest memory. */
export type Content = { readonly start: number; readonly bytes: Uint8Array };

/** Everything that a launch puts into guest memory, and where it starts. */
export type BootPlan = {
  /** Whole pages, ascending, not overlapping: what is loaded, and under SEV encrypted and measured. */
  readonly ranges: readonly Range[];
  /** Bytes to copy into the ranges; the rest of them is zeros. */
  readonly contents: readonly Content[];
  readonly state: InitialState;
  /** How the other processors of an SEV-ES guest begin, by number from 1; left out: as the first. */
  readonly apState?: ((number: number) => InitialState) | undefined;
  /** Odd things about the image that a person should hear of. */
  readonly warnings: readonly string[];
};

/** A file that is handed to the guest besides its image. */
export type ExtraFile = { readonly name: string; readonly bytes: Uint8Array };

export type BootOptions = {
  readonly technology: Technology;
  readonly memory: number;
  readonly cBit: number;
  /** Number of virtual CPUs; left out: one. */
  readonly vcpus?: number | undefined;
  readonly append: string;
  readonly initrd?: ExtraFile | undefined;
};

export const Attributes = { CODE16: 0x09b, CODE32: 0xc9b, CODE64: 0xa9b, DATA16: 0x093, DATA32: 0xc93, LDT: 0x082, TSS: 0x08b } as const;
export const FLAT = 0xffff_ffff;
export const REAL = 0xffff;
/** VMRUN wants it set (15.5.1). */
export const REQUIRED_EFER = Efer.SVME;

/** What is the same however a guest starts. */
export const common = {
  ldtr: { selector: 0, attributes: Attributes.LDT, limit: REAL, base: 0n },
  tr: { selector: 0, attributes: Attributes.TSS, limit: REAL, base: 0n },
  rflags: BigInt(Rflags.ALWAYS_1),
  cr3: 0n,
  cr4: 0n,
  efer: BigInt(REQUIRED_EFER),
  rax: 0n,
  rdx: 0n,
  rbx: 0n,
  rsp: 0n,
  rdi: 0n,
} as const;

/** The whole pages that pieces touch, as ascending ranges with a gap between each two. */
export function pageRanges(segments: readonly Pick<Segment, 'start' | 'size'>[]): Range[] {
  const ranges: { start: number; end: number }[] = [];
  for (const { start, size } of [...segments].sort((a, b) => a.start - b.start)) {
    const first = Math.floor(start / PAGE_SIZE) * PAGE_SIZE;
    const end = Math.ceil((start + size) / PAGE_SIZE) * PAGE_SIZE;
    const last = ranges.at(-1);
    if (last !== undefined && first <= last.end) last.end = Math.max(last.end, end);
    else ranges.push({ start: first, end });
  }
  return ranges;
}

/** The lowest free place of `size` bytes between ascending ranges, from `lowest` on. */
export function findGap(ranges: readonly Range[], size: number, lowest: number, memory: number): number | null {
  let at = lowest;
  for (const { start, end } of ranges) {
    if (at + size <= start) break;
    at = Math.max(at, end);
  }
  return at + size <= memory ? at : null;
}

/** The highest free place of `size` bytes between ascending ranges, on a page boundary and below `memory`. */
export function findHighGap(ranges: readonly Range[], size: number, lowest: number, memory: number): number | null {
  const down = (end: number): number => Math.floor((end - size) / PAGE_SIZE) * PAGE_SIZE;
  let at = down(memory);
  for (const { start, end } of [...ranges].reverse()) {
    if (at >= end) break;
    at = Math.min(at, down(start));
  }
  return at >= lowest ? at : null;
}

export function quadwords(values: readonly bigint[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8 * values.length);
  const port = new BytesPort(bytes);
  values.forEach((value, i) => port.setU64(8 * i, value));
  return bytes;
}
