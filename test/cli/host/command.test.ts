// `cbit host` as a person starts it: on a pseudo-terminal (util-linux's script makes one), with a script on stdin, and --once.

import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assemble } from '../../../src/asm/assemble.ts';

const root = process.cwd();
const command = join(root, 'tools/cbit.mjs');
let folder: string;

const say = (text: string): string => [...text].map((character) => `mov al, ${character.charCodeAt(0)}\nout dx, al\n`).join('');
const end = (value: number): string => `mov eax, ${value}\nout 0xf4, al\nhlt\n`;
const programs = {
  hello: `mov edx, 0x3f8\n${say('Hello\n')}${end(0)}`,
  three: `mov edx, 0x3f8\n${say('no')}${end(3)}`,
  loop: 'again: jmp again\n',
  // Sends back each key, and ends at a full stop.
  echo: `mov edx, 0x3f8\n${say('? ')}
    wait: mov edx, 0x3fd
    in al, dx
    test al, 1
    jz wait
    mov edx, 0x3f8
    in al, dx
    out dx, al
    cmp al, 46
    jne wait
    ${end(0)}`,
};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cbit-host-command-'));
  for (const [name, source] of Object.entries(programs))
    writeFileSync(join(folder, `${name}.bin`), assemble(source, { bits: 64, origin: 0x10_0000n }).bytes);
  const guest = (name: string, more: object = {}): object => ({ name, image: `${name}.bin`, sev: 'none', memory: '2M', ...more });
  writeFileSync(
    join(folder, 'host.json'),
    JSON.stringify({
      'host-cpus': 2,
      guests: [guest('hello', { sev: 'sev' }), guest('echo'), guest('loop'), guest('three', { autostart: false })],
    }),
  );
  writeFileSync(join(folder, 'short.json'), JSON.stringify({ guests: [guest('hello', { sev: 'sev' }), guest('three')] }));
  writeFileSync(join(folder, 'wrong.json'), '{"guests": [\n  {"name": "a", "image": "hello.bin", "memroy": "1M"}]}');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const environment = (): NodeJS.ProcessEnv => ({ ...process.env, XDG_STATE_HOME: folder, TERM: 'xterm', NO_COLOR: '1' });

type Ran = { readonly status: number | null; readonly stdout: string; readonly stderr: string };

function cbit(args: readonly string[], input = ''): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [command, 'host', ...args], { cwd: folder, env: environment() });
    const [out, err]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }));
    child.stdin.end(input);
  });
}

describe('cbit host', () => {
  it.each<[string, string[], RegExp]>([
    ['without a file', [], /there is no host: give a file/],
    ['with a file that is not there', ['none.json'], /none\.json: no such file/],
    ['with a slip in the file', ['wrong.json'], /wrong\.json:2:39: guests\[0\]\.memroy: .*"memory"/],
    ['with --json alone', ['host.json', '--json'], /--once/],
    ['with an option that is none', ['host.json', '--twice'], /--twice.*cbit host --help/],
  ])('%s: one line, status 2', async (_what, args, said) => {
    const { status, stdout, stderr } = await cbit(args);
    expect(stderr).toMatch(said);
    expect(stderr).toMatch(/^cbit: [^\n]+\n$/);
    expect([status, stdout]).toEqual([2, '']);
  });

  it('--schema prints the schema', async () => {
    const { status, stdout } = await cbit(['--schema']);
    expect(JSON.parse(stdout)).toEqual(JSON.parse(readFileSync(join(root, 'docs/host.schema.json'), 'utf8')));
    expect(status).toBe(0);
  });

  it('--once runs all to their end, lines with names, then a table; 1 because one failed', async () => {
    const { status, stdout, stderr } = await cbit(['short.json', '--once']);
    expect(stdout).toBe('hello | Hello\nthree | no\n');
    expect(stderr).toMatch(/^Name +SEV +ASID +Instructions +Exits +Touched +Status +How it ended$/m);
    expect(stderr).toMatch(/^hello +sev .* 0 +the guest ended itself with 0$/m);
    expect(stderr).toMatch(/^three +none .* 1 +the guest ended itself with 3$/m);
    expect(status).toBe(1);
  });

  it('--once --json gives equal objects for equal runs', async () => {
    const [one, two] = (await Promise.all([0, 1].map(() => cbit(['short.json', '--once', '--json'])))).map(({ stdout }) =>
      JSON.parse(stdout),
    );
    expect({ ...one, seconds: 0 }).toEqual({ ...two, seconds: 0 });
    expect(one.guests.map(({ serial, status }: { serial: string; status: number }) => [serial, status])).toEqual([
      ['Hello\n', 0],
      ['no', 1],
    ]);
  });

  it('takes verbs from stdin, with equal output for equal scripts', async () => {
    const script = 'list\nwait hello\nconsole hello\nlist\ncreate three\nwait three\ndestroy echo loop\nasid\nnonsense\n';
    const [one, two] = await Promise.all([cbit(['host.json'], script), cbit(['host.json'], script)]);
    expect(one).toEqual(two);
    expect(one.stdout).toContain('Hello\n');
    expect(one.stdout).toMatch(/^hello +1 +2 +1 +r----- +0 /m);
    expect(one.stdout).toMatch(/^hello +1 +2 +1 +---s-- /m);
    expect(one.stderr).toBe('cbit: line 9: there is no verb "nonsense": help lists those that there are\n');
    expect(one.status).toBe(2);
  });
});

