// The host's allocator, the AMD-SP and the caches of four processors together, with guests that come, run and go by chance: no ASID gets another
// guest before WBINVD on every processor and DF_FLUSH (APM 15.34.9), and nobody reads what another left. Then with a flush left out: the AMD-SP
// notices; and with an AMD-SP that does not look, the caches give the secret away, so that the test would notice.

import { describe, expect, it } from 'vitest';
import { GuestPolicy } from '../../src/arch/asp.ts';
import { AsidAllocator } from '../../src/sev/asid.ts';
import { assert } from '../../src/util/errors.ts';
import { RandomSource } from '../../src/util/random.ts';
import { Box, hex, MEASURE_AT, PAGE } from '../firmware/box.ts';

const PROCESSORS = 4;
const STEPS = 10_000;
const MOST_GUESTS = 20; // more than there are ASIDs
const SECRET = 32;

/** What the host leaves out of a flush. It says that all was done, unless it asks the AMD-SP and is told otherwise. */
type Fault = 'nothing' | 'one WBINVD' | 'one WBINVD, and believes it was none' | 'DF_FLUSH';

type Guest = {
  readonly handle: number;
  readonly asid: number;
  readonly page: number;
  readonly secret: Uint8Array;
};

/** The rule itself, kept apart from everything that is tested: when an ASID was given back, and what was flushed since. */
class Rule {
  #now = 0;
  readonly #writtenBack = new Array<number>(PROCESSORS).fill(0);
  readonly #released = new Map<number, number>();
  readonly #flushed: { at: number; writtenBack: readonly number[] }[] = [];

  wbinvd(processor: number): void {
    this.#writtenBack[processor] = ++this.#now;
  }
  dfFlush(): void {
    this.#flushed.push({ at: ++this.#now, writtenBack: [...this.#writtenBack] });
  }
  release(asid: number): void {
    this.#released.set(asid, ++this.#now);
  }
  /** May the ASID have another guest? */
  allows(asid: number): boolean {
    const released = this.#released.get(asid);
    return (
      released === undefined || this.#flushed.some(({ at, writtenBack }) => at > released && writtenBack.every((time) => time > released))
    );
  }
}

class Play {
  readonly box = new Box(PROCESSORS, false);
  readonly rule = new Rule();
  readonly allocator: AsidAllocator;
  readonly guests: Guest[] = [];
  /** Who had an ASID before: page and secret. */
  readonly former: Guest[] = [];
  readonly count = { created: 0, reused: 0, ranOut: 0, againstTheRule: 0, leaks: 0 };
  readonly refused: string[] = [];
  readonly #seed: ReturnType<RandomSource['stream']>;
  readonly #fault: Fault;

