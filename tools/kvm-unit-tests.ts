// Runs the x86 kernels of a built kvm-unit-tests tree under cbit and says of each entry of its x86/unittests.cfg whether it passes.
//
//   npm run kvm-unit-tests -- DIR                     a tree that was configured and built for x86_64
//   npm run kvm-unit-tests -- DIR --i386 DIR          entries for i386 from a second tree
//   npm run kvm-unit-tests -- DIR --peer qemu         the same entries beside qemu-system-x86_64 -accel tcg
//   npm run kvm-unit-tests -- DIR --only REGEX --show the chosen entries, with what they print
//
// An entry passes if its kernel writes 0 to the test device; it is skipped if the kernel says that it skipped everything, or needs what
// is not a matter of the processor (KVM on the host, a file of the host's). Everything else fails. One line an entry, then the totals.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { DEFAULT_MODEL } from '../src/cpu/cpuid.ts';
import { chooseModel } from '../src/cpu/model-choice.ts';

type Entry = { readonly name: string; readonly settings: ReadonlyMap<string, string> };
type Verdict = 'PASS' | 'FAIL' | 'SKIP';
type Result = { readonly verdict: Verdict; readonly reason: string; readonly output: string };

/** What the suite's main program returns if every test was skipped: half of 77, because QEMU's exit device makes 2 * value + 1 of it. */
const ALL_SKIPPED = 77 >> 1;
const USAGE = 'usage: npm run kvm-unit-tests -- DIR [--i386 DIR] [--peer qemu] [--only REGEX] [--show] [--seconds N]';
const CBIT = fileURLToPath(new URL('./cbit.mjs', import.meta.url));

