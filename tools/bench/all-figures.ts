// Takes all figures besides the workloads.

import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Package, throughNpm } from './command.ts';
import { type Deadline } from './deadline.ts';
import { type Figure, figure, repeat } from './figures.ts';
import { CODE_PAGES, coldCode, memoryWalk } from './generated-guests.ts';
import { decoding, leaving } from './processor-figures.ts';

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
function coldCodeMemory(cbit: Package): number {
  const image = coldCode();
  return withFile('cold.bin', image, (path) => cbit.peakMemory('run', path, '--memory', '64M', '--halt-ok') - image.length / MEBIBYTE);
}

/** GiB that a guest can be given, write and read back. */
const usableMemory = (cbit: Package): number =>
  SIZES.find((size) =>
    withFile('walk.bin', memoryWalk(size * GIBIBYTE), (path) => cbit.works('run', path, '--memory', `${size}G`, '--halt-ok')),
  ) ?? 0;

export async function takeFigures(times: number, deadline: Deadline, progress: (text: string) => void): Promise<Figure[]> {
  throughNpm('run', 'guests/hello'); // makes the bundle if it is not there
  const cbit = await Package.make();
  const take = (name: string, unit: string, once: () => number, bounds: Pick<Figure, 'least' | 'most'> = {}): Figure => {
    progress(name);
    return figure(name, unit, repeat(times, deadline, once), bounds);
  };
  return [
    take('npm run -s cbit -- run guests/hello', 's', () => throughNpm('run', 'guests/hello'), { most: 1 }),
    take('npm run -s cbit -- --version', 's', () => throughNpm('--version')),
    take('node dist/cli.js run guests/hello', 's', () => cbit.run('run', 'guests/hello')),
    take('a Linux boot: instructions that leave WebAssembly', '%', leaving, { most: 0.5 }),
    take('decoding', 'ns/instruction', decoding()),
    take('memory of a hello run with 64 MiB', 'MiB', () => cbit.peakMemory('run', 'guests/hello', '--memory', '64M')),
    take(`memory after ${CODE_PAGES} code pages run once, beyond theirs`, 'MiB', () => coldCodeMemory(cbit)),
    figure('guest memory usable', 'GiB', [usableMemory(cbit)]),
  ];
}