  constructor(seed: string, fault: Fault) {
    this.#seed = new RandomSource(seed).stream('asids');
    this.#fault = fault;
    this.box.init();
    this.box.flush(PROCESSORS);
    this.allocator = new AsidAllocator('naples', { lastEncrypted: 15, firstWithoutEs: 5, count: 0x8000 }, () => this.#flush());
  }

  below(n: number): number {
    return this.#seed.u32() % n;
  }

  #flush(): string | null {
    const lazy = this.#fault.startsWith('one WBINVD') ? 2 : -1;
    for (let processor = 0; processor < PROCESSORS; processor++) {
      if (processor === lazy) continue;
      this.box.asids.wbinvd(processor);
      this.rule.wbinvd(processor);
    }
    // The caches are one for all processors here, so that leaving one out shows in the books only.
    if (this.#fault === 'nothing') this.box.frames.wbinvd();
    if (this.#fault === 'DF_FLUSH') return null;
    const status = this.box.plain('DF_FLUSH');
    if (status === 'SUCCESS') this.rule.dfFlush();
    return status === 'SUCCESS' || this.#fault.endsWith('none') ? null : status;
  }

  /** Launches a guest, which keeps a secret in a page of its own; some are given up half way. */
  create(): void {
    const es = this.below(2) === 0;
    const answer = this.allocator.allocate(es ? 'sev-es' : 'sev');
    if ('problem' in answer) {
      this.count.ranOut++;
      if (!answer.problem.includes('in use:')) this.refused.push(answer.problem);
      return;
    }
    const { asid } = answer;
    const { box } = this;
    const handle = box.start(es ? GuestPolicy.ES : 0);
    const status = box.activate(handle, asid);
    if (status !== 'SUCCESS') {
      this.refused.push(status);
      box.forGuest('DECOMMISSION', handle);
      this.allocator.release(asid);
      return;
    }
    if (!this.rule.allows(asid)) this.count.againstTheRule++;
    this.count.created++;
    this.#spy(asid);
    const secret = Uint8Array.from({ length: SECRET }, () => this.below(256));
    const page = PAGE + 4096 * this.below(64);
    const guest = { handle, asid, page, secret };
    if (this.below(8) === 0) {
      this.#end(guest, false);
      return;
    }
    box.region('LAUNCH_MEASURE', handle, MEASURE_AT, 48);
    this.#must('LAUNCH_FINISH', handle);
    box.frames.write(page, asid, secret);
    this.guests.push(guest);
  }

  /** The new one looks at whatever those before it left, under the key that it has now. */
  #spy(asid: number): void {
    const seen = new Uint8Array(SECRET);
    for (const { page, secret, asid: theirs } of this.former) {
      if (theirs !== asid) continue;
      this.count.reused++;
      this.box.frames.read(page, asid, seen);
      if (hex(seen) === hex(secret)) this.count.leaks++;
    }
  }

  run(): void {
    const guest = this.guests[this.below(this.guests.length)];
    if (guest) this.box.asids.entered(guest.asid, this.below(PROCESSORS));
  }

  destroy(): void {
    const [guest] = this.guests.splice(this.below(Math.max(this.guests.length, 1)), 1);
    if (guest) this.#end(guest, true);
  }

  #must(name: 'LAUNCH_FINISH' | 'DEACTIVATE' | 'DECOMMISSION', handle: number): void {
    const status = this.box.forGuest(name, handle);
    assert(status === 'SUCCESS', `${name}: ${status}`);
  }

  #end(guest: Guest, ran: boolean): void {
    this.#must('DEACTIVATE', guest.handle);
    this.#must('DECOMMISSION', guest.handle);
    this.allocator.release(guest.asid);
    if (!ran) return;
    this.rule.release(guest.asid);
    this.former.push(guest);
    if (this.former.length > 32) this.former.shift();
  }

  step(): void {
    const kind = this.below(10);
    if (kind < 3 && this.guests.length < MOST_GUESTS) this.create();
    else if (kind < 7) this.run();
    else this.destroy();
  }

  steps(count: number): this {
    for (let n = 0; n < count; n++) this.step();
    return this;
  }
}

describe('random guests over 10,000 steps', () => {
  it.each(['1', '2', '3'])('never get an ASID that was not flushed, and read nothing of those before: seed %s', (seed) => {
    const { count, refused, allocator } = new Play(seed, 'nothing').steps(STEPS);
    expect(refused).toEqual([]);
    expect(count).toMatchObject({ againstTheRule: 0, leaks: 0 });
    expect(count.created).toBeGreaterThan(2000);
    expect(count.reused).toBeGreaterThan(2000);
    // Many guests come back to one flush.
    expect(allocator.flushes).toBeGreaterThan(100);
    expect(count.created / allocator.flushes).toBeGreaterThan(2);
  });

  it('meet the end of their ASIDs when nobody leaves', () => {
    const play = new Play('1', 'nothing');
    for (let n = 0; n < 64; n++) play.create();
    expect(play.guests.length).toBe(15);
    expect(play.refused).toEqual([]);
    expect(play.count.ranOut).toBeGreaterThan(0);
  });
});

