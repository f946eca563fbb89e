// A peer's process: its standard output carries the marks, which are timed as they arrive, and it ends by itself or is ended.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { OutOfTime } from '../deadline.ts';
import { Marks } from '../marks.ts';
import { failureOf } from '../workloads.ts';
import { PeerFailure } from './peer.ts';

type MarkedRun = {
  readonly command: string;
  readonly args: readonly string[];
  readonly folder: string;
  /** Where the peer writes what the guest sends over COM1. */
  readonly serial: string;
  /** As Marks has it. */
  readonly after?: number;
  /** Seconds. */
  readonly limit: number;
};

/** Milliseconds for printing the result once the work is done, and how often to look. */
const PRINTING = 20_000;
const LOOK = 20;
/** Exit status. */
const INTERRUPTED = 130;

export async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'cbit-bench-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  process.once('exit', remove);
  try {
    return await use(folder);
  } finally {
    process.off('exit', remove);
    remove();
  }
}

/** While a peer runs, whoever ends us ends it, too: a guest that has halted may spin for ever. Gives what takes this back. */
export function endWithUs(child: ChildProcess): () => void {
  const end = (): void => {
    child.kill('SIGKILL');
    process.exit(INTERRUPTED);
  };
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.once(signal, end);
  return () => signals.forEach((signal) => process.off(signal, end));
}

const outputIn = (path: string): string => (existsSync(path) ? readFileSync(path, 'latin1') : '');

/** Runs until the guest has printed its result; gives the seconds between the marks. */
export async function timeMarks({ command, args, folder, serial, after, limit }: MarkedRun): Promise<number> {
  const marks = new Marks(() => performance.now(), after ?? null);
  const child = spawn(command, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const release = endWithUs(child);
  let errors = '';
  let running = true;
  child.stdout.on('data', (bytes: Buffer) => bytes.forEach((byte) => marks.byte(byte)));
  child.stderr.on('data', (bytes: Buffer) => (errors = (errors + bytes.toString('latin1')).slice(-2000)));
  const closed = new Promise<void>((resolve) => {
    child.on('error', (error) => (errors += error.message));
    child.on('close', () => {
      running = false;
      resolve();
    });
  });
  const started = performance.now();
  const isPrinting = (): boolean => marks.end === null || performance.now() - marks.end < PRINTING;
  const isDone = (): boolean => marks.end !== null && /^(PASS|FAIL).*\n/m.test(outputIn(serial));
  try {
    while (running && isPrinting() && !isDone()) {
      if (performance.now() - started > 1000 * limit) throw new OutOfTime();
      // Looking costs time of the machine that is measured: only once the work is done does it look often.
      await Promise.race([closed, pause(marks.end === null ? 10 * LOOK : LOOK, undefined, { ref: false })]);
    }
  } finally {
    if (running) child.kill('SIGKILL');
    await closed;
    release();
  }
  const { seconds } = marks;
  const wrong = failureOf(outputIn(serial));
  if (wrong !== null || seconds === null) {
    const said = errors.trim().split('\n').at(-1) ?? '';
    throw new PeerFailure(`${wrong ?? 'it did not mark begin and end'}${said === '' ? '' : ` (${said})`}`);
  }
  return seconds;
}
