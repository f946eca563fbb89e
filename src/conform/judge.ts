// What a run with a variant is worth, next to the plain run. Correct: the guest refused. Tolerated: it went on, and sent what the plain run
// sent. Violated: anything else.

import type { Ran } from './guest-run.ts';
import type { Variant } from './variant.ts';

export const results = ['correct', 'tolerated', 'violated'] as const;
export type Result = (typeof results)[number];

export type Verdict = { readonly result: Result; readonly reason: string };

const correct = (reason: string): Verdict => ({ result: 'correct', reason });
const tolerated = (reason: string): Verdict => ({ result: 'tolerated', reason });
const violated = (reason: string): Verdict => ({ result: 'violated', reason });

/** What a guest prints that has found a fault. */
const FAIL = /FAIL/g;
const fails = ({ output }: Ran): number => output.match(FAIL)?.length ?? 0;

/** Findings that say what a guest believes: one that refuses in the end does not. */
const beliefs: ReadonlySet<string> = new Set(['msr-response-unchecked', 'sev-hidden', 'cbit-unverified']);

const SHOWN = 40;

/** Where two outputs part, in words. */
export function difference(expected: string, found: string): string {
  let at = 0;
  while (at < expected.length && at < found.length && expected[at] === found[at]) at++;
  const shown = (text: string): string => (at >= text.length ? 'nothing' : JSON.stringify(text.slice(at, at + SHOWN)));
  return `after ${at} characters it sent ${shown(found)} instead of ${shown(expected)}`;
}

/** Findings that the plain run does not have. */
export function newFindings(plain: Ran, ran: Ran): Ran['findings'] {
  const known = new Set(plain.findings.map(({ rule, rip }) => `${rule} ${rip}`));
  return ran.findings.filter(({ rule, rip }) => !known.has(`${rule} ${rip}`));
}

/** Has it ended like the plain run? */
const endedAlike = (plain: Ran, ran: Ran): boolean => plain.outcome.kind === ran.outcome.kind && plain.ending === ran.ending;

const isAlike = (plain: Ran, ran: Ran): boolean => endedAlike(plain, ran) && ran.output === plain.output;

/** How a guest that goes no further says so; null: it has not said so. */
function refusal(plain: Ran, ran: Ran): string | null {
  const { outcome } = ran;
  switch (outcome.kind) {
    case 'terminated':
      return ran.ending;
    case 'stopped':
      return ran.unsupported ? 'the guest reported an unsupported event' : null;
    case 'ended':
      return outcome.value !== 0 ? ran.ending : fails(ran) > fails(plain) ? 'the guest sent FAIL' : null;
    case 'halted':
      return outcome.interruptsEnabled && fails(ran) <= fails(plain) ? null : ran.ending;
    case 'reset':
      return ran.ending;
    default:
      return null;
  }
}

/** Runs to compare with besides the plain one, asked for only where the output is another. */
export type Others = {
  /** The cell anew, with other junk. */
  readonly again: () => Ran;
  /** The plain run with the event before the instruction, or about then. */
  readonly atOtherTimes: () => Iterable<Ran>;
  /**
   * The guest has no GHCB yet in which it could declare an NMI complete, and several virtual CPUs: a run in which the NMI came in the same stretch
   * cannot be had.
   */
  readonly uncompleted: boolean;
  /** Nothing is done, and the answer says that it was; null: a guest would know. */
  readonly withheld: () => Ran | null;
  /** The variant's control; null: it has none. */
  readonly control: () => Ran | null;
};

/** Numbers, decimal or hexadecimal. */
const FIGURES = /\b(?:0x)?(?=[a-f]*\d)[\da-f]+h?\b/gi;
const withoutFigures = ({ output }: Ran): string => output.replace(FIGURES, '#');

/** Judges one run. */
export function judge(variant: Variant, plain: Ran, ran: Ran, others: Others): Verdict {
  const { outcome } = ran;
  const alike = isAlike(plain, ran);
  const refused = alike ? null : refusal(plain, ran); // a plain run may end by a halt, too
  const finding = newFindings(plain, ran).find(({ rule }) => refused === null || !beliefs.has(rule));
  if (finding !== undefined) return violated(`sanitizer: ${finding.rule}: ${finding.text}`);
  if (outcome.kind === 'shutdown' && plain.outcome.kind !== 'shutdown') return violated(ran.ending);
  if (outcome.kind === 'limit') return violated(`no end within ${outcome.instructions} instructions`);
  if (refused === null) {
    const other = others.control();
    const refusedThere = other === null || isAlike(plain, other) ? null : refusal(plain, other);
    if (refusedThere !== null) return violated(`it was taken for another answer: where nobody could, ${refusedThere}`);
  }
  if (alike) return tolerated('the output is that of the plain run');
  if (refused !== null) return correct(refused);
  if (!endedAlike(plain, ran)) return violated(ran.ending);
  // It went on as if all were well, and sent something else.
  if (variant.asks === true) {
    const other = others.again();
    if (other.output === ran.output && endedAlike(ran, other))
      return correct('the guest went on with the exception, and took nothing from the answer');
  }
  if (variant.event !== undefined) {
    for (const other of others.atOtherTimes())
      if (isAlike(ran, other)) return tolerated('the output is that of a run in which the event came at another time');
  }
  if (variant.nmi === true && others.uncompleted && withoutFigures(ran) === withoutFigures(plain))
    return tolerated('the output differs in figures: without a GHCB the NMI could not be declared complete, and others waited in vain');
  if (variant.told === true && withoutFigures(ran) === withoutFigures(plain))
    return tolerated('the output differs in figures: what was said was handed on, and nothing came of it');
  if (variant.refuses === true) {
    const other = others.withheld();
    if (other !== null && other.output === ran.output && endedAlike(ran, other))
      return tolerated('the output is that of a run in which nothing was done, and nobody said so');
  }
  return violated(`the output is another: ${difference(plain.output, ran.output)}`);
}
