// A host as the program that owns it meets it: what may be done when, and what is left behind.

import { afterEach, describe, expect, it } from 'vitest';
import { technologies } from '../../src/arch/boot-page.ts';
import { assemble } from '../../src/asm/assemble.ts';
import type { Host, HostedGuest, HostedOptions, HostOptions } from '../../src/host.ts';
import { UserError } from '../../src/util/errors.ts';
import { IMAGE } from '../system/small-guest.ts';
import { flat, guestOptions, kernel, openHost } from './hosted.ts';
import { neighbours } from './others.ts';

let host: Host | null = null;
afterEach(() => {
  host?.dispose();
  host = null;
});
const open = (options: Partial<HostOptions> = {}): Host => (host = openHost(options));
const loops = neighbours['one that loops for ever']!;
const talks = neighbours['one that floods its console']!;
const runAll = (on: Host): void => {
  while (!on.advance(1_000_000));
};

/** A guest that sends one byte again and again; what is done with the first. */
const tells = (on: Host, name: string, first: (guest: HostedGuest) => void, given: Partial<HostedOptions> = {}): HostedGuest => {
  let told = false;
  const guest: HostedGuest = on.create(
    guestOptions(name, talks, {
      serial: {
        transmit: () => {
          if (told) return;
          told = true;
          first(guest);
        },
        next: () => undefined,
      },
      ...given,
    }),
  );
  return guest;
};

describe('guests take turns', () => {
  it('of equal length, in the order of their creation, and one that ends or sleeps gives the rest of its away', () => {
    const on = open({ turn: 1000 });
    const [a, b, c] = ['a', 'b', 'c'].map((name) =>
      on.create(guestOptions(name, name === 'b' ? neighbours['one that halts at once']! : loops)),
    );
    on.advance(1000);
    expect([a!.consumed, b!.consumed, c!.consumed]).toEqual([1000, 0, 0]);
    on.advance(1001);
    expect([a!.consumed, c!.consumed]).toEqual([1000, 1000]);
    expect(b!.state).toBe('ended');
    on.advance(10_000);
    expect(Math.abs(a!.consumed - c!.consumed)).toBeLessThanOrEqual(1000);
  });

  it('and one that is paused has none until it goes on', () => {
    const on = open({ turn: 1000 });
    const [a, b] = [on.create(guestOptions('a', loops)), on.create(guestOptions('b', loops))];
    a.pause();
    expect(a.state).toBe('paused');
    on.advance(5000);
    expect([a.consumed, b.consumed]).toEqual([0, 5000]);
    b.pause();
    expect(on.busy).toBe(false);
    expect(on.advance(5000)).toBe(true);
    a.unpause();
    expect(on.advance(5000)).toBe(false);
    expect([a.consumed, b.consumed]).toEqual([5000, 5000]);
  });

  it('in the same order when one of them goes', () => {
    const on = open({ turn: 1000 });
    const guests = ['a', 'b', 'c', 'd'].map((name) => on.create(guestOptions(name, loops)));
    on.advance(2000); // c is next
    guests[0]!.destroy();
    on.advance(1000);
    expect(guests.map(({ consumed }) => consumed)).toEqual([1000, 1000, 1000, 0]);
    guests[3]!.destroy();
    on.advance(1000);
    expect(guests.map(({ consumed }) => consumed)).toEqual([1000, 2000, 1000, 0]);
  });
});

describe('a guest is destroyed', () => {
  it('while it is paused', () => {
    const on = open();
    const guest = on.create(guestOptions('a', loops));
    on.advance(1000);
    guest.pause();
    expect(guest.destroy()).toBeNull();
    expect(guest.state).toBe('ended');
    expect(guest.result().outcome).toEqual({ kind: 'interrupted' });
    expect(on.guests).toEqual([]);
    expect(guest.destroy()).toBeNull();
  });

  it('from within its own turn: that ends, and then it goes', () => {
    const on = open();
    const free = on.system.heap.free;
    const guest = tells(
      on,
      'a',
      (own) => {
        own.destroy();
        own.destroy();
        expect(on.guests).toEqual([own]);
      },
      { technology: 'sev' },
    );
    runAll(on);
    expect(guest.state).toBe('ended');
    expect(on.guests).toEqual([]);
    expect(on.info().asp?.guests).toBe(0);
    expect(free - on.system.heap.free).toBe(0x1000); // the driver's
  });

  it('from within another’s turn, and the next has its turn as if it had never been', () => {
    const on = open({ turn: 1000 });
    const order: string[] = [];
    tells(on, 'a', () => on.guests[1]!.destroy());
    on.create(guestOptions('b', loops));
    const c = on.create(guestOptions('c', loops));
    for (let n = 0; n < 4; n++) {
      on.advance(1000);
      order.push(on.guests.map(({ name }) => name).join(''));
    }
    expect(order[0]).toBe('ac');
    expect(c.consumed).toBe(2000);
  });

  it('and gives back what it had, however often guests come and go', () => {
    const on = open({ hostCpus: 2, esAsids: 3, turn: 1000 });
    const kinds = Object.values(neighbours).filter((image) => image !== neighbours['a good one']);
    const cycle = (n: number): void => {
      const image = kinds[n % kinds.length]!;
      const guest = on.create(guestOptions('again', image, { technology: technologies[n % 3]!, vcpus: 1 + (n % 2) }));
      on.advance(5000);
      if (n % 7 === 0) guest.pause();
      expect(guest.destroy()).toBeNull();
    };
    const held = () => ({
      free: on.system.heap.free,
      longest: on.system.heap.longest,
      written: written(on),
      guests: on.info().asp?.guests,
    });
    for (let n = 0; n < 6; n++) cycle(n);
    const before = held();
    for (let n = 0; n < 400; n++) cycle(n);
    expect(held()).toEqual(before);
    expect(on.info().flushes).toBeGreaterThan(30);
  });
});

