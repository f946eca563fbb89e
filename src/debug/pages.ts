// Whose memory is whose, and what a page holds for each side. The state of a page follows from one fact: under which key the bytes that
// are there now were written (docs/pages.md). Reading under a key decrypts a copy of what DRAM holds: no view is made, nothing is
// written back, so nothing changes by being looked at.

import { PAGE_SIZE } from '../util/address.ts';

/**
 * private: under a guest's key. shared: as the hypervisor reads it, too. host: the host's own; on a bare machine, what it encrypted. clear: on a
 * bare machine, what it did not. untouched: nobody has written it.
 */
export const pageStates = ['private', 'shared', 'host', 'clear', 'untouched'] as const;
export type PageState = (typeof pageStates)[number];

/** Memory as an onlooker has it: pages and key slots of the memory controller. */
export interface PageMemory {
  /** The key slot under which a page was last written; null: never. */
  writtenUnder(page: number): number | null;
  /** Copies what the chips hold. */
  look(page: number, into: Uint8Array): void;
  /** Copies what caches hold of the page under a key; false: nothing. */
  cached(page: number, key: number, into: Uint8Array): boolean;
  decrypt(key: number, spa: number, bytes: Uint8Array): void;
}

/** Key slots, and what they are called. */
export type Keys = {
  /** The guest's; null: it has none. */
  readonly guest: number | null;
  /** What the hypervisor's own mapping of memory uses: slot 0 is no key. */
  readonly hypervisor: number;
  /** The host's key for memory encryption. */
  readonly host: number;
  /** TSME: what has no key is encrypted with the host's all the same. */
  readonly transparent: boolean;
  /** The highest slot of a guest. */
  readonly lastAsid: number;
};

/** A piece of an address space and the system physical memory behind it, in whole pages. */
export type Region = { readonly start: number; readonly size: number; readonly at: number };
/** Pages that have a name. */
export type Mark = { readonly start: number; readonly size: number; readonly name: string };

/** An address space that is mapped. */
export type Space = {
  readonly name: 'guest' | 'host' | 'system';
  readonly title: string;
  readonly regions: readonly Region[];
  readonly marks: readonly Mark[];
};

/** Where the guest's own page tables map a page now. */
export type Mapping = { readonly linear: bigint; readonly private: boolean; readonly writable: boolean };

/** Whose eyes a page is seen with: those of a guest and its hypervisor; on a bare machine those of its software, and of a device that sets no C-bit. */
export type Side = 'guest' | 'hypervisor' | 'software' | 'device';

/** Under which key the guest itself reads a page, and why. */
export type GuestAccess = { readonly key: number; readonly why: string; readonly mappings: readonly Mapping[] };

/** All that can be looked at. */
export type Scene = {
  readonly memory: PageMemory;
  readonly keys: Keys;
  /** Pages of the first can be asked for. */
  readonly spaces: readonly [Space, ...Space[]];
  /** Whoever the image is, and the other one. */
  readonly sides: readonly [Side, Side];
  /** How the first side reaches a page, last written under `key`. */
  access(gpa: number, key: number | null): GuestAccess;
};

/** Pages in a row that are alike. `end`: first byte behind them. */
export type PageRun = { readonly start: number; readonly end: number; readonly state: PageState; readonly key: number | null };
export type SpaceMap = Omit<Space, 'regions'> & {
  readonly runs: readonly PageRun[];
  readonly counts: Readonly<Record<PageState, number>>;
};

/** A page as one side has it. */
export type PageView = {
  readonly side: Side | 'dram' | 'key';
  /** null: the bytes as the chips hold them. */
  readonly key: number | null;
  /** Lines that caches hold otherwise than DRAM does under this key: possible only where the processor does not keep views coherent. */
  readonly staleLines: number;
  readonly bytes: Uint8Array;
};
export type PageReport = {
  readonly gpa: number;
  readonly spa: number;
  readonly state: PageState;
  readonly key: number | null;
  readonly access: GuestAccess;
  /** Offset in the page of the first byte shown. */
  readonly offset: number;
  readonly views: readonly PageView[];
};

