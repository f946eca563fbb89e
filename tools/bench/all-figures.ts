// Takes all figures besides the workloads.

import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CommandLine } from './command.ts';
import { type Deadline, OutOfTime } from './deadline.ts';
import { encryptedAgainstPlain } from './encryption-figure.ts';
import { type Bounds, type Figure, figure, repeat } from './figures.ts';
import { CODE_PAGES, coldCode, memoryWalk } from './generated-guests.ts';
import { manyGuests } from './many-guests.ts';
import { memoryController } from './memory-controller.ts';
import { decoding, leaving } from './processor-figures.ts';
import { snapshotAndRestore } from './snapshot-figure.ts';

const MEBIBYTE = 2 ** 20;
const GIBIBYTE = 2 ** 30;
/** Guest memory to try, most first. */
const SIZES = [3, 2, 1];

function withFile<T>(name: string, bytes: Uint8Array, use: (path: string) => T): T {
  const path = join(tmpdir(), `cbit-${process.pid}-${name}`);
  writeFileSync(path, bytes);
  try {
    return use(path);
  } finally {
    rmSync(path, { force: true });
  }
}

/** MiB beyond the image, which is all of its memory that the guest touches. */
function coldCodeMemory(cbit: CommandLine): number {
  const image = coldCode();
  return withFile('cold.bin', image, (path) => cbit.peakMemory('run', path, '--memory', '64M', '--halt-ok') - image.length / MEBIBYTE);
}

/** GiB that a guest can be given, write and read back. */
const usableMemory = (cbit: CommandLine): number =>
  SIZES.find((size) =>
    withFile('walk.bin', memoryWalk(size * GIBIBYTE), (path) => cbit.works('run', path, '--memory', `${size}G`, '--halt-ok')),
  ) ?? 0;

/** How often each is taken, and hosts of many guests. */
type Times = { readonly rounds: number; readonly hosts: number };
type Taken = { readonly figures: readonly Figure[]; readonly leftOut: readonly string[] };

/** Those that `--check` looks at come first. */
export async function takeFigures({ rounds, hosts }: Times, deadline: Deadline, progress: (text: string) => void): Promise<Taken> {
  const cbit = await CommandLine.make(deadline);
  const figures: Figure[] = [];
  const leftOut: string[] = [];
  const take = (name: string, unit: string, once: () => number, bounds: Bounds = {}, repeats = rounds): void => {
    progress(name);
    try {
      deadline.check();
      figures.push(figure(name, unit, repeat(repeats, deadline, once), bounds));
    } catch (error) {
      if (!(error instanceof OutOfTime)) throw error;
      leftOut.push(name);
    }
  };
  take('npm run -s cbit -- run guests/hello', 's', () => cbit.throughNpm('run', 'guests/hello'), { most: 1 });
  take('a Linux boot: instructions that leave WebAssembly', '%', leaving, { most: 0.5 }, 1);
  take('npm run -s cbit -- --version', 's', () => cbit.throughNpm('--version'));
  take('node dist/cli.js run guests/hello', 's', () => cbit.bundled('run', 'guests/hello'));
  take('memory of a hello run with 64 MiB', 'MiB', () => cbit.peakMemory('run', 'guests/hello', '--memory', '64M'));
  take(`memory after ${CODE_PAGES} code pages run once, beyond theirs`, 'MiB', () => coldCodeMemory(cbit));
  take('guest memory usable', 'GiB', () => usableMemory(cbit), {}, 1);
  take('decoding', 'ns/instruction', decoding());
  take('snapshot and restore, 64 MiB, 20 pages changed', 'us', snapshotAndRestore, { most: 50 });
  for (const { name, once } of memoryController) take(name, 'MB/s', once, name.endsWith('node:crypto') ? { least: 400 } : {});
  take('sme, tsme and sev against none: compute workloads, the slowest', 'times the speed', () => encryptedAgainstPlain(deadline));
  progress('many-guests');
  if (hosts > 0) figures.push(...manyGuests(hosts));
  else leftOut.push('many-guests');
  return { figures, leftOut };
}
