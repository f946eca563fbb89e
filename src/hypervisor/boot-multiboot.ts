// How a Multiboot image starts (Multiboot Specification 0.6.96, sections 3.2 and 3.3): EAX has the boot loader's magic, EBX the
// address of the information structure, which says where everything else is.

import { BytesPort, struct, u32, u64 } from '../util/struct.ts';
import type { BootOptions, BootPlan } from './boot-plan.ts';
import { type Block, checkAppend, memoryMap, placeInitrd, Places, planOf, protectedMode } from './boot-handover.ts';
import { CONVENTIONAL_END, MIB } from './guest-memory.ts';
import type { Image } from './images/image.ts';

const LOADER_MAGIC = 0x2bad_b002n;
const LOADER_NAME = 'cbit';

/** Bits of `flags`: which fields are valid. */
export const InfoFlag = { MEMORY: 1 << 0, CMDLINE: 1 << 2, MODULES: 1 << 3, ELF: 1 << 5, MEMORY_MAP: 1 << 6, LOADER: 1 << 9 } as const;

export const MultibootInfo = struct(
  {
    flags: u32(0),
    memLower: u32(4),
    memUpper: u32(8),
    bootDevice: u32(12),
    cmdline: u32(16),
    modsCount: u32(20),
    modsAddr: u32(24),
    elfNum: u32(28),
    elfSize: u32(32),
    elfAddr: u32(36),
    elfShndx: u32(40),
    mmapLength: u32(44),
    mmapAddr: u32(48),
    bootLoaderName: u32(64),
  },
  116,
);
export const MultibootModule = struct({ modStart: u32(0), modEnd: u32(4), string: u32(8) }, 16);
/** `size` does not count itself. */
export const MultibootMmap = struct({ size: u32(0), baseAddr: u64(4), length: u64(12), type: u32(20) }, 24);

const SectionHeader32 = struct({ type: u32(4), addr: u32(12), offset: u32(16), size: u32(20) }, 40);
const SectionHeader64 = struct({ type: u32(4), addr: u64(16), offset: u64(24), size: u64(32) }, 64);
const SHT_NOBITS = 8;

export function planMultiboot(name: string, image: Image, file: Uint8Array, options: BootOptions): BootPlan {
  const { append, memory } = options;
  checkAppend(append);
  const warnings: string[] = [];
  if (image.multiboot?.video === true) warnings.push('the Multiboot header asks for a video mode: there is no display, and it gets none');
  const places = new Places(name, image, memory);
  const initrd = placeInitrd(places, options);
  const sections = placeSections(places, image, file);
  if (sections === null && (image.sections?.count ?? 0) > 0)
    warnings.push('the image gets no ELF section headers: they are malformed, or memory has no room for them');
  const state = places.low((block) => {
    const { view, bytes } = MultibootInfo.create();
    const info = block.put(bytes);
    view.flags = InfoFlag.MEMORY | InfoFlag.CMDLINE | InfoFlag.MODULES | InfoFlag.MEMORY_MAP | InfoFlag.LOADER;
    view.memLower = CONVENTIONAL_END / 1024;
    view.memUpper = Math.max(0, memory - MIB) / 1024;
    if (initrd !== null) {
      const module = MultibootModule.create();
      view.modsAddr = block.put(module.bytes);
      view.modsCount = 1;
      Object.assign(module.view, { modStart: initrd.start, modEnd: initrd.end, string: block.text(initrd.name) });
    }
    putMap(block, memory, view);
    if (sections !== null && image.sections !== undefined) {
      view.flags |= InfoFlag.ELF;
      view.elfNum = image.sections.count;
      view.elfSize = image.sections.size;
      view.elfShndx = image.sections.names;
      view.elfAddr = block.put(sections);
    }
    view.bootLoaderName = block.text(LOADER_NAME);
    view.cmdline = block.text(append === '' ? name : `${name} ${append}`);
    return protectedMode(block, image.entry, { rax: LOADER_MAGIC, rbx: BigInt(info) });
  });
  return planOf(places, state, warnings);
}

function putMap(block: Block, memory: number, view: { mmapAddr: number; mmapLength: number }): void {
  const map = memoryMap(memory);
  const table = new Uint8Array(map.length * MultibootMmap.size);
  map.forEach(({ start, size, type }, i) => {
    const entry = MultibootMmap(new BytesPort(table.subarray(i * MultibootMmap.size)));
    entry.size = MultibootMmap.size - 4;
    entry.baseAddr = BigInt(start);
    entry.length = BigInt(size);
    entry.type = type;
  });
  view.mmapAddr = block.put(table);
  view.mmapLength = table.length;
}

/**
 * The table of section headers for the guest. Sections that the image does not load itself (symbols, strings) are put high in memory, and
 * their headers say where. null: the file has none, they do not fit, or they are not what the file can hold.
 */
function placeSections(places: Places, { sections }: Image, file: Uint8Array): Uint8Array | null {
  if (sections === undefined || sections.count === 0) return null;
  const { offset, size, count } = sections;
  const Header = size === SectionHeader32.size ? SectionHeader32 : size === SectionHeader64.size ? SectionHeader64 : null;
  if (Header === null || offset + BigInt(size * count) > BigInt(file.length)) return null;
  const table = file.slice(Number(offset), Number(offset) + size * count);
  const headers = Array.from({ length: count }, (_, i) => new BytesPort(table.subarray(i * size, (i + 1) * size)));
  const extents = headers.map((port) => {
    const header = Header(port);
    const [start, length] = [BigInt(header.offset), BigInt(header.size)];
    const wanted = BigInt(header.addr) === 0n && length > 0n && header.type !== 0 && header.type !== SHT_NOBITS;
    return wanted ? { start, end: start + length } : null;
  });
  if (extents.some((extent) => extent !== null && extent.end > BigInt(file.length))) return null;
  // A file whose sections lie on top of each other could ask for more than it holds.
  if (extents.reduce((sum, extent) => sum + (extent === null ? 0n : extent.end - extent.start), 0n) > BigInt(file.length)) return null;
  const bytes = extents.map((extent) => (extent === null ? new Uint8Array(0) : file.subarray(Number(extent.start), Number(extent.end))));
  const ALIGN = 16;
  const offsets: number[] = [];
  let total = 0;
  for (const part of bytes) {
    offsets.push(total);
    total += Math.ceil(part.length / ALIGN) * ALIGN;
  }
  if (total === 0) return table;
  const all = new Uint8Array(total);
  bytes.forEach((part, i) => all.set(part, offsets[i]));
  const placed = places.high(all);
  if (placed === null) return null;
  headers.forEach((port, i) => {
    if (extents[i] === null) return;
    const at = placed.start + (offsets[i] ?? 0);
    if (Header === SectionHeader32) SectionHeader32(port).addr = at;
    else SectionHeader64(port).addr = BigInt(at);
  });
  return table;
}
