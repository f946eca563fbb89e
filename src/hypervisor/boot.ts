// What a guest finds when it starts, besides its image: boot page, descriptor table, page tables, stack, and the registers.
// docs/entry.md states all of it for the people who write guests.

import { BOOT_APPEND, BOOT_MAGIC, BOOT_RANGES, BOOT_STACK, BOOT_VERSION, BootPage, BootSelector, Technology } from '../arch/boot-page.ts';
import { Cr0, Cr4, Efer } from '../arch/registers.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { UserError } from '../util/errors.ts';
import { BytesPort } from '../util/struct.ts';
import {
  Attributes,
  type BootOptions,
  type BootPlan,
  common,
  findGap,
  FLAT,
  type InitialState,
  pageRanges,
  quadwords,
  REAL,
  REQUIRED_EFER,
} from './boot-plan.ts';
import { MIB } from './guest-memory.ts';
import { IDENTITY_TABLES, identityTables } from './identity-tables.ts';
import { hex, type Image } from './images/image.ts';

const FIRST_PLACE = PAGE_SIZE; // page 0 stays free, so that a null pointer points at nothing of ours
/** The descriptor table: null, 64-bit code, data, 32-bit code. */
const descriptors = [0n, 0x00af_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn, 0x00cf_9b00_0000_ffffn] as const;

export function planBoot(name: string, image: Image, options: BootOptions): BootPlan & { readonly bootPage: number } {
  const { technology, memory, cBit, append, vcpus = 1 } = options;
  const cBitMask = technology === 'none' ? 0n : 1n << BigInt(cBit);
  const imageRanges = pageRanges(image.segments);
  if (imageRanges.length > BOOT_RANGES.most) {
    throw new UserError(
      `${name}: the image has ${imageRanges.length} separate ranges, more than ${BOOT_RANGES.most}: link it with fewer segments`,
    );
  }
  const text = new TextEncoder().encode(append);
  if (text.length > BOOT_APPEND.most)
    throw new UserError(`--append has ${text.length} bytes, more than ${BOOT_APPEND.most}: give a shorter text`);
  if (text.includes(0)) throw new UserError('--append contains a zero byte: leave it out');

  const paged = image.mode === 64;
  const pages = 2 + (paged ? IDENTITY_TABLES : 0) + (vcpus * BOOT_STACK) / PAGE_SIZE; // boot page, descriptor table, page tables, stacks
  const bootStart = findGap(imageRanges, pages * PAGE_SIZE, FIRST_PLACE, image.mode === 16 ? Math.min(memory, MIB) : memory);
  if (bootStart === null) {
    throw new UserError(
      `${name}: the image leaves no ${hex(pages * PAGE_SIZE)} bytes free for the boot page, page tables and stack: give the guest more with --memory`,
    );
  }
  const gdt = bootStart + PAGE_SIZE;
  const tables = gdt + PAGE_SIZE;
  const stack = tables + (paged ? IDENTITY_TABLES * PAGE_SIZE : 0);
  const bootEnd = stack + vcpus * BOOT_STACK;

  const { view, bytes: bootPage } = BootPage.create();
  view.magic = BOOT_MAGIC;
  view.version = BOOT_VERSION;
  view.technology = Technology[technology];
  view.cBit = technology === 'none' ? 0 : cBit;
  view.cBitMask = cBitMask;
  view.imageRanges = imageRanges.length;
  view.memorySize = BigInt(memory);
  view.bootStart = BigInt(bootStart);
  view.bootEnd = BigInt(bootEnd);
  view.stackTop = BigInt(stack + BOOT_STACK);
  view.pageTables = paged ? BigInt(tables) : 0n;
  view.descriptorTable = BigInt(gdt);
  view.appendLength = text.length;
  view.processors = vcpus;
  const port = new BytesPort(bootPage);
  imageRanges.forEach(({ start, end }, i) => {
    port.setU64(BOOT_RANGES.offset + i * BOOT_RANGES.size, BigInt(start));
    port.setU64(BOOT_RANGES.offset + i * BOOT_RANGES.size + 8, BigInt(end));
  });
  bootPage.set(text, BOOT_APPEND.offset);

  const contents = [
    { start: bootStart, bytes: bootPage },
    { start: gdt, bytes: quadwords(descriptors) },
    ...(paged ? [{ start: tables, bytes: identityTables(tables, cBitMask) }] : []),
    ...image.segments.map(({ start, bytes }) => ({ start, bytes })),
  ];
  const ranges = [...imageRanges, { start: bootStart, end: bootEnd }].sort((a, b) => a.start - b.start);
  const state = initialState(image, { bootPage: bootStart, gdt, tables, stack }, cBitMask);
  const apState = (number: number): InitialState => ({ ...state, rsi: BigInt(number), rsp: state.rsp + BigInt(number * BOOT_STACK) });
  return { ranges, contents, state, apState, warnings: [], bootPage: bootStart };
}

