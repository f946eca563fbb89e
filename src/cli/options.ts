// What a person may write behind an option, and what it means. Each parser takes the text as given and answers with the value or
// a UserError that says what would do.

import { technologies, type Technology } from '../arch/boot-page.ts';
import type { GhcbVersion } from '../arch/ghcb.ts';
import { chooseModel } from '../cpu/model-choice.ts';
import type { StartChoice, StartMode } from '../hypervisor/images/image.ts';
import { type Tier, tiers } from '../machine/engine.ts';
import { type VirtioTransport, virtioTransports } from '../machine/virtio-choice.ts';
import { type TweakMode, tweakModes } from '../memory/encryption.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { type SchedulePolicy, schedules } from '../hypervisor/scheduler.ts';
import { UserError } from '../util/errors.ts';

const units: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
const LARGEST_MEMORY = 3 * 2 ** 30;
const LEAST_MEMORY = 2 ** 20;
const LEAST_HOST_MEMORY = 32 * 2 ** 20;
const LARGEST_HOST_MEMORY = 512 * 2 ** 30; // what the host's own page tables map

/** `--memory 64M`: bytes, or K, M, G of 1,024. */
export function parseMemory(text: string): number {
  const bytes = parseSize('--memory', text);
  if (bytes < LEAST_MEMORY || bytes > LARGEST_MEMORY) throw new UserError(`--memory ${text}: give between 1M and 3G`);
  return bytes;
}

/** The memory of a host with all its guests. */
export function parseHostMemory(text: string): number {
  const bytes = parseSize('--memory', text);
  if (bytes < LEAST_HOST_MEMORY || bytes > LARGEST_HOST_MEMORY) throw new UserError(`--memory ${text}: give between 32M and 512G`);
  return bytes;
}

function parseSize(option: string, text: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,12}|0x[0-9a-f]{1,10})\s*([kmg]?)i?b?$/i.exec(text) ?? [];
  const bytes = digits === '' ? Number.NaN : Number(digits) * (units[unit.toUpperCase()] ?? 1);
  if (Number.isNaN(bytes)) throw new UserError(`${option} ${text}: give a size such as 64M, 512K or 1G`);
  if (bytes % PAGE_SIZE !== 0) throw new UserError(`${option} ${text}: give a multiple of 4K, the size of a page`);
  return bytes;
}

/** `--load`, `--entry`: an address in hex (0x) or decimal. */
export function parseAddress(option: string, text: string): number {
  if (/^(0x[0-9a-f]{1,13}|\d{1,15})$/i.test(text)) {
    const address = Number(text);
    if (address < 2 ** 52) return address;
  }
  throw new UserError(`${option} ${text}: give an address such as 0x100000`);
}

/** `--max-instructions`: a count; underscores, and K, M, G of 1,000 may be used. */
export function parseCount(option: string, text: string): number {
  const [, digits = '', unit = ''] = /^(\d[\d_]*)([kmg]?)$/i.exec(text) ?? [];
  const factor = { '': 1, K: 1e3, M: 1e6, G: 1e9 }[unit.toUpperCase()] ?? 1;
  const count = digits === '' ? Number.NaN : Number(digits.replaceAll('_', '')) * factor;
  if (Number.isSafeInteger(count) && count > 0) return count;
  throw new UserError(`${option} ${text}: give a count of instructions such as 1000000 or 1M`);
}

/** `--rtc`: a date in UTC, ISO 8601, with or without a time. Milliseconds since 1970. */
export function parseDate(text: string): number {
  const [, day, time = 'T00:00:00'] = /^(\d{4}-\d{2}-\d{2})(?:([T ]\d{2}:\d{2}(?::\d{2})?)Z?)?$/.exec(text) ?? [];
  const milliseconds = day === undefined ? Number.NaN : Date.parse(`${day}${time.replace(' ', 'T')}Z`);
  // Date.parse takes February 30th for March 2nd; whoever wrote it did not mean that.
  if (Number.isNaN(milliseconds) || new Date(milliseconds).toISOString().slice(0, 10) !== day) {
    throw new UserError(`--rtc ${text}: give a date in UTC such as 2026-01-31 or 2026-01-31T12:00:00`);
  }
  return milliseconds;
}

/** `--vcpus`, `--host-cpus`. How many there can be is the machine's to say. */
export function parseCpus(option: string, text: string): number {
  if (!/^[0-9]{1,6}$/.test(text)) throw new UserError(`${option} ${text}: give a number such as 2`);
  return Number(text);
}

export function parseSchedule(text: string): SchedulePolicy {
  const known = schedules.find((policy) => policy === text);
  if (known === undefined) throw new UserError(`--schedule ${text}: give one of ${schedules.join(', ')}`);
  return known;
}

export function parseTechnology(text: string): Technology {
  const known = technologies.find((technology) => technology === text.toLowerCase());
  if (known === undefined) throw new UserError(`--sev ${text}: give one of ${technologies.join(', ')}`);
  return known;
}

/** `--tier`: how far code is taken. */
export function parseEvictions(text: string): 'random' {
  if (text !== 'random') throw new UserError(`--evict ${text}: the only policy is random`);
  return text;
}

/** `--encryption`: how blocks are tweaked. */
export function parseEncryption(text: string): TweakMode {
  const known = tweakModes.find((mode) => mode === text);
  if (known === undefined) throw new UserError(`--encryption ${text}: give one of ${tweakModes.join(', ')}`);
  return known;
}

/** `--ghcb-version`: the highest version of the GHCB protocol. */
export function parseGhcbVersion(text: string): GhcbVersion {
  if (text !== '1' && text !== '2') throw new UserError(`--ghcb-version ${text}: the protocol has the versions 1 and 2: give one of them`);
  return text === '1' ? 1 : 2;
}

export function parseTier(text: string): Tier {
  const known = tiers.find((tier) => tier === text);
  if (known === undefined) throw new UserError(`--tier ${text}: give one of ${tiers.join(', ')}`);
  return known;
}

export function parseVirtio(text: string): VirtioTransport {
  const known = virtioTransports.find((transport) => transport === text);
  if (known === undefined) throw new UserError(`--virtio ${text}: give one of ${virtioTransports.join(', ')}`);
  return known;
}

export function parseMode(text: string): StartChoice {
  const protocol = text.toLowerCase();
  if (protocol === 'multiboot' || protocol === 'pvh') return protocol;
  if (text === '16' || text === '32' || text === '64') return Number(text) as StartMode;
  throw new UserError(`--mode ${text}: give 16, 32 or 64, multiboot or pvh`);
}

/** `--registers json`: the one format there is. */
export function parseRegisters(text: string): 'json' {
  if (text.toLowerCase() === 'json') return 'json';
  throw new UserError(`--registers ${text}: give json`);
}

/** `--cpu milan,-pcid`. */
export function parseModel(text: string): string {
  const known = text.toLowerCase();
  chooseModel(known);
  return known;
}

/** A list behind one option: separated by commas, empty parts left out. */
export const parseList = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
