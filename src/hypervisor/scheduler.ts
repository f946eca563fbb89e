// A guest's virtual CPUs take turns. Each has a quantum of instructions, and gives the rest of it away when it halts or spins (PAUSE, MWAIT). How a surface
// cuts the run into slices decides nothing: a turn is not cut, since the exit would be there for the guest to see (VMRUN counts PAUSEs anew). When all sleep, the guest's time goes on to its next timer.

import { instructionsUntil } from '../machine/time.ts';
import type { Outcome } from './outcome.ts';
import { Activity } from './activity.ts';
import type { Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** How the next one is chosen: in order, or by chance, and then the length of its turn, too. */
export const schedules = ['round-robin', 'random'] as const;
export type SchedulePolicy = (typeof schedules)[number];

export type Schedule = {
  readonly policy: SchedulePolicy;
  /** Instructions of a turn; by chance: from one to twice as many. */
  readonly quantum: number;
  /** 32 bits from the machine's seed. */
  readonly chance: () => number;
  /** What it draws from, for snapshots. */
  readonly stream?: Stateful | undefined;
};

/** Long enough that compiled code gets to run. */
export const DEFAULT_QUANTUM = 10_000;
const NEVER = Number.POSITIVE_INFINITY;
/** Turns that are longer are cut after all: a surface wants its own, too. */
const LONGEST_UNCUT = 2_000_000;
/** Wakes in a row that turn out not to be any: the guest then waits for APIC timers only, whose interrupts nothing takes the place of. */
const MOST_FALSE_WAKES = 64;

/** By the account of what the guest has consumed: where a slice ends, where a turn that is not cut does, and how far the virtual CPU may run. */
type Slice = { readonly end: number; readonly last: number; readonly until: number };

export class Scheduler implements Stateful {
  readonly #vm: Vm;
  readonly #schedule: Schedule;
  /** Which processor a virtual CPU runs on, by its number. */
  readonly #processor: (vcpu: number) => number;
  /** Whose turn it is, and when it ends by the account of what the guest has consumed. */
  #turn: Vcpu | null = null;
  #end = 0;
  /** The slice that was left because a run stopped at an exit: it is gone on with. */
  #slice: Slice | null = null;

  constructor(vm: Vm, schedule: Schedule, processor: (vcpu: number) => number) {
    this.#vm = vm;
    this.#schedule = schedule;
    this.#processor = processor;
  }

  /**
   * Runs until the guest's run ends (an Outcome), or so many instructions or the exits of a slice are used up (null). Several virtual CPUs go on to the
   * end of a turn, but never beyond `limit` instructions. A slice that ended at an exit (Vm.stopsAt) is gone on with, whatever the budget.
   */
  run(budget: number, limit = NEVER): Outcome | null {
    const vm = this.#vm;
    let slice = this.#slice;
    this.#slice = null;
    const { consumed } = vm;
    const end = slice?.end ?? consumed + budget;
    const last =
      slice?.last ?? consumed + (vm.vcpus.length === 1 ? Math.min(budget, limit) : Math.min(Math.max(budget, LONGEST_UNCUT), limit));
    if (slice === null) vm.beginSlice();
    for (;;) {
      const vcpu = slice === null ? this.#next() : this.#turn;
      if (vcpu === null) {
        if (this.#idle()) continue;
        return { kind: 'halted', interruptsEnabled: vm.vcpus.some((any) => any.activity === Activity.HALTED && any.interruptsEnabled) };
      }
      if (slice === null && (vm.consumed >= end || vm.exitsLeft <= 0)) return null;
      const until: number = slice?.until ?? vm.consumed + this.#allowance(vcpu, last);
      slice = null;
      const outcome = vm.run(vcpu, this.#processor(vcpu.number), until - vm.consumed);
      if (vcpu.pendingExit !== null) {
        this.#slice = { end, last, until };
        return null;
      }
      if (vcpu.yielded) {
        vcpu.yielded = false;
        this.#turn = null;
        this.#behind = vcpu.number + 1; // or it would be its own successor
      }
      if (outcome !== null) return outcome;
    }
  }

  /** The virtual CPU with an exit that nobody has looked at yet; null: there is none. */
  get pending(): Vcpu | null {
    return this.#slice === null ? null : this.#turn;
  }

  /** Is there nothing to do but wait for a timer, or for a key that somebody presses? */
  get asleep(): boolean {
    return this.#vm.vcpus.every((vcpu) => !vcpu.awake());
  }

  /** Whose turn it is now; null: all sleep. */
  #next(): Vcpu | null {
    const { vcpus, consumed } = this.#vm;
    const turn = this.#turn;
    if (turn !== null && consumed < this.#end && turn.awake()) return turn;
    const ready = vcpus.length === 1 ? vcpus.filter((vcpu) => vcpu.awake()) : this.#inOrder(turn);
    if (ready.length === 0) {
      this.#turn = null;
      return null;
    }
    const { policy, quantum, chance } = this.#schedule;
    const random = policy === 'random' && vcpus.length > 1;
    const vcpu = ready[random ? chance() % ready.length : 0]!;
    this.#turn = vcpu;
    this.#end = vcpus.length === 1 ? NEVER : consumed + (random ? 1 + (chance() % (2 * quantum)) : quantum);
    return vcpu;
  }

  /** Those that are awake, beginning behind the one whose turn it was. */
  #inOrder(last: Vcpu | null): Vcpu[] {
    const { vcpus } = this.#vm;
    const from = last === null ? this.#behind : last.number + 1;
    this.#behind = from;
    return Array.from(vcpus, (_, n) => vcpus[(from + n) % vcpus.length]!).filter((vcpu) => vcpu.awake());
  }
  #behind = 0;

  /** How far it may run: to the end of its turn, and no further than a timer that may wake another. */
  #allowance(vcpu: Vcpu, last: number): number {
    const { consumed, vcpus, clock } = this.#vm;
    let most = Math.min(last, this.#end) - consumed;
    if (vcpus.length === 1) return most;
    for (const other of vcpus) {
      if (other === vcpu || other.activity !== Activity.HALTED || other.awake()) continue; // awake: it has its turn when this one is over
      const { deadline } = other.interrupts;
      if (deadline !== NEVER) most = Math.min(most, instructionsUntil(deadline, clock.time));
    }
    return most;
  }

  /** All sleep: time passes until a timer wakes somebody. False: nothing ever will. */
  #idle(): boolean {
    const vm = this.#vm;
    for (let n = 0; n < 2 * MOST_FALSE_WAKES; n++) {
      let deadline = NEVER;
      for (const { activity, interruptsEnabled, interrupts } of vm.vcpus) {
        if (activity !== Activity.HALTED || !interruptsEnabled) continue;
        deadline = Math.min(deadline, n < MOST_FALSE_WAKES ? interrupts.deadline : interrupts.apic.deadline);
      }
      if (deadline === NEVER) return false;
      vm.idle(instructionsUntil(deadline, vm.clock.time));
      if (!this.asleep) return true;
    }
    return false;
  }

  exchange(fields: Fields): void {
    const { vcpus } = this.#vm;
    this.#turn = vcpus[fields.value(this.#turn?.number ?? -1)] ?? null;
    this.#end = fields.value(this.#end);
    this.#behind = fields.value(this.#behind);
    this.#slice = fields.value(this.#slice);
    if (this.#schedule.stream !== undefined) fields.part(this.#schedule.stream);
  }
}
