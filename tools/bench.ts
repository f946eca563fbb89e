// The figures that we promise, measured on this machine: `npm run bench`. Medians of 5.
//
//   --quick   fewer repeats, for continuous integration
//   --json    one object on stdout
//   --check   status 1 if even the best repeat misses what the build must reach (the machine may be busy with other things)

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type GuestOptions, launch } from '../src/cbit.ts';
import { nodeAes } from '../src/cli/aes-node.ts';
import { ElfHeader, ProgramHeader } from '../src/hypervisor/images/elf.ts';
import { SLICE } from '../src/virtual-machine.ts';
import { BytesPort } from '../src/util/struct.ts';
import { InstructionDecoder } from '../src/x86/decode.ts';
import { leavingInstructions } from './census.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({ options: { quick: { type: 'boolean' }, json: { type: 'boolean' }, check: { type: 'boolean' } } });
const REPEATS = values.quick ? 3 : 5;

type Figure = {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  readonly all: readonly number[];
  /** What --check asks for: a figure of at least, or of at most, so much. */
  readonly least?: number;
  readonly most?: number;
};

const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;

function repeat(name: string, unit: string, once: () => number, bounds: Pick<Figure, 'least' | 'most'> = {}): Figure {
  const all = Array.from({ length: REPEATS }, once);
  const figure = { name, unit, value: median(all), all, ...bounds };
  if (!values.json) console.log(`${name.padEnd(52)} ${readable(figure.value).padStart(9)} ${unit}`);
  return figure;
}

const readable = (value: number): string => (value >= 1e4 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3));

const guestImage = (name: string): NonNullable<GuestOptions['image']> => ({ name, bytes: readFileSync(join(root, 'guests', name, `${name}.elf`)) });

/** Runs a guest and gives what it took, launch left out. */
function timeGuest(name: string, technology: 'none' | 'sev' | 'sev-es') {
  const vm = launch({ image: guestImage(name), technology, aes: nodeAes });
  try {
    const started = performance.now();
    while (!vm.advance(SLICE));
    const seconds = (performance.now() - started) / 1000;
    const result = vm.result();
    if (result.status !== 0) throw new Error(`guests/${name} ended with status ${result.status}`);
    return { ...result, seconds };
  } finally {
    vm.dispose();
  }
}

/** Million instructions a second on compiled C; elements of string instructions are not counted. */
const interpreter = (): number => {
  const { instructions, seconds } = timeGuest('bench-mix', 'sev-es');
  return instructions / seconds / 1e6;
};

/** CPUID round trips a second: from the guest to the hypervisor's answer and back. */
const roundTrips = (technology: 'none' | 'sev-es') => (): number => {
  const { exits, seconds } = timeGuest('bench-cpuid', technology);
  const [code] = technology === 'none' ? ['CPUID'] : ['VMGEXIT'];
  return (exits[code as string] ?? 0) / seconds;
};

/** Nanoseconds to turn one instruction of compiled C into what its record will hold. */
/** Per cent of what a Linux boot executes that a TypeScript routine does. */
function leaving(): number {
  const census = leavingInstructions();
  return (100 * census.leaving.reduce((sum, [, executions]) => sum + executions, 0)) / census.executed;
}

function decoding(): () => number {
  const { bytes } = guestImage('bench-mix');
  const { phoff } = ElfHeader(new BytesPort(bytes));
  const text = ProgramHeader(new BytesPort(bytes.subarray(Number(phoff))));
  const decoder = new InstructionDecoder();
  const code = bytes.subarray(Number(text.offset), Number(text.offset) + 4096);
  const AT_LEAST = 50_000;
  return () => {
    let decoded = 0;
    const started = performance.now();
    while (decoded < AT_LEAST)
      for (let at = 0; at < code.length; at++) {
        decoder.decode(code.subarray(at), at, 64, (_, offset) => {
          decoded++;
          at = offset;
          return true;
        });
      }
    return ((performance.now() - started) * 1e6) / decoded;
  };
}

/** Seconds from the shell's prompt back to it, with npm. */
function commandLine(...args: readonly string[]): () => number {
  const npm = process.env['npm_execpath'];
  const [command, before] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
  return () => {
    const started = performance.now();
    const { status, stderr } = spawnSync(command, [...before, 'run', '-s', 'cbit', '--', ...args], { cwd: root, encoding: 'utf8' });
    if (status !== 0) throw new Error(`cbit ${args.join(' ')} ended with status ${status}\n${stderr}`);
    return (performance.now() - started) / 1000;
  };
}

const start = commandLine('run', 'guests/hello');
start(); // makes the bundle if it is not there
const figures = [
  repeat('interpreter, compiled C (guests/bench-mix)', 'million instructions/s', interpreter, { least: 300 }),
  repeat('CPUID round trips, plain guest', '/s', roundTrips('none')),
  repeat('CPUID round trips, SEV-ES (#VC, GHCB, VMGEXIT)', '/s', roundTrips('sev-es')),
  repeat('decoding', 'ns/instruction', decoding()),
  repeat('a Linux boot: instructions that leave WebAssembly', '%', leaving, { most: 0.5 }),
  repeat('npm run -s cbit -- --version', 's', commandLine('--version')),
  repeat('npm run -s cbit -- run guests/hello', 's', start, { most: 1 }),
];

const missed = figures.filter(
  ({ all, least, most }) => (least !== undefined && Math.max(...all) < least) || (most !== undefined && Math.min(...all) > most),
);
if (values.json) console.log(JSON.stringify({ node: process.version, processor: cpus()[0]?.model, repeats: REPEATS, figures }));
else console.log(`medians of ${REPEATS}; Node ${process.version}, ${cpus()[0]?.model.trim()}`);
if (values.check) {
  for (const { name, all, unit, least, most } of missed)
    console.log(
      `MISSED ${name}: ${all.map(readable).join(', ')} ${unit}, wanted ${least === undefined ? `at most ${most}` : `at least ${least}`}`,
    );
  process.exitCode = missed.length === 0 ? 0 : 1;
}
