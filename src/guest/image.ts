// From files to a plan of what lies where: which kind of image it is, and by which boot protocol it starts.

import { planBoot } from '../hypervisor/boot.ts';
import { planLinux } from '../hypervisor/boot-linux.ts';
import { planMultiboot } from '../hypervisor/boot-multiboot.ts';
import type { BootPlan } from '../hypervisor/boot-plan.ts';
import { planPvh } from '../hypervisor/boot-pvh.ts';
import { planRom } from '../hypervisor/boot-rom.ts';
import type { Image } from '../hypervisor/images/image.ts';
import { readImage } from '../hypervisor/images/read.ts';
import { readRom } from '../hypervisor/images/rom.ts';
import { UserError } from '../util/errors.ts';
import type { GuestOptions } from './options.ts';

/** Throws UserError. */
export function findImage(options: GuestOptions): Image {
  const { image, bios, initrd, append, memory } = options;
  if (bios !== undefined) {
    const unused = append !== '' ? '--append' : initrd !== undefined ? '--initrd' : null;
    if (unused !== null && image === undefined)
      throw new UserError(`${unused} goes with an image, which firmware fetches by fw_cfg: name an image besides --bios`);
    return readRom(bios.name, bios.bytes, options);
  }
  if (image === undefined) throw new UserError('there is nothing to run: give an image, or a ROM with --bios');
  const { name, bytes } = image;
  const found = readImage(name, bytes, memory, options);
  if (initrd !== undefined && found.protocol === 'cbit')
    throw new UserError('--initrd: the image knows no boot protocol that could take it (Multiboot, PVH, Linux): leave it out');
  return found;
}

/** `signature`: family, model and stepping of the processor. */
export function planFor(image: Image, options: GuestOptions, cBit: number, signature: number): BootPlan {
  const file = options.image ?? { name: '', bytes: new Uint8Array(0) };
  switch (image.protocol) {
    case 'reset':
      return planRom(options.bios?.bytes ?? file.bytes, signature, options.technology, options.vcpus);
    case 'multiboot':
      return planMultiboot(file.name, image, file.bytes, { ...options, cBit });
    case 'pvh':
      return planPvh(file.name, image, { ...options, cBit });
    case 'linux':
      return planLinux(file.name, image, { ...options, cBit });
    case 'cbit':
      return planBoot(file.name, image, { ...options, cBit });
  }
}