function parseConfiguration(text: string): Entry[] {
  const entries: { name: string; settings: Map<string, string> }[] = [];
  for (const line of text.split('\n')) {
    const section = /^\[(.+)\]\s*$/.exec(line)?.[1];
    if (section !== undefined) entries.push({ name: section, settings: new Map() });
    const [, key, value] = /^(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) entries.at(-1)?.settings.set(key, value.replace(/^(['"])(.*)\1$/, '$2'));
  }
  return entries;
}

type Process = { readonly stdout: string; readonly stderr: string; readonly status: number | null };

/** Ends the process, by its own id, after so many seconds: status null. */
function execute(command: string, parameters: readonly string[], seconds: number): Promise<Process> {
  return new Promise((resolve) => {
    const child = spawn(command, parameters, { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), seconds * 1000);
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString('latin1');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString('latin1');
    });
    child.on('error', () => resolve({ stdout: '', stderr: '', status: null }));
    child.on('close', (status) => {
      clearTimeout(timer);
      resolve({ stdout, stderr, status });
    });
  });
}

/** The summary that the suite's library prints last, or the last line. */
function summary(output: string): string {
  const lines = output.split(/\r?\n/).filter((line) => line.trim() !== '');
  return (
    lines
      .filter((line) => line.startsWith('SUMMARY: '))
      .at(-1)
      ?.slice('SUMMARY: '.length) ??
    lines.at(-1)?.slice(0, 90) ??
    'no output'
  );
}

function verdict(code: number | null, output: string, ending: string): Result {
  if (code === 0) return { verdict: 'PASS', reason: summary(output), output };
  if (code === ALL_SKIPPED) return { verdict: 'SKIP', reason: summary(output), output };
  return { verdict: 'FAIL', reason: code === null ? `${ending}: ${summary(output)}` : summary(output), output };
}

const memoryOf = (settings: Entry['settings']): string => {
  const [, size = '128', unit = ''] = /-m (\d+)([mMgG]?)/.exec(settings.get('qemu_params') ?? '') ?? [];
  return /g/i.test(unit) ? `${Math.min(Number(size) * 1024, 3072)}M` : `${size}M`;
};

/** Processors: QEMU's -smp. */
const processorsOf = (settings: Entry['settings']): string => settings.get('smp') ?? '1';

/** The entry's -cpu: its model is QEMU's own, so that ours is the default; of the features those that cbit can give and take away. */
function processorOf(settings: Entry['settings']): string {
  const [, ...parts] = (/-cpu (\S+)/.exec(settings.get('qemu_params') ?? '')?.[1] ?? '').split(',');
  return [DEFAULT_MODEL, ...parts.filter(isOurs)].join(',');
}

function isOurs(feature: string): boolean {
  try {
    return chooseModel(`${DEFAULT_MODEL},${feature}`) !== null;
  } catch {
    return false;
  }
}

/** Without --json: its hash of everything that happens would take a third of the time of an entry that leaves the guest all the time. */
async function underCbit(kernel: string, { settings }: Entry, seconds: number): Promise<Result> {
  const append = settings.get('test_args');
  const parameters = [
    'run', kernel, '--sev', 'none', '--memory', memoryOf(settings), '--cpu', processorOf(settings), '--vcpus', processorsOf(settings),
    ...(append ? ['--append', append] : []),
  ]; // biome-ignore format: a command line
  const { stdout, stderr, status } = await execute(process.execPath, [CBIT, ...parameters], seconds);
  if (status === null) return verdict(null, stdout, `no end within ${seconds} s`);
  const ended = /the guest ended itself with (\d+)/.exec(stderr)?.[1];
  if (ended !== undefined) return verdict(Number(ended), stdout, '');
  return verdict(null, stdout, /How it ended\s+(.*)/.exec(stderr)?.[1] ?? stderr.trim());
}

async function underQemu(kernel: string, { settings }: Entry, seconds: number): Promise<Result> {
  const append = settings.get('test_args');
  const parameters = [
    '-nodefaults', '-no-reboot', '-accel', 'tcg', '-vnc', 'none', '-serial', 'stdio', '-device', 'pc-testdev',
    '-device', 'isa-debug-exit,iobase=0xf4,iosize=0x4', '-kernel', kernel, '-smp', processorsOf(settings),
    ...(append ? ['-append', append] : []), ...(settings.get('qemu_params') ?? '').split(' ').filter(Boolean),
  ]; // biome-ignore format: a command line
  const { stdout, status } = await execute('qemu-system-x86_64', parameters, seconds);
  if (status === 1 && stdout === '') return verdict(null, stdout, 'QEMU refused the command line');
  // The exit device gives 2 * value + 1.
  return verdict(
    status === null || (status & 1) === 0 ? null : status >>> 1,
    stdout,
    status === null ? `no end within ${seconds} s` : `status ${status}`,
  );
}

/** Why an entry is not run at all; null: it is. */
function reasonToSkip({ settings }: Entry, trees: Readonly<Record<string, string | undefined>>): string | null {
  const arch = settings.get('arch') ?? 'x86_64';
  if (trees[arch] === undefined) return `${arch} only`;
  if (settings.get('accel') === 'kvm') return 'KVM only';
  if (settings.get('groups')?.includes('nodefault')) return 'manual run only';
  const check = settings.get('check');
  if (check !== undefined) return `needs ${check} of the host`;
  if (/-cpu host\b/.test(settings.get('qemu_params') ?? '')) return 'needs the CPU of a KVM host';
  return existsSync(join(trees[arch], 'x86', settings.get('file') ?? '')) ? null : 'its kernel was not built';
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      i386: { type: 'string' },
      peer: { type: 'string' },
      only: { type: 'string', default: '' },
      show: { type: 'boolean', default: false },
      seconds: { type: 'string', default: '300' },
    },
  });
  const [tree] = positionals;
  if (tree === undefined || !existsSync(join(tree, 'x86', 'unittests.cfg'))) {
    console.error(`${USAGE}\nDIR is a tree of kvm-unit-tests, configured and built`);
    return 2;
  }
  const trees = { x86_64: tree, i386: values.i386 };
  const only = new RegExp(values.only);
  const seconds = Number(values.seconds);
  const entries = parseConfiguration(readFileSync(join(tree, 'x86', 'unittests.cfg'), 'utf8')).filter(({ name }) => only.test(name));
  const runners = { cbit: underCbit, ...(values.peer === 'qemu' ? { qemu: underQemu } : {}) };
  const totals = Object.fromEntries(Object.keys(runners).map((name) => [name, { PASS: 0, FAIL: 0, SKIP: 0 }]));
  for (const entry of entries) {
    const skipped = reasonToSkip(entry, trees);
    const kernel = join(
      trees[(entry.settings.get('arch') ?? 'x86_64') as keyof typeof trees] ?? tree,
      'x86',
      entry.settings.get('file') ?? '',
    );
    for (const [name, runner] of Object.entries(runners)) {
      const limit = Number.parseInt(entry.settings.get('timeout') ?? '', 10) || seconds;
      const result: Result =
        skipped === null ? await runner(kernel, entry, Math.max(limit, seconds)) : { verdict: 'SKIP', reason: skipped, output: '' };
      const total = totals[name];
      if (total) total[result.verdict]++;
      console.log(`${name.padEnd(5)} ${result.verdict} ${entry.name.padEnd(42)} ${result.reason}`);
      if (values.show) console.log(result.output);
    }
  }
  for (const [name, { PASS, FAIL, SKIP }] of Object.entries(totals))
    console.log(`${name}: ${PASS} passed, ${FAIL} failed, ${SKIP} skipped`);
  return 0;
}

process.exitCode = await main();
