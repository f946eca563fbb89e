// v86, an emulator of 32-bit PCs that compiles to WebAssembly as we do: it boots the 32-bit builds by their Multiboot header.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { OutOfTime } from '../deadline.ts';
import { root } from '../../guest-manifest.ts';
import { failureOf, type Workload } from '../workloads.ts';
import { type Absent, type Peer, PeerFailure } from './peer.ts';
import { endWithUs } from './process.ts';

const PROGRAM = join(root, 'tools/bench/peers/v86-guest.mjs');

export function findV86(): Peer | Absent {
  try {
    const main = createRequire(PROGRAM).resolve('v86');
    const { version } = JSON.parse(readFileSync(join(dirname(dirname(main)), 'package.json'), 'utf8')) as { version: string };
    return { name: 'v86', version, bits: 32, run };
  } catch {
    return { absent: 'the package v86 is not installed (npm install)' };
  }
}

type Answer = { readonly seconds: number | null; readonly serial: string; readonly value: number };

async function run({ path32 }: Workload, limit: number): Promise<number> {
  if (path32 === null) throw new Error('v86 runs 32-bit builds only');
  const child = spawn(process.execPath, [PROGRAM, path32], { stdio: ['ignore', 'pipe', 'pipe'] });
  const release = endWithUs(child);
  let [output, errors, late] = ['', '', false];
  child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (errors += bytes.toString()));
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, 1000 * limit);
  await new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', () => resolve());
  });
  clearTimeout(timer);
  release();
  if (late) throw new OutOfTime();
  if (output === '') throw new PeerFailure(errors.trim().split('\n', 1)[0] ?? 'it said nothing');
  const { seconds, serial, value } = JSON.parse(output) as Answer;
  const wrong = value === 0 ? failureOf(serial) : `it ended with ${value}`;
  if (wrong !== null || seconds === null) throw new PeerFailure(wrong ?? 'it did not mark begin and end');
  return seconds;
}
