// What a person asks of a machine, as `run` and `pages` share it: every option is read before anything is touched, then the files.

import { basename } from 'node:path';
import type { NamedBytes, RunOptions } from '../virtual-machine.ts';
import { UserError } from '../util/errors.ts';
import { openDisk } from './disk.ts';
import { type ImageFile, readExtra, readImage, readRomFile } from './image.ts';
import {
  parseAddress,
  parseCount,
  parseCpus,
  parseDate,
  parseEncryption,
  parseEvictions,
  parseGhcbVersion,
  parseList,
  parseMemory,
  parseMode,
  parseModel,
  parseSchedule,
  parseTechnology,
  parseTier,
  parseVirtio,
} from './options.ts';
import { parseSeed, type Seed } from './seed.ts';

/** Options that choose the machine, as commander hands them over: texts. */
export type MachineFlags = {
  readonly sev?: string;
  readonly bare?: boolean;
  readonly sme?: boolean;
  readonly tsme?: boolean;
  readonly encryption?: string;
  readonly evict?: string;
  readonly memory: string;
  readonly cpu: string;
  readonly seed: string;
  readonly vcpus?: string;
  readonly hostCpus?: string;
  readonly schedule?: string;
  readonly quantum?: string;
  readonly maxInstructions?: string;
  readonly intercept?: readonly string[];
  readonly ghcbVersion?: string;
  readonly sevFeatures?: readonly string[];
  readonly checkCleanBits?: boolean;
  readonly mode?: string;
  readonly load?: string;
  readonly entry?: string;
  readonly bios?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly disk?: readonly string[];
  readonly rng?: boolean;
  readonly virtioConsole?: boolean;
  readonly virtio?: string;
  readonly rtc?: string;
  readonly tier?: string;
};

const DEFAULT_SEV = 'sev-es';
/** The guest's date unless --rtc says otherwise: a fixed one, because nothing may depend on today. */
const DEFAULT_RTC = '2026-01-01';

type Wired = 'serial' | 'virtioConsole' | 'aes' | 'trace' | 'debugConsole' | 'haltOk';

export type Settings = {
  readonly seed: Seed;
  readonly options: Omit<RunOptions, Wired>;
  /** What a trace or a report says it is of. */
  readonly origin: {
    readonly image: string;
    readonly technology: RunOptions['technology'] | 'bare';
    readonly cpu: string;
    readonly memory: number;
    readonly seed: string;
  };
  /** The bytes whose symbols and code a report may name: the image, or else the ROM. */
  readonly shown: Uint8Array;
};

/** Throws UserError. `named`: the image. */
export function readSettings(named: string | undefined, flags: MachineFlags): Settings {
  const seed = parseSeed(flags.seed);
  const optional = <T>(text: string | undefined, parse: (text: string) => T): T | undefined =>
    text === undefined ? undefined : parse(text);
  const machine = {
    technology: parseTechnology(flags.sev ?? (flags.bare === true ? 'none' : DEFAULT_SEV)),
    bare: flags.bare ?? false,
    sme: flags.sme ?? false,
    tsme: flags.tsme ?? false,
    encryption: optional(flags.encryption, parseEncryption),
    evict: optional(flags.evict, parseEvictions),
    memory: parseMemory(flags.memory),
    cpu: parseModel(flags.cpu),
    seed: seed.value,
    vcpus: optional(flags.vcpus, (text) => parseCpus('--vcpus', text)),
    hostCpus: optional(flags.hostCpus, (text) => parseCpus('--host-cpus', text)),
    schedule: optional(flags.schedule, parseSchedule),
    quantum: optional(flags.quantum, (text) => parseCount('--quantum', text)),
    maxInstructions: optional(flags.maxInstructions, (text) => parseCount('--max-instructions', text)) ?? null,
    intercepts: (flags.intercept ?? []).flatMap(parseList),
    ghcbVersion: optional(flags.ghcbVersion, parseGhcbVersion),
    sevFeatures: (flags.sevFeatures ?? []).flatMap(parseList),
    checkCleanBits: flags.checkCleanBits,
    append: flags.append ?? '',
    tier: optional(flags.tier, parseTier),
    rng: flags.rng ?? false,
    virtio: optional(flags.virtio, parseVirtio),
    rtc: parseDate(flags.rtc ?? DEFAULT_RTC),
    mode: optional(flags.mode, parseMode),
    load: optional(flags.load, (text) => parseAddress('--load', text)),
    entry: optional(flags.entry, (text) => parseAddress('--entry', text)),
  };
  if (named === undefined && flags.bios === undefined) throw new UserError('there is nothing to run: give an image, or a ROM with --bios');
  const image = optional(named, readImage);
  const bios = optional(flags.bios, readRomFile);
  const initrd = optional(flags.initrd, (path) => readExtra('--initrd', path));
  const disks = (flags.disk ?? []).map(openDisk);
  const { technology, cpu, memory } = machine;
  return {
    seed,
    options: { ...machine, disks, image: fileOf(image), bios: fileOf(bios), initrd: fileOf(initrd) },
    origin: { image: named ?? flags.bios ?? '', technology: machine.bare ? 'bare' : technology, cpu, memory, seed: seed.value },
    shown: (image ?? bios)?.bytes ?? new Uint8Array(0),
  };
}

const fileOf = (file: ImageFile | undefined): NamedBytes | undefined =>
  file === undefined ? undefined : { name: basename(file.path), bytes: file.bytes };
