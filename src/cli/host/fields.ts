// What a host file says: one row for each key, of the host and of a guest. The check of a file, its JSON Schema and the tables of
// docs/host.md come from these rows. Keys are the options of `cbit run` without their hyphens in front, or what xl.cfg calls it.

import { technologies } from '../../arch/boot-page.ts';
import { processorModels } from '../../cpu/cpuid.ts';
import { MOST_QUANTUM, MOST_VCPUS } from '../../guest/options.ts';
import { parseIntercepts } from '../../hypervisor/intercepts.ts';
import { DEFAULT_QUANTUM, schedules } from '../../hypervisor/scheduler.ts';
import { parseSevFeatures } from '../../hypervisor/sev-features.ts';
import { tiers } from '../../machine/engine.ts';
import { virtioTransports } from '../../machine/virtio-choice.ts';
import { UserError } from '../../util/errors.ts';
import { tweakModes } from '../../memory/encryption.ts';
import {
  address,
  anything,
  choice,
  date,
  fileName,
  flag,
  hostSize,
  guestName,
  instructions,
  type Kind,
  line,
  list,
  model,
  seed,
  size,
  whole,
} from './kinds.ts';

export type Field<T> = {
  readonly kind: Kind<T>;
  readonly description: string;
  /** What holds without the key, as it would be written in the file. */
  readonly default?: unknown;
  readonly required?: true;
};
export type Fields = Readonly<Record<string, Field<unknown>>>;
/** The values of an object with these fields; undefined: the key is not there. */
export type Entry<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T | undefined : never };

const field = <T>(kind: Kind<T>, description: string, rest: Omit<Field<T>, 'kind' | 'description'> = {}): Field<T> => ({
  kind,
  description,
  ...rest,
});

/** One with every feature: which the model has is another question. */
const anyProcessor = () => [-1, -1, -1, -1] as const;

const checkDisk = ([name = '']: readonly string[]): void => {
  if (name.includes('\0')) throw new UserError('contains a zero byte, which no file name has: leave it out');
};

/** More of them than virtual processors of a guest have no use. */
const PROCESSORS = MOST_VCPUS;
/** What becomes of a guest that has ended, as xl.cfg has it. */
export const endings = ['preserve', 'destroy', 'restart'] as const;

export const hostFields = {
  $schema: field(anything, 'Where an editor finds the JSON Schema of this file.'),
  cpu: field(
    model(processorModels.map(({ name }) => name)),
    'Processor model, as --cpu has it: milan; MODEL,-FEATURE takes a feature away.',
    { default: 'milan' },
  ),
  'host-cpus': field(whole(1, PROCESSORS), 'How many processors the host has.', { default: 1 }),
  memory: field(hostSize, 'Memory for all guests; only what is written costs anything.', { default: '64G' }),
  'es-asids': field(whole(0, 1006), 'How many ASIDs are for SEV-ES guests, as firmware sets it; without it, what is usual for the model.'),
  seed: field(seed, 'What all chance comes from: keys, nonces, RDRAND. "random" draws a seed and prints it.', { default: 0 }),
  sme: field(flag, "The hypervisor encrypts its own memory and its guests' with the host's key: it sets C-bits.", { default: false }),
  tsme: field(flag, "Transparent SME: all memory is encrypted with the host's key where no guest's applies.", { default: false }),
  encryption: field(choice(tweakModes), 'How naples encrypts a block, since it was built with either.'),
  evict: field(choice(['random']), 'Cache lines leave by chance, too, on models that do not keep views coherent (naples, rome).'),
  schedule: field(choice(schedules), 'Which virtual processor runs next.', { default: 'round-robin' }),
  quantum: field(instructions(MOST_QUANTUM), "For how many instructions a virtual processor runs before it is the next one's turn.", {
    default: DEFAULT_QUANTUM,
  }),
  turn: field(instructions(MOST_QUANTUM), "For how many instructions a guest runs before it is the next one's turn.", { default: 100_000 }),
  tier: field(choice(tiers), 'Whether hot code is compiled or everything interpreted. Changes nothing but speed.', { default: 'compiler' }),
} as const satisfies Fields;

