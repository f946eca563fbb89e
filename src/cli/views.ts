// What the account and the trace hash see of memory: everything, because they stand outside the machine. `guest` is the view under the
// guest's key, `hypervisor` what the host's software would read of the same bytes through its own mapping.

import type { MemoryViews } from '../debug/account.ts';
import { mostReadable } from '../debug/hexdump.ts';
import type { DramImage } from '../debug/trace-hash.ts';
import type { VirtualMachine } from '../virtual-machine.ts';
import { gpa as gpaOf, PAGE_SIZE, pageOf, spa } from '../util/address.ts';

/** How much of a page is shown, and in how many pages something worth showing is looked for. */
const SHOWN = 64;
const PAGES = 512;

/** All of DRAM as the chips hold it. */
export const dramOf = ({ machine }: VirtualMachine): DramImage => ({
  pages: machine.pages,
  read: (page, into) => machine.readCiphertext(page, into),
});

/** The most readable piece of the image as both sides see it; null if nothing in it reads as text, or if there is one side only. */
export function viewsOf(vm: VirtualMachine): MemoryViews | null {
  if (vm.bare !== null) return null;
  const { frames } = vm.machine.engine;
  const { vm: guestVm } = vm.vcpu;
  const { technology, asid } = guestVm.config;
  const placeOf = (page: number): number => guestVm.locate(gpaOf(page * PAGE_SIZE)) ?? 0;
  const key = technology !== 'none' ? asid : guestVm.cMask !== 0n ? vm.machine.encryption.hostKey : 0;
  const pages = vm.image.segments.flatMap(({ start, bytes }) =>
    Array.from({ length: Math.ceil(bytes.length / PAGE_SIZE) }, (_, i) => pageOf(start) + i),
  );
  const guest = (page: number): Uint8Array => {
    const bytes = new Uint8Array(PAGE_SIZE);
    frames.read(placeOf(page), key, bytes);
    return bytes;
  };
  const found = mostReadable(pages.slice(0, PAGES), guest, SHOWN);
  if (found === null) return null;
  const gpa = found.page * PAGE_SIZE + found.offset;
  const hypervisor = new Uint8Array(SHOWN);
  const at = placeOf(found.page) + found.offset;
  vm.machine.host.memory.read(spa(at), hypervisor);
  return { gpa, spa: at, guest: guest(found.page).subarray(found.offset, found.offset + SHOWN), hypervisor };
}
