// The guests that are right, with what each wants besides itself, and what `conform` says of them: nothing that it could find is there. Those that are
// wrong because it is their topic are not among them, nor those that are the host.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaults } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { type Cell, type Choice, judgeAll, plan, type Step } from '../../src/conform/campaign.ts';
import type { GuestRunOptions } from '../../src/conform/guest-run.ts';
import { disks } from '../system/runs.ts';
import { elfPath, guestNames, isBare, romNames, romPath, root } from '../../tools/guest-manifest.ts';

/** What they show is a mistake. */
const wrong: ReadonlySet<string> = new Set(['flip-no-flush', 'refusals', 'smp-race']);

type Setting = {
  /** The options of the command line that say the same. */
  readonly told: string;
  readonly options: Partial<GuestRunOptions>;
};
const usual: Setting = { told: '', options: {} };
const intercepting = (...intercepts: string[]): Setting => ({ told: `--intercept ${intercepts.join(',')}`, options: { intercepts } });
const append = (text: string): Setting => ({ told: `--append ${text}`, options: { append: text } });

/** Guests that want something, or show more of themselves with it. */
const settings: Readonly<Record<string, readonly Setting[]>> = {
  'cr-vc': [intercepting('cr')],
  dr7: [usual, intercepting('exception_1')],
  negotiate: [usual, { told: '--ghcb-version 1', options: { ghcbVersion: 1 } }],
  rdtsc: [usual, intercepting('rdtsc', 'rdtscp')],
  smp: [{ told: '--vcpus 2', options: { vcpus: 2 } }],
  terminate: [usual, ...['msr', 'own', 'protocol', 'page', 'unsupported', 'panic', 'device', 'halt'].map(append)],
  'virtio-blk': [{ told: '--disk FILE', options: disks() }],
};

const roms = romNames();
const rom = (name: string): boolean => roms.includes(name);

/** Their names, by code unit. */
export const correctGuests = (): string[] =>
  [...guestNames().filter((name) => !name.startsWith('bench-') && !isBare(name) && !wrong.has(name)), ...roms].sort((a, b) =>
    a < b ? -1 : 1,
  );

/** Where its image is, as committed. */
export const committed = (name: string): string => join(root, rom(name) ? romPath(name) : elfPath(name));

export type CorrectRun = { readonly guest: string; readonly setting: number; readonly told: string };

/** Each guest once for each of its settings. */
export const correctRuns = (): CorrectRun[] =>
  correctGuests().flatMap((guest) =>
    (settings[guest] ?? [usual]).map(({ told }, setting) => ({
      guest,
      setting,
      told: [rom(guest) ? '--bios' : '', told].filter(Boolean).join(' '),
    })),
  );

function optionsOf({ guest, setting }: CorrectRun, path: string): GuestRunOptions {
  const named = { name: guest, bytes: new Uint8Array(readFileSync(path)) };
  return { ...defaults, aes: nodeAes, ...(rom(guest) ? { bios: named } : { image: named }), ...settings[guest]?.[setting]?.options };
}

/** A plain run takes some 1,000,000 instructions. */
const MOST = 60_000_000;

function finish<T>(steps: Step<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

export type Judgement = { readonly events: number; readonly cells: number; readonly violations: readonly Pick<Cell, 'id' | 'reason'>[] };

/** Judges one; `occurrences` as of `--occurrences`, and of events perhaps only some. */
export function judgeCorrect(run: CorrectRun, path: string, occurrences: number, event: Choice['event'] = () => true): Judgement {
  const options = optionsOf(run, path);
  const planned = finish(plan(options, { occurrences, event, variant: () => true }, MOST));
  const cells = [...judgeAll(options, planned)].filter((cell) => cell !== null);
  const violations = cells.flatMap(({ id, result, reason }) => (result === 'violated' ? [{ id, reason }] : []));
  return { events: planned.chosen.length, cells: cells.length, violations };
}
