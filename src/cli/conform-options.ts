// What a person may write behind the options of `conform`.

import type { Choice } from '../conform/campaign.ts';
import { hex, type ConformEvent } from '../conform/event.ts';
import { type Result, results } from '../conform/judge.ts';
import { groups, type Variant } from '../conform/variant.ts';
import { variants } from '../conform/variants.ts';
import { UserError } from '../util/errors.ts';
import { parseList } from './options.ts';

const formats = ['text', 'json', 'junit'] as const;
export type ConformFormat = (typeof formats)[number];

/** Of requests of one kind from one place, so many are judged without --occurrences. */
const OCCURRENCES = 2;

/** `--format`; without it the ending of the file's name decides. */
export function parseConformFormat(text: string | undefined, output: string | undefined): ConformFormat {
  const ending = output?.toLowerCase();
  if (text === undefined) return ending?.endsWith('.json') ? 'json' : ending?.endsWith('.xml') ? 'junit' : 'text';
  const known = formats.find((format) => format === text.toLowerCase());
  if (known === undefined) throw new UserError(`--format ${text}: give one of ${formats.join(', ')}`);
  return known;
}

/** `--occurrences` and `--all`. */
export function parseOccurrences(text: string | undefined, all: boolean): number | null {
  if (all && text !== undefined) throw new UserError('--all judges every VMGEXIT: leave --occurrences out');
  if (all) return null;
  if (text === undefined) return OCCURRENCES;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new UserError(`--occurrences ${text}: give a number such as 5, or --all`);
  return Number(text);
}

/** `--event`: a code in hex (72, 0x72, 72h), or a part of the name as the table has it. */
export function parseEvent(text: string | undefined): Choice['event'] {
  if (text === undefined) return () => true;
  const wanted = text.trim().toLowerCase();
  if (wanted === '') throw new UserError('--event: give a code such as 72h, or a name such as CPUID');
  const [, digits] = /^(?:0x)?([0-9a-f]{1,16})h?$/.exec(wanted) ?? [];
  const code = digits === undefined ? null : Number.parseInt(digits, 16);
  return ({ code: own, name }) => own === code || name.toLowerCase().includes(wanted);
}

export type Only = {
  readonly variant: Choice['variant'];
  /** Cells with this result are told one by one. */
  readonly listed: Result | null;
};

/** `--only`: variants, groups of them, or a result. */
export function parseOnly(text: string | undefined): Only {
  if (text === undefined) return { variant: () => true, listed: null };
  const words = parseList(text).map((word) => word.toLowerCase());
  const listed = results.filter((result) => words.includes(result));
  if (listed.length > 1) throw new UserError(`--only ${text}: give one of ${results.join(', ')}`);
  const chosen = words.filter((word) => !results.some((result) => result === word));
  const strange = chosen.find((word) => !groups.some((group) => group === word) && !variants.some(({ id }) => id === word));
  if (strange !== undefined || words.length === 0)
    throw new UserError(
      `--only${text === '' ? '' : ` ${text}`}: give a result (${results.join(', ')}), a group (${groups.join(', ')}), or a variant of docs/conform.md such as ${variants[3]?.id}`,
    );
  const variant = ({ id, group }: Variant): boolean => chosen.length === 0 || chosen.includes(id) || chosen.includes(group);
  return { variant, listed: listed[0] ?? null };
}

export type CellChoice = { readonly number: number; readonly variant: string };

/** `--cell`: NUMBER.VARIANT, as the report has it. */
export function parseCell(text: string): CellChoice {
  const [, number, variant] = /^([1-9]\d{0,14})\.([a-z0-9-]+)$/.exec(text.trim().toLowerCase()) ?? [];
  if (number === undefined || variant === undefined || !variants.some(({ id }) => id === variant))
    throw new UserError(`--cell ${text}: give the name of a cell as the report has it, such as 7.${variants[3]?.id}`);
  return { number: Number(number), variant };
}

/** The cell that was meant does not exist: why. */
export function noSuchCell(
  { number, variant }: CellChoice,
  vmgexits: number,
  event: ConformEvent | undefined,
  known: readonly Variant[],
): UserError {
  const given = `--cell ${number}.${variant}`;
  if (number > vmgexits) return new UserError(`${given}: the guest executes ${vmgexits} VMGEXITs: give a lower number`);
  if (event === undefined) return new UserError(`${given}: the hypervisor ignores this VMGEXIT: give another number`);
  const has = known.map(({ id }) => id).join(', ');
  return new UserError(`${given}: the answer to ${event.name} (${hex(event.code)}) has no such variant: give one of ${has}`);
}
