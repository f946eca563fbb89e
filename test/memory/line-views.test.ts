// Random sequences on processors that do not keep views coherent, held against a second implementation: every byte read, and what the
// chips hold after each write-back.

import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { Frames } from '../../src/memory/frames.ts';
import { bytesOf, KEYS, memorySystem } from './fixture.ts';
import { TaggedCaches } from './tagged-caches.ts';

const PAGE = 4096;
const PAGES = 2;

class Pair {
  readonly frames: Frames;
  readonly caches = new TaggedCaches(PAGES);
  #value = 0;
  #keys = 0;

  constructor() {
    const { memory, dram, encryption } = memorySystem(PAGES * PAGE);
    this.frames = new Frames(memory, dram, encryption, false);
    for (const slot of [1, 2]) this.caches.controller.setKey(slot, KEYS[slot]!);
  }

  /** Bytes that stand nowhere yet: a store of what is there already is none. */
  fresh(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < length; at += 8) view.setFloat64(at, Math.E * ++this.#value);
    return bytes;
  }

  newKey(slot: number): void {
    const key = bytesOf(16, ++this.#keys);
    this.frames.encryption.setKey(slot, key);
    this.caches.controller.setKey(slot, key);
  }

  compareChips(): void {
    const held = new Uint8Array(PAGE);
    for (let page = 0; page < PAGES; page++) {
      this.frames.chips(page, held);
      assert.equal(Buffer.compare(held, this.caches.chips.subarray(page * PAGE, (page + 1) * PAGE)), 0);
    }
  }

  /** What is told of DRAM by those who look on is what writing everything back leaves. */
  finish(): void {
    const seen = [0, 1].map((page) => {
      const bytes = new Uint8Array(PAGE);
      this.frames.look(page, bytes);
      return { page, bytes, blank: this.frames.blank(page) };
    });
    this.frames.wbinvd();
    this.caches.flushAll();
    this.compareChips();
    for (const { page, bytes, blank } of seen) {
      assert.equal(Buffer.compare(bytes, this.frames.dram.peek(page) ?? new Uint8Array(PAGE)), 0);
      if (blank) assert.ok(bytes.every((byte) => byte === 0));
    }
  }
}

type Act = (pair: Pair, key: number, at: number, length: number) => void;
const glimpsed = new Uint8Array(PAGE);

// biome-ignore format: a table, with how often each is drawn
const acts: readonly (readonly [number, string, Act])[] = [
  [9, 'read',    ({ frames, caches }, key, at, length) => { const into = new Uint8Array(length); frames.read(at, key, into); assert.deepEqual(into, caches.read(key, at, length)); }],
  [9, 'write',   (pair, key, at, length) => { const bytes = pair.fresh(length); pair.frames.write(at, key, bytes); pair.caches.write(key, at, bytes); }],
  [4, 'CLFLUSH', ({ frames, caches }, key, at) => { frames.clflush(Math.floor(at / PAGE), key, at % PAGE); caches.flush(key, at); }],
  [2, 'CLWB',    ({ frames, caches }, key, at) => { frames.clwb(Math.floor(at / PAGE), key, at % PAGE); caches.flush(key, at, true); }],
  [2, 'VM_PAGE_FLUSH', ({ frames, caches }, key, at) => { frames.flushPage(Math.floor(at / PAGE), key); caches.flushPage(key, Math.floor(at / PAGE)); }],
  [1, 'discard', ({ frames, caches }, _key, at) => { const page = Math.floor(at / PAGE); frames.flushPage(page, 0); caches.flushPage(0, page); frames.discard(page); caches.chips.fill(0, page * PAGE, (page + 1) * PAGE); }],
  [1, 'WBINVD',  (pair) => { pair.frames.wbinvd(); pair.caches.flushAll(); pair.compareChips(); }],
  [1, 'WBNOINVD', (pair) => { pair.frames.wbnoinvd(); pair.caches.flushAll(true); pair.compareChips(); }],
  [2, 'a device reads', ({ frames, caches }, key, at, length) => { const into = new Uint8Array(length); frames.readByDevice(at, key, into); assert.deepEqual(into, caches.readByDevice(key, at, length)); }],
  [2, 'a device writes', (pair, key, at, length) => { const bytes = pair.fresh(length); pair.frames.writeByDevice(at, key, bytes); pair.caches.writeByDevice(key, at, bytes); }],
  [1, 'another key', (pair, key) => pair.newKey(1 + (key & 1))],
  [1, 'somebody looks on', ({ frames }, key, at) => { frames.glimpse(Math.floor(at / PAGE), key); frames.cached(Math.floor(at / PAGE), key, glimpsed); }],
];

const step = fc.record({
  act: fc.oneof(...acts.map(([weight, name]) => ({ weight, arbitrary: fc.constant(name) }))),
  key: fc.nat(2),
  page: fc.nat(PAGES - 1),
  // Few lines, so that views meet; the last one is the border of the two halves of a mask.
  line: fc.constantFrom(0, 1, 2, 31, 32, 60),
  quadword: fc.nat(7),
  length: fc.oneof({ weight: 4, arbitrary: fc.constant(8) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 24 }).map((n) => 8 * n) }),
});

it('views that are not coherent read and write back what a second implementation does', () => {
  const result = fc.check(
    fc.property(fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }), (steps) => {
      const pair = new Pair();
      for (const { act, key, page, line, quadword, length } of steps) {
        const perform = acts.find(([, name]) => name === act)![2];
        perform(pair, key, page * PAGE + 64 * line + 8 * quadword, Math.min(length, PAGE - 64 * line - 8 * quadword));
      }
      pair.finish();
      return true;
    }),
    { numRuns: 250, seed: 1 },
  );
  expect(fc.defaultReportMessage(result)).toBeUndefined();
});
