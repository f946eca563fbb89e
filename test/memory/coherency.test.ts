// What becomes of data when two views of a page meet, step by step: on processors that keep views coherent everything is right without a flush; on the
// others exactly what this table says. APM vol. 2, 15.34.9; CPUID Fn8000_001F EAX[10].

import { describe, expect, it } from 'vitest';
import { processorModels } from '../../src/cpu/cpuid.ts';
import { Frames, Status } from '../../src/memory/frames.ts';
import { bytesOf, memorySystem } from './fixture.ts';

const HOST = 0;
const GUEST = 1;
const OTHER = 2;
const PAGE = 5;
const AT = PAGE * 4096;
const LINE = 64;

/** One page, its views, and what each read and the chips themselves would be if there were no caches at all. */
class Scene {
  readonly frames: Frames;
  readonly #truth: Frames;
  #value = 0;

  constructor(coherent: boolean) {
    const { memory, dram, encryption } = memorySystem();
    this.frames = new Frames(memory, dram, encryption, coherent);
    this.#truth = memorySystem().frames;
  }

  write(key: number, line = 0): void {
    const bytes = bytesOf(LINE, ++this.#value);
    this.frames.write(AT + line * LINE, key, bytes);
    this.#truth.write(AT + line * LINE, key, bytes);
  }
  /** Right, or not. */
  read(key: number, line = 0): boolean {
    return this.#same((frames, into) => frames.read(AT + line * LINE, key, into));
  }
  writeByAsp(key: number, line = 0): void {
    const bytes = bytesOf(LINE, ++this.#value);
    this.frames.writeSecure(AT + line * LINE, key, bytes);
    this.#truth.write(AT + line * LINE, key, bytes);
  }
  readByAsp(key: number, line = 0): boolean {
    return this.#same((frames, into) => frames.readSecure(AT + line * LINE, key, into));
  }
  /** What DRAM holds when all is written back. */
  chips(): boolean {
    this.frames.wbinvd();
    return this.#same((frames, into) => into.set(chipsOf(frames).subarray(0, into.length)));
  }
  clflush(key: number, line = 0): void {
    this.frames.clflush(PAGE, key, line * LINE);
  }
  clwb(key: number): void {
    this.frames.clwb(PAGE, key, 0);
  }
  flushPage(key: number): void {
    this.frames.flushPage(PAGE, key);
  }
  wbinvd(): void {
    this.frames.wbinvd();
  }
  wbnoinvd(): void {
    this.frames.wbnoinvd();
  }
  newKey(slot: number): void {
    for (const frames of [this.frames, this.#truth]) frames.encryption.setKey(slot, bytesOf(16, 77));
  }

  #same(look: (frames: Frames, into: Uint8Array) => void): boolean {
    const [mine, truth] = [this.frames, this.#truth].map((frames) => {
      const into = new Uint8Array(LINE);
      look(frames, into);
      return Buffer.from(into);
    });
    return mine!.equals(truth!);
  }
}

function chipsOf(frames: Frames): Uint8Array {
  const bytes = new Uint8Array(4096);
  frames.ciphertext(PAGE, bytes);
  return bytes;
}

type Row = {
  readonly name: string;
  readonly before: (s: Scene) => void;
  readonly look: (s: Scene) => boolean;
  /** Is what comes out right where views are not coherent? Where they are it always is. */
  readonly right: boolean;
};

// biome-ignore format: a table
const table: readonly Row[] = [
  { name: 'the host writes, the guest reads',                              before: (s) => { s.write(HOST); },                                                               look: (s) => s.read(GUEST), right: false },
  { name: 'the host writes and flushes by CLFLUSH, the guest reads',       before: (s) => { s.write(HOST); s.clflush(HOST); },                                              look: (s) => s.read(GUEST), right: true },
  { name: 'the host writes and writes back by CLWB, the guest reads',      before: (s) => { s.write(HOST); s.clwb(HOST); },                                                 look: (s) => s.read(GUEST), right: true },
  { name: 'the host writes, WBINVD, the guest reads',                      before: (s) => { s.write(HOST); s.wbinvd(); },                                                   look: (s) => s.read(GUEST), right: true },
  { name: 'the host writes, WBNOINVD, the guest reads',                    before: (s) => { s.write(HOST); s.wbnoinvd(); },                                                 look: (s) => s.read(GUEST), right: true },
  { name: 'the guest writes, the host reads',                              before: (s) => { s.write(GUEST); },                                                              look: (s) => s.read(HOST), right: false },
  { name: 'the guest writes, the host flushes through its own mapping, which does not reach the guest\'s lines', before: (s) => { s.write(GUEST); s.clflush(HOST); },       look: (s) => s.read(HOST), right: false },
  { name: 'the guest writes and flushes, the host reads',                  before: (s) => { s.write(GUEST); s.clflush(GUEST); },                                            look: (s) => s.read(HOST), right: true },
  { name: 'the guest writes, VM_PAGE_FLUSH of its ASID, the host reads',   before: (s) => { s.write(GUEST); s.flushPage(GUEST); },                                          look: (s) => s.read(HOST), right: true },
  { name: 'the guest writes, VM_PAGE_FLUSH of another ASID',               before: (s) => { s.write(GUEST); s.flushPage(OTHER); },                                          look: (s) => s.read(HOST), right: false },
  { name: 'the reader keeps a line that it read before: stale',            before: (s) => { s.read(HOST); s.write(GUEST); s.clflush(GUEST); },                              look: (s) => s.read(HOST), right: false },
  { name: 'the reader flushes, too, before it reads again',                before: (s) => { s.read(HOST); s.write(GUEST); s.clflush(GUEST); s.clflush(HOST); },             look: (s) => s.read(HOST), right: true },
  { name: 'the reader flushes before the writer does',                     before: (s) => { s.read(HOST); s.clflush(HOST); s.write(GUEST); s.clflush(GUEST); },             look: (s) => s.read(HOST), right: true },
  { name: 'CLWB leaves the reader\'s line: stale',                         before: (s) => { s.read(HOST); s.write(GUEST); s.clwb(GUEST); s.clwb(HOST); },                   look: (s) => s.read(HOST), right: false },
  { name: 'WBNOINVD leaves it, too',                                       before: (s) => { s.read(HOST); s.write(GUEST); s.wbnoinvd(); },                                  look: (s) => s.read(HOST), right: false },
  { name: 'WBINVD does not',                                               before: (s) => { s.read(HOST); s.write(GUEST); s.wbinvd(); },                                    look: (s) => s.read(HOST), right: true },
  { name: 'a flush of one line does not help its neighbour',               before: (s) => { s.write(GUEST, 0); s.write(GUEST, 1); s.clflush(GUEST, 0); },                   look: (s) => s.read(HOST, 1), right: false },
  { name: 'a flush of one line helps that line',                           before: (s) => { s.write(GUEST, 0); s.write(GUEST, 1); s.clflush(GUEST, 0); },                   look: (s) => s.read(HOST, 0), right: true },
  { name: 'each reads what it wrote itself',                               before: (s) => { s.write(HOST, 0); s.write(GUEST, 1); },                                         look: (s) => s.read(HOST, 0) && s.read(GUEST, 1), right: true },
  { name: 'a late write-back of the old view overwrites the new one',      before: (s) => { s.write(HOST); s.write(GUEST); s.flushPage(GUEST); s.flushPage(HOST); },        look: (s) => s.chips(), right: false },
  { name: 'the old view is flushed before the new one writes',             before: (s) => { s.write(HOST); s.flushPage(HOST); s.write(GUEST); s.flushPage(GUEST); s.flushPage(HOST); }, look: (s) => s.chips(), right: true },
  { name: 'lines written through different views do not hurt each other',  before: (s) => { s.write(HOST, 3); s.write(GUEST, 4); s.wbinvd(); },                             look: (s) => s.read(HOST, 3) && s.read(GUEST, 4), right: true },
  { name: 'the page of one guest is given to another without a flush',     before: (s) => { s.write(GUEST); s.write(OTHER); s.flushPage(OTHER); s.wbinvd(); },               look: (s) => s.read(OTHER), right: false },
  { name: 'the page of one guest is given to another after VM_PAGE_FLUSH', before: (s) => { s.write(GUEST); s.flushPage(GUEST); s.write(OTHER); s.flushPage(OTHER); s.wbinvd(); }, look: (s) => s.read(OTHER), right: true },
  { name: 'the AMD-SP sees what the host wrote under the same key',        before: (s) => { s.write(HOST); },                                                               look: (s) => s.readByAsp(HOST), right: true },
  { name: 'the AMD-SP does not see lines under another key',               before: (s) => { s.write(GUEST); },                                                              look: (s) => s.readByAsp(HOST), right: false },
  { name: 'the host sees what the AMD-SP wrote under the same key',        before: (s) => { s.write(HOST); s.writeByAsp(HOST); },                                           look: (s) => s.read(HOST), right: true },
  { name: 'LAUNCH_UPDATE of a page that the host wrote and did not flush: the guest reads rightly, until the old line is written back', before: (s) => { s.write(HOST); s.readByAsp(HOST); s.writeByAsp(GUEST); }, look: (s) => s.read(GUEST), right: true },
  { name: 'and then it is plaintext that the guest decrypts',              before: (s) => { s.write(HOST); s.readByAsp(HOST); s.writeByAsp(GUEST); s.wbinvd(); },            look: (s) => s.read(GUEST), right: false },
  { name: 'LAUNCH_UPDATE of a page that the host flushed',                 before: (s) => { s.write(HOST); s.flushPage(HOST); s.readByAsp(HOST); s.writeByAsp(GUEST); s.wbinvd(); }, look: (s) => s.read(GUEST), right: true },
  { name: 'the host still sees its plaintext behind LAUNCH_UPDATE',        before: (s) => { s.write(HOST); s.writeByAsp(GUEST); },                                          look: (s) => s.read(HOST), right: false },
  { name: 'a key is replaced under dirty lines: they go out under the new one', before: (s) => { s.write(GUEST); s.newKey(GUEST); s.wbinvd(); },                              look: (s) => s.chips(), right: false },
  { name: 'a key is replaced after WBINVD',                                before: (s) => { s.write(GUEST); s.wbinvd(); s.newKey(GUEST); s.wbinvd(); },                      look: (s) => s.chips(), right: true },
  { name: 'a clean line outlives its key',                                 before: (s) => { s.write(GUEST); s.wbnoinvd(); s.newKey(GUEST); },                               look: (s) => s.read(GUEST), right: false },
];

describe.each(processorModels.map(({ name, coherent }) => [name, coherent] as const))('%s', (_name, coherent) => {
  it.each(table.map((row) => [row.name, row] as const))('%s', (_row, { before, look, right }) => {
    const scene = new Scene(coherent);
    before(scene);
    expect(look(scene)).toBe(coherent || right);
  });
});

describe('without coherency', () => {
  const scene = (): Frames => new Scene(false).frames;
  const entry = 0x1000;

  it('a page with one view is a frame like any other', () => {
    const frames = scene();
    const f = frames.own(PAGE, GUEST);
    expect(frames.table.status[f]).toBe(Status.DIRTY);
  });

  it('a second view ends the TLB entries of the first, and the last one that is left gets them back', () => {
    const frames = scene();
    const killed: number[] = [];
    frames.translationOwner = {
      clearReads: () => killed.push(0),
      clearWrites: () => killed.push(1),
      onTableStore: () => {},
      onWalkStore: () => {},
      onTableDrop: () => {},
    };
    const f = frames.own(PAGE, GUEST);
    for (const slot of [entry, entry + 16]) {
      frames.noteRead(f, slot);
      frames.memory.i32[(slot + 12) >>> 2] = f;
      frames.noteWrite(f, slot);
    }
    frames.view(PAGE, HOST);
    expect(killed).toEqual([0, 1]);
    expect(frames.isByLine(f)).toBe(true);
    frames.read(AT, HOST, new Uint8Array(1));
    frames.flushPage(PAGE, HOST);
    expect(frames.isByLine(frames.view(PAGE, GUEST))).toBe(false);
    expect(frames.view(PAGE, GUEST)).toBe(f);
  });

  it('a line that leaves ends what was decoded from it and what was translated by it', () => {
    const frames = scene();
    const lost: [string, number, number][] = [];
    frames.codeOwner = {
      onCodeStore: (_f, offset, length) => lost.push(['code', offset, length]),
      onDrop: () => lost.push(['page', 0, 0]),
    };
    const f = frames.own(PAGE, GUEST);
    frames.watchCode(f, 0x80, 4);
    frames.clflush(PAGE, GUEST, 0x40);
    expect(lost).toEqual([]);
    frames.clflush(PAGE, GUEST, 0x83);
    expect(lost).toEqual([['code', 0x80, 64]]);
    frames.translationOwner = {
      clearReads: () => {},
      clearWrites: () => {},
      onTableStore: (_f, offset, length) => lost.push(['table', offset, length]),
      onWalkStore: () => {},
      onTableDrop: () => {},
    };
    frames.watchTable(f);
    frames.clflush(PAGE, GUEST, 0xfff);
    expect(lost.at(-1)).toEqual(['table', 0xfc0, 64]);
    frames.watchCode(f, 0, 1);
    frames.flushPage(PAGE, GUEST);
    expect(lost.at(-1)).toEqual(['page', 0, 0]);
  });

  it('only the lines that exist can be decoded, and asking fetches no more than the first', () => {
    const frames = scene();
    frames.read(AT, HOST, new Uint8Array(1));
    const f = frames.view(PAGE, GUEST);
    expect(frames.decodable(f, 0x44, 0x200)).toBe(0x80);
    frames.loaded(f, 0xc0, 1);
    expect(frames.decodable(f, 0x44, 0x200)).toBe(0x80);
    frames.loaded(f, 0x80, 1);
    expect(frames.decodable(f, 0x44, 0x200)).toBe(0x100);
    expect(frames.decodable(f, 0x44, 0x50)).toBe(0x50);
  });

  it('who looks on finds what a read would, and changes nothing', () => {
    const frames = scene();
    frames.write(AT, HOST, bytesOf(64));
    frames.write(AT + 64, GUEST, bytesOf(64, 9));
    const held = frames.table.end;
    for (const key of [HOST, GUEST, OTHER]) {
      const at = frames.address(frames.glimpse(PAGE, key));
      const seen = frames.memory.u8.slice(at, at + 4096);
      expect(frames.table.end).toBe(held);
      if (key === OTHER) continue;
      const read = new Uint8Array(4096);
      frames.read(AT, key, read);
      expect(seen).toEqual(read);
    }
  });

  it('lines are not given up for want of memory unless nothing else helps', () => {
    const { memory, dram, encryption } = memorySystem(8 * 1024 * 1024);
    const frames = new Frames(memory, dram, encryption, false);
    frames.write(AT, HOST, bytesOf(64));
    frames.write(AT, GUEST, bytesOf(64, 9));
    for (let page = 100; page < 100 + 2 * memory.frameCount; page++) frames.write(page * 4096, GUEST, bytesOf(8));
    const seen = new Uint8Array(64);
    frames.read(AT, HOST, seen);
    expect(seen).toEqual(bytesOf(64));
    // And now nothing but such pages.
    for (let page = 100; page < 100 + memory.frameCount; page++) {
      frames.write(page * 4096, HOST, bytesOf(8, page));
      frames.write(page * 4096, GUEST, bytesOf(8));
    }
    frames.read(AT, GUEST, seen);
    expect(frames.table.pages[frames.view(PAGE, GUEST)]).toBe(PAGE);
  });

  it('a page behind a fence is out of reach of flushes and devices', () => {
    const frames = scene();
    frames.write(AT, HOST, bytesOf(64));
    frames.fence(PAGE, 1);
    frames.flushPage(PAGE, HOST);
    frames.writeByDevice(AT, HOST, new Uint8Array(64));
    const seen = new Uint8Array(64);
    frames.readByDevice(AT, HOST, seen);
    expect(seen.every((byte) => byte === 0xff)).toBe(true);
    frames.readSecure(AT, HOST, seen);
    expect(seen).toEqual(bytesOf(64));
  });
});
