// The boot page: what a guest finds at the address in RDI when it starts. Ours, not a manual's; docs/entry.md states it for
// the people who write guests, and tools/guest-header.ts turns this file into the C header that they include.

import { struct, u32, u64 } from '../util/struct.ts';

/** 'CBITBOOT' as bytes in memory. */
export const BOOT_MAGIC = 0x544f_4f42_5449_4243n;
export const BOOT_VERSION = 1;

/** How the guest's memory and registers are protected. */
export const Technology = { none: 0, sev: 1, 'sev-es': 2 } as const;
export type Technology = keyof typeof Technology;
export const technologies = Object.keys(Technology) as readonly Technology[];

export const BootPage = struct(
  {
    magic: u64(0x000),
    version: u32(0x008),
    technology: u32(0x00c), // 0 none, 1 sev, 2 sev-es
    cBit: u32(0x010), // bit of a page-table entry that makes a page private; 0 if there is none
    imageRanges: u32(0x014), // how many ranges follow at 100h
    cBitMask: u64(0x018), // the same as a mask; 0 if there is none
    memorySize: u64(0x020), // RAM in bytes, from 0
    bootStart: u64(0x028), // what the launcher put there besides the image: this page, descriptor table, page tables, stack
    bootEnd: u64(0x030), // first byte behind it
    stackTop: u64(0x038),
    pageTables: u64(0x040), // what CR3 holds, without the C-bit; 0 with paging off
    descriptorTable: u64(0x048), // GDT: null, code 64, data, code 32
    processors: u32(0x054), // virtual CPUs
    appendLength: u32(0x050), // bytes of the text at 500h without its closing zero
  },
  4096,
);

/** Image ranges: pairs of u64, first byte and first byte behind, page aligned, ascending. */
export const BOOT_RANGES = { offset: 0x100, size: 16, most: 64 } as const;
/** The text of --append in UTF-8, closed by a zero byte. */
export const BOOT_APPEND = { offset: 0x500, most: 0xaff } as const;

/** Selectors of the descriptor table that the launcher builds. */
export const BootSelector = { CODE64: 0x08, DATA: 0x10, CODE32: 0x18 } as const;
/** Bytes of the stack that the launcher provides. */
export const BOOT_STACK = 0x4000;
