// The verbs, one row each: what `help` says, what completion offers, what it does. They are xl's where xl has them.

import type { Paint } from '../../debug/canvas.ts';
import { UserError } from '../../util/errors.ts';
import { parseCount } from '../options.ts';
import { quoted } from './json.ts';
import { nearest } from './nearest.ts';
import type { Known, Toolstack } from './toolstack.ts';
import { asidTable, guestJson, infoText, listText } from './views.ts';

/** Where verbs are typed: a terminal, or a script. */
export interface Surface {
  readonly toolstack: Toolstack;
  readonly paint: Paint;
  print(text: string): void;
  /** Shows a guest's serial output and hands it keys, for as long as the person wants. */
  console(guest: Known): Promise<void>;
  /** Lets guests run until something holds, nothing can run, or the person has enough. */
  runUntil(done: () => boolean): Promise<void>;
  quit(): void;
}

type Verb = {
  readonly name: string;
  /** Behind the name. */
  readonly usage: string;
  readonly summary: string;
  /** What completion offers for its words. */
  readonly words?: 'existing' | 'creatable' | 'verbs';
  /** How many words it takes. */
  readonly least: number;
  readonly most: number;
  run(surface: Surface, words: readonly string[]): void | Promise<void>;
};

const many = Number.POSITIVE_INFINITY;

/** Words that begin with a hyphen, and the others. Throws UserError for those that are not among `known`. */
function options(words: readonly string[], known: readonly string[]): { given: Set<string>; rest: string[] } {
  const given = words.filter((word) => word.startsWith('-'));
  const wrong = given.find((word) => !known.includes(word));
  if (wrong !== undefined)
    throw new UserError(`${quoted(wrong)}: ${known.length === 0 ? 'there are no options here' : `the options are ${known.join(', ')}`}`);
  return { given: new Set(given), rest: words.filter((word) => !word.startsWith('-')) };
}

const found = ({ toolstack }: Surface, words: readonly string[]): (Known & { guest: NonNullable<Known['guest']> })[] =>
  words.map((word) => toolstack.find(word));

/** Longest wait of a script: a count of instructions, all guests together. */
const isCount = (word: string): boolean => /^\d/.test(word);

export const verbs: readonly Verb[] = [
  {
    name: 'list',
    usage: '[-l] [NAME...]',
    summary: 'guests: memory in MiB, state, instructions, ...; -l as JSON',
    words: 'existing',
    least: 0,
    most: many,
    run(surface, words) {
      const { given, rest } = options(words, ['-l']);
      const shown = rest.length === 0 ? surface.toolstack.guests : found(surface, rest);
      if (given.has('-l'))
        surface.print(
          `${JSON.stringify(
            shown.map(({ guest }) => guestJson(guest)),
            null,
            2,
          )}\n`,
        );
      else surface.print(listText(shown, surface.paint));
    },
  },
  {
    name: 'create',
    usage: '[-c] [-p] NAME|FILE',
    summary: 'a guest of the host file, or of its own; -c console, -p paused',
    words: 'creatable',
    least: 1,
    most: 3,
    async run(surface, words) {
      const { given, rest } = options(words, ['-c', '-p']);
      const [name, more] = rest;
      if (name === undefined || more !== undefined) throw new UserError('create: name one guest, or one file');
      const created = surface.toolstack.create(name);
      if (given.has('-p')) created.guest.pause();
      if (given.has('-c')) await surface.console(created);
    },
  },
  {
    name: 'pause',
    usage: 'NAME...',
    summary: 'guests stop where they are',
    words: 'existing',
    least: 1,
    most: many,
    run(surface, words) {
      for (const { name, guest } of found(surface, options(words, []).rest)) {
        if (guest.state === 'ended') throw new UserError(`${name} has ended: there is nothing to pause`);
        if (guest.state === 'paused') throw new UserError(`${name} is paused already`);
        guest.pause();
        surface.toolstack.log.note(`${name} (${guest.id}): paused`);
      }
    },
  },
  {
    name: 'unpause',
    usage: 'NAME...',
    summary: 'paused guests go on',
    words: 'existing',
    least: 1,
    most: many,
    run(surface, words) {
      for (const { name, guest } of found(surface, options(words, []).rest)) {
        if (guest.state !== 'paused') throw new UserError(`${name} is not paused`);
        guest.unpause();
        surface.toolstack.log.note(`${name} (${guest.id}): goes on`);
      }
    },
  },
  {
    name: 'console',
    usage: 'NAME',
    summary: "a guest's serial console; Ctrl-] leaves it",
    words: 'existing',
    least: 1,
    most: 1,
    async run(surface, [name = '']) {
      await surface.console(surface.toolstack.find(name));
    },
  },
  {
    name: 'destroy',
    usage: 'NAME...',
    summary: 'end guests, and take memory and ASIDs back',
    words: 'existing',
    least: 1,
    most: many,
    run(surface, words) {
      for (const { name } of found(surface, options(words, []).rest)) surface.toolstack.destroy(name);
    },
  },
  {
    name: 'wait',
    usage: '[NAME...|COUNT]',
    summary: 'until these have ended, or all, or for so many instructions',
    words: 'existing',
    least: 0,
    most: many,
    async run(surface, words) {
      const [first] = words;
      if (
        words.length === 1 &&
        first !== undefined &&
        isCount(first) &&
        !surface.toolstack.guests.some(({ guest }) => String(guest.id) === first)
      ) {
        const { host } = surface.toolstack;
        const until = host.retired + parseCount('wait', first);
        return await surface.runUntil(() => host.retired >= until);
      }
      const asked = words.length === 0 ? surface.toolstack.guests : found(surface, words);
      const paused = words.length === 0 ? undefined : asked.find(({ guest }) => guest.state === 'paused');
      if (paused !== undefined) throw new UserError(`${paused.name} is paused: unpause ${paused.name} first`);
      await surface.runUntil(() => asked.every(({ guest }) => guest.state === 'ended'));
    },
  },
  {
    name: 'dmesg',
    usage: '',
    summary: "the host's log: launches, commands of the AMD-SP, ends",
    least: 0,
    most: 0,
    run(surface) {
      surface.print(surface.toolstack.log.lines.map((text) => `${text}\n`).join(''));
    },
  },
  {
    name: 'info',
    usage: '',
    summary: 'the host: model, processors, memory, AMD-SP, ASIDs',
    least: 0,
    most: 0,
    run(surface) {
      surface.print(infoText(surface.toolstack));
    },
  },
  {
    name: 'asid',
    usage: '',
    summary: 'whose each ASID is; dirty until WBINVD and DF_FLUSH',
    least: 0,
    most: 0,
    run(surface) {
      surface.print(asidTable(surface.toolstack.host.asids, surface.paint));
    },
  },
  {
    name: 'help',
    usage: '[VERB]',
    summary: 'this list, or one line of it',
    words: 'verbs',
    least: 0,
    most: 1,
    run(surface, [name]) {
      const shown = name === undefined ? verbs : [verbCalled(name)];
      const width = Math.max(...verbs.map(({ name: verb, usage }) => verb.length + 1 + usage.length));
      surface.print(shown.map(({ name: verb, usage, summary }) => `${`${verb} ${usage}`.padEnd(width)}  ${summary}\n`).join(''));
    },
  },
  {
    name: 'quit',
    usage: '',
    summary: 'destroy all guests and leave, as Ctrl-D does',
    least: 0,
    most: 0,
    run: (surface) => surface.quit(),
  },
];

