// The command line as people start it: from the checkout with npm, and as the package has it, bundled.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundlePackage } from '../bundle-package.ts';
import { root } from '../guest-manifest.ts';
import { type Deadline, OutOfTime } from './deadline.ts';

const PEAK_MEMORY = pathToFileURL(join(root, 'tools/bench/peak-memory.mjs')).href;
const MEBIBYTE = 2 ** 20;

type Ended = { readonly seconds: number; readonly status: number | null; readonly errors: string };

/** Every run of it may end with OutOfTime. */
export class CommandLine {
  readonly #deadline: Deadline;
  readonly #bundled: string;

  private constructor(deadline: Deadline, bundled: string) {
    this.#deadline = deadline;
    this.#bundled = bundled;
  }

  /** With the package as it is published, but for the declarations. */
  static async make(deadline: Deadline): Promise<CommandLine> {
    const folder = join(root, 'node_modules/.cache/cbit/package');
    await bundlePackage(folder);
    return new CommandLine(deadline, join(folder, 'cli.js'));
  }

  /** Seconds from the shell's prompt back to it, with npm. */
  throughNpm(...args: readonly string[]): number {
    const npm = process.env['npm_execpath'];
    const [command, before] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
    return succeed(this.#start(command, [...before, 'run', '-s', 'cbit', '--', ...args]), args).seconds;
  }

  /** Seconds that the package's command takes. */
  bundled(...args: readonly string[]): number {
    return succeed(this.#start(process.execPath, [this.#bundled, ...args]), args).seconds;
  }

  /** Whether the run ended well. */
  works(...args: readonly string[]): boolean {
    return this.#start(process.execPath, [this.#bundled, ...args]).status === 0;
  }

  /** The most memory that the run had, in MiB. */
  peakMemory(...args: readonly string[]): number {
    const { errors } = succeed(this.#start(process.execPath, ['--import', PEAK_MEMORY, this.#bundled, ...args]), args);
    const found = /^peak memory: (\d+) KiB$/m.exec(errors);
    if (!found) throw new Error('a run did not say how much memory it took');
    return (Number(found[1]) * 1024) / MEBIBYTE;
  }

  #start(command: string, args: readonly string[]): Ended {
    this.#deadline.check();
    const { left } = this.#deadline;
    const timeout = Number.isFinite(left) ? Math.ceil(1000 * left) : undefined;
    const started = performance.now();
    const { status, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8', timeout, killSignal: 'SIGKILL' });
    if (error) throw 'code' in error && error.code === 'ETIMEDOUT' ? new OutOfTime() : error;
    return { seconds: (performance.now() - started) / 1000, status, errors: stderr };
  }
}

function succeed(ended: Ended, args: readonly string[]): Ended {
  if (ended.status !== 0) throw new Error(`cbit ${args.join(' ')} ended with status ${ended.status}\n${ended.errors}`);
  return ended;
}
