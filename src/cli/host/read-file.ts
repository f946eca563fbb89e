// A host file from its text to values: JSON, then every key against its row, then what contradicts itself. The first mistake is
// told, in one line with its place and path.

import { readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { UserError } from '../../util/errors.ts';
import { code } from '../image.ts';
import { checkGuest, checkHost } from './checks.ts';
import { type Entry, type Fields, type GuestEntry, guestFields, type HostEntry, hostFields, otherNames } from './fields.ts';
import { type JsonNode, mistake, parseJson, type Path, quoted } from './json.ts';
import { Spot } from './kinds.ts';
import { nearest } from './nearest.ts';

/** An object of the file: its values, and where each of them stands. */
export type Found<T> = {
  readonly values: T;
  readonly spot: Spot;
  /** The spot of a key's value; of the object itself if the key is not there. */
  at(key: keyof T & string): Spot;
};
export type FoundGuest = Found<GuestEntry>;
export type HostFile = {
  /** As it was named. */
  readonly path: string;
  readonly host: Found<HostEntry>;
  readonly guests: readonly FoundGuest[];
};

const LARGEST = 4 * 2 ** 20;

/** Reads and checks a file with a host and its guests. Throws UserError. */
export function readHostFile(path: string): HostFile {
  return parseHost(basename(path), readText(path), path);
}

/** The same of its text. `name`: what messages call it. */
export function parseHost(name: string, text: string, path = name): HostFile {
  const root = new Spot(name, [], parseJson(name, text));
  const members = membersOf(root, 'a host', '{"guests": []}');
  const host = readEntry(root, members, hostFields, ['guests']);
  const list = members.get('guests')?.value;
  if (list === undefined) return root.refuse('guests is missing: write "guests": [] with an object for each guest');
  const spot = root.step('guests', list);
  if (list.kind !== 'array') return spot.refuse('is no list: write the guests in brackets, [{"name": ...}]');
  const guests = list.items.map((item, i) => readGuest(spot.step(i, item)));
  const file = { path, host, guests };
  checkHost(file);
  return file;
}

/** Reads a file with one guest alone, for `create FILE`. Throws UserError. */
export function readGuestFile(path: string): FoundGuest {
  const name = basename(path);
  const root = new Spot(name, [], parseJson(name, readText(path)));
  if (root.node.kind === 'object' && root.node.members.has('guests'))
    return root.refuse('is a host with its guests: create takes the object of one guest alone');
  return readGuest(root);
}

function readGuest(spot: Spot): FoundGuest {
  const guest = readEntry(spot, membersOf(spot, 'a guest', '{"name": "a", "image": "guests/hello"}'), guestFields, []);
  checkGuest(guest);
  return guest;
}

type Members = Extract<JsonNode, { kind: 'object' }>['members'];

function membersOf(spot: Spot, what: string, example: string): Members {
  if (spot.node.kind !== 'object') return spot.refuse(`${what} is an object: write ${example}`);
  return spot.node.members;
}

/** `besides`: keys that somebody else reads. */
function readEntry<F extends Fields>(spot: Spot, members: Members, fields: F, besides: readonly string[]): Found<Entry<F>> {
  const known = [...Object.keys(fields), ...besides];
  const values: Record<string, unknown> = {};
  for (const [key, member] of members) {
    const row = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (row !== undefined) values[key] = row.kind.read(spot.step(key, member.value));
    else if (!known.includes(key))
      throw mistake(spot.file, member.key, [...spot.path, key], `there is no such key: ${mendKey(key, known)}`);
  }
  for (const key of known)
    if (fields[key]?.required && !members.has(key)) {
      const path: Path = [...spot.path, key];
      throw mistake(spot.file, spot.node, path, 'is missing: write one');
    }
  const at = (key: string): Spot => {
    const member = members.get(key);
    return member === undefined ? spot : spot.step(key, member.value);
  };
  return { values: values as Entry<F>, spot, at };
}

function mendKey(key: string, known: readonly string[]): string {
  const other = otherNames[key.toLowerCase()];
  const elsewhere = Object.hasOwn(known.includes('guests') ? guestFields : hostFields, key);
  if (elsewhere) return known.includes('guests') ? 'it belongs to a guest, one level deeper' : 'it belongs to the host, outside the guests';
  const near = other !== undefined && known.includes(other) ? other : nearest(key, known);
  return near === null ? `those that there are: ${known.join(', ')}` : `did you mean ${quoted(near)}?`;
}

function readText(path: string): string {
  let bytes: Uint8Array;
  try {
    const found = statSync(path);
    if (found.isDirectory()) throw new UserError(`${path}: is a folder: name the file in it that describes the host`);
    if (found.size > LARGEST) throw new UserError(`${path}: larger than 4 MiB, more than a host file needs: is it another file?`);
    bytes = readFileSync(path);
  } catch (error) {
    if (error instanceof UserError) throw error;
    if (code(error) === 'ENOENT')
      throw new UserError(`${path}: no such file: name one that describes a host and its guests (docs/host.md)`);
    throw new UserError(`${path}: cannot be read (${code(error)}): check its permissions`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new UserError(`${path}: is not UTF-8: save it as UTF-8 text`);
  }
}
