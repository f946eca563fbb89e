// `--once`: all guests that start by themselves run to their end, their serial output line by line on stdout, then a table on stderr;
// or one JSON object on stdout and nothing else.

import type { Paint } from '../../debug/canvas.ts';
import { ExitStatus } from '../../hypervisor/outcome.ts';
import { UserError } from '../../util/errors.ts';
import { SerialLog } from '../serial.ts';
import { PrefixedLines } from './prefixed.ts';
import { drained } from './runner.ts';
import type { Toolstack } from './toolstack.ts';
import { guestJson, onceText } from './views.ts';

/** Grows when a field changes its meaning or goes; new fields do not change it. */
const JSON_VERSION = 1;

export type OnceOptions = {
  readonly toolstack: Toolstack;
  readonly json: boolean;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
  /** Of stdout, and of stderr. */
  readonly paints: readonly [Paint, Paint];
  /** Somebody wants it to end. */
  readonly interrupted: () => boolean;
  readonly seconds: () => number;
};

/** Runs guests that were created; gives the exit status. */
export async function runOnce({ toolstack, json, stdout, stderr, paints, interrupted, seconds }: OnceOptions): Promise<number> {
  const { guests } = toolstack;
  if (guests.length === 0) throw new UserError(`${toolstack.path}: no guest starts by itself: --once has nothing to run`);
  const logs = new Map(guests.map(({ name }) => [name, new SerialLog()]));
  const lines = new PrefixedLines(
    guests.map(({ name }) => name),
    paints[0],
    (text) => stdout.write(text),
  );
  for (const { name, console } of guests)
    console.attach((bytes) => {
      if (!json) lines.add(name, bytes);
      else for (const byte of bytes) logs.get(name)?.add(byte);
    });
  while (toolstack.step()) {
    await drained(stdout);
    await new Promise((resolve) => setImmediate(resolve));
    if (interrupted()) toolstack.interrupt();
  }
  lines.end();
  const rows = guests.map(({ guest }) => ({ guest, result: guest.result() }));
  const statuses = rows.map(({ result }) => result.status);
  const status = statuses.includes(ExitStatus.INTERRUPTED)
    ? ExitStatus.INTERRUPTED
    : statuses.every((one) => one === ExitStatus.OK)
      ? ExitStatus.OK
      : ExitStatus.FAILED;
  if (!json) {
    stderr.write(`\n${onceText(rows, paints[1])}`);
    return status;
  }
  const { facts } = toolstack.host;
  const report = {
    version: JSON_VERSION,
    cpu: facts.cpu,
    hostCpus: facts.processors,
    seed: facts.seed,
    status,
    seconds: Math.round(seconds() * 1000) / 1000,
    guests: guests.map(({ name, guest }) => ({
      ...guestJson(guest),
      serial: logs.get(name)?.text ?? '',
      serialDropped: logs.get(name)?.dropped ?? 0,
    })),
  };
  stdout.write(`${JSON.stringify(report)}\n`);
  return status;
}
