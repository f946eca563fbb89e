// Memory goes back to what it was, whatever happened to it since: stores, other views, keys, lines that leave. What it is compared with is another
// memory to which only that happened which a restore left standing.

import { describe, expect, it, vi } from 'vitest';
import { Frames, Status } from '../../src/memory/frames.ts';
import { RandomSource } from '../../src/util/random.ts';
import { type Captured, Fields } from '../../src/util/stateful.ts';
import { bytesOf, memorySystem, smallMemory } from './fixture.ts';

const PAGE = 4096;
const PAGES = 12;

type Step = (frames: Frames) => void;

function system(coherent: boolean): Frames {
  const { memory, dram, encryption } = memorySystem(PAGES * PAGE, smallMemory());
  return new Frames(memory, dram, encryption, coherent);
}

const capture = (frames: Frames): Captured[] => [Fields.capture(frames.encryption), Fields.capture(frames)];
function restore(frames: Frames, [keys, pages]: Captured[]): void {
  Fields.restore(frames.encryption, keys!);
  Fields.restore(frames, pages!);
}

/** What can be seen of memory: in the chips, and where views are not coherent in the caches as well. */
function seen(frames: Frames): string {
  const bytes = new Uint8Array(PAGE);
  const found: string[] = [];
  for (let page = 0; page < PAGES; page++) {
    frames.look(page, bytes);
    found.push(Buffer.from(bytes).toString('base64'), String(frames.writtenUnder(page)), String(frames.blank(page)));
    if (frames.coherent) continue;
    for (let key = 0; key < 3; key++) found.push(frames.cached(page, key, bytes) ? Buffer.from(bytes).toString('base64') : 'not cached');
  }
  return found.join('\n');
}

function steps(seed: string): () => Step {
  const chance = new RandomSource(seed).stream('steps');
  return () => {
    const at = chance.below(PAGES * PAGE - 300);
    const page = at >>> 12;
    const key = chance.below(3);
    const bytes = chance.bytes(1 + chance.below(200));
    const low = chance.u32() | 0;
    const step: readonly Step[] = [
      (frames) => frames.write(at, key, bytes),
      (frames) => frames.write(at, key, bytes),
      (frames) => frames.read(at, key, new Uint8Array(100)),
      (frames) => frames.writeByDevice(at, key, bytes),
      (frames) => frames.readByDevice(at, key, new Uint8Array(50)),
      (frames) => frames.clflush(page, key, at % PAGE),
      (frames) => frames.clwb(page, key, at % PAGE),
      (frames) => frames.evictLines(page, low, ~low),
      (frames) => frames.flushPage(page, key),
      (frames) => (low & 7) === 0 && frames.wbinvd(),
      (frames) => (low & 7) === 0 && frames.encryption.setKey(1 + (key & 1), bytesOf(16, low & 0xff)),
      (frames) => frames.evictLines(page, -1, -1),
    ];
    return step[chance.below(step.length)]!;
  };
}

describe('memory that goes back to snapshots', () => {
  it.each([
    ...Array.from({ length: 12 }, (_, n) => [`coherent ${n}`, true] as const),
    ...Array.from({ length: 12 }, (_, n) => [`by line ${n}`, false] as const),
  ])('is what it would be if nothing else had happened (%s)', (seed, coherent) => {
    const chance = new RandomSource(seed).stream('branches');
    const next = steps(seed);
    const frames = system(coherent);
    let done: Step[] = [];
    const known: { readonly at: Captured[]; readonly done: readonly Step[]; readonly seen: string }[] = [];
    const doOne = (): void => {
      const step = next();
      step(frames);
      done.push(step);
    };
    for (let n = 0; n < 20; n++) doOne();
    for (let n = 0; n < 60; n++) {
      const taken = { at: capture(frames), done: done.slice(), seen: seen(frames) };
      if (known.length < 5) known.push(taken);
      else known[chance.below(5)] = taken;
      for (let k = chance.below(12); k > 0; k--) doOne();
      if (chance.below(2) !== 0) continue;
      const back = known[chance.below(known.length)]!;
      restore(frames, back.at);
      expect(seen(frames)).toBe(back.seen);
      done = back.done.slice();
    }
    for (let k = 0; k < 20; k++) doOne();
    const fresh = system(coherent);
    for (const step of done) step(fresh);
    expect(seen(frames)).toBe(seen(fresh));
  });

  it('goes back to one snapshot a thousand times', () => {
    const frames = system(true);
    frames.write(PAGE, 1, bytesOf(PAGE));
    const snapshot = capture(frames);
    const expected = seen(frames);
    for (let n = 0; n < 1000; n++) {
      frames.write(PAGE + n, n % 3, new Uint8Array([n]));
      restore(frames, snapshot);
    }
    expect(seen(frames)).toBe(expected);
  });

  it('keeps a page under a key that its slot no longer has as ciphertext', () => {
    const frames = system(true);
    frames.write(PAGE, 1, bytesOf(PAGE));
    capture(frames);
    frames.write(2 * PAGE, 1, bytesOf(PAGE));
    const before = capture(frames); // has page 2 as a view under the old key
    frames.encryption.setKey(1, bytesOf(16, 99));
    const after = capture(frames);
    const expected = seen(frames);
    frames.write(2 * PAGE, 1, bytesOf(100, 5));
    restore(frames, before);
    restore(frames, after);
    expect(seen(frames)).toBe(expected);
  });
});

describe('what was derived from a page', () => {
  const watched = () => {
    const frames = system(true);
    frames.write(PAGE, 0, bytesOf(PAGE));
    const frame = frames.view(1, 0);
    const owner = { onCodeStore: vi.fn(), onDrop: vi.fn() };
    frames.codeOwner = owner;
    frames.watchCode(frame, 0, PAGE);
    return { frames, frame, owner };
  };

  it('stays if its bytes come back as they are', () => {
    const { frames, owner } = watched();
    const snapshot = capture(frames);
    frames.own(1, 0); // as if to write, but nothing is
    restore(frames, snapshot);
    expect(owner.onCodeStore).not.toHaveBeenCalled();
    expect(owner.onDrop).not.toHaveBeenCalled();
  });

  it('ends line by line where other bytes come back', () => {
    const { frames, frame, owner } = watched();
    const snapshot = capture(frames);
    frames.write(PAGE + 0x100, 0, new Uint8Array([0xee]));
    owner.onCodeStore.mockClear();
    frames.watchCode(frame, 0, PAGE);
    restore(frames, snapshot);
    expect(owner.onCodeStore.mock.calls).toEqual([[frame, 0x100, 64]]);
  });
});

describe('the first store to a page after a snapshot', () => {
  it('takes the slow path, and the second one does not', () => {
    const frames = system(true);
    frames.write(PAGE, 0, bytesOf(PAGE));
    const frame = frames.view(1, 0);
    expect(frames.table.status[frame]).toBe(Status.DIRTY);
    capture(frames);
    expect(frames.table.status[frame]).toBe(Status.DIRTY | Status.SAVED);
    frames.own(1, 0);
    expect(frames.table.status[frame]).toBe(Status.DIRTY);
  });
});
