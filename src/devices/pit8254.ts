// Intel 8254 programmable interval timer, clocked with 1.193182 MHz as on a PC. Words are those of its data sheet: CLK is a period of
// that clock, CE the counting element, OUT an output. Nothing counts here: what a counter and its output are at some CLK follows from
// the CLK at which CE was loaded, and `next` tells when OUT of counter 0, the interrupt line, will rise.
// At power-on mode, count and output are undefined: here OUT is high, and nothing counts.

import type { Line, PortDevice } from './device.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const FREQUENCY = 1_193_182;
const SECOND = 1e9;
const NEVER = Number.POSITIVE_INFINITY;
const COUNTERS = 3;
const CONTROL = 3;

/** Modes by number; those with bit 2 set and bit 1 too are 2 and 3. */
const Mode = { TERMINAL_COUNT: 0, ONE_SHOT: 1, RATE: 2, SQUARE_WAVE: 3, SOFTWARE_STROBE: 4, HARDWARE_STROBE: 5 } as const;
const Access = { LATCH: 0, LOW: 1, HIGH: 2, BOTH: 3 } as const;
const READ_BACK = 3;
const ReadBack = { NO_COUNT: 1 << 5, NO_STATUS: 1 << 4 } as const;
const Status = { OUT: 1 << 7, NULL_COUNT: 1 << 6 } as const;

/** CLK pulses since power-on. Whole seconds apart, so that nothing is lost in a double. */
const clocksAt = (now: number): number => Math.floor(now / SECOND) * FREQUENCY + Math.floor(((now % SECOND) * FREQUENCY) / SECOND);
/** The nanosecond at which so many pulses have come. */
const timeOf = (clocks: number): number =>
  clocks === NEVER ? NEVER : Math.floor(clocks / FREQUENCY) * SECOND + Math.ceil(((clocks % FREQUENCY) * SECOND) / FREQUENCY);

const fromBcd = (value: number): number => [12, 8, 4, 0].reduce((sum, shift) => sum * 10 + ((value >>> shift) & 0xf), 0);
const toBcd = (value: number): number =>
  (Math.floor(value / 1000) << 12) | ((Math.floor(value / 100) % 10) << 8) | ((Math.floor(value / 10) % 10) << 4) | (value % 10);

class Counter implements Stateful {
  #mode: number = Mode.SQUARE_WAVE;
  #access: number = Access.BOTH;
  #bcd = false;
  /** It has had a control word. */
  #programmed = false;
  gate: boolean;
  /** What CE counts down from. */
  #count = 0;
  /** The CLK at which CE has that; NEVER: it does not count. */
  #loaded = NEVER;
  /** How far CE had got when the gate stopped it; -1: it runs. */
  #stopped = -1;
  /** CE and OUT until it is loaded. */
  #before = 0;
  #outBefore = true;
  /** A count that waits in CR: for the end of a cycle (modes 2, 3: when that is), or for a trigger. */
  #waiting = 0;
  #waitsUntil = NEVER;
  #nullCount = false;
  #low = 0;
  #writesHigh = false;
  #readsHigh = false;
  #latched = -1;
  #status = -1;

  constructor(gate: boolean) {
    this.gate = gate;
  }

