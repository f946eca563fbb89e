// Runs a hostile guest with the sanitizer and the label reader attached, next to the same guest without: the observers change nothing, throw nothing, stay
// small and do not keep anybody waiting. Then back and forth between snapshots: what is found is the same. And `conform` judges it, or says why not.

import { serialize } from 'node:v8';
import { type GuestOptions, defaults, UserError } from '../../src/cbit.ts';
import { type Choice, judgeAll, plan } from '../../src/conform/campaign.ts';
import { TraceHash } from '../../src/debug/trace-hash.ts';
import { Tracer } from '../../src/debug/tracer.ts';
import type { Finding } from '../../src/sanitizer/finding.ts';
import { attachSanitizer, type Sanitizer } from '../../src/sanitizer/sanitizer.ts';
import { Taint } from '../../src/taint/taint.ts';
import { VirtualMachine } from '../../src/virtual-machine.ts';
import { Dice } from '../fuzz-states/dice.ts';
import { observedCase } from './cases.ts';

/** A slice may take so long for each instruction of it, and so long besides: also on a machine that does other things. */
const MOST_MICROSECONDS = 2000;
const PATIENCE = 3000;
/** Bytes of what the observers remember, but for labels. */
const MOST_REMEMBERED = 24 << 20;
const MOST_FINDINGS = 1000;
const SLICE = 1000;
/** Cells of `conform` for a guest. */
const CELLS = 12;

export type Verdict = { readonly kind: string; readonly outcome: string; readonly faults: readonly string[]; readonly findings: number };

/** A run as it is judged: with observers or without. */
class Run {
  readonly vm: VirtualMachine;
  readonly #hash = new TraceHash();
  readonly #sanitizer: Sanitizer | null = null;
  readonly #taint: Taint | null = null;
  #sent = '';
  #read = 0;

