// The command line as people start it: from the checkout with npm, and as the package has it, bundled.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundlePackage } from '../bundle-package.ts';
import { root } from '../guest-manifest.ts';

const PEAK_MEMORY = pathToFileURL(join(root, 'tools/bench/peak-memory.mjs')).href;
const MEBIBYTE = 2 ** 20;

type Ended = { readonly seconds: number; readonly status: number | null; readonly errors: string };

function start(command: string, args: readonly string[]): Ended {
  const started = performance.now();
  const { status, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (error) throw error;
  return { seconds: (performance.now() - started) / 1000, status, errors: stderr };
}

function succeed({ seconds, status, errors }: Ended, args: readonly string[]): number {
  if (status !== 0) throw new Error(`cbit ${args.join(' ')} ended with status ${status}\n${errors}`);
  return seconds;
}

/** Seconds from the shell's prompt back to it, with npm. */
export function throughNpm(...args: readonly string[]): number {
  const npm = process.env['npm_execpath'];
  const [command, before] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
  return succeed(start(command, [...before, 'run', '-s', 'cbit', '--', ...args]), args);
}

/** The package as it is published, but for the declarations. */
export class Package {
  readonly #command: string;

  private constructor(command: string) {
    this.#command = command;
  }

  static async make(): Promise<Package> {
    const folder = join(root, 'node_modules/.cache/cbit/package');
    await bundlePackage(folder);
    return new Package(join(folder, 'cli.js'));
  }

  /** Seconds. */
  run(...args: readonly string[]): number {
    return succeed(start(process.execPath, [this.#command, ...args]), args);
  }

  /** Whether the run ended well. */
  works(...args: readonly string[]): boolean {
    return start(process.execPath, [this.#command, ...args]).status === 0;
  }

  /** The most memory that the run had, in MiB. */
  peakMemory(...args: readonly string[]): number {
    const ended = start(process.execPath, ['--import', PEAK_MEMORY, this.#command, ...args]);
    succeed(ended, args);
    const found = /^peak memory: (\d+) KiB$/m.exec(ended.errors);
    if (!found) throw new Error('a run did not say how much memory it took');
    return (Number(found[1]) * 1024) / MEBIBYTE;
  }
}
