// 8254 data sheet (1993): control words, counting in the six modes, latches. The clock moves by whole CLK pulses.

import { describe, expect, it } from 'vitest';
import { IoBus } from '../../src/devices/io-bus.ts';
import { Pit8254 } from '../../src/devices/pit8254.ts';
import { SystemControlA, SystemControlB } from '../../src/devices/system-control.ts';

const FREQUENCY = 1_193_182;

function timer() {
  let clocks = 0;
  const edges: string[] = [];
  const now = (): number => Math.floor(clocks / FREQUENCY) * 1e9 + Math.ceil(((clocks % FREQUENCY) * 1e9) / FREQUENCY);
  const pit = new Pit8254(now, (level) => edges.push(`${level ? 'rise' : 'fall'} ${clocks}`));
  const bus = new IoBus();
  bus.map(0x40, 4, pit);
  bus.map(0x61, 1, new SystemControlB(pit));
  const out = (port: number, ...bytes: number[]): void => bytes.forEach((byte) => bus.out(port, 1, byte));
  const read = (port: number): number => bus.in(port, 1);
  const word = (port: number): number => read(port) | (read(port) << 8);
  const pass = (n: number): void => {
    clocks += n;
  };
  /** OUT of a counter at each of the next CLK pulses, by read-back of its status. */
  const wave = (counter: number, n: number): string => {
    let text = '';
    for (let i = 0; i < n; i++) {
      clocks++;
      text += (status(counter) & 0x80) !== 0 ? '1' : '0';
    }
    return text;
  };
  const status = (counter: number): number => {
    out(0x43, 0xe0 | (2 << counter));
    return read(0x40 + counter);
  };
  /** What a counter says at each of the next CLK pulses. */
  const counts = (counter: number, n: number): number[] =>
    Array.from({ length: n }, () => {
      clocks++;
      return read(0x40 + counter);
    });
  const gate = (level: number): void => out(0x61, level);
  return { pit, edges, out, read, word, pass, wave, status, counts, gate, now, at: () => clocks };
}
/** Control words of counters 0 and 2, least significant byte only. */
const low0 = (mode: number): number => 0x10 | (mode << 1);
const low2 = (mode: number): number => 0x90 | (mode << 1);

it('counts towards nothing after power-on, and takes no count without a control word', () => {
  const { pit, edges, out, pass } = timer();
  out(0x40, 1, 0);
  pass(100_000);
  pit.settle();
  expect([pit.next, edges]).toEqual([Number.POSITIVE_INFINITY, []]);
});

describe('mode 0, interrupt on terminal count', () => {
  it('OUT goes high N + 1 CLK pulses after the count is written, and stays high', () => {
    const { out, wave } = timer();
    out(0x43, low0(0));
    out(0x40, 4);
    expect(wave(0, 8)).toBe('00001111');
  });

  it('raises the line at that very time', () => {
    const { pit, out, edges, pass, now } = timer();
    out(0x43, 0x30);
    out(0x40, 0x10, 0x27);
    const { next } = pit;
    pass(10_000);
    pit.settle();
    expect(edges).toEqual(['fall 0']);
    pass(1);
    expect(next).toBe(now());
    pit.settle();
    expect([edges, pit.next]).toEqual([['fall 0', 'rise 10001'], Number.POSITIVE_INFINITY]);
  });

  it('the first of two bytes stops the count, the second loads the new one', () => {
    const { out, wave, counts } = timer();
    out(0x43, 0x30);
    out(0x40, 3, 0);
    expect(wave(0, 5)).toBe('00011');
    out(0x40, 2);
    expect(wave(0, 3)).toBe('000');
    out(0x40, 0);
    expect(wave(0, 4)).toBe('0011');
    out(0x43, low0(0));
    out(0x40, 3);
    expect(counts(0, 6)).toEqual([3, 2, 1, 0, 0xff, 0xfe]);
  });

  it('GATE low stops it; a count written meanwhile is loaded', () => {
    const { out, wave, counts, gate } = timer();
    out(0x43, low2(0));
    out(0x42, 3);
    expect(wave(2, 4)).toBe('0000');
    gate(1);
    expect(counts(2, 2)).toEqual([2, 1]);
    gate(0);
    expect(counts(2, 2)).toEqual([1, 1]);
    gate(1);
    expect(wave(2, 2)).toBe('11');
  });
});