/** What xl, or a shell, calls them. */
const otherVerbs: Readonly<Record<string, string>> = {
  ls: 'list',
  ps: 'list',
  'vm-list': 'list',
  start: 'create',
  boot: 'create',
  run: 'create',
  stop: 'destroy',
  kill: 'destroy',
  shutdown: 'destroy',
  resume: 'unpause',
  attach: 'console',
  exit: 'quit',
  bye: 'quit',
  logout: 'quit',
  sleep: 'wait',
  log: 'dmesg',
  '?': 'help',
  top: 'list',
  uptime: 'info',
};

function verbCalled(name: string): Verb {
  const verb = verbs.find((known) => known.name === name);
  if (verb !== undefined) return verb;
  const other = Object.hasOwn(otherVerbs, name.toLowerCase()) ? otherVerbs[name.toLowerCase()] : undefined;
  const near =
    other ??
    nearest(
      name,
      verbs.map((known) => known.name),
    );
  throw new UserError(`there is no verb ${quoted(name)}: ${near === null ? 'help lists those that there are' : `did you mean ${near}?`}`);
}

/** A line in words; `xl` in front of it is for the fingers, and '#' begins a comment. */
export const wordsOf = (line: string): string[] => {
  const words = line
    .replace(/(^|\s)#.*$/, '')
    .split(/\s+/)
    .filter((word) => word !== '');
  return words[0] === 'xl' ? words.slice(1) : words;
};

/** Does what a line says. Throws UserError. */
export async function perform(surface: Surface, line: string): Promise<void> {
  const [name, ...words] = wordsOf(line);
  if (name === undefined) return;
  const verb = verbCalled(name);
  if (words.length < verb.least || words.length > verb.most) {
    const usage = `${verb.name} ${verb.usage}`.trim();
    throw new UserError(
      `${words.length < verb.least ? 'something is missing' : `too many words: ${quoted(words.slice(verb.most).join(' '))}`}: write ${usage}`,
    );
  }
  await verb.run(surface, words);
}

/** What could stand where the last word of a line begins: all that begin with it, and that word itself. */
export function complete(toolstack: Toolstack, line: string): [string[], string] {
  const words = line.replace(/^\s*(xl\s+)?/, '').split(/\s+/);
  const last = words.at(-1) ?? '';
  const verb = verbs.find(({ name }) => name === words[0]);
  const offered = words.length <= 1 ? verbs.map(({ name }) => name) : verb === undefined ? [] : offers(toolstack, verb, words.slice(1, -1));
  return [offered.filter((word) => word.startsWith(last)).map((word) => `${word} `), last];
}

function offers({ known, guests }: Toolstack, { words, most }: Verb, before: readonly string[]): string[] {
  const given = before.filter((word) => !word.startsWith('-'));
  if (given.length >= most || (words === 'creatable' && given.length > 0)) return [];
  if (words === 'verbs') return verbs.map(({ name }) => name);
  if (words === 'existing') return guests.map(({ name }) => name).filter((name) => !given.includes(name));
  if (words === 'creatable') return known.filter(({ guest }) => guest === null).map(({ name }) => name);
  return [];
}
