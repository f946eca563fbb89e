// What the tests of whole runs share: a guest kernel with its events, and the events around one of them.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type GuestOptions, launch, memoryDisk, type Run, run, type TraceEvent, type VirtualMachine } from '../../src/cbit.ts';
import { elfPath, root } from '../../tools/guest-manifest.ts';

export const technologies = ['none', 'sev', 'sev-es'] as const;
/** Ways to run what is said of a guest and of an image on the machine itself. */
export const settings = [...technologies, 'bare'] as const;
export type Setting = (typeof settings)[number];
export const under = (setting: Setting): Pick<GuestOptions, 'technology' | 'bare'> =>
  setting === 'bare' ? { technology: 'none', bare: true } : { technology: setting };

/** Memory as a bus master reads it: an encrypted guest's is noise unless it is shared. */
export const readMemory = (vm: VirtualMachine, at: number, into: Uint8Array): boolean =>
  vm.bare === null ? vm.vcpu.readMemory(BigInt(at), into) : vm.bare.memory.read(BigInt(at), into);

export const kernel = (name: string): NonNullable<GuestOptions['image']> => ({
  name,
  bytes: new Uint8Array(readFileSync(join(root, elfPath(name)))),
});

type Furniture = Readonly<Record<string, () => Partial<GuestOptions>>>;
/** A new one each time: guests write to it. */
export const disks = (): Partial<GuestOptions> => ({ disks: [memoryDisk(new Uint8Array(0x1_0000))] });
/** What a kernel wants besides itself. */
const furnished: Furniture = { 'virtio-blk': disks };
/** And with what it shows all that there is in it. */
export const furnishedInFull: Furniture = { ...furnished, 'cr-vc': () => ({ intercepts: ['cr'] }), smp: () => ({ vcpus: 4 }) };

/** A kernel with all that it needs to run to its end. */
const outfit = (name: string): Pick<GuestOptions, 'image' | 'maxInstructions'> & Partial<GuestOptions> => ({
  image: kernel(name),
  maxInstructions: 20_000_000,
  ...furnished[name]?.(),
});

/** Runs a guest kernel and keeps its events. */
export function runKernel(name: string, options: Partial<GuestOptions> = {}): Run & { readonly events: readonly TraceEvent[] } {
  const events: TraceEvent[] = [];
  const result = run({ ...outfit(name), ...options, onEvent: (event) => events.push(event) });
  return { ...result, events };
}

/** A guest kernel after its last instruction, with its machine; `dispose` it. */
export function finished(name: string, options: Partial<GuestOptions> = {}): VirtualMachine {
  const vm = launch({ ...outfit(name), ...options });
  while (!vm.advance(1_000_000));
  return vm;
}
