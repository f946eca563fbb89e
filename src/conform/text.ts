// The report for people: a line for each event with a mark for each cell, then what was violated, and how to look closer.

import type { Paint, Style } from '../debug/canvas.ts';
import { wrap } from '../debug/sequence.ts';
import type { Result } from './judge.ts';
import type { CellReport, ConformReport, EventReport } from './report.ts';
import { type Group, groups } from './variant.ts';

const marks: Readonly<Record<Result, string>> = { correct: '✓', tolerated: '·', violated: '✗' };
const looks: Readonly<Record<Result, Style>> = { correct: 'good', tolerated: 'dim', violated: 'bad' };
/** Over the columns. */
const heads: Readonly<Record<Group, string>> = {
  right: '=',
  error: 'error',
  exception: '#GP',
  vector: 'vector',
  missing: 'missing',
  stale: 'stale',
  changed: 'changed',
  wrong: 'wrong',
  injected: 'injected',
};
const GAP = '  ';
/** A terminal may be as narrow as it likes. */
const LEAST_ROOM = 40;
/** Columns of the legend. */
const LEGEND = 90;
const number = new Intl.NumberFormat('en-US');

/** Text and how wide it is on the screen. */
type Piece = { readonly text: string; readonly width: number };
const piece = (text: string): Piece => ({ text, width: text.length });
const pad = ({ text, width }: Piece, to: number, right = false): string => {
  const space = ' '.repeat(Math.max(0, to - width));
  return right ? space + text : text + space;
};

const indented = (by: number, text: string, columns: number): string[] =>
  wrap(text, Math.max(columns - by, LEAST_ROOM)).map((line) => ' '.repeat(by) + line);

const placeOf = ({ function: name, rip, vcpu }: EventReport): string => `${name ?? rip}${vcpu > 0 ? ` (CPU ${vcpu})` : ''}`;
const times = ({ occurrence, occurrences }: EventReport): string => (occurrences > 1 ? `${occurrence}/${occurrences}` : '');

/** `listed`: cells with this result are told one by one. */
export function conformText(report: ConformReport, listed: Result | null, columns: number, paint: Paint): string {
  const { image, cpu, memory, plain, events, totals } = report;
  const title = `── cbit conform: ${image} `;
  const lines = [
    paint('title', title.padEnd(Math.max(title.length, columns), '─')),
    ...indented(
      2,
      `an SEV-ES guest on ${cpu} with ${memory / 2 ** 20} MiB: ${number.format(plain.vmgexits)} VMGEXITs in ${number.format(plain.instructions)} instructions; ${plain.reason}`,
      columns,
    ),
  ];
  if (plain.status !== 0) lines.push(`  ${paint('bad', 'it fails without any variant')}: what is correct here may be that failure`);
  if (plain.findings.length > 0)
    lines.push(`  the sanitizer has ${of(plain.findings.length, 'finding')} without any variant: \`cbit run --sanitize\` shows them`);
  if (events.length > 0) lines.push('', ...table(events, columns, paint), '', ...legend(columns, paint));
  const told = events.flatMap((event) =>
    event.cells.filter(({ result }) => result === (listed ?? 'violated')).map((cell) => ({ event, cell })),
  );
  if (told.length > 0) {
    lines.push(
      '',
      paint(
        'title',
        (listed ?? 'violated').replace(/^./, (first) => first.toUpperCase()),
      ),
    );
    for (const { event, cell } of told) lines.push(...detail(event, cell, columns, paint));
  }
  lines.push('', summary(totals, paint), ...narrowing(report), '');
  return lines.join('\n');
}

