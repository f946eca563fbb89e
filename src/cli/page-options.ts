// What a person may write behind the options of `pages`.

import type { Keys } from '../debug/pages.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { UserError } from '../util/errors.ts';

const formats = ['text', 'json', 'svg'] as const;
export type Format = (typeof formats)[number];

/** `--format`; without it the ending of the file's name decides. */
export function parseFormat(text: string | undefined, output: string | undefined): Format {
  if (text === undefined) return formats.find((format) => output?.toLowerCase().endsWith(`.${format}`)) ?? 'text';
  const known = formats.find((format) => format === text.toLowerCase());
  if (known === undefined) throw new UserError(`--format ${text}: give one of ${formats.join(', ')}`);
  return known;
}

/** `--page`: a guest physical address in hex, with or without 0x. */
export function parsePage(text: string): number {
  const [, digits] = /^(?:0x)?([0-9a-f]{1,13})$/i.exec(text) ?? [];
  if (digits === undefined) throw new UserError(`--page ${text}: give a guest physical address in hex such as 0x100000`);
  return Number.parseInt(digits, 16);
}

/** `--bytes`: how much of each page, in rows of sixteen. */
export function parseBytes(text: string): number {
  const bytes = /^(\d{1,6}|0x[0-9a-f]{1,5})$/i.test(text) ? Number(text) : 0;
  if (bytes < 1 || bytes > PAGE_SIZE) throw new UserError(`--bytes ${text}: give a number from 1 to ${PAGE_SIZE}`);
  return Math.ceil(bytes / 16) * 16;
}

/** `--key`: what it means is known once there is a machine. */
export function parseKey(text: string): (keys: Keys) => number {
  const word = text.toLowerCase();
  const slot = /^\d{1,5}$/.test(text) ? Number(text) : null;
  if (slot === null && word !== 'asid' && word !== 'host' && word !== 'none')
    throw new UserError(`--key ${text}: give none, host, asid (the guest's), or the number of an ASID`);
  return (keys) => {
    if (slot !== null) {
      if (slot > keys.lastAsid) throw new UserError(`--key ${text}: this processor has ASIDs up to ${keys.lastAsid}: give none above`);
      return slot;
    }
    if (word === 'none') return 0;
    const key = word === 'host' ? keys.host : keys.guest;
    if (key === null) throw new UserError(`--key ${text}: there is no guest with a key: leave it out, or run with --sev sev`);
    return key;
  };
}
