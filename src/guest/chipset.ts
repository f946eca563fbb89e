// The chips of one guest, or of the bare machine: wired to whoever runs its processors, with what firmware and kernels find in fw_cfg.

import type { DmaMemory } from '../devices/device.ts';
import { e820File, FwCfg, FwCfgItem } from '../devices/fw-cfg.ts';
import type { ApicMessage } from '../devices/apic-message.ts';
import type { Image } from '../hypervisor/images/image.ts';
import { type Chipset, wireChipset } from '../machine/chipset.ts';
import { guestMap } from '../machine/memory-map.ts';
import { chooseVirtio } from '../machine/virtio-choice.ts';
import type { GuestOptions } from './options.ts';

/** Whoever runs the processors. */
export type ChipsetLinks = {
  /** Time since power-on in instructions. */
  readonly time: () => number;
  /** Memory as devices reach it. */
  readonly memory: DmaMemory;
  readonly iommu: boolean;
  readonly deliver: (message: ApicMessage) => boolean;
  readonly interruptRequest: (level: boolean) => void;
  readonly initialise: () => void;
  readonly ended: (value: number) => void;
  readonly stopped: (why: 'powered-off' | 'reset') => void;
};

export function chipsetOf(options: GuestOptions, image: Image, links: ChipsetLinks): Chipset {
  const { serial, debugConsole, rtc, technology, memory, vcpus = 1, seed, bios } = options;
  return wireChipset({
    ...links,
    serial,
    debugConsole,
    rtc,
    findings: { memory, processors: vcpus },
    virtio: chooseVirtio(options, seed, technology !== 'none'),
    pciConfigured: bios === undefined,
    fwCfg: configuration(options, links.memory),
    picInitialised: image.protocol === 'multiboot', // Multiboot specification 0.6.96, 3.2
  });
}

function configuration({ memory, vcpus = 1, append, initrd, bios, image }: GuestOptions, reached: DmaMemory): FwCfg {
  const config = new FwCfg(reached);
  config.addNumber(FwCfgItem.RAM_SIZE, memory, 8);
  config.addNumber(FwCfgItem.CPU_COUNT, vcpus, 2);
  config.addNumber(FwCfgItem.MAX_CPUS, vcpus, 2);
  config.addNumber(FwCfgItem.BOOT_MENU, 0, 2);
  if (append !== '') {
    const line = new TextEncoder().encode(`${append}\0`);
    config.addNumber(FwCfgItem.COMMAND_LINE_SIZE, line.length, 4);
    config.add(FwCfgItem.COMMAND_LINE_DATA, line);
  }
  if (initrd !== undefined) {
    config.addNumber(FwCfgItem.INITRD_SIZE, initrd.bytes.length, 4);
    config.add(FwCfgItem.INITRD_DATA, initrd.bytes);
  }
  if (bios !== undefined && image !== undefined) {
    config.addNumber(FwCfgItem.KERNEL_SIZE, image.bytes.length, 4);
    config.add(FwCfgItem.KERNEL_DATA, image.bytes);
  }
  config.addFile('etc/e820', e820File([{ start: guestMap.ram, size: memory, type: 1 }]));
  return config;
}
