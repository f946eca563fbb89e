// What was found, for people and for programs: by rule, with where, and how to mend it.

import type { Paint } from '../debug/canvas.ts';
import { wrap } from '../debug/sequence.ts';
import type { Symbols } from '../debug/symbols.ts';
import type { Finding } from '../sanitizer/finding.ts';
import { rules } from '../sanitizer/rules.ts';
import { taintRules } from '../taint/taint-rules.ts';

type Explained = { readonly title: string; readonly section: string; readonly mend: string };
const explained: ReadonlyMap<string, Explained> = new Map([...rules, ...taintRules].map((rule) => [rule.id, rule]));

/** Of one rule so many are shown; the JSON object has all. */
const MOST_SHOWN = 8;

export const findingsJson = (findings: readonly Finding[]): object[] =>
  findings.map(({ rule, side, rip, exit, text, at, times }) => ({ rule, side, rip: `0x${rip.toString(16)}`, exit, text, at, times }));

/** The hypervisor's doings come last: a guest is what people come for. */
export function findingLines(findings: readonly Finding[], symbols: Symbols, width: number, paint: Paint): string[] {
  if (findings.length === 0) return [paint('title', 'Findings'), `  ${paint('good', 'none')}`];
  const byRule = new Map<string, Finding[]>();
  const inOrder = [...findings].sort((a, b) => (a.side === b.side ? 0 : a.side === 'guest' ? -1 : 1));
  for (const finding of inOrder) {
    const same = byRule.get(finding.rule);
    if (same === undefined) byRule.set(finding.rule, [finding]);
    else same.push(finding);
  }
  const lines = [paint('title', `Findings: ${findings.length}`)];
  for (const [rule, found] of byRule) lines.push('', ...ofRule(rule, found, symbols, width, paint));
  return [lines[0]!, ...lines.slice(2)];
}

function ofRule(rule: string, found: readonly Finding[], symbols: Symbols, width: number, paint: Paint): string[] {
  const about = explained.get(rule);
  const side = found[0]?.side ?? 'guest';
  const lines = [
    `  ${paint('bad', rule)}${about === undefined ? '' : `: ${about.title}`}${paint('dim', `   (${side}${about === undefined ? '' : `; ${about.section}`})`)}`,
  ];
  for (const finding of found.slice(0, MOST_SHOWN))
    for (const line of wrap(oneLine(finding, symbols), width - 6)) lines.push(`    ${line}`);
  if (found.length > MOST_SHOWN) lines.push(paint('dim', `    and ${found.length - MOST_SHOWN} more`));
  if (about !== undefined) for (const line of wrap(`Mend: ${about.mend}`, width - 6)) lines.push(paint('dim', `    ${line}`));
  return lines;
}

const count = new Intl.NumberFormat('en-US');

function oneLine({ rip, exit, text, at, times }: Finding, symbols: Symbols): string {
  const name = symbols(rip);
  const when = `after ${count.format(at)} instructions${times > 1 ? `, ${count.format(times)} times` : ''}`;
  return `${name === null ? '' : `${name} at `}RIP 0x${rip.toString(16)}${exit === '' ? '' : `, ${exit}`}: ${text} (${when})`;
}
