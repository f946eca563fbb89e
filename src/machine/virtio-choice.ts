// Which virtio devices a machine has, from what a person asked for: disks in the order given, then the console, then the entropy device.

import { type BlockStore, SECTOR, VirtioBlock } from '../devices/virtio-block.ts';
import { VirtioConsole } from '../devices/virtio-console.ts';
import type { VirtioKind } from '../devices/virtio-device.ts';
import { VirtioRng } from '../devices/virtio-rng.ts';
import type { SerialPeer } from '../devices/uart16550.ts';
import { UserError } from '../util/errors.ts';
import { RandomSource } from '../util/random.ts';
import { mostVirtio, type VirtioParts } from './pci.ts';

export const virtioTransports = ['pci', 'mmio'] as const;
export type VirtioTransport = (typeof virtioTransports)[number];

export type VirtioChoice = {
  /** Disks of the guest: virtio block devices, whose serial numbers are cbit-0, cbit-1, ... */
  readonly disks?: readonly BlockStore[] | undefined;
  /** The other end of a virtio console; left out: there is none. */
  readonly virtioConsole?: SerialPeer | undefined;
  /** A virtio entropy device, which gives what the seed gives. */
  readonly rng?: boolean | undefined;
  /** The bus of virtio devices; left out: pci. */
  readonly virtio?: VirtioTransport | undefined;
};

/** null: there are none. `encrypted`: the guest's private memory is. Throws UserError. */
export function chooseVirtio(choice: VirtioChoice, seed: string, encrypted: boolean): VirtioParts | null {
  const { disks = [], virtioConsole, rng, virtio } = choice;
  for (const { size } of disks) {
    if (size === 0 || size % SECTOR !== 0)
      throw new UserError(`a disk has ${size} bytes, which are not whole sectors of ${SECTOR}: make it a multiple of that`);
  }
  const kinds: VirtioKind[] = disks.map((store, n) => new VirtioBlock(store, `cbit-${n}`));
  if (virtioConsole !== undefined) kinds.push(new VirtioConsole(virtioConsole));
  if (rng === true) {
    const stream = new RandomSource(seed).stream('virtio entropy');
    kinds.push(new VirtioRng((into) => stream.fill(into), stream));
  }
  if (kinds.length === 0) {
    if (virtio !== undefined) throw new UserError(`--virtio ${virtio}: there is no virtio device: leave it out, or give --disk or --rng`);
    return null;
  }
  const transport = virtio ?? 'pci';
  if (kinds.length > mostVirtio[transport])
    throw new UserError(
      `${kinds.length} virtio devices, of which there can be ${mostVirtio[transport]} with --virtio ${transport}: take fewer`,
    );
  return { transport, kinds, encrypted };
}