describe('a flush with something left out', () => {
  it('on one processor is refused by DF_FLUSH: WBINVD_REQUIRED', () => {
    const { refused, count } = new Play('1', 'one WBINVD').steps(STEPS);
    expect(refused.length).toBeGreaterThan(0);
    for (const text of refused) expect(text).toContain('which the AMD-SP answers with WBINVD_REQUIRED');
    expect(count.againstTheRule).toBe(0);
  });

  it.each(['one WBINVD, and believes it was none', 'DF_FLUSH'] as const)('%s: ACTIVATE answers DFFLUSH_REQUIRED', (fault) => {
    const { refused, count } = new Play('1', fault).steps(STEPS);
    expect(refused.length).toBeGreaterThan(0);
    expect(new Set(refused)).toEqual(new Set(['DFFLUSH_REQUIRED']));
    expect(count).toMatchObject({ againstTheRule: 0, leaks: 0 });
  });

  it.each(['one WBINVD, and believes it was none', 'DF_FLUSH'] as const)(
    '%s: with an AMD-SP that does not look, guests read the secrets of others',
    (fault) => {
      const play = new Play('1', fault);
      play.box.asids.needsFlush = () => false;
      const { refused, count } = play.steps(STEPS);
      expect(refused).toEqual([]);
      expect(count.againstTheRule).toBeGreaterThan(100);
      expect(count.leaks).toBeGreaterThan(100);
    },
  );
});

// Without the allocator: any ASID at any time, WBINVD and DF_FLUSH where chance has them. A DF_FLUSH that is refused does what it can, so what counts is
// that each processor has executed WBINVD since, and a DF_FLUSH came after that.
describe('a host that chooses ASIDs by chance', () => {
  it.each(['1', '2', '3'])('gets ACTIVATE past the AMD-SP only where everything was flushed: seed %s', (seed) => {
    const chance = new RandomSource(seed).stream('hostile');
    const below = (n: number): number => chance.u32() % n;
    const box = new Box(PROCESSORS);
    box.init();
    box.flush(PROCESSORS);
    let now = 0;
    const writtenBack = new Array<number>(PROCESSORS).fill(0);
    const flushed = new Array<number>(PROCESSORS).fill(0); // the last WBINVD that a DF_FLUSH saw
    const released = new Map<number, number>();
    const active = new Map<number, { handle: number; ran: boolean }>();
    const statuses = new Map<string, number>();
    let wrong = 0;
    for (let step = 0; step < STEPS; step++) {
      now++;
      const asid = 1 + below(15);
      const guest = active.get(asid);
      const kind = below(12);
      if (kind < 5 && guest === undefined) {
        const handle = box.start(asid < 5 ? GuestPolicy.ES : 0);
        const status = box.activate(handle, asid);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        const since = released.get(asid);
        if ((status === 'SUCCESS') !== (since === undefined || flushed.every((time) => time > since))) wrong++;
        if (status === 'SUCCESS') active.set(asid, { handle, ran: false });
        else box.forGuest('DECOMMISSION', handle);
      } else if (kind < 7 && guest) {
        box.region('LAUNCH_MEASURE', guest.handle, MEASURE_AT, 48);
        if (box.forGuest('LAUNCH_FINISH', guest.handle) === 'SUCCESS') guest.ran = true;
      } else if (kind < 9 && guest) {
        box.forGuest('DEACTIVATE', guest.handle);
        box.forGuest('DECOMMISSION', guest.handle);
        active.delete(asid);
        if (guest.ran) released.set(asid, now);
      } else if (kind < 11) {
        const processor = below(PROCESSORS);
        box.asids.wbinvd(processor);
        writtenBack[processor] = now;
      } else {
        const status = box.plain('DF_FLUSH');
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        // Any ASID that comes back asks every processor for another WBINVD.
        const latest = Math.max(0, ...released.values());
        for (const [n, time] of writtenBack.entries()) if (time > latest) flushed[n] = time;
      }
    }
    expect(wrong).toBe(0);
    for (const status of ['SUCCESS', 'DFFLUSH_REQUIRED', 'WBINVD_REQUIRED']) expect(statuses.get(status)).toBeGreaterThan(50);
  });
});
