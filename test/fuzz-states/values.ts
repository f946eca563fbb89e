// Numbers that mean something to a processor: what registers, operands, stacks and tables of random states are filled with.

import { Msr } from '../../src/arch/msr.ts';
import { Cr0, Cr4, Efer, Rflags } from '../../src/arch/registers.ts';
import type { Dice } from './dice.ts';
import { CODE_PAGES, DATA_PAGES, MEMORY, PAGE, Place, STACK_PAGES, STREAMS, streamAt, TABLE_PAGES } from './layout.ts';

export const MSRS: readonly number[] = [
  ...Object.values(Msr),
  Msr.EFER,
  Msr.EFER,
  Msr.EFER,
  Msr.FS_BASE,
  Msr.GS_BASE,
  Msr.STAR,
  Msr.LSTAR,
  Msr.PAT,
  0,
  0xc000_0104,
  0xc001_0000,
  0x4000_0000,
  0x800,
];

/** Entries of the descriptor table (descriptors.ts). */
export const Entry = {
  CODE64: 1,
  DATA: 2,
  CODE32: 3,
  DATA32: 4,
  CODE16: 5,
  DATA16: 6,
  CODE32_3: 7,
  DATA32_3: 8,
  CODE64_3: 9,
  CONFORMING: 10,
  EXPAND_DOWN: 11,
  CODE16_3: 12,
  CODE32_1: 13,
  DATA32_1: 14,
  LDT: 16,
  TSS: 18,
  TSS2: 20,
  TSS3: 22,
  CALL_GATE: 24,
  CALL_GATE_3: 26,
  TASK_GATE: 28,
  CALL_GATE16: 29,
  RANDOM: 30,
  COUNT: 40,
} as const;
const ENTRIES = Object.values(Entry);

/** A selector: mostly of an entry that is meant to be good. */
export function selector(dice: Dice): number {
  const kind = dice.below(32);
  if (kind === 0) return dice.below(4);
  if (kind === 1) return dice.below(0x1_0000);
  if (kind === 2) return (dice.below(8) << 3) | 4 | dice.below(4);
  const entry = dice.one(ENTRIES);
  const ring =
    entry === Entry.CODE32_3 || entry === Entry.DATA32_3 || entry === Entry.CODE64_3 || entry === Entry.CODE16_3
      ? 3
      : entry === Entry.CODE32_1 || entry === Entry.DATA32_1
        ? 1
        : 0;
  return (entry << 3) | (dice.chance(220) ? ring : dice.below(4));
}

/** An address of memory, of code, stack, data or tables. */
export function pointer(dice: Dice): number {
  const kind = dice.below(32);
  if (kind < 12) return Place.DATA + dice.below(DATA_PAGES * PAGE);
  if (kind < 18) return Place.STACK + dice.below(STACK_PAGES * PAGE);
  if (kind < 21) return Place.CODE + dice.below(CODE_PAGES * PAGE);
  if (kind < 24) return Place.TABLES + 4 * dice.below(TABLE_PAGES * 1024);
  if (kind < 27) return dice.one([Place.GDT, Place.IDT, Place.LDT, Place.TSS, Place.TSS2]) + dice.below(0x200);
  if (kind < 29) return Place.DATA + PAGE * (1 + dice.below(DATA_PAGES)) - 1 - dice.below(16);
  return dice.below(MEMORY);
}

/** Thirty-two bits. */
export function value32(dice: Dice): number {
  const kind = dice.below(16);
  if (kind < 5) return pointer(dice);
  if (kind < 7) return dice.below(64);
  if (kind < 9) return selector(dice);
  if (kind < 10) return -1 - dice.below(64);
  if (kind < 11) return flagsValue(dice);
  if (kind < 12) return streamAt(dice.below(STREAMS));
  if (kind < 13) return 1 << dice.below(32);
  return dice.u32();
}

/** Sixty-four bits: small ones, addresses with aliases high up, others. */
export function value64(dice: Dice): bigint {
  const kind = dice.below(16);
  if (kind < 11) return BigInt(value32(dice) >>> 0);
  if (kind < 12) return BigInt.asUintN(64, BigInt(value32(dice) | 0));
  if (kind < 14) return 0xffff_8000_0000_0000n + BigInt(pointer(dice));
  if (kind < 15) return ((1n << BigInt(dice.below(64))) + BigInt(dice.below(16)) - 8n) & 0xffff_ffff_ffff_ffffn;
  return dice.u64();
}

const FLAGS = [
  Rflags.TF,
  Rflags.IF,
  Rflags.DF,
  Rflags.IOPL,
  1 << 12,
  Rflags.NT,
  Rflags.RF,
  Rflags.VM,
  Rflags.AC,
  Rflags.VIF,
  Rflags.VIP,
  Rflags.ID,
];

/** RFLAGS: arithmetic flags as they come, few of the others. */
export function flagsValue(dice: Dice): number {
  let flags = (dice.u32() & 0x8d5) | Rflags.ALWAYS_1;
  if (dice.chance(128)) flags |= Rflags.IF;
  for (let n = dice.below(6) - 3; n > 0; n--) flags |= dice.one(FLAGS);
  return dice.chance(4) ? dice.u32() : flags;
}

/** A value for control register `cr`. */
export function controlValue(dice: Dice, cr: number): number {
  if (cr === 0) return legalCr0(dice, dice.chance(128)) | (dice.chance(60) ? Cr0.PG : 0);
  if (cr === 3) return Place.TABLES + (dice.chance(40) ? PAGE * dice.below(TABLE_PAGES) : 0) + (dice.chance(20) ? dice.below(PAGE) : 0);
  if (cr === 4) return legalCr4(dice);
  return value32(dice);
}

export function legalCr0(dice: Dice, protectedMode: boolean): number {
  let value = Cr0.ET | (protectedMode ? Cr0.PE : 0);
  for (const bit of [Cr0.MP, Cr0.NE, Cr0.WP, Cr0.AM]) if (dice.chance(160)) value |= bit;
  for (const bit of [Cr0.EM, Cr0.TS]) if (dice.chance(20)) value |= bit;
  return value;
}

export function legalCr4(dice: Dice): number {
  let value: number = dice.chance(230) ? Cr4.OSFXSR | Cr4.OSXMMEXCPT : 0;
  for (const bit of [Cr4.VME, Cr4.PVI, Cr4.DE, Cr4.PGE, Cr4.PSE, Cr4.FSGSBASE, Cr4.OSXSAVE, Cr4.PAE, Cr4.PCE])
    if (dice.chance(90)) value |= bit;
  for (const bit of [Cr4.TSD, Cr4.UMIP, Cr4.SMEP, Cr4.SMAP, Cr4.MCE]) if (dice.chance(35)) value |= bit;
  return value;
}

export function legalEfer(dice: Dice, long: boolean): number {
  let value: number = Efer.SVME | (long ? Efer.LME | Efer.LMA : 0);
  if (dice.chance(200)) value |= Efer.SCE;
  if (dice.chance(200)) value |= Efer.NXE;
  if (dice.chance(10)) value |= Efer.FFXSR;
  return value;
}
