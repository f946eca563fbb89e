// What a host of many guests takes: each measurement is a process of its own (tools/many-guests.ts).

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from '../guest-manifest.ts';
import { type Figure, figure } from './figures.ts';

const FEW = 64;
const MANY = 256;
/** What one more guest may cost at most in MiB beyond the memory that it wrote, and what four times as many may take in time. */
const MOST = { idle: 2, growth: 4.4 } as const;

type Measured = { readonly seconds: number; readonly idle: number; readonly after: number; readonly touched: number };

function measure(guests: number): Measured {
  const args = ['--expose-gc', join(root, 'tools/bundled.mjs'), 'tools/many-guests.ts', String(guests)];
  const { status, stdout, stderr, error } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`${guests} guests ended with status ${status}\n${stderr}`);
  return JSON.parse(stdout) as Measured;
}

/** One after the other, so that what the computer does besides falls on both alike. */
export function manyGuests(times: number): Figure[] {
  const rounds = Array.from({ length: times }, () => ({ few: measure(FEW), many: measure(MANY) }));
  const of = (name: string, unit: string, value: (round: (typeof rounds)[number]) => number): Figure =>
    figure(name, unit, rounds.map(value));
  return [
    figure(
      `many-guests: ${MANY} against ${FEW}`,
      'times the time',
      rounds.map(({ few, many }) => many.seconds / few.seconds),
      { most: MOST.growth },
    ),
    of(`many-guests: ${MANY} times hello in 16 MiB`, 's', ({ many }) => many.seconds),
    of('many-guests: each of them', 'ms', ({ many }) => (1000 * many.seconds) / MANY),
    of(`many-guests: each of ${FEW}`, 'ms', ({ few }) => (1000 * few.seconds) / FEW),
    figure(
      'many-guests: each beyond the memory that it wrote',
      'MiB',
      rounds.map(({ many }) => Math.max(many.idle, many.after) - many.touched),
      { most: MOST.idle },
    ),
    of('many-guests: each after its launch', 'MiB', ({ many }) => many.idle),
    of('many-guests: each after its end', 'MiB', ({ many }) => many.after),
  ];
}
