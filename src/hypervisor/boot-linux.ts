// How a Linux kernel starts: its 64-bit boot protocol (Linux, Documentation/x86/boot.rst, and zero-page.rst for the page of parameters).

import { Cr0, Cr4, Efer } from '../arch/registers.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { assert, UserError } from '../util/errors.ts';
import { struct, u32, u64 } from '../util/struct.ts';
import { checkAppend, memoryMap, placeInitrd, Places, planOf } from './boot-handover.ts';
import { Attributes, type BootOptions, type BootPlan, common, FLAT, quadwords, REQUIRED_EFER } from './boot-plan.ts';
import { identityTables } from './identity-tables.ts';
import type { Image } from './images/image.ts';
import { BootParams } from './images/linux.ts';

/** An entry of the memory map in the page of parameters. */
export const E820Entry = struct({ addr: u64(0), size: u64(8), type: u32(16) }, 20);
const E820_TABLE = 0x2d0;
/** A loader that has no number of its own. */
const LOADER_UNDEFINED = 0xff;

/** __BOOT_CS and __BOOT_DS. */
const Selector = { CODE: 0x10, DATA: 0x18 } as const;
const descriptors = [0n, 0n, 0x00af_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn] as const;

export function planLinux(name: string, image: Image, options: BootOptions): BootPlan {
  const { append, memory, technology, cBit } = options;
  const { linux } = image;
  assert(linux !== undefined, 'a kernel has its header');
  checkAppend(append);
  const length = new TextEncoder().encode(append).length;
  if (length > linux.cmdlineSize)
    throw new UserError(`--append has ${length} bytes, more than the ${linux.cmdlineSize} that the kernel takes: give a shorter text`);
  const cBitMask = technology === 'none' ? 0n : 1n << BigInt(cBit);
  const places = new Places(name, image, memory);
  const [kernel] = image.segments;
  if (kernel !== undefined) places.keep(kernel.start, linux.end - kernel.start);
  const initrd = placeInitrd(places, options, linux.initrdAddrMax + 1);
  const state = places.low((block) => {
    const { view, bytes: page } = BootParams.create();
    page.set(linux.header.bytes, linux.header.start);
    const map = memoryMap(memory);
    view.e820Entries = map.length;
    for (const [n, { start, size, type }] of map.entries()) {
      const entry = E820Entry.create();
      Object.assign(entry.view, { addr: BigInt(start), size: BigInt(size), type });
      page.set(entry.bytes, E820_TABLE + n * E820Entry.size);
    }
    view.typeOfLoader = LOADER_UNDEFINED;
    view.cmdLinePtr = block.text(append);
    view.ramdiskImage = initrd?.start ?? 0;
    view.ramdiskSize = initrd === null ? 0 : initrd.end - initrd.start;
    const gdt = block.put(quadwords(descriptors));
    const parameters = block.put(page, PAGE_SIZE);
    const tables = block.at(PAGE_SIZE);
    block.put(identityTables(tables, cBitMask), PAGE_SIZE);
    const data = { selector: Selector.DATA, attributes: Attributes.DATA32, limit: FLAT, base: 0n };
    return {
      ...common,
      cs: { selector: Selector.CODE, attributes: Attributes.CODE64, limit: FLAT, base: 0n },
      ss: data,
      data,
      gdtr: { selector: 0, attributes: 0, limit: descriptors.length * 8 - 1, base: BigInt(gdt) },
      idtr: { selector: 0, attributes: 0, limit: 0, base: 0n },
      cr0: BigInt(Cr0.PE + Cr0.MP + Cr0.ET + Cr0.NE + Cr0.WP + Cr0.PG),
      cr3: BigInt(tables) | cBitMask,
      cr4: BigInt(Cr4.PAE),
      efer: BigInt(Efer.LME + Efer.LMA + REQUIRED_EFER),
      rip: BigInt(image.entry),
      rsi: BigInt(parameters),
    };
  });
  return planOf(places, state);
}
