// What of a bare machine can be looked at: all of its memory, encrypted or clear by the C-bit with which it was written.

import type { Machine } from '../machine/machine.ts';
import type { Paging } from '../hypervisor/guest-walk.ts';
import { State } from '../memory/state.ts';
import { PAGE_SIZE, pageOf } from '../util/address.ts';
import { type GuestAccess, joinedMarks, type Keys, type Mark, type PageMemory, readUnder, type Scene } from './pages.ts';
import { GuestTables } from './pages-mappings.ts';

/** `encrypts`: SYSCFG says that the C-bit is one; else it is an address bit. */
export function bareScene(machine: Machine, encrypts: boolean, image: readonly Mark[]): Scene {
  const { encryption, pages, model } = machine;
  const memory = memoryOf(machine);
  const keys: Keys = {
    guest: null,
    hypervisor: 0,
    host: encryption.hostKey,
    transparent: encryption.transparent,
    lastAsid: encryption.slots - 1,
  };
  // A table is read as it was last written: software that walks it otherwise has made a mistake, and finds nothing there.
  const tables = new GuestTables(livePaging(machine), encrypts ? model.cBit : -1, (at) => {
    const page = pageOf(at);
    return page < pages ? new DataView(readUnder(memory, page, memory.writtenUnder(page) ?? 0).bytes.buffer) : null;
  });
  const marks = joinedMarks([...image, ...tables.marks]);
  return {
    memory,
    keys,
    spaces: [{ name: 'system', title: 'System physical memory', regions: [{ start: 0, size: pages * PAGE_SIZE, at: 0 }], marks }],
    sides: ['software', 'device'],
    access: (address, key) => access(keys, tables, address, key),
  };
}

function access(keys: Keys, tables: GuestTables, address: number, key: number | null): GuestAccess {
  const mappings = tables.of(address);
  const kinds = new Set(mappings.map((mapping) => mapping.private));
  const given = (chosen: number, why: string): GuestAccess => ({ key: chosen, why, mappings });
  if (kinds.size === 2) return given(keys.host, 'it is mapped both with and without the C-bit; shown is the view with it');
  if (kinds.size === 0) return given(key ?? 0, 'it is not mapped now; shown as it was last written');
  return kinds.has(true) ? given(keys.host, 'it is mapped with the C-bit') : given(0, 'it is mapped without the C-bit');
}

/** How the processor pages at the moment. */
export function livePaging({ engine, guestState }: Machine): Paging {
  const u64 = (offset: number): bigint => engine.memory.view.getBigUint64(guestState + offset, true);
  return { cr0: u64(State.CR0), cr3: u64(State.CR3), cr4: u64(State.CR4), efer: u64(State.EFER) };
}

export function memoryOf({ engine, encryption }: Machine): PageMemory {
  const { frames } = engine;
  return {
    writtenUnder: (page) => frames.writtenUnder(page),
    // Where caches are coherent nobody could tell what they have not written back yet: it counts as written.
    look: (page, into) => (frames.coherent ? frames.look(page, into) : frames.chips(page, into)),
    cached: (page, key, into) => frames.cached(page, key, into),
    decrypt: (key, spa, bytes) => encryption.decrypt(key, spa, bytes),
  };
}