function initialState(image: Image, at: { bootPage: number; gdt: number; tables: number; stack: number }, cBitMask: bigint): InitialState {
  const rdi = BigInt(at.bootPage);
  const gdtr = { selector: 0, attributes: 0, limit: descriptors.length * 8 - 1, base: BigInt(at.gdt) };
  const noIdt = { selector: 0, attributes: 0, limit: 0, base: 0n };
  const stackTop = BigInt(at.stack + BOOT_STACK);
  switch (image.mode) {
    case 64: {
      const data = { selector: BootSelector.DATA, attributes: Attributes.DATA32, limit: FLAT, base: 0n };
      return {
        ...common,
        rdi,
        cs: { selector: BootSelector.CODE64, attributes: Attributes.CODE64, limit: FLAT, base: 0n },
        ss: data,
        data,
        gdtr,
        idtr: noIdt,
        cr0: BigInt(Cr0.PE + Cr0.MP + Cr0.ET + Cr0.NE + Cr0.WP + Cr0.PG),
        cr3: BigInt(at.tables) | cBitMask,
        cr4: BigInt(Cr4.PAE + Cr4.OSFXSR + Cr4.OSXMMEXCPT),
        efer: BigInt(Efer.LME + Efer.LMA + Efer.NXE + REQUIRED_EFER),
        rip: BigInt(image.entry),
        rsp: stackTop,
      };
    }
    case 32: {
      const data = { selector: BootSelector.DATA, attributes: Attributes.DATA32, limit: FLAT, base: 0n };
      return {
        ...common,
        rdi,
        cs: { selector: BootSelector.CODE32, attributes: Attributes.CODE32, limit: FLAT, base: 0n },
        ss: data,
        data,
        gdtr,
        idtr: noIdt,
        cr0: BigInt(Cr0.PE + Cr0.MP + Cr0.ET + Cr0.NE),
        cr4: BigInt(Cr4.OSFXSR + Cr4.OSXMMEXCPT),
        rip: BigInt(image.entry),
        rsp: stackTop,
      };
    }
    case 16: {
      // CS:IP with the smallest CS, as a boot loader would jump there; SS:SP at the end of the stack.
      const code = Math.floor(image.entry / 0x1_0000) * 0x1000;
      const ss = at.stack >>> 4;
      return {
        ...common,
        rdi,
        cs: { selector: code, attributes: Attributes.CODE16, limit: REAL, base: BigInt(code * 16) },
        ss: { selector: ss, attributes: Attributes.DATA16, limit: REAL, base: BigInt(ss * 16) },
        data: { selector: 0, attributes: Attributes.DATA16, limit: REAL, base: 0n },
        gdtr: { selector: 0, attributes: 0, limit: REAL, base: 0n },
        idtr: { selector: 0, attributes: 0, limit: 0x3ff, base: 0n },
        cr0: BigInt(Cr0.ET),
        rip: BigInt(image.entry - code * 16),
        rsp: BigInt(BOOT_STACK),
      };
    }
  }
}
