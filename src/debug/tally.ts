// Counts over the trace: exits, #VC and exceptions by name, AMD-SP commands in order, and the little that tells how it ended.

import { vectorName, Vector } from '../arch/exception.ts';
import { ExitCode, exitName } from '../arch/exit-code.ts';
import type { TraceEvent } from '../util/trace.ts';
import type { TraceReader } from './tracer.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

type Of<K extends TraceEvent['kind']> = Extract<TraceEvent, { kind: K }>;
type Count = Map<string, number>;

/** More different instructions than this are not named one by one. */
const UNIMPLEMENTED_NAMED = 16;
/** A launch has a handful of commands; a guest cannot cause more than this to be kept. */
const COMMANDS_KEPT = 4096;
const EXCEPTIONS_KEPT = 3;

const add = (count: Count, name: string): void => void count.set(name, (count.get(name) ?? 0) + 1);

export class Tally implements TraceReader, Stateful {
  readonly exits: Count = new Map();
  readonly vc: Count = new Map();
  readonly exceptions: Count = new Map();
  readonly commands: Of<'asp'>[] = [];
  readonly unimplemented = new Map<string, { readonly rip: bigint; readonly count: number }>();
  /** The last few exceptions that were not #VC, oldest first: a triple fault is the end of a chain. */
  readonly lastExceptions: Of<'exception'>[] = [];
  lastVc: Of<'vc'> | null = null;
  lastExit: Of<'exit'> | null = null;
  lastGhcb: Of<'ghcb'> | null = null;
  end: Of<'end'> | null = null;

  note(event: TraceEvent): void {
    switch (event.kind) {
      case 'exit':
        add(this.exits, exitName(event.exitCode));
        this.lastExit = event;
        return;
      case 'vc':
        add(this.vc, exitName(event.exitCode));
        this.lastVc = event;
        return;
      case 'exception':
        if (event.vector === Vector.VC) return; // counted by what caused it
        add(this.exceptions, vectorName(event.vector));
        this.lastExceptions.push(event);
        if (this.lastExceptions.length > EXCEPTIONS_KEPT) this.lastExceptions.shift();
        return;
      case 'ghcb':
        if (event.from === 'guest') this.lastGhcb = event;
        return;
      case 'asp':
        if (this.commands.length < COMMANDS_KEPT) this.commands.push(event);
        return;
      case 'unimplemented': {
        const known = this.unimplemented.get(event.instruction);
        if (known) this.unimplemented.set(event.instruction, { ...known, count: known.count + 1 });
        else if (this.unimplemented.size < UNIMPLEMENTED_NAMED) this.unimplemented.set(event.instruction, { rip: event.rip, count: 1 });
        return;
      }
      case 'end':
        this.end = event;
        return;
      default:
    }
  }

  /** What LAUNCH_MEASURE gave, in hex: 32 bytes of measurement, then 16 of the nonce that went into it. */
  get #measured(): string | null {
    const given = this.commands
      .filter(({ command, detail }) => command === 'LAUNCH_MEASURE' && typeof detail['measurement'] === 'string')
      .at(-1);
    return given ? String(given.detail['measurement']) : null;
  }

  /** The launch measurement in hex, if the AMD-SP gave one. */
  get measurement(): string | null {
    return this.#measured?.slice(0, 64) ?? null;
  }

  get measurementNonce(): string | null {
    return this.#measured?.slice(64) ?? null;
  }

  /** The guest took a #VC, never got to a VMGEXIT, and shut down: it has no handler for #VC. */
  get diedWithoutHandler(): boolean {
    return this.lastVc !== null && !this.exits.has(exitName(ExitCode.VMGEXIT)) && this.exits.has(exitName(ExitCode.SHUTDOWN));
  }

  exchange(fields: Fields): void {
    for (const count of [this.exits, this.vc, this.exceptions]) fields.map(count);
    fields.map(this.unimplemented);
    fields.list(this.commands);
    fields.list(this.lastExceptions);
    this.lastVc = fields.value(this.lastVc);
    this.lastExit = fields.value(this.lastExit);
    this.lastGhcb = fields.value(this.lastGhcb);
    this.end = fields.value(this.end);
  }
}

/** Most frequent first, then by name: the order in which counts are shown. */
export const byFrequency = (count: ReadonlyMap<string, number>): [name: string, count: number][] =>
  [...count].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
