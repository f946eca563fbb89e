// The timer of a local APIC (APM vol. 2, 16.4.1): counts down in ticks of a bus clock of 1 GHz, so that a tick is a nanosecond of
// virtual time, divided as the divide configuration register says; once, periodically, or until the time-stamp counter reaches a
// value (TSC-deadline mode, which CPUID Fn0000_0001 ECX[24] reports). Nothing counts here: the count follows from the time, and
// `next` tells when it will be zero.

import type { Fields, Stateful } from '../util/stateful.ts';

/** Virtual time as the timer sees it. */
export interface ApicClock {
  /** Nanoseconds since power-on. */
  now(): number;
  /** The guest's time-stamp counter. */
  tsc(): bigint;
  /** When the time-stamp counter will have reached a value, if nobody sets it: nanoseconds since power-on; Infinity: never. */
  whenTsc(value: bigint): number;
}

export const TimerMode = { ONE_SHOT: 0, PERIODIC: 1, TSC_DEADLINE: 2 } as const;
export type TimerMode = (typeof TimerMode)[keyof typeof TimerMode];

const NEVER = Number.POSITIVE_INFINITY;

export class ApicTimer implements Stateful {
  readonly #clock: ApicClock;
  /** When the count will be zero next; Infinity: the timer stands still. */
  next = NEVER;
  #mode: TimerMode = TimerMode.ONE_SHOT;
  #initial = 0;
  /** Nanoseconds for one count. */
  #tick = 2;
  #divide = 0;
  #deadline = 0n;

  constructor(clock: ApicClock) {
    this.#clock = clock;
  }

  reset(): void {
    this.next = NEVER;
    this.#mode = TimerMode.ONE_SHOT;
    this.#initial = 0;
    this.#tick = 2;
    this.#divide = 0;
    this.#deadline = 0n;
  }

  get mode(): TimerMode {
    return this.#mode;
  }

  /** To and from TSC-deadline mode the timer is disarmed; between the others it goes on. */
  set mode(mode: TimerMode) {
    if (mode === this.#mode) return;
    if (mode === TimerMode.TSC_DEADLINE || this.#mode === TimerMode.TSC_DEADLINE) {
      this.next = NEVER;
      this.#initial = 0;
      this.#deadline = 0n;
    }
    this.#mode = mode;
  }

  get initial(): number {
    return this.#initial;
  }

  /** Starts to count; 0 stops. Nobody listens in TSC-deadline mode. */
  set initial(count: number) {
    if (this.#mode === TimerMode.TSC_DEADLINE) return;
    this.#initial = count;
    this.next = count === 0 ? NEVER : this.#clock.now() + count * this.#tick;
  }

  /** What is left of the count. */
  get current(): number {
    return this.next === NEVER || this.#mode === TimerMode.TSC_DEADLINE
      ? 0
      : Math.max(0, Math.ceil((this.next - this.#clock.now()) / this.#tick));
  }

  get divide(): number {
    return this.#divide;
  }

  /** Bits 3, 1, 0: 000b is 2, 110b is 128, 111b is 1. The count that is left goes on at the new speed. */
  set divide(value: number) {
    const left = this.current;
    this.#divide = value & 0xb;
    const power = ((value & 3) | ((value & 8) >>> 1)) + 1;
    this.#tick = 1 << (power & 7);
    if (this.next !== NEVER && this.#mode !== TimerMode.TSC_DEADLINE) this.next = this.#clock.now() + left * this.#tick;
  }

  /** The MSR TSC_DEADLINE reads 0 unless it is armed. */
  get deadline(): bigint {
    return this.#mode === TimerMode.TSC_DEADLINE ? this.#deadline : 0n;
  }

  set deadline(value: bigint) {
    if (this.#mode !== TimerMode.TSC_DEADLINE) return;
    this.#deadline = value;
    this.next = value === 0n ? NEVER : this.#clock.whenTsc(value);
  }

  /** The time-stamp counter was set. */
  retime(): void {
    if (this.#mode === TimerMode.TSC_DEADLINE && this.#deadline !== 0n) this.next = this.#clock.whenTsc(this.#deadline);
  }

  /** Has the count been zero since it was last asked? However often: once. */
  expired(): boolean {
    const now = this.#clock.now();
    if (now < this.next) return false;
    if (this.#mode === TimerMode.PERIODIC && this.#initial !== 0) {
      const period = this.#initial * this.#tick;
      this.next += (Math.floor((now - this.next) / period) + 1) * period;
    } else {
      this.next = NEVER;
      this.#deadline = 0n;
    }
    return true;
  }

  exchange(fields: Fields): void {
    this.next = fields.value(this.next);
    this.#mode = fields.value(this.#mode);
    this.#initial = fields.value(this.#initial);
    this.#tick = fields.value(this.#tick);
    this.#divide = fields.value(this.#divide);
    this.#deadline = fields.value(this.#deadline);
  }
}