describe('mode 1, hardware retriggerable one-shot', () => {
  it('OUT is low for N CLK pulses from the one behind the trigger, anew with each trigger', () => {
    const { out, wave, gate } = timer();
    out(0x43, low2(1));
    out(0x42, 3);
    expect(wave(2, 3)).toBe('111');
    gate(1);
    gate(0);
    expect(wave(2, 5)).toBe('00011');
    gate(1);
    expect(wave(2, 2)).toBe('00');
    gate(0);
    gate(1);
    expect(wave(2, 5)).toBe('00011');
  });

  it('a count written meanwhile waits for the trigger', () => {
    const { out, wave, gate } = timer();
    out(0x43, low2(1));
    out(0x42, 4);
    gate(1);
    wave(2, 1);
    out(0x42, 2);
    expect(wave(2, 4)).toBe('0001');
    gate(0);
    gate(1);
    expect(wave(2, 4)).toBe('0011');
  });
});

describe('mode 2, rate generator', () => {
  it('OUT is low for one CLK in N, when the count is 1', () => {
    const { out, wave, counts } = timer();
    out(0x43, low0(2));
    out(0x40, 3);
    expect(wave(0, 8)).toBe('11011011');
    expect(counts(0, 4)).toEqual([1, 3, 2, 1]);
  });

  it('rises once a period; rises that nobody asked for are one', () => {
    const { out, pit, edges, pass } = timer();
    out(0x43, 0x34);
    out(0x40, 0xe8, 3);
    for (let n = 0; n < 3; n++) {
      pass(n === 0 ? 1001 : 1000);
      pit.settle();
    }
    expect(edges).toEqual(['fall 1001', 'rise 1001', 'fall 2001', 'rise 2001', 'fall 3001', 'rise 3001']);
    pass(10_000);
    pit.settle();
    expect(edges.length).toBe(8);
  });

  it('a new count is loaded at the end of the period', () => {
    const { out, wave, status } = timer();
    out(0x43, low0(2));
    out(0x40, 4);
    wave(0, 2);
    out(0x40, 2);
    expect(status(0) & 0x40).toBe(0x40); // null count
    expect(wave(0, 7)).toBe('1010101');
    expect(status(0) & 0x40).toBe(0);
  });

  it('GATE low makes OUT high at once, its rise starts anew', () => {
    const { out, wave, gate } = timer();
    gate(1);
    out(0x43, low2(2));
    out(0x42, 3);
    expect(wave(2, 3)).toBe('110');
    gate(0);
    expect(wave(2, 4)).toBe('1111');
    gate(1);
    expect(wave(2, 6)).toBe('110110');
  });

  it('a count of 0 is 65536, or 10000 in BCD', () => {
    for (const [control, periods] of [
      [0x34, 65_536],
      [0x35, 10_000],
    ] as const) {
      const { out, pit, edges, pass } = timer();
      out(0x43, control);
      out(0x40, 0, 0);
      pass(periods);
      pit.settle();
      expect(edges).toEqual([`fall ${periods}`]);
      pass(1);
      pit.settle();
      expect(edges.length).toBe(2);
    }
  });

  it('keeps step for hours: an hour has 1,193,182 * 3600 pulses', () => {
    const { out, pit, edges, pass, at } = timer();
    out(0x43, 0x34);
    out(0x40, 0, 0);
    pass(FREQUENCY * 3600);
    pit.settle();
    edges.length = 0;
    const left = 65_536 - ((at() - 1) % 65_536);
    pass(left - 1);
    pit.settle();
    expect(edges).toEqual([`fall ${at()}`]);
    pass(1);
    pit.settle();
    expect(edges.length).toBe(2);
  });
});

describe('mode 3, square wave', () => {
  it('an even count is high and low for its half; the count goes by twos', () => {
    const { out, wave, counts } = timer();
    out(0x43, low0(3));
    out(0x40, 4);
    expect(wave(0, 9)).toBe('110011001');
    expect(counts(0, 4)).toEqual([2, 4, 2, 4]);
  });

  it('an odd count is high for one pulse more', () => {
    const { out, wave, counts } = timer();
    out(0x43, low0(7)); // bit 2 of modes 2 and 3 does not matter
    out(0x40, 5);
    expect(wave(0, 10)).toBe('1110011100');
    expect(counts(0, 5)).toEqual([4, 2, 0, 4, 2]);
  });

  it('a new count is loaded at the end of the half-cycle', () => {
    const { out, wave, pit, edges, pass } = timer();
    out(0x43, low0(3));
    out(0x40, 4);
    wave(0, 1);
    out(0x40, 6);
    expect(wave(0, 10)).toBe('1000111000');
    out(0x40, 4);
    edges.length = 0;
    pass(1);
    pit.settle();
    expect(edges).toEqual(['rise 12']);
  });

  it('the line rises once a period', () => {
    const { out, edges, pit, pass } = timer();
    out(0x43, 0x36);
    out(0x40, 100, 0);
    for (let n = 0; n < 151; n++) {
      pass(1);
      pit.settle();
    }
    expect(edges).toEqual(['fall 51', 'rise 101', 'fall 151']);
  });
});