function table(events: readonly EventReport[], columns: number, paint: Paint): string[] {
  const present = groups.filter((group) => events.some(({ cells }) => cells.some((cell) => cell.group === group)));
  const widest = (group: Group): number =>
    Math.max(heads[group].length, ...events.map(({ cells }) => cells.filter((cell) => cell.group === group).length));
  const fixed = ['VMGEXIT', 'event', 'at', ''];
  const rows = events.map((event) => [String(event.number), event.name, placeOf(event), times(event)].map(piece));
  const widths = fixed.map((head, n) => Math.max(head.length, ...rows.map((row) => row[n]?.width ?? 0)));
  const groupWidths = present.map(widest);
  const sum = (all: readonly number[]): number => all.reduce((total, width) => total + width + GAP.length, 2);
  const mostDigits = (result: Result): number => Math.max(...events.map((event) => count(event, result, paint).width));
  const wide = sum([...widths, ...groupWidths]) <= columns;
  const results = Object.keys(marks) as Result[];
  const words = sum([...widths, ...results.map((result) => result.length)]) <= columns;
  const last = wide ? present.map((group) => heads[group]) : results.map((result) => (words ? result : marks[result]));
  const lastWidths = wide ? groupWidths : words ? results.map((result) => result.length) : results.map(mostDigits);
  const head = [
    ...fixed.map((text, n) => pad(piece(text), widths[n] ?? 0, n === 0)),
    ...last.map((text, n) => pad(piece(text), lastWidths[n] ?? 0, !wide)),
  ];
  const body = events.map((event, n) => {
    const row = rows[n] ?? [];
    const cells = wide ? present.map((group) => strip(event, group, paint)) : results.map((result) => count(event, result, paint));
    return [
      ...row.map((text, m) => pad(text, widths[m] ?? 0, m === 0 || m === 3)),
      ...cells.map((text, m) => pad(text, lastWidths[m] ?? 0, !wide)),
    ];
  });
  return [paint('dim', `  ${head.join(GAP)}`.trimEnd()), ...body.map((row) => `  ${row.join(GAP)}`.trimEnd())];
}

/** A mark for each cell of a group. */
function strip({ cells }: EventReport, wanted: Group, paint: Paint): Piece {
  const own = cells.filter(({ group }) => group === wanted);
  return { text: own.map(({ result }) => paint(looks[result], marks[result])).join(''), width: own.length };
}

function count({ cells }: EventReport, wanted: Result, paint: Paint): Piece {
  const text = String(cells.filter(({ result }) => result === wanted).length);
  return { text: text === '0' ? paint('dim', text) : paint(looks[wanted], text), width: text.length };
}

/** On one line if there is room. */
function legend(columns: number, paint: Paint): string[] {
  const all = [
    `${paint('good', marks.correct)} correct: the guest refused`,
    `${paint('dim', marks.tolerated)} tolerated: it went on, with the same output`,
    `${paint('bad', marks.violated)} violated`,
  ];
  return columns > LEGEND ? [`  ${all.join(GAP)}`] : all.map((text) => `  ${text}`);
}

function detail(event: EventReport, { id, title, result, reason, findings }: CellReport, columns: number, paint: Paint): string[] {
  const [, ...more] = findings;
  return [
    `  ${paint(looks[result], `${marks[result]} ${id}`)}  ${event.name} at ${placeOf(event)}`,
    ...[`the hypervisor ${title}`, reason, ...more.map(({ rule, text }) => `sanitizer: ${rule}: ${text}`)].flatMap((text) =>
      indented(6, text, columns),
    ),
  ];
}

const of = (amount: number, what: string): string => `${number.format(amount)} ${what}${amount === 1 ? '' : 's'}`;

function summary({ events, cells, correct, tolerated, violated }: ConformReport['totals'], paint: Paint): string {
  const counts = [
    `${number.format(correct)} correct`,
    `${number.format(tolerated)} tolerated`,
    paint(violated > 0 ? 'bad' : 'good', `${number.format(violated)} violated`),
  ];
  return `  ${of(events, 'event')}, ${of(cells, 'cell')}: ${counts.join(', ')}`;
}

function narrowing({ narrowed, image, events }: ConformReport): string[] {
  const { occurrences, leftOut, event, only } = narrowed;
  const chosen = [...(event === null ? [] : [`--event ${event}`]), ...(only === null ? [] : [`--only ${only}`])];
  const some = events[0]?.cells.at(-1);
  return [
    ...(chosen.length > 0 ? [`  judged is what ${chosen.join(' and ')} chose`] : []),
    ...(occurrences !== null && leftOut > 0
      ? [
          `  of equal requests from one place the first ${occurrences === 1 ? 'is' : `${occurrences} are`} judged: ${of(leftOut, 'VMGEXIT')} left out (--occurrences N, --all)`,
        ]
      : []),
    ...(some === undefined
      ? []
      : [`  one cell again, with a trace: cbit conform ${image} --cell ${firstId(events) ?? some.id} --trace=FILE`]),
  ];
}

/** The first cell that somebody will want to see. */
const firstId = (events: readonly EventReport[]): string | undefined =>
  events.flatMap(({ cells }) => cells).find(({ result }) => result === 'violated')?.id;
