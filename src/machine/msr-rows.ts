// Model-specific registers as rows of a table: what a read gives, what a write accepts. The rows here are for registers from which nothing
// follows, so that a hypervisor answers them as a processor does: memory-type ranges and machine checks. APM vol. 2, 7.7 and appendix A.

import { Msr } from '../arch/msr.ts';

/** Whose registers they are. */
export type MsrOwner = {
  /** Values of registers that are plain storage, by index. */
  readonly msrValues: Map<number, bigint>;
  /** Width of physical addresses. */
  readonly physicalBits: number;
};

export type MsrRow<Owner extends MsrOwner = MsrOwner> = {
  /** null: #GP. */
  readonly read: ((owner: Owner) => bigint | null) | null;
  /** false: #GP. */
  readonly write: ((owner: Owner, value: bigint) => boolean) | null;
};

/** Storage: reads back what was written, in the bits that exist. A write of other bits is #GP. */
export const storage = (index: number, initial: bigint, writable: bigint): MsrRow => ({
  read: (owner) => owner.msrValues.get(index) ?? initial,
  write: (owner, value) => {
    const before = owner.msrValues.get(index) ?? initial;
    if (((value ^ before) & ~writable) !== 0n) return false;
    owner.msrValues.set(index, value);
    return true;
  },
});

export const constant = (value: bigint): MsrRow => ({ read: () => value, write: null });

/** Accepts a value and forgets it, if it has no other bits than these. */
export const command = (bits: bigint): MsrRow => ({ read: null, write: (_owner, value) => (value & ~bits) === 0n });

/** Storage whose values must satisfy a rule. */
export const ruled = (index: number, initial: bigint, rule: (value: bigint, owner: MsrOwner) => boolean): MsrRow => ({
  read: (owner) => owner.msrValues.get(index) ?? initial,
  write: (owner, value) => {
    if (!rule(value, owner)) return false;
    owner.msrValues.set(index, value);
    return true;
  },
});

/** An address of whole pages, within the width, and what stands in its low bits. */
export const isAddress = ({ physicalBits }: MsrOwner, value: bigint, low = 0n): boolean =>
  (value & ~(((1n << BigInt(physicalBits)) - 1n) & ~0xfffn) & ~low) === 0n;

const MTRR_CAP = 0x508n; // 8 variable ranges, fixed ranges, write combining
const MTRR_DEFAULT = 0xc06n; // enabled, fixed enabled, write-back
/** MTRR_PHYS_MASK: the range is valid. */
const MASK_VALID = 0x800n;

// MTRRs are state: nothing follows from a memory type. But what is no type, and what is no address, is #GP (7.7).
const memoryType = (type: bigint): boolean => type <= 6n && type !== 2n && type !== 3n;
/** Type in bits 7:0. */
const typed = (value: bigint): boolean => memoryType(value & 0xffn);
/** Eight types. */
const allTyped = (value: bigint): boolean => Array.from({ length: 8 }, (_, n) => value >> BigInt(8 * n)).every(typed);

/** Registers of which every processor has the same ones, and from which nothing follows here. */
export const passiveRows: readonly (readonly [index: number, row: MsrRow])[] = [
  [Msr.MTRR_CAP, constant(MTRR_CAP)],
  [Msr.MCG_CAP, constant(0n)],
  [Msr.MCG_STATUS, storage(Msr.MCG_STATUS, 0n, 0x7n)],
  ...Array.from({ length: 8 }, (_, n): [number, MsrRow][] => [
    [Msr.MTRR_PHYS_BASE0 + 2 * n, ruled(Msr.MTRR_PHYS_BASE0 + 2 * n, 0n, (value, owner) => typed(value) && isAddress(owner, value, 7n))],
    [Msr.MTRR_PHYS_BASE0 + 2 * n + 1, ruled(Msr.MTRR_PHYS_BASE0 + 2 * n + 1, 0n, (value, owner) => isAddress(owner, value, MASK_VALID))],
  ]).flat(),
  ...[
    Msr.MTRR_FIX64K_00000,
    Msr.MTRR_FIX16K_80000,
    Msr.MTRR_FIX16K_A0000,
    ...Array.from({ length: 8 }, (_, n) => Msr.MTRR_FIX4K_C0000 + n),
  ].map((index): [number, MsrRow] => [index, ruled(index, 0x0606_0606_0606_0606n, allTyped)]),
  [Msr.MTRR_DEF_TYPE, ruled(Msr.MTRR_DEF_TYPE, MTRR_DEFAULT, (value) => (value & ~0xc07n) === 0n && typed(value))],
  // The four counters that every processor has count nothing here: they are 0, and may be set to that (KVM's answer without a virtual PMU).
  ...Array.from({ length: 8 }, (_, n): [number, MsrRow] => [Msr.PERF_EVT_SEL0 + n, storage(Msr.PERF_EVT_SEL0 + n, 0n, 0n)]),
];
