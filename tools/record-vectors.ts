// Records instruction vectors on the x86-64 Linux machine under us (tools/record-vectors/README.md).
//
//   npm run record-vectors -- instructions DIR [--seed S] [--bits 64|32|16] [--groups alu,...] [--only REGEX] [--scale N]
//   npm run record-vectors -- system DIR [--seed S]      what the former leaves out and a program can see
//   npm run record-vectors -- verify FILE.x86vec.gz ...  replays files; exit status 1 if a case comes out otherwise

import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Native } from './record-vectors/native.ts';
import { recordSystem } from './record-vectors/system.ts';
import { verify } from './record-vectors/verify.ts';

const here = join(dirname(process.argv[1] ?? ''), 'record-vectors');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string', default: 'public-1' },
    bits: { type: 'string', default: '64' },
    groups: { type: 'string', default: '' },
    only: { type: 'string', default: '' },
    scale: { type: 'string', default: '0.95' },
  },
});
const [what, ...rest] = positionals;
const [directory] = rest;

function instructions(native: Native, into: string): boolean {
  const { seed, bits, groups, only, scale } = values;
  const options = { corpus: 'public', seed, bits, groups, only, scale, out: into, harness: native.harness, tmp: native.directory };
  const given = Object.entries(options).flatMap(([name, value]) => (value === '' ? [] : [`--${name}`, value]));
  return spawnSync(process.execPath, [join(here, 'generate.mjs'), ...given], { stdio: 'inherit' }).status === 0;
}

function main(): boolean {
  if (directory === undefined || (what !== 'instructions' && what !== 'system' && what !== 'verify')) {
    console.error('usage: npm run record-vectors -- instructions|system DIR, or verify FILE ...');
    process.exitCode = 2;
    return true;
  }
  const native = new Native(join(here, 'harness.c'));
  try {
    if (what === 'verify') return verify(native, rest);
    mkdirSync(directory, { recursive: true });
    return what === 'instructions' ? instructions(native, directory) : recordSystem(native, directory, values.seed);
  } finally {
    native.close();
  }
}

if (!main()) process.exitCode = 1;