/** Keys to a pseudo-terminal, and what it shows. */
class Seat {
  seen = '';
  #from = 0;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly over: Promise<number | null>;

  constructor(line: string) {
    this.#child = spawn('script', ['-qefc', line, '/dev/null'], { cwd: folder, env: environment() });
    this.#child.stdout.on('data', (chunk: Buffer) => {
      this.seen += chunk.toString();
    });
    this.over = new Promise((resolve) => this.#child.on('close', resolve));
  }

  type(text: string): void {
    this.#from = this.seen.length;
    this.#child.stdin.write(text);
  }

  async sees(what: RegExp): Promise<void> {
    for (let n = 0; n < 1500; n++) {
      if (what.test(this.seen.slice(this.#from))) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`never saw ${what}: ${JSON.stringify(this.seen.slice(this.#from))}`);
  }
}

const hasScript = process.platform === 'linux' && spawnSync('script', ['--version']).status === 0;

describe.skipIf(!hasScript)('cbit host on a terminal', () => {
  it('serves a session: prompt, completion, console, guests in the background, leave', async () => {
    const seat = new Seat(`${process.execPath} ${command} host host.json`);
    await seat.sees(/host\.json: milan, 2 processors, 3 guests, 1 more to create\. Verbs: help\r\n[^]*cbit> /);
    seat.type('wait hello\r');
    await seat.sees(/hello: the guest ended itself with 0\r\n/);
    seat.type('list\r');
    await seat.sees(/^hello +1 +2 +1 +---s-- [^]*^loop +3 +2 +1 +r-----/m);
    seat.type('con');
    await new Promise((resolve) => setTimeout(resolve, 50));
    seat.type('\t');
    await seat.sees(/sole /);
    seat.type('echo\r');
    await seat.sees(/\? /);
    seat.type('abc');
    await seat.sees(/abc/);
    seat.type('\x1d');
    await seat.sees(/cbit> /);
    seat.type('pause loop\r');
    await seat.sees(/cbit> /);
    seat.type('lsit\r');
    await seat.sees(/did you mean list\?/);
    seat.type('console echo\r');
    await seat.sees(/leaves/);
    seat.type('.');
    await seat.sees(/echo: the guest ended itself with 0\r\n[^]*cbit> /);
    seat.type('dmesg\r');
    await seat.sees(/LAUNCH_START[^]*hello \(1\): created, sev, ASID \d+, 2 MiB, 1 vcpu[^]*loop \(3\): paused/);
    seat.type('\x04');
    expect(await seat.over).toBe(0);
    expect(readFileSync(join(folder, 'cbit/host_history'), 'utf8')).toContain('\nconsole echo\n');
  });
});
