// Where a random state has what, as guest physical addresses. Everything that 16-bit code must reach lies below 64 KiB, and linear
// addresses are mostly physical ones, so that one layout serves every mode.

import { type ProcessorModel, processorModels } from '../../src/cpu/cpuid.ts';

/** The newest model: it has the most to get wrong. */
export const MODEL = processorModels.at(-1) as ProcessorModel;

export const PAGE = 4096;
export const PAGES = 64;
export const MEMORY = PAGES * PAGE;

export const Place = {
  VECTORS: 0x0000, // of real mode, and data
  GDT: 0x1000,
  IDT: 0x2000,
  LDT: 0x3000,
  TSS: 0x4000, // with its I/O permission map: two pages
  TSS2: 0x6000, // the target of task switches
  TSS3: 0x6800,
  CODE: 0x8000,
  STACK: 0xb000,
  DATA: 0xd000,
  TABLES: 0x1_0000, // six pages
  MORE: 0x1_6000,
} as const;

export const CODE_PAGES = 3;
export const STACK_PAGES = 2;
export const DATA_PAGES = 3;
export const TABLE_PAGES = 6;

/** In the data pages: operands of LGDT, of LIDT, and far pointers; 16 bytes each. */
export const Operand = { GDT: Place.DATA, IDT: Place.DATA + 0x100, FAR: Place.DATA + 0x200, COUNT: 16 } as const;

/** Streams of code begin at these places: gates, task state segments and branches lead there. */
export const STREAMS = 16;
export const streamAt = (n: number): number => Place.CODE + (n % CODE_PAGES) * PAGE + (Math.floor(n / CODE_PAGES) % 6) * 0x2a0 + 0x20;
