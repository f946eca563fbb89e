// What was found, for people and for programs: by rule, with where, and how to mend it.

import type { Paint } from '../debug/canvas.ts';
import { wrap } from '../debug/sequence.ts';
import type { Symbols } from '../debug/symbols.ts';
import type { Finding } from '../sanitizer/finding.ts';
import { rules } from '../sanitizer/rules.ts';
import { taintRules } from '../taint/taint-rules.ts';

type Explained = { readonly title: string; readonly section: string; readonly mend: string };
const explained: ReadonlyMap<string, Explained> = new Map([...rules, ...taintRules].map((rule) => [rule.id, rule]));

/** Of one rule so many are shown, and of one that is met in many places so many of those; the JSON object has all. */
const MOST_SHOWN = 8;
const MOST_PLACES = 6;

export const findingsJson = (findings: readonly Finding[]): object[] =>
  findings.map(({ rule, side, rip, exit, text, at, times }) => ({ rule, side, rip: `0x${rip.toString(16)}`, exit, text, at, times }));

/** The hypervisor's doings come last: a guest is what people come for. */
export function findingLines(findings: readonly Finding[], symbols: Symbols, width: number, paint: Paint): string[] {
  if (findings.length === 0) return [paint('title', 'Findings'), `  ${paint('good', 'none')}`];
  const inOrder = [...findings].sort((a, b) => (a.side === b.side ? 0 : a.side === 'guest' ? -1 : 1));
  const lines = [paint('title', `Findings: ${findings.length}`)];
  for (const [rule, found] of grouped(inOrder, (finding) => finding.rule)) lines.push('', ...ofRule(rule, found, symbols, width, paint));
  return [lines[0]!, ...lines.slice(2)];
}

function grouped(findings: readonly Finding[], keyOf: (finding: Finding) => string): ReadonlyMap<string, readonly Finding[]> {
  const groups = new Map<string, Finding[]>();
  for (const finding of findings) {
    const key = keyOf(finding);
    groups.set(key, [...(groups.get(key) ?? []), finding]);
  }
  return groups;
}

function ofRule(rule: string, found: readonly Finding[], symbols: Symbols, width: number, paint: Paint): string[] {
  const about = explained.get(rule);
  const side = found[0]?.side ?? 'guest';
  const lines = [
    `  ${paint('bad', rule)}${about === undefined ? '' : `: ${about.title}`}${paint('dim', `   (${side}${about === undefined ? '' : `; ${about.section}`})`)}`,
  ];
  const groups = [...grouped(found, ({ text }) => text).values()];
  for (const [first, ...others] of groups.slice(0, MOST_SHOWN)) {
    if (first !== undefined) for (const line of wrap(oneLine(first, symbols), width - 6)) lines.push(`    ${line}`);
    if (others.length > 0) for (const line of wrap(alsoAt(others, symbols), width - 8)) lines.push(paint('dim', `      ${line}`));
  }
  const rest = groups.slice(MOST_SHOWN).flat().length;
  if (rest > 0) lines.push(paint('dim', `    and ${rest} more`));
  if (about !== undefined) for (const line of wrap(`Mend: ${about.mend}`, width - 6)) lines.push(paint('dim', `    ${line}`));
  return lines;
}

/** One cause, many places: an address that is computed once, say, and used often. */
function alsoAt(others: readonly Finding[], symbols: Symbols): string {
  const shown = others.slice(0, MOST_PLACES).map(({ rip }) => symbols(rip) ?? `0x${rip.toString(16)}`);
  const rest = others.length - shown.length;
  return `the same at ${shown.join(', ')}${rest > 0 ? ` and ${count.format(rest)} more` : ''}`;
}

const count = new Intl.NumberFormat('en-US');

function oneLine({ rip, exit, text, at, times }: Finding, symbols: Symbols): string {
  const name = symbols(rip);
  const when = `after ${count.format(at)} instructions${times > 1 ? `, ${count.format(times)} times` : ''}`;
  return `${name === null ? '' : `${name} at `}RIP 0x${rip.toString(16)}${exit === '' ? '' : `, ${exit}`}: ${text} (${when})`;
}
