// The moment at which memory is looked at: an exit or #VC by name and count, found in the trace as it happens, or a number of instructions.
// An exit is looked at before the hypervisor answers it, a #VC before the guest's handler runs.

import { exitCodeOf, exitName } from '../arch/exit-code.ts';
import type { TraceEvent } from '../util/trace.ts';
import { UserError } from '../util/errors.ts';
import type { TraceReader } from './tracer.ts';

export type Moment =
  | { readonly kind: 'end' }
  | { readonly kind: 'instructions'; readonly count: number }
  | { readonly kind: 'exit'; readonly code: number; readonly count: number };

const factors: Readonly<Record<string, number>> = { '': 1, K: 1e3, M: 1e6, G: 1e9 };
const given = 'give an exit such as VMGEXIT or cpuid#3, or a count of instructions such as 1000000';

/** `--at`: `vmgexit`, `cpuid#3`, `1000000`, `1M`. */
export function parseMoment(text: string): Moment {
  const [, digits, unit = ''] = /^(\d[\d_]*)([kmg]?)$/i.exec(text) ?? [];
  if (digits !== undefined) {
    const count = Number(digits.replaceAll('_', '')) * (factors[unit.toUpperCase()] ?? 1);
    if (Number.isSafeInteger(count)) return { kind: 'instructions', count };
    throw new UserError(`--at ${text}: ${given}`);
  }
  const [, name = '', nth = '1'] = /^(?:vmexit_)?([a-z]\w*)(?:#(\d{1,15}))?$/i.exec(text) ?? [];
  const code = exitCodeOf(name);
  if (code === undefined) throw new UserError(`--at ${text}: ${given}`);
  if (Number(nth) < 1) throw new UserError(`--at ${text}: exits are counted from 1: give ${exitName(code)}#1`);
  return { kind: 'exit', code, count: Number(nth) };
}

export function describeMoment(moment: Moment): string {
  if (moment.kind === 'end') return 'at the end';
  if (moment.kind === 'instructions') return `after ${new Intl.NumberFormat('en-US').format(moment.count)} instructions`;
  return `at ${exitName(moment.code)}${moment.count > 1 ? `, number ${moment.count}` : ''}`;
}

/** Waits in the trace for the n-th exit or #VC of a code, and calls once while it happens. */
export class ExitWatch implements TraceReader {
  seen = 0;
  readonly #code: number;
  readonly #count: number;
  readonly #reached: (event: TraceEvent) => void;

  constructor({ code, count }: Extract<Moment, { kind: 'exit' }>, reached: (event: TraceEvent) => void) {
    this.#code = code;
    this.#count = count;
    this.#reached = reached;
  }

  note(event: TraceEvent): void {
    if ((event.kind !== 'exit' && event.kind !== 'vc') || event.exitCode !== this.#code) return;
    if (++this.seen === this.#count) this.#reached(event);
  }
}