export const guestFields = {
  name: field(guestName, 'What the guest is called; no other guest of the file has this name.', { required: true }),
  image: field(fileName, 'The image: an ELF executable, a kernel, a flat binary, or a folder such as guests/hello.'),
  sev: field(choice(technologies), 'Technology: no encryption; encrypted memory; encrypted memory and registers.', { default: 'sev-es' }),
  memory: field(size, 'Memory, with its unit: K, M or G of 1,024; a multiple of 4K, 1M to 3G.', { default: '64M' }),
  vcpus: field(whole(1, MOST_VCPUS), 'How many virtual processors it has.', { default: 1 }),
  append: field(line, 'Text handed to the guest: its command line, or in the boot page.', { default: '' }),
  initrd: field(fileName, 'A file handed to a Linux, Multiboot or PVH kernel, or by fw_cfg to firmware.'),
  bios: field(fileName, 'A ROM image that ends at 4 GiB, started at its reset vector.'),
  mode: field(choice([16, 32, 64, 'multiboot', 'pvh']), 'Mode to start in, or a boot protocol; without it, what the image says.'),
  load: field(address, 'Where a flat binary goes: 0x100000, or 0x7c00 in mode 16, if not given.'),
  entry: field(address, 'Where execution begins; without it, where the image says, or where it is loaded.'),
  intercept: field(
    list('"rdtsc"', (values) => void parseIntercepts(values)),
    'Further intercepts: names of APM vol. 2 appendix C (rdtsc, rdtscp, ...), or cr for CR0, CR4, CR8.',
    { default: [] },
  ),
  'ghcb-version': field(choice([1, 2]), 'The highest version of the GHCB protocol that the hypervisor speaks with it.', { default: 2 }),
  'sev-features': field(
    list('"debug-swap"', (values) => void parseSevFeatures(values, 'sev-es', anyProcessor)),
    'What the VMSAs of an SEV-ES guest enable: debug-swap.',
    { default: [] },
  ),
  disk: field(list('"disk.img"', checkDisk), 'Virtio disks in these files, in this order; "FILE,ro" is one that the guest cannot write.', {
    default: [],
  }),
  rng: field(flag, 'A virtio entropy device, which gives what the seed gives.', { default: false }),
  'virtio-console': field(flag, 'Its console is a virtio device; COM1 then only sends.', { default: false }),
  virtio: field(choice(virtioTransports), 'The bus of its virtio devices.', { default: 'pci' }),
  rtc: field(date, "The guest's date at its start, in UTC.", { default: '2026-01-01' }),
  'max-instructions': field(instructions(), 'It ends after so many instructions; K, M, G of 1,000 may be used in a string.'),
  'halt-ok': field(flag, 'A halt for good counts as success.', { default: false }),
  autostart: field(flag, 'Is it created at the start? If not, `create NAME` does.', { default: true }),
  'on-poweroff': field(choice(endings), 'What happens when it has ended itself: it stays listed, goes, or begins anew.', {
    default: 'preserve',
  }),
  'on-crash': field(choice(endings), 'The same when it ended otherwise: triple fault, termination request, refused.', {
    default: 'preserve',
  }),
  'on-reboot': field(choice(endings), 'The same when it has reset its machine.', { default: 'preserve' }),
  'console-log': field(fileName, 'A file that gets what the guest sends over COM1.'),
} as const satisfies Fields;

export type HostEntry = Entry<typeof hostFields>;
export type GuestEntry = Entry<typeof guestFields>;

/** What other toolstacks, and people in a hurry, call these keys. */
export const otherNames: Readonly<Record<string, string>> = {
  kernel: 'image',
  ramdisk: 'initrd',
  extra: 'append',
  cmdline: 'append',
  firmware: 'bios',
  maxmem: 'memory',
  ram: 'memory',
  cpus: 'vcpus',
  maxvcpus: 'vcpus',
  smp: 'vcpus',
  technology: 'sev',
  type: 'sev',
  domains: 'guests',
  vms: 'guests',
  model: 'cpu',
  nr_cpus: 'host-cpus',
  processors: 'host-cpus',
  scheduler: 'schedule',
  sched: 'schedule',
  intercepts: 'intercept',
  limit: 'max-instructions',
  serial: 'console-log',
  log: 'console-log',
  disks: 'disk',
  drive: 'disk',
  entropy: 'rng',
};