  get #modulus(): number {
    return this.#bcd ? 10_000 : 0x1_0000;
  }
  get #periodic(): boolean {
    return this.#mode === Mode.RATE || this.#mode === Mode.SQUARE_WAVE;
  }
  get #triggered(): boolean {
    return this.#mode === Mode.ONE_SHOT || this.#mode === Mode.HARDWARE_STROBE;
  }

  /** CLK pulses since CE was loaded; negative: not yet. */
  #elapsed(t: number): number {
    return this.#stopped >= 0 ? this.#stopped : this.#loaded === NEVER ? -1 : t - this.#loaded;
  }

  /** CLK pulses of the part of a cycle in which OUT is high in mode 3: one more than it is low if the count is odd. */
  #highPart(count: number): number {
    return Math.ceil(count / 2);
  }

  /** What has happened by itself until now: a new count was loaded at the end of the cycle, or half-cycle, of the old one. */
  advance(t: number): void {
    if (t >= this.#loaded && this.#waitsUntil === NEVER && this.#waiting === 0) this.#nullCount = false;
    if (t < this.#waitsUntil) return;
    const at = this.#waitsUntil;
    const startsLow = this.#mode === Mode.SQUARE_WAVE && (at - this.#loaded) % this.#count !== 0;
    this.#count = this.#waiting;
    this.#loaded = startsLow ? at - this.#highPart(this.#count) : at;
    this.#waiting = 0;
    this.#waitsUntil = NEVER;
    this.#nullCount = false;
  }

  out(t: number): boolean {
    const elapsed = this.#elapsed(t);
    if (elapsed < 0) return this.#outBefore;
    switch (this.#mode) {
      case Mode.TERMINAL_COUNT:
      case Mode.ONE_SHOT:
        return elapsed >= this.#count;
      case Mode.RATE:
        return !this.gate || elapsed % this.#count !== this.#count - 1;
      case Mode.SQUARE_WAVE:
        return !this.gate || elapsed % this.#count < this.#highPart(this.#count);
      default:
        return elapsed !== this.#count;
    }
  }

  /** The first CLK behind `t` at which OUT rises, if nobody writes; NEVER: it will not. */
  nextRise(t: number): number {
    if (this.#loaded === NEVER || this.#stopped >= 0 || (this.#periodic && !this.gate)) return NEVER;
    const count = this.#count;
    let at: number;
    if (!this.#periodic) at = this.#loaded + count + (this.#mode >= Mode.SOFTWARE_STROBE ? 1 : 0);
    else if (this.#waitsUntil !== NEVER) {
      const middle = this.#mode === Mode.SQUARE_WAVE && (this.#waitsUntil - this.#loaded) % count !== 0;
      at = this.#waitsUntil + (middle ? Math.max(this.#waiting - this.#highPart(this.#waiting), 1) : 0);
    } else if (count < 2) return NEVER;
    else at = this.#loaded + (Math.floor(Math.max(t - this.#loaded, 0) / count) + 1) * count;
    return at > t ? at : NEVER;
  }

  /** What CE holds. */
  #element(t: number): number {
    const elapsed = this.#elapsed(t);
    const count = this.#count;
    if (elapsed < 0) return this.#before;
    if (this.#mode === Mode.RATE) return count - (elapsed % count);
    if (this.#mode === Mode.SQUARE_WAVE) {
      const phase = elapsed % count;
      const high = this.#highPart(count);
      return (count & ~1) - 2 * (phase < high ? phase : phase - high);
    }
    const left = (count - elapsed) % this.#modulus;
    return left < 0 ? left + this.#modulus : left;
  }

  #shown(t: number): number {
    const value = this.#element(t) % this.#modulus;
    return this.#bcd ? toBcd(value) : value;
  }

  // --- ports -------------------------------------------------------------------------------------------------------------------

  /** A control word for this counter. */
  control(t: number, word: number): void {
    const access = (word >>> 4) & 3;
    if (access === Access.LATCH) {
      this.#latch(t);
      return;
    }
    this.#before = this.#element(t) % this.#modulus;
    const mode = (word >>> 1) & 7;
    this.#access = access;
    this.#mode = mode > Mode.HARDWARE_STROBE ? mode & 3 : mode;
    this.#bcd = (word & 1) !== 0;
    this.#programmed = true;
    this.#outBefore = this.#mode !== Mode.TERMINAL_COUNT;
    this.#loaded = NEVER;
    this.#stopped = -1;
    this.#waiting = 0;
    this.#waitsUntil = NEVER;
    this.#nullCount = true;
    this.#writesHigh = false;
    this.#readsHigh = false;
    this.#latched = -1;
    this.#status = -1;
  }

  readBack(t: number, word: number): void {
    if ((word & ReadBack.NO_COUNT) === 0) this.#latch(t);
    if ((word & ReadBack.NO_STATUS) !== 0 || this.#status >= 0) return;
    const bits = (this.#access << 4) | (this.#mode << 1) | (this.#bcd ? 1 : 0);
    this.#status = (this.out(t) ? Status.OUT : 0) | (this.#nullCount ? Status.NULL_COUNT : 0) | bits;
  }

  /** A count that is latched stays so until it is read. */
  #latch(t: number): void {
    if (this.#latched < 0) this.#latched = this.#shown(t);
  }

  /** The status first if it is latched, then the count. */
  read(t: number): number {
    if (this.#status >= 0) {
      const status = this.#status;
      this.#status = -1;
      return status;
    }
    const value = this.#latched >= 0 ? this.#latched : this.#shown(t);
    const high = this.#access === Access.HIGH || this.#readsHigh;
    if (this.#access === Access.BOTH) this.#readsHigh = !this.#readsHigh;
    if (!this.#readsHigh) this.#latched = -1;
    return high ? value >>> 8 : value & 0xff;
  }

  write(t: number, byte: number): void {
    if (!this.#programmed) return;
    if (this.#access === Access.BOTH && !this.#writesHigh) {
      this.#writesHigh = true;
      this.#low = byte;
      // In mode 0 the first of two bytes stops the count, and OUT is low at once.
      if (this.#mode === Mode.TERMINAL_COUNT) this.#hold(t, false);
      return;
    }
    this.#writesHigh = false;
    const written = this.#access === Access.LOW ? byte : (byte << 8) | (this.#access === Access.BOTH ? this.#low : 0);
    const count = (this.#bcd ? fromBcd(written) : written) || this.#modulus;
    this.#nullCount = true;
    if (this.#triggered || (this.#periodic && !this.gate)) this.#waiting = count;
    else if (this.#periodic && t >= this.#loaded) {
      this.#waiting = count;
      this.#waitsUntil = this.#boundary(t);
    } else {
      this.#load(t, count, this.#mode !== Mode.TERMINAL_COUNT);
      if (!this.gate) this.#stopped = 0;
    }
  }

  /** End of the cycle, in mode 3 of the half-cycle. */
  #boundary(t: number): number {
    const phase = (t - this.#loaded) % this.#count;
    const high = this.#highPart(this.#count);
    return t - phase + (this.#mode === Mode.SQUARE_WAVE && phase < high ? high : this.#count);
  }

  /** CE is loaded at the next CLK. */
  #load(t: number, count: number, outBefore: boolean): void {
    this.#hold(t, outBefore);
    this.#count = count;
    this.#loaded = t + 1;
    this.#waiting = 0;
    this.#waitsUntil = NEVER;
  }

  /** CE stands still. */
  #hold(t: number, out: boolean): void {
    this.#before = this.#element(t) % this.#modulus;
    this.#outBefore = out;
    this.#loaded = NEVER;
    this.#stopped = -1;
  }

  /** The gate input. Its rise is the trigger. */
  setGate(t: number, gate: boolean): void {
    if (gate === this.gate) return;
    const rising = gate;
    const out = this.out(t);
    if (this.#triggered) {
      const count = this.#waiting || this.#count;
      if (rising && count !== 0) this.#load(t, count, out);
    } else if (this.#periodic) {
      // Low: OUT is high and nothing counts; the rise loads CE anew.
      if (rising) {
        const count = this.#waiting || this.#count;
        if (count !== 0 && (this.#waiting !== 0 || this.#stopped >= 0)) this.#load(t, count, true);
      } else if (this.#loaded !== NEVER) {
        this.#stopped = Math.max(t - this.#loaded, 0);
        this.#waitsUntil = NEVER;
      }
    } else if (this.#loaded !== NEVER) {
      if (rising) {
        this.#loaded = t - this.#stopped;
        this.#stopped = -1;
      } else this.#stopped = Math.max(t - this.#loaded, 0);
    }
    this.gate = gate;
  }

  exchange(fields: Fields): void {
    this.#mode = fields.value(this.#mode);
    this.#access = fields.value(this.#access);
    this.#bcd = fields.value(this.#bcd);
    this.#programmed = fields.value(this.#programmed);
    this.gate = fields.value(this.gate);
    this.#count = fields.value(this.#count);
    this.#loaded = fields.value(this.#loaded);
    this.#stopped = fields.value(this.#stopped);
    this.#before = fields.value(this.#before);
    this.#outBefore = fields.value(this.#outBefore);
    this.#waiting = fields.value(this.#waiting);
    this.#waitsUntil = fields.value(this.#waitsUntil);
    this.#nullCount = fields.value(this.#nullCount);
    this.#low = fields.value(this.#low);
    this.#writesHigh = fields.value(this.#writesHigh);
    this.#readsHigh = fields.value(this.#readsHigh);
    this.#latched = fields.value(this.#latched);
    this.#status = fields.value(this.#status);
  }
}

export class Pit8254 implements PortDevice, Stateful {
  readonly name = '8254 timer';
  readonly width = 1;
  readonly #now: () => number;
  readonly #line: Line;
  /** The gates of 0 and 1 are wired high, that of 2 is a bit of system control port B. */
  readonly #counters = [new Counter(true), new Counter(true), new Counter(false)] as const;
  #rise = NEVER;
  #level = true;
  /** When OUT of counter 0 rises next: nanoseconds since power-on; Infinity: never. */
  next = NEVER;

  /** `now`: nanoseconds of virtual time. `line`: OUT of counter 0. */
  constructor(now: () => number, line: Line) {
    this.#now = now;
    this.#line = line;
  }

  /** Lets OUT of counter 0 do what it has to have done by now: rises, however many, are one. */
  settle(): void {
    this.#settle(clocksAt(this.#now()));
  }

  in(offset: number): number {
    const t = this.#current();
    return offset === CONTROL ? 0xff : (this.#counters[offset]?.read(t) ?? 0xff);
  }

  out(offset: number, _size: number, value: number): void {
    const t = this.#current();
    if (offset !== CONTROL) this.#counters[offset]?.write(t, value);
    else if (value >>> 6 !== READ_BACK) this.#counters[value >>> 6]?.control(t, value);
    else for (let n = 0; n < COUNTERS; n++) if ((value & (2 << n)) !== 0) this.#counters[n]?.readBack(t, value);
    this.#publish(t);
  }

  /** Gate and output of counter 2, which is the speaker's. */
  get gate2(): boolean {
    return this.#counters[2].gate;
  }
  set gate2(level: boolean) {
    this.#counters[2].setGate(this.#current(), level);
  }
  get out2(): boolean {
    return this.#counters[2].out(this.#current());
  }

  /** CLK pulses since power-on, for what is divided from the same clock. */
  get clocks(): number {
    return clocksAt(this.#now());
  }

  #current(): number {
    const t = this.clocks;
    this.#settle(t);
    for (const counter of this.#counters) counter.advance(t);
    return t;
  }

  #settle(t: number): void {
    if (t >= this.#rise) {
      this.#set(false);
      this.#set(true);
    }
    this.#counters[0].advance(t);
    this.#publish(t);
  }

  #publish(t: number): void {
    this.#set(this.#counters[0].out(t));
    const rise = this.#counters[0].nextRise(t);
    if (rise === this.#rise) return;
    this.#rise = rise;
    this.next = timeOf(rise);
  }

  #set(level: boolean): void {
    if (level === this.#level) return;
    this.#level = level;
    this.#line(level);
  }

  exchange(fields: Fields): void {
    for (const counter of this.#counters) fields.part(counter);
    this.#rise = fields.value(this.#rise);
    this.#level = fields.value(this.#level);
    this.next = fields.value(this.next);
  }
}
