// The report of `--json`: one object on one line, versioned, the same fields always. docs/json.md states it for users.

import type { OutcomeKind } from '../hypervisor/outcome.ts';
import type { Registers } from './registers.ts';
import { byFrequency, type Tally } from './tally.ts';

/** Grows when a field changes its meaning or goes; new fields do not change it. */
export const JSON_VERSION = 1;

export type Report = {
  readonly version: typeof JSON_VERSION;
  readonly outcome: OutcomeKind;
  /** One sentence on how it ended. */
  readonly reason: string;
  /** The exit status of the command. */
  readonly status: number;
  /** What the guest wrote to the test device, or null. */
  readonly value: number | null;
  readonly serial: string;
  /** How many bytes at the start of the serial output were dropped, because there were too many. */
  readonly serialDropped: number;
  readonly instructions: number;
  readonly elements: number;
  readonly exits: Readonly<Record<string, number>>;
  readonly vc: Readonly<Record<string, number>>;
  /** Instructions that the guest tried and that are not implemented, with how often. */
  readonly unimplemented: Readonly<Record<string, number>>;
  /** LAUNCH_MEASURE, and the nonce that went into it, in hex. */
  readonly measurement: string | null;
  readonly measurementNonce: string | null;
  readonly traceHash: string;
  readonly seed: string;
  readonly seconds: number;
  /** Only if asked for. */
  readonly registers?: Registers | undefined;
  /** Only if asked for: whose memory is whose, as docs/pages.md states it. */
  readonly map?: readonly object[] | undefined;
  /** Only if asked for: what --sanitize and --taint have found (docs/sanitizer.md, docs/taint.md). */
  readonly findings?: readonly object[] | undefined;
};

export type ReportInput = Omit<Report, 'version' | 'exits' | 'vc' | 'unimplemented' | 'measurement' | 'measurementNonce'>;

export function report(input: ReportInput, tally: Tally): Report {
  const {
    outcome,
    reason,
    status,
    value,
    serial,
    serialDropped,
    instructions,
    elements,
    traceHash,
    seed,
    seconds,
    registers,
    map,
    findings,
  } = input;
  return {
    version: JSON_VERSION,
    outcome,
    reason,
    status,
    value,
    serial,
    serialDropped,
    instructions,
    elements,
    exits: Object.fromEntries(byFrequency(tally.exits)),
    vc: Object.fromEntries(byFrequency(tally.vc)),
    unimplemented: Object.fromEntries([...tally.unimplemented].map(([name, { count }]) => [name, count])),
    measurement: tally.measurement,
    measurementNonce: tally.measurementNonce,
    traceHash,
    seed,
    seconds,
    ...(registers === undefined ? {} : { registers }),
    ...(map === undefined ? {} : { map }),
    ...(findings === undefined ? {} : { findings }),
  };
}