export function stateOf(space: Space['name'], key: number | null, keys: Keys): PageState {
  if (key === null) return 'untouched';
  if (key !== 0 && key !== keys.host) return 'private';
  if (space === 'system') return key === 0 ? 'clear' : 'host';
  return space === 'guest' ? 'shared' : 'host';
}

export const keyName = (key: number, keys: Keys): string => (key === 0 ? 'none' : key === keys.host ? 'host' : `ASID ${key}`);

/** Whose is every page: what can be known of all of memory without reading a byte of it. */
export function mapMemory({ memory, keys, spaces }: Scene): SpaceMap[] {
  return spaces.map(({ regions, ...space }) => {
    const runs: PageRun[] = [];
    const counts = { private: 0, shared: 0, host: 0, clear: 0, untouched: 0 };
    for (const { start, size, at } of regions) {
      for (let offset = 0; offset < size; ) {
        const first = offset;
        const key = memory.writtenUnder((at + offset) / PAGE_SIZE);
        do offset += PAGE_SIZE;
        while (offset < size && memory.writtenUnder((at + offset) / PAGE_SIZE) === key);
        const state = stateOf(space.name, key, keys);
        counts[state] += (offset - first) / PAGE_SIZE;
        runs.push({ start: start + first, end: start + offset, state, key });
      }
    }
    return { ...space, runs, counts };
  });
}

/** System physical address behind one of a space; null: no memory is there. */
export function locate({ regions }: Space, address: number): number | null {
  const region = regions.find(({ start, size }) => address >= start && address < start + size);
  return region === undefined ? null : region.at + (address - region.start);
}

const LINE = 64;

/** A page under a key: what a reader with that mapping gets. */
export function readUnder(memory: PageMemory, page: number, key: number): { bytes: Uint8Array; staleLines: number } {
  const bytes = new Uint8Array(PAGE_SIZE);
  memory.look(page, bytes);
  memory.decrypt(key, page * PAGE_SIZE, bytes);
  const cached = new Uint8Array(PAGE_SIZE);
  if (!memory.cached(page, key, cached)) return { bytes, staleLines: 0 };
  let staleLines = 0;
  for (let at = 0; at < PAGE_SIZE; at += LINE) if (cached.subarray(at, at + LINE).some((byte, i) => byte !== bytes[at + i])) staleLines++;
  return { bytes: cached, staleLines };
}

/** The page with an address in it, from there on at most `most` bytes; null: no memory is there. */
export function inspect(scene: Scene, address: number, most: number, others: readonly number[]): PageReport | null {
  const { memory, keys, spaces, sides, access } = scene;
  const gpa = address - (address % PAGE_SIZE);
  const spa = locate(spaces[0], gpa);
  if (spa === null) return null;
  const page = spa / PAGE_SIZE;
  const offset = most >= PAGE_SIZE ? 0 : (address % PAGE_SIZE) & ~0xf;
  const shown = (bytes: Uint8Array): Uint8Array => bytes.subarray(offset, offset + most);
  const under = (side: PageView['side'], key: number): PageView => {
    const { bytes, staleLines } = readUnder(memory, page, key);
    return { side, key, staleLines, bytes: shown(bytes) };
  };
  const chips = new Uint8Array(PAGE_SIZE);
  memory.look(page, chips);
  const key = memory.writtenUnder(page);
  const reached = access(gpa, key);
  return {
    gpa,
    spa,
    state: stateOf(spaces[0].name, key, keys),
    key,
    access: reached,
    offset,
    views: [
      under(sides[0], reached.key),
      under(sides[1], keys.hypervisor),
      { side: 'dram', key: null, staleLines: 0, bytes: shown(chips) },
      ...others.map((other) => under('key', other)),
    ],
  };
}

/** In ascending order, neighbours of one name as one. */
export function joinedMarks(marks: readonly Mark[]): Mark[] {
  const all: Mark[] = [];
  for (const mark of [...marks].sort((a, b) => a.start - b.start)) {
    const last = all.at(-1);
    if (last?.name === mark.name && Math.ceil((last.start + last.size) / PAGE_SIZE) * PAGE_SIZE >= mark.start)
      all[all.length - 1] = { ...last, size: Math.max(last.size, mark.start + mark.size - last.start) };
    else all.push(mark);
  }
  return all;
}
