// `cbit host`: a host file to a host with its guests, driven from a terminal, by a script on stdin, or once to the end.

import { ExitStatus } from '../hypervisor/outcome.ts';
import { UserError } from '../util/errors.ts';
import { paintFor } from './colours.ts';
import { openHost } from './host/open-host.ts';
import { loadHistory, saveHistory } from './host/history.ts';
import { HostLog } from './host/host-log.ts';
import { runOnce } from './host/once.ts';
import { serveTerminal } from './host/prompt.ts';
import { readHostFile } from './host/read-file.ts';
import { hostSchema } from './host/schema.ts';
import { serveScript } from './host/script.ts';
import { Toolstack } from './host/toolstack.ts';
import { parseSeed } from './seed.ts';
import { Stopwatch } from './stopwatch.ts';

export type HostFlags = {
  readonly once?: boolean;
  readonly json?: boolean;
  readonly schema?: boolean;
};

/** Gives the exit status. Throws UserError. */
export async function serveHost(path: string | undefined, flags: HostFlags): Promise<number> {
  const { stdin, stdout, stderr } = process;
  if (flags.schema) {
    stdout.write(`${JSON.stringify(hostSchema(), null, 2)}\n`);
    return ExitStatus.OK;
  }
  if (path === undefined) throw new UserError('there is no host: give a file that describes it, such as docs/examples/two-guests.json');
  if (flags.json && !flags.once) throw new UserError('--json: it is the report of a whole run: give --once, too');
  const stopwatch = new Stopwatch();
  const once = flags.once ?? false;
  const file = readHostFile(path);
  const seed = file.host.values.seed ?? parseSeed('0');
  const log = new HostLog();
  const toolstack = new Toolstack(file, openHost(file.host.values, seed.value, log), log, once);
  try {
    if (seed.drawn) stderr.write(`cbit: seed ${seed.value}\n`);
    toolstack.autostart();
    const paint = paintFor(stdout, process.env);
    if (once) {
      const signals = new Signals();
      try {
        return await runOnce({
          toolstack,
          json: flags.json ?? false,
          stdout,
          stderr,
          paints: [paint, paintFor(stderr, process.env)],
          interrupted: () => signals.seen,
          seconds: () => stopwatch.seconds,
        });
      } finally {
        signals.close();
      }
    }
    let mistakes = 0;
    if (stdin.isTTY && stdout.isTTY) {
      const history = loadHistory(process.env);
      stdout.write(`${greeting(toolstack)}\n`);
      try {
        await serveTerminal({ toolstack, input: stdin, output: stdout, paint, history });
      } finally {
        saveHistory(history, process.env);
      }
    } else {
      const print = (text: string): void => void stdout.write(text);
      const complain = (text: string): void => void stderr.write(`cbit: ${text}\n`);
      stdout.on('error', () => {}); // `| head`: whoever read has gone
      mistakes = await serveScript({ toolstack, input: stdin, paint, print, complain });
      stdin.unref?.(); // a pipe that is never closed must not keep us
    }
    return mistakes > 0 ? ExitStatus.MISTAKE : toolstack.failed ? ExitStatus.FAILED : ExitStatus.OK;
  } finally {
    toolstack.close();
  }
}

function greeting({ path, host, guests, known }: Toolstack): string {
  const { cpu, processors } = host.facts;
  const waiting = known.length - guests.length;
  const of = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
  return `${path}: ${cpu}, ${of(processors, 'processor')}, ${of(guests.length, 'guest')}${waiting > 0 ? `, ${waiting} more to create` : ''}. Verbs: help`;
}

/** Ctrl-C, SIGTERM, or a reader of stdout that went away. */
class Signals {
  seen = false;
  readonly #note = (): void => {
    this.seen = true;
  };

  constructor() {
    process.on('SIGINT', this.#note).on('SIGTERM', this.#note);
    process.stdout.on('error', this.#note);
  }

  close(): void {
    process.off('SIGINT', this.#note).off('SIGTERM', this.#note);
  }
}
