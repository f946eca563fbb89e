// How a PVH image starts (Xen, docs/misc/pvh.pandoc; structures of public/arch-x86/hvm/start_info.h, version 1).

import { struct, u32, u64 } from '../util/struct.ts';
import type { BootOptions, BootPlan } from './boot-plan.ts';
import { checkAppend, memoryMap, placeInitrd, Places, planOf, protectedMode } from './boot-handover.ts';
import type { Image } from './images/image.ts';

const START_MAGIC = 0x336e_c578;
const VERSION = 1;

export const StartInfo = struct(
  {
    magic: u32(0),
    version: u32(4),
    flags: u32(8),
    nrModules: u32(12),
    modlistPaddr: u64(16),
    cmdlinePaddr: u64(24),
    rsdpPaddr: u64(32),
    memmapPaddr: u64(40),
    memmapEntries: u32(48),
  },
  56,
);
export const ModuleEntry = struct({ paddr: u64(0), size: u64(8), cmdlinePaddr: u64(16) }, 32);
export const MemmapEntry = struct({ addr: u64(0), size: u64(8), type: u32(16) }, 24);

export function planPvh(name: string, image: Image, options: BootOptions): BootPlan {
  const { append, memory } = options;
  checkAppend(append);
  const places = new Places(name, image, memory);
  const initrd = placeInitrd(places, options);
  const state = places.low((block) => {
    const { view, bytes } = StartInfo.create();
    view.magic = START_MAGIC;
    view.version = VERSION;
    const info = block.put(bytes);
    const map = memoryMap(memory).map(({ start, size, type }) => {
      const entry = MemmapEntry.create();
      Object.assign(entry.view, { addr: BigInt(start), size: BigInt(size), type });
      return block.put(entry.bytes);
    });
    view.memmapPaddr = BigInt(map[0] ?? 0);
    view.memmapEntries = map.length;
    if (initrd !== null) {
      const module = ModuleEntry.create();
      view.modlistPaddr = BigInt(block.put(module.bytes));
      view.nrModules = 1;
      module.view.paddr = BigInt(initrd.start);
      module.view.size = BigInt(initrd.end - initrd.start);
      module.view.cmdlinePaddr = BigInt(block.text(initrd.name));
    }
    view.cmdlinePaddr = BigInt(block.text(append));
    return protectedMode(block, image.entry, { rbx: BigInt(info) });
  });
  return planOf(places, state);
}
