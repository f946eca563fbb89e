// The report for people: on a terminal, and as Markdown for the README.

import { isMissed } from './figures.ts';
import { type Technology, technologies } from './guest.ts';
import { peerNames } from './peers/peer.ts';
import type { Report, Row } from './report.ts';
import { readable } from './statistics.ts';

const titles = { qemu: 'QEMU TCG', bochs: 'Bochs', v86: 'v86 (32 bits)' } as const;
const times = (ratio: number | null | undefined): string => (ratio === null || ratio === undefined ? '' : `${ratio.toFixed(2)}x`);

/** Columns of equal width, the first to the left, the others to the right. */
function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows.reduce<number[]>((most, row) => row.map((cell, i) => Math.max(cell.length, most[i] ?? 0)), []);
  return rows.map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '));
}

const peersOf = ({ workloads }: Report) => peerNames.filter((peer) => workloads.some(({ peers }) => peers[peer] !== undefined));

function workloadLines(report: Report): string[] {
  const peers = peersOf(report);
  const head = [
    'workload',
    'technology',
    's',
    'M instr.',
    'M instr./s',
    'round trips/s',
    ...peers.map((peer) => `against ${titles[peer]}`),
  ];
  const row = ({ name, technology, seconds, instructions, roundTripsPerSecond, peers: theirs }: Row): string[] => [
    name,
    technology,
    seconds.toFixed(3),
    readable(instructions / 1e6),
    readable(instructions / 1e6 / seconds),
    roundTripsPerSecond === undefined ? '' : readable(roundTripsPerSecond),
    ...peers.map((peer) => times(theirs[peer]?.ratio)),
  ];
  return report.workloads.length === 0 ? [] : columns([head, ...report.workloads.map(row)]);
}

/** What is computed from several workloads. */
function summaryLines({ geomean, sevEsAgainstNone, interpreter, tier }: Report): string[] {
  const lines = peerNames.flatMap((peer) => (geomean[peer] === null ? [] : [`against ${titles[peer]}: ${times(geomean[peer])}`]));
  if (sevEsAgainstNone !== null) lines.push(`SEV-ES against none: ${times(sevEsAgainstNone)}`);
  if (interpreter !== null) lines.push(`the interpreter alone: ${readable(interpreter)} million instructions/s`);
  return lines.length === 0 ? [] : [`geometric means over the compute workloads (${tier}):`, ...lines.map((line) => `  ${line}`)];
}

function remarks({ skipped, leftOut, peerFailures, failures }: Report): string[] {
  return [
    ...skipped.map(({ peer, reason }) => `${peer} skipped: ${reason}`),
    ...peerFailures.map((failure) => `peer failed: ${failure}`),
    ...failures.map((failure) => `FAILED ${failure}`),
    ...(leftOut.length > 0 ? [`no time for: ${leftOut.join(', ')}`] : []),
  ];
}

const versionsOf = ({ versions }: Report): string[] =>
  peerNames.flatMap((peer) => (versions[peer] ? [`${titles[peer]} ${versions[peer]}`] : []));

export function terminalText(report: Report): string {
  const figures = report.figures.map(({ name, value, unit }) => [name, readable(value), unit]);
  const setting = [`Node ${report.node}`, report.processor, ...versionsOf(report)].join(', ');
  const blocks = [
    workloadLines(report),
    summaryLines(report),
    columns(figures).map((line) => line.trimEnd()),
    remarks(report),
    [`medians of ${report.rounds}, ratio > 1: we are faster; ${report.date}; ${setting}`],
  ];
  return blocks
    .filter((block) => block.length > 0)
    .map((block) => block.join('\n'))
    .join('\n\n');
}

/** What --check says of a figure that is not what it must be. */
export const missedLines = ({ figures }: Report): string[] =>
  figures
    .filter(isMissed)
    .map(
      ({ name, all, unit, least, most }) =>
        `MISSED ${name}: ${all.map(readable).join(', ')} ${unit}, wanted ${least === undefined ? `at most ${most}` : `at least ${least}`}`,
    );

/** One row for each workload, with the technologies side by side. */
export function markdown(report: Report): string {
  const peers = peersOf(report);
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const names = [...new Set(report.workloads.map(({ name }) => name))];
  const cell = (name: string, technology: Technology): Row | undefined =>
    report.workloads.find((row) => row.name === name && row.technology === technology);
  const seconds = (row: Row | undefined): string =>
    row === undefined
      ? ''
      : row.roundTripsPerSecond === undefined
        ? `${row.seconds.toFixed(2)} s`
        : `${readable(row.roundTripsPerSecond)}/s`;
  const head = ['workload', ...technologies, ...peers.map((peer) => `against ${titles[peer]}`)];
  const mean = ['**geometric mean, compute**', ...technologies.map(() => ''), ...peers.map((peer) => `**${times(report.geomean[peer])}**`)];
  const body = names.map((name) => [
    name,
    ...technologies.map((technology) => seconds(cell(name, technology))),
    ...peers.map((peer) => times(cell(name, 'none')?.peers[peer]?.ratio)),
  ]);
  const figures = report.figures.map(({ name, value, unit }) => line([name, `${readable(value)} ${unit}`]));
  const means = [
    ...(report.sevEsAgainstNone === null ? [] : [line(['SEV-ES against none, compute workloads', times(report.sevEsAgainstNone)])]),
    ...(report.interpreter === null ? [] : [line(['the interpreter alone', `${readable(report.interpreter)} million instructions/s`])]),
  ];
  const setting = [report.processor, `Node ${report.node}`, ...versionsOf(report)].join(', ');
  return [
    `Medians of ${report.rounds} on ${report.date}; ${setting}; ratio > 1: cbit is faster.`,
    '',
    line(head),
    `|---|${'---:|'.repeat(head.length - 1)}`,
    ...body.map(line),
    ...(peers.length > 0 ? [line(mean)] : []),
    '',
    line(['', '']),
    '|---|---:|',
    ...means,
    ...figures,
  ].join('\n');
}
