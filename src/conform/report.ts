// What a campaign has found, as data: the JSON form, which docs/conform.schema.json publishes, and which text and JUnit are made from.

import type { Symbols } from '../debug/symbols.ts';
import type { Cell, Plan } from './campaign.ts';
import type { ConformEvent } from './event.ts';
import type { Result } from './judge.ts';
import type { Group } from './variant.ts';
import { variants } from './variants.ts';

/** Grows when a field changes its meaning or goes; new fields do not change it. */
export const CONFORM_VERSION = 1;

type Hex = `0x${string}`;

export type FindingReport = { readonly rule: string; readonly rip: Hex; readonly exit: string; readonly text: string };

export type CellReport = {
  readonly id: string;
  readonly variant: string;
  readonly group: Group;
  /** What the hypervisor did. */
  readonly title: string;
  readonly result: Result;
  readonly reason: string;
  readonly instructions: number;
  readonly findings: readonly FindingReport[];
  /** What the guest sent: only of a cell that was asked for by its name. */
  readonly output?: string;
};

export type EventReport = {
  /** Which VMGEXIT of the plain run it is. */
  readonly number: number;
  readonly protocol: 'page' | 'msr';
  readonly code: Hex;
  readonly name: string;
  readonly rip: Hex;
  readonly function: string | null;
  readonly vcpu: number;
  readonly occurrence: number;
  readonly occurrences: number;
  readonly cells: readonly CellReport[];
};

export type ConformReport = {
  readonly version: typeof CONFORM_VERSION;
  readonly image: string;
  readonly cpu: string;
  readonly memory: number;
  readonly seed: string;
  /** Exit status of the command. */
  readonly status: number;
  readonly seconds: number;
  /** What was asked for; null: all. `leftOut`: VMGEXITs that are like others that were judged. */
  readonly narrowed: {
    readonly occurrences: number | null;
    readonly leftOut: number;
    readonly event: string | null;
    readonly only: string | null;
  };
  readonly plain: {
    readonly outcome: string;
    readonly reason: string;
    /** Exit status of `cbit run`. */
    readonly status: number;
    readonly value: number | null;
    readonly output: string;
    readonly instructions: number;
    readonly vmgexits: number;
    readonly findings: readonly FindingReport[];
  };
  readonly totals: Readonly<Record<'events' | 'cells' | Result, number>>;
  readonly events: readonly EventReport[];
};

export type Origin = Pick<ConformReport, 'image' | 'cpu' | 'memory' | 'seed'> & {
  readonly narrowed: Omit<ConformReport['narrowed'], 'leftOut'>;
};

const hex = (value: bigint | number): Hex => `0x${value.toString(16)}`;

export function conformReport(
  origin: Origin,
  plan: Plan,
  cells: readonly Cell[],
  symbols: Symbols,
  ended: { readonly status: number; readonly seconds: number },
): ConformReport {
  const { plain, vmgexits, leftOut } = plan;
  const byEvent = new Map<ConformEvent, Cell[]>();
  for (const cell of cells) {
    const known = byEvent.get(cell.event);
    if (known === undefined) byEvent.set(cell.event, [cell]);
    else known.push(cell);
  }
  const count = (wanted: Result): number => cells.filter(({ result }) => result === wanted).length;
  return {
    version: CONFORM_VERSION,
    image: origin.image,
    cpu: origin.cpu,
    memory: origin.memory,
    seed: origin.seed,
    ...ended,
    narrowed: { ...origin.narrowed, leftOut },
    plain: {
      outcome: plain.outcome.kind,
      reason: plain.ending,
      status: plain.status,
      value: plain.outcome.kind === 'ended' ? plain.outcome.value : null,
      output: plain.output,
      instructions: plain.instructions,
      vmgexits,
      findings: findingsOf(plain.findings),
    },
    totals: {
      events: byEvent.size,
      cells: cells.length,
      correct: count('correct'),
      tolerated: count('tolerated'),
      violated: count('violated'),
    },
    events: [...byEvent].map(([event, own]) => eventReport(event, own, symbols)),
  };
}

function eventReport(
  { number, code, name, rip, vcpu, occurrence, occurrences, request }: ConformEvent,
  cells: readonly Cell[],
  symbols: Symbols,
): EventReport {
  return {
    number,
    protocol: request.protocol,
    code: hex(code),
    name,
    rip: hex(rip),
    function: symbols(rip),
    vcpu,
    occurrence,
    occurrences,
    cells: [...cells].sort((a, b) => variants.indexOf(a.variant) - variants.indexOf(b.variant)).map(cellReport),
  };
}

function cellReport({ id, variant, result, reason, instructions, findings, output }: Cell): CellReport {
  const { group, title } = variant;
  return {
    id,
    variant: variant.id,
    group,
    title,
    result,
    reason,
    instructions,
    findings: findingsOf(findings),
    ...(output === undefined ? {} : { output }),
  };
}

const findingsOf = (findings: Cell['findings']): FindingReport[] =>
  findings.map(({ rule, rip, exit, text }) => ({ rule, rip: hex(rip), exit, text }));