describe('modes 4 and 5, strobes', () => {
  it('software: OUT is low for one CLK, N + 1 pulses after the count is written, and once', () => {
    const { out, wave, pit } = timer();
    out(0x43, low0(4));
    out(0x40, 3);
    expect(wave(0, 7)).toBe('1110111');
    expect(pit.next).toBe(Number.POSITIVE_INFINITY);
    out(0x40, 2);
    expect(wave(0, 5)).toBe('11011');
  });

  it('hardware: from the trigger on, and anew with each', () => {
    const { out, wave, gate } = timer();
    out(0x43, low2(5));
    out(0x42, 3);
    expect(wave(2, 5)).toBe('11111');
    gate(1);
    expect(wave(2, 2)).toBe('11');
    gate(0);
    gate(1);
    expect(wave(2, 6)).toBe('111011');
  });
});

describe('reading', () => {
  it('both bytes, low first; only one where the control word says so', () => {
    const { out, read, word, pass } = timer();
    out(0x43, 0x30);
    out(0x40, 0x34, 0x12);
    pass(1);
    expect(word(0x40)).toBe(0x1234);
    out(0x43, 0x20);
    out(0x40, 0x12);
    pass(2);
    expect([read(0x40), read(0x40)]).toEqual([0x11, 0x11]);
  });

  it('a latched count stays until it is read, whatever is latched meanwhile', () => {
    const { out, word, pass } = timer();
    out(0x43, 0x34);
    out(0x40, 0, 0x10);
    pass(1);
    out(0x43, 0);
    pass(0x10);
    out(0x43, 0);
    expect([word(0x40), word(0x40)]).toEqual([0x1000, 0xff0]);
  });

  it('in BCD the count is four decimal digits', () => {
    const { out, word, pass } = timer();
    out(0x43, 0x31);
    out(0x40, 0x02, 0x10);
    pass(1 + 5);
    expect(word(0x40)).toBe(0x0997);
    pass(1000);
    expect(word(0x40)).toBe(0x9997);
  });

  it('read-back latches status and counts of the counters that it names; status is read first', () => {
    const { out, read, pass } = timer();
    out(0x43, 0x36);
    out(0x43, 0xe2);
    expect(read(0x40)).toBe(0x80 | 0x40 | 0x36);
    out(0x40, 0x10, 0);
    pass(1);
    out(0x43, 0x90);
    out(0x42, 9);
    out(0x43, 0xc6); // counters 0 and 1
    pass(3);
    expect([read(0x40), read(0x40), read(0x40)]).toEqual([0x80 | 0x36, 0x10, 0]);
    expect(read(0x42)).not.toBe(0x80 | 0x10);
  });

  it('the control word register cannot be read', () => {
    expect(timer().read(0x43)).toBe(0xff);
  });
});

describe('system control port B', () => {
  it('has gate and output of counter 2 and the refresh toggle; bits 0 to 3 read back', () => {
    const { out, read, pass, gate } = timer();
    out(0x43, 0xb0);
    out(0x42, 5, 0);
    gate(0x0d);
    expect(read(0x61) & 0xef).toBe(0x0d);
    pass(5);
    expect(read(0x61) & 0x20).toBe(0x20);
    const before = read(0x61) & 0x10;
    pass(18);
    expect(read(0x61) & 0x10).toBe(before ^ 0x10);
  });
});

describe('system control port A', () => {
  it('has A20 always on, and resets as bit 0 is set', () => {
    let resets = 0;
    const port = new SystemControlA(() => {
      resets++;
    });
    port.out(0, 1, 0);
    expect(port.in()).toBe(2);
    port.out(0, 1, 0x82);
    expect([port.in(), resets]).toEqual([0x82, 0]);
    port.out(0, 1, 1);
    expect([port.in() & 1, resets]).toEqual([0, 1]);
  });
});