  constructor({ input, ...options }: GuestOptions, observed: boolean) {
    const tracer = new Tracer([this.#hash]);
    this.vm = new VirtualMachine({
      ...defaults,
      ...options,
      ...(observed ? { tier: 'labels' as const } : {}),
      trace: tracer,
      serial: {
        transmit: (byte) => {
          this.#sent += String.fromCharCode(byte);
        },
        next: () => input?.[this.#read++],
      },
    });
    const { vm } = this;
    tracer.clock = () => vm.machine.retired;
    vm.capture('hash', this.#hash);
    vm.capture('ends', {
      capture: () => [this.#sent, this.#read] as const,
      restore: ([sent, read]: readonly [string, number]) => {
        this.#sent = sent;
        this.#read = read;
      },
    });
    if (!observed) return;
    try {
      this.#sanitizer = attachSanitizer(vm);
      vm.capture('sanitizer', this.#sanitizer);
      // The command line refuses labels where nothing is hidden from the hypervisor.
      if ((options.technology ?? defaults.technology) !== 'sev-es') return;
      this.#taint = new Taint(vm, [{ gpa: 0x1000, length: 0x2000 }]);
      vm.capture('taint', this.#taint);
    } catch (error) {
      vm.dispose();
      throw error;
    }
  }

  /** What came of it: the same for the same run. It is over then, until it is taken back. */
  end(): { readonly outcome: string; readonly findings: readonly Finding[] } {
    const { vm } = this;
    const { machine } = vm;
    const hash = this.#hash.finish({ pages: machine.pages, read: (page, into) => machine.readCiphertext(page, into) });
    this.#sanitizer?.finish();
    this.#taint?.finish();
    return {
      outcome: `${JSON.stringify(vm.result(), (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))} ${hash} ${JSON.stringify(this.#sent)}`,
      findings: [...(this.#sanitizer?.findings ?? []), ...(this.#taint?.findings ?? [])],
    };
  }

  /** Bytes of what is remembered, but for labels, of which there are as many as there is memory. */
  get remembered(): number {
    const taint = this.#taint?.capture();
    const tracker = taint === undefined ? null : { ...taint.tracker, memory: null };
    return serialize([this.#sanitizer?.capture(), taint?.findings, tracker]).length;
  }
}

const text = (findings: readonly Finding[]): string =>
  findings
    .map(({ rule, side, rip, exit, text: said, at, times }) => [rule, side, rip.toString(16), exit, said, at, times].join(' | '))
    .join('\n');

/** The first thing that differs. */
function difference(expected: string, got: string): string {
  let at = 0;
  while (at < expected.length && expected[at] === got[at]) at++;
  const from = Math.max(0, at - 80);
  return `...${got.slice(from, at + 120)}... instead of ...${expected.slice(from, at + 120)}...`;
}

const reason = (error: unknown): string => (error instanceof Error ? String(error.stack) : String(error));

export class Judge {
  /** Milliseconds: the longest slice of all. */
  slowest = 0;
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  judge(seed: string, number: number): Verdict {
    const { kind, options } = observedCase(seed, number);
    const faults: string[] = [];
    let plain: { readonly outcome: string; readonly kind: string } | null = null;
    let findings = 0;
    const attempt = (what: string, act: () => void): void => {
      try {
        act();
      } catch (error) {
        faults.push(`${what}: ${reason(error)}`);
      }
    };
    try {
      plain = this.#plain(options);
    } catch (error) {
      return error instanceof UserError
        ? { kind, outcome: 'mistake', faults, findings }
        : { kind, outcome: 'thrown', faults: [`plain: ${reason(error)}`], findings };
    }
    const { outcome } = plain;
    attempt('observed', () => {
      findings = this.#observed(options, outcome, new Dice(seed, `branches ${number}`), faults);
    });
    attempt('conform', () => this.#conform(options, new Dice(seed, `conform ${number}`)));
    return { kind, outcome: plain.kind, faults, findings };
  }

  #plain(options: GuestOptions): { readonly outcome: string; readonly kind: string } {
    const run = new Run(options, false);
    try {
      while (!run.vm.advance(SLICE));
      return { outcome: run.end().outcome, kind: run.vm.outcome?.kind ?? '' };
    } finally {
      run.vm.dispose();
    }
  }

  /** Straight on, then from snapshots on: the same each time. Gives how much was found. */
  #observed(options: GuestOptions, plain: string, dice: Dice, faults: string[]): number {
    const run = new Run(options, true);
    const { vm } = run;
    try {
      const start = vm.snapshot();
      let slices = 0;
      let over = false;
      while (!over) {
        const began = this.#now();
        const before = vm.consumed;
        over = vm.advance(SLICE);
        const milliseconds = this.#now() - began;
        this.slowest = Math.max(this.slowest, milliseconds);
        if (milliseconds > PATIENCE + ((vm.consumed - before) * MOST_MICROSECONDS) / 1000)
          faults.push(`${vm.consumed - before} instructions took ${milliseconds.toFixed(0)} ms`);
        slices++;
      }
      const { remembered } = run;
      if (remembered > MOST_REMEMBERED) faults.push(`the observers remember ${remembered} bytes`);
      const straight = run.end();
      const found = text(straight.findings);
      if (straight.outcome !== plain) faults.push(`observed, it came to ${difference(plain, straight.outcome)}`);
      if (straight.findings.length > 2 * MOST_FINDINGS) faults.push(`${straight.findings.length} findings`);
      let [from, at] = [start, 0];
      for (let n = 0; n < 3; n++) {
        vm.restore(from);
        const stop = at + dice.below(slices - at + 1);
        for (; at < stop; at++) vm.advance(SLICE);
        from = vm.snapshot();
        while (!vm.advance(SLICE));
        const again = run.end();
        if (again.outcome !== straight.outcome)
          faults.push(`from slice ${at} on it came to ${difference(straight.outcome, again.outcome)}`);
        const other = text(again.findings);
        if (other !== found) faults.push(`from slice ${at} on it found ${difference(found, other)}`);
      }
      return straight.findings.length;
    } finally {
      vm.dispose();
    }
  }

  #conform(options: GuestOptions, dice: Dice): void {
    const { input: _, technology: __, maxInstructions, ...rest } = options;
    const guest = { ...defaults, ...rest, technology: 'sev-es' as const };
    const choice: Choice = { occurrences: 1, event: () => dice.chance(64), variant: () => dice.chance(32) };
    try {
      const steps = plan(guest, choice, maxInstructions ?? null);
      for (;;) {
        const { done, value } = steps.next();
        if (done !== true) continue;
        let cells = 0;
        for (const cell of judgeAll(guest, value)) if (cell !== null && ++cells >= CELLS) break;
        return;
      }
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
    }
  }
}