/** Pages of DRAM that hold anything. */
function written({ machine }: Host): number {
  let pages = 0;
  for (let page = 0; page < 0x4000; page++) if (machine.engine.frames.writtenUnder(page) !== null) pages++;
  return pages;
}

describe('memory that a guest wrote', () => {
  const writes = (pages: number): ReturnType<typeof flat> =>
    flat(assemble(`mov edi, 0x180000\n mov ecx, ${pages * 512}\n rep stosq\n hlt`, { origin: BigInt(IMAGE) }).bytes);

  it.each(technologies)('counts by page, whoever had it before (%s)', (technology) => {
    const on = open();
    const touched = (pages: number): number => {
      const guest = on.create(guestOptions('a', writes(pages), { technology }));
      runAll(on);
      const bytes = guest.touched;
      guest.destroy();
      return bytes;
    };
    const few = touched(1);
    expect(touched(100) - few).toBe(99 * 0x1000);
    expect(touched(1)).toBe(few);
  });

  it('is all that costs anything when a guest comes and goes, under SME, too', () => {
    const on = open({ sme: true });
    const guest = on.create(guestOptions('large', writes(1), { technology: 'none', memory: 3 * 2 ** 30 }));
    runAll(on);
    expect(guest.touched).toBeLessThan(1 << 20);
    expect(guest.destroy()).toBeNull();
    expect(written(on)).toBeLessThan(100);
  });
});

describe('what a program does to its host at the wrong time is refused', () => {
  it.each(['create', 'advance', 'dispose'] as const)('%s() from within a guest’s turn', (what) => {
    const on = open();
    const said: unknown[] = [];
    tells(on, 'a', (guest) => {
      try {
        if (what === 'create') on.create(guestOptions('b', loops));
        else if (what === 'advance') on.advance(1);
        else on.dispose();
      } catch (error) {
        said.push(error);
      }
      guest.interrupt();
    });
    runAll(on);
    expect(said).toEqual([new UserError(`${what}() in the middle of a turn of the guest 'a': do it when advance() has returned`)]);
  });

  it('anything after dispose(), whose memory may be another machine’s by then', () => {
    const on = open();
    const guest = on.create(guestOptions('a', loops));
    on.advance(1000);
    on.dispose();
    const other = openHost();
    const witness = other.create(guestOptions('witness', kernel('hello')));
    const image = (): Uint8Array[] => Array.from({ length: witness.dram.pages }, (_, page) => pageOf(witness, page));
    const before = image();
    for (const late of [() => on.create(guestOptions('b', loops)), () => on.advance(1), () => on.info()])
      expect(late).toThrow(/^\w+\(\): the host's memory was given back by dispose\(\): make another host$/);
    expect(guest.state).toBe('ended');
    expect(guest.touched).toBe(0);
    expect(guest.dram.pages).toBe(0);
    expect(guest.destroy()).toBeNull();
    on.dispose();
    expect(image()).toEqual(before);
    runAll(other);
    expect(witness.result().status).toBe(0);
    other.dispose();
  });
});

const pageOf = ({ dram }: HostedGuest, page: number): Uint8Array => {
  const bytes = new Uint8Array(0x1000);
  return dram.read(page, bytes) ? bytes : new Uint8Array();
};

it('an exception of whoever gets a guest’s output comes through, and leaves the host as it should be', () => {
  const on = open({ turn: 1000 });
  const bad = tells(on, 'bad', () => {
    throw new RangeError('mine');
  });
  const good = on.create(guestOptions('good', kernel('hello')));
  expect(() => on.advance(1000)).toThrow(new RangeError('mine'));
  const { time, consumed } = bad;
  bad.pause();
  runAll(on);
  expect(good.result().status).toBe(0);
  expect({ time: bad.time, consumed: bad.consumed }).toEqual({ time, consumed });
  expect(bad.destroy()).toBeNull();
  expect(on.guests).toEqual([good]);
});
