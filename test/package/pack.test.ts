// The package as a stranger gets it: packed, installed elsewhere, and run from there, as a command and as a library.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { libraryExamples } from './library-examples.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { dependencies, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  dependencies: Record<string, string>;
  version: string;
};

/** npm without a shell: the script that runs us, or the one that comes with this Node. */
const npmScript = [
  process.env['npm_execpath'],
  join(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js'),
  join(dirname(process.execPath), 'node_modules', 'npm', 'bin', 'npm-cli.js'),
].find((path) => path?.endsWith('npm-cli.js') && existsSync(path));

function npm(folder: string, ...args: readonly string[]): string {
  const [command, first] = npmScript ? [process.execPath, [npmScript]] : ['npm', []];
  return execFileSync(command, [...first, ...args], { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

describe('the package', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cbit-package-'));
  const installed = join(folder, 'node_modules', 'cbit');
  let contents: string[] = [];
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  beforeAll(() => {
    const [packed] = JSON.parse(npm(root, 'pack', '--json', '--silent', '--pack-destination', folder)) as [
      { filename: string; files: { path: string }[] },
    ];
    contents = packed.files.map(({ path }) => path);
    // Our dependencies come from this checkout, so that no network is needed.
    const here = Object.fromEntries(Object.keys(dependencies).map((name) => [name, pathToFileURL(join(root, 'node_modules', name)).href]));
    const packages = { ...here, cbit: `file:${packed.filename}` };
    writeFileSync(
      join(folder, 'package.json'),
      JSON.stringify({ name: 'elsewhere', type: 'module', private: true, dependencies: packages }),
    );
    npm(folder, 'install', '--offline', '--no-audit', '--no-fund', '--silent');
  }, 180_000);

  it('holds the command, the library, its types, the guests, the licence, and no sources', () => {
    for (const path of [
      'dist/cli.js',
      'dist/cbit.js',
      'dist/types/src/cbit.d.ts',
      'guests/hello/hello.elf',
      'docs/run.md',
      'LICENSE',
      'README.md',
    ])
      expect(contents).toContain(path);
    expect(contents.filter((path) => /^(src|test|tools|firmware)\/|\.c$|\.S$/.test(path))).toEqual([]);
  });

  it('runs guests/hello as `cbit run guests/hello --json`, from any folder', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(installed, 'dist', 'cli.js'), 'run', 'guests/hello', '--json'], {
      cwd: folder,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ outcome: 'ended', status: 0, value: 0 });
  });

  it('is executable under its name', () => {
    const bin = join(folder, 'node_modules', '.bin', process.platform === 'win32' ? 'cbit.cmd' : 'cbit');
    const { status, stdout } = spawnSync(bin, ['--version'], { encoding: 'utf8', shell: process.platform === 'win32' });
    expect(stdout.trim()).toBe(version);
    expect(status).toBe(0);
  });

  it('is a library whose types check, and with them the examples of docs/library.md', () => {
    writeFileSync(
      join(folder, 'use.ts'),
      `import { run, type RunResult } from 'cbit';\nimport * as cbit from 'cbit';\nexport const outcome = (result: RunResult): string => result.outcome.kind;\nexport const functions: unknown[] = [run, cbit.UserError];\n`,
    );
    const examples = libraryExamples.map((_, n) => `example-${n}.ts`);
    for (const [n, { code }] of libraryExamples.entries()) writeFileSync(join(folder, examples[n]!), code);
    const typeRoots = [join(root, 'node_modules', '@types')];
    const compilerOptions = {
      noEmit: true,
      strict: true,
      module: 'nodenext',
      target: 'es2022',
      types: ['node'],
      typeRoots,
      skipLibCheck: true,
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['use.ts', ...examples] }));
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const { stdout, status } = spawnSync(process.execPath, [tsc], { cwd: folder, encoding: 'utf8' });
    expect(stdout).toBe('');
    expect(status).toBe(0);
  });

  it('runs a guest when imported', () => {
    writeFileSync(
      join(folder, 'use.mjs'),
      `import { readFileSync } from 'node:fs';
import { portableAes, run } from 'cbit';
const bytes = readFileSync('node_modules/cbit/guests/hello/hello.elf');
let text = '';
const serial = { transmit: (byte) => (text += String.fromCharCode(byte)), next: () => undefined };
const { outcome } = run({ image: { name: 'hello', bytes }, serial });
console.log(JSON.stringify({ outcome, text, aes: portableAes.name }));
`,
    );
    const { stdout, stderr } = spawnSync(process.execPath, ['use.mjs'], { cwd: folder, encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ outcome: { kind: 'ended', value: 0 } });
  });
});
