// What verbs and --once show: guests as `xl list` has them, the host as `xl info`, ASIDs, and the table of a whole run.

import type { Paint } from '../../debug/canvas.ts';
import { describeOutcome } from '../../hypervisor/outcome.ts';
import type { RunResult } from '../../virtual-machine.ts';
import type { AsidRow, HostedGuest } from './ports.ts';
import { type Column, renderPairs, renderTable } from './table.ts';
import { endedItself, type Known, type Toolstack } from './toolstack.ts';

const MIB = 2 ** 20;
const counted = new Intl.NumberFormat('en-US');

type Listed = Known & { readonly guest: HostedGuest };

/** The six flags of `xl list`: running, blocked, paused, shut down, crashed, dying. */
export function stateFlags(guest: HostedGuest): string {
  const { state } = guest;
  const crashed = state === 'ended' && !endedItself(guest.result().outcome);
  const flag = state === 'ended' ? (crashed ? 'c' : 's') : state.slice(0, 1);
  return [...'rbpscd'].map((letter) => (letter === flag ? letter : '-')).join('');
}

const asidText = ({ asid }: HostedGuest): string => (asid === 0 ? '-' : String(asid));

// biome-ignore format: a table
const listColumns: readonly Column<Listed>[] = [
  { title: 'Name',                      of: ({ name }) => name },
  { title: 'ID',          right: true,  of: ({ guest }) => String(guest.id) },
  { title: 'Mem',         right: true,  of: ({ guest }) => String(Math.ceil(guest.memory / MIB)) },
  { title: 'VCPUs',       right: true,  of: ({ guest }) => String(guest.vcpus) },
  { title: 'State',                     of: ({ guest }) => stateFlags(guest) },
  { title: 'Time(instr)', right: true,  of: ({ guest }) => counted.format(guest.consumed) },
  { title: 'SEV',                       of: ({ guest }) => guest.technology },
  { title: 'ASID',        right: true,  of: ({ guest }) => asidText(guest) },
];

export const listText = (guests: readonly Listed[], paint: Paint): string => renderTable(listColumns, guests, paint);

export function infoText({ host, path, guests }: Toolstack): string {
  const { facts, asids } = host;
  const of = (state: AsidRow['state']): number => asids.filter((row) => row.state === state).length;
  return renderPairs([
    ['host', path],
    ['cpu_model', facts.cpu],
    ['nr_cpus', String(facts.processors)],
    ['total_memory', `${Math.floor(facts.memory.total / MIB)} MiB`],
    ['free_memory', `${Math.floor(facts.memory.free / MIB)} MiB`],
    ['guests', String(guests.length)],
    ['amd_sp', facts.asp],
    [
      'asids',
      `${of('used')} used, ${of('free')} free, ${of('dirty')} dirty, ${facts.flushes} ${facts.flushes === 1 ? 'flush' : 'flushes'}`,
    ],
    ['seed', facts.seed],
  ]);
}

/** Neighbours in the same state are one row. */
export function asidTable(rows: readonly AsidRow[], paint: Paint): string {
  const runs: { from: number; to: number; state: string; owner: string | null }[] = [];
  for (const { asid, state, owner } of rows) {
    const last = runs.at(-1);
    if (last !== undefined && last.to === asid - 1 && last.state === state && last.owner === owner && owner === null) last.to = asid;
    else runs.push({ from: asid, to: asid, state, owner });
  }
  const columns: readonly Column<(typeof runs)[number]>[] = [
    { title: 'ASID', right: true, of: ({ from, to }) => (from === to ? String(from) : `${from}-${to}`) },
    { title: 'State', of: ({ state }) => state },
    { title: 'Owner', of: ({ owner }) => owner ?? '-' },
  ];
  return renderTable(columns, runs, paint);
}

type Row = { readonly guest: HostedGuest; readonly result: RunResult };

const total = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((sum, count) => sum + count, 0);

export const sizeText = (bytes: number): string => (bytes >= MIB ? `${(bytes / MIB).toFixed(1)} MiB` : `${Math.ceil(bytes / 1024)} KiB`);

// biome-ignore format: a table
const onceColumns: readonly Column<Row>[] = [
  { title: 'Name',                       of: ({ guest }) => guest.name },
  { title: 'SEV',                        of: ({ guest }) => guest.technology },
  { title: 'ASID',         right: true,  of: ({ guest }) => asidText(guest) },
  { title: 'Instructions', right: true,  of: ({ result }) => counted.format(result.instructions) },
  { title: 'Exits',        right: true,  of: ({ result }) => counted.format(total(result.exits)) },
  { title: 'Touched',      right: true,  of: ({ guest }) => sizeText(guest.touched) },
  { title: 'Status',       right: true,  of: ({ result }) => String(result.status) },
  { title: 'How it ended',               of: ({ result }) => describeOutcome(result.outcome) },
];

export const onceText = (rows: readonly Row[], paint: Paint): string => renderTable(onceColumns, rows, paint);

/** A guest for programs: the members that `run --json` has, too, mean the same there. */
export function guestJson(guest: HostedGuest): object {
  const result = guest.result();
  const ended = guest.state === 'ended';
  return {
    name: guest.name,
    id: guest.id,
    state: guest.state,
    technology: guest.technology,
    asid: guest.asid,
    memory: guest.memory,
    touched: guest.touched,
    vcpus: guest.vcpus,
    outcome: ended ? result.outcome.kind : null,
    reason: ended ? describeOutcome(result.outcome) : null,
    status: ended ? result.status : null,
    value: result.value,
    instructions: result.instructions,
    elements: result.elements,
    exits: result.exits,
    vc: result.vc,
    measurement: result.measurement,
    warnings: result.warnings,
  };
}
