// The command as a person starts it: exit statuses, one-line mistakes, what goes to which stream.

import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assemble } from '../../src/asm/assemble.ts';

type Ran = { readonly status: number | null; readonly stdout: string; readonly stderr: string };

let folder: string;
const root = process.cwd();
const image = (name: string, source: string): string => {
  const path = join(folder, name);
  writeFileSync(path, assemble(source, { bits: 64, origin: 0x10_0000n }).bytes);
  return path;
};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cbit-command-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type How = {
  readonly input?: string;
  readonly environment?: NodeJS.ProcessEnv;
  readonly started?: (kill: (signal: NodeJS.Signals) => void, stdout: string) => void;
};

function cbit(args: readonly string[], { input, environment, started }: How = {}): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'tools/cbit.mjs'), ...args], {
      cwd: folder,
      env: { ...process.env, ...environment },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
      started?.((signal) => child.kill(signal), stdout);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout, stderr }));
    if (input === undefined) return; // an open stdin that nobody writes to must not keep the command
    child.stdin.end(input);
  });
}

/** Sends the low byte of `value` to the test device. */
const end = (value: number): string => `mov eax, ${value}\nout 0xf4, al\nhlt\n`;
const say = (text: string): string => [...text].map((character) => `mov al, ${character.charCodeAt(0)}\nout dx, al\n`).join('');
const hello = `mov edx, 0x3f8\n${say('Hello\n')}${end(0)}`;

describe('mistakes', () => {
  it.each<[string, string[], RegExp]>([
    ['no command', [], /see `cbit run --help`/],
    ['an unknown command', ['walk'], /walk/],
    ['no image', ['run'], /image/],
    ['an unknown option', ['run', 'x', '--fast'], /--fast/],
    ['a missing image', ['run', 'nowhere/at-all'], /nowhere\/at-all: no such file/],
    ['an option without its value', ['run', 'x', '--memory'], /memory/],
    ['an impossible size', ['run', 'x', '--memory', '64X'], /--memory 64X: give a size/],
    ['an unknown technology', ['run', 'x', '--sev', 'snp'], /--sev snp/],
    ['an unknown model', ['run', 'x', '--cpu', 'i486'], /--cpu i486/],
    ['two images', ['run', 'x', 'y'], /Expected 1 argument but got 2: see/],
  ])('%s: one line, status 2', async (_what, args, said) => {
    const { status, stdout, stderr } = await cbit(args);
    expect(stderr).toMatch(said);
    expect(stderr).toMatch(/^cbit: [^\n]+\n$/);
    expect([status, stdout]).toEqual([2, '']);
  });

  it.each<[string, string[], RegExp]>([
    ['an intercept that is none', ['--intercept', 'cpuidd'], /cpuidd/],
    ['an entry outside the image', ['--entry', '0x1'], /--entry/],
    ['a place outside memory', ['--load', '0x8000000'], /memory/],
    ['a trace into nowhere', ['--trace=no/such/folder'], /--trace no\/such\/folder/],
    ['a sanitizer for a guest without a GHCB', ['--sanitize', '--sev', 'sev'], /--sanitize: only an SEV-ES guest/],
    ['a sanitizer where there is no guest', ['--sanitize', '--bare'], /--sanitize: only an SEV-ES guest/],
    ['a secret outside of memory', ['--taint', '--secret', '0x3fffff0:32'], /not all RAM of the guest: stay below 0x4000000/],
    ['the same with --json: still one line, no object', ['--json', '--rtc', 'soon'], /--rtc soon/],
  ])('%s: one line, status 2', async (_what, args, said) => {
    const { status, stdout, stderr } = await cbit(['run', image('any.bin', hello), ...args]);
    expect(stderr).toMatch(said);
    expect(stderr).toMatch(/^cbit: [^\n]+\n$/);
    expect([status, stdout]).toEqual([2, '']);
  });

  it('a truncated ELF image: one line, status 2', async () => {
    const path = join(folder, 'cut.elf');
    writeFileSync(path, Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1));
    const { status, stderr } = await cbit(['run', path]);
    expect(stderr).toMatch(/^cbit: cut\.elf: [^\n]+\n$/);
    expect(status).toBe(2);
  });
});

describe('a full disk under stdout', () => {
  it.skipIf(!existsSync('/dev/full'))('is one line, status 2', () => {
    const full = openSync('/dev/full', 'w');
    const args = [join(root, 'tools/cbit.mjs'), 'run', image('full.bin', hello), '--json'];
    const { status, stderr } = spawnSync(process.execPath, args, { stdio: ['ignore', full, 'pipe'], encoding: 'utf8', timeout: 60_000 });
    closeSync(full);
    expect(stderr).toBe('cbit: stdout: cannot be written (ENOSPC): make room, or send it elsewhere\n');
    expect(status).toBe(2);
  });
});

describe('help and version', () => {
  it('go to stdout with status 0', async () => {
    const help = await cbit(['run', '--help']);
    expect(help.status).toBe(0);
    for (const option of ['--sev', '--memory', '--trace', '--json', '--halt-ok']) expect(help.stdout).toContain(option);
    expect(await cbit(['--version'])).toEqual({
      status: 0,
      stdout: `${JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version}\n`,
      stderr: '',
    });
  });
});

describe('a guest', () => {
  it('that ends itself with 0: its serial output on stdout, the account on stderr, status 0', async () => {
    const { status, stdout, stderr } = await cbit(['run', image('hello.bin', hello), '--sev', 'none']);
    expect([status, stdout]).toEqual([0, 'Hello\n']);
    expect(stderr).toContain('How it ended');
    expect(stderr).not.toContain('\x1b[');
  });

  it('that ends itself with something else: status 1', async () => {
    const { status, stderr } = await cbit(['run', image('five.bin', end(5)), '--sev', 'none']);
    expect(stderr).toContain('ended itself with 5');
    expect(status).toBe(1);
  });

  it('that halts for good: status 1, with --halt-ok 0', async () => {
    const path = image('halt.bin', 'cli\nhlt\n');
    expect((await cbit(['run', path, '--sev', 'none'])).status).toBe(1);
    expect((await cbit(['run', path, '--sev', 'none', '--halt-ok'])).status).toBe(0);
  });

  it('that runs on for ever: status 3 at the limit', async () => {
    const { status, stdout } = await cbit(['run', image('loop.bin', 'again: jmp again\n'), '--max-instructions', '1M', '--json']);
    expect(status).toBe(3);
    expect(JSON.parse(stdout)).toMatchObject({ outcome: 'limit', status: 3, instructions: 1_000_000, value: null });
  });

  it('without a #VC handler as an SEV-ES guest: status 1 and the advice', async () => {
    const { status, stderr } = await cbit(['run', image('naive.bin', 'xor eax, eax\ncpuid\nhlt\n')]);
    expect(stderr).toContain('--sev none');
    expect(status).toBe(1);
  });

  it('gets stdin over COM1', async () => {
    const echo = `mov edx, 0x3fd
      wait: in al, dx
      test al, 1
      jz wait
      mov edx, 0x3f8
      in al, dx
      out dx, al
      mov edx, 0x3fd
      cmp al, 46
      jne wait
      ${end(0)}`;
    const { status, stdout } = await cbit(['run', image('echo.bin', echo), '--sev', 'none'], { input: 'What is said is said again.' });
    expect([status, stdout]).toEqual([0, 'What is said is said again.']);
  });

  it('interrupted by Ctrl-C: status 130, with the account', async () => {
    const path = image('busy.bin', `mov edx, 0x3f8\n${say('x\n')}again: jmp again\n`);
    let sent = false;
    const { status, stdout, stderr } = await cbit(['run', path, '--sev', 'none'], {
      started: (kill, seen) => {
        if (seen.includes('x') && !sent) kill('SIGINT');
        sent = true;
      },
    });
    expect([status, stdout]).toEqual([130, 'x\n']);
    expect(stderr).toContain('interrupted');
  });
});

describe('--json', () => {
  it('prints one object and nothing else on stdout, with equal hashes for equal runs', async () => {
    const path = image('json.bin', hello);
    const runs = [await cbit(['run', path, '--sev', 'sev', '--json']), await cbit(['run', path, '--sev', 'sev', '--json'])];
    for (const { status, stdout, stderr } of runs) {
      expect([status, stderr]).toEqual([0, '']);
      expect(stdout).toMatch(/^\{.*\}\n$/);
    }
    const [one, two] = runs.map(({ stdout }) => JSON.parse(stdout));
    expect(one).toMatchObject({ version: 1, outcome: 'ended', status: 0, value: 0, serial: 'Hello\n', seed: '0' });
    expect(one.exits.IOIO).toBe(7);
    expect(one.measurement).toMatch(/^[0-9a-f]{64}$/);
    expect(one.traceHash).toMatch(/^[0-9a-f]{64}$/);
    expect({ ...one, seconds: 0 }).toEqual({ ...two, seconds: 0 });
  });
});

describe('--trace', () => {
  it('writes NDJSON to the file named, or to the usual one, and never takes the image for it', async () => {
    const path = image('traced.bin', hello);
    expect((await cbit(['run', '--sev', 'none', '--trace', path])).status).toBe(0);
    expect((await cbit(['run', '--sev', 'none', '--trace=mine.ndjson', path])).status).toBe(0);
    const [usual, mine] = ['cbit-trace.ndjson', 'mine.ndjson'].map((name) => readFileSync(join(folder, name), 'utf8'));
    expect(usual).toBe(mine);
    const lines = (mine ?? '')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines[0]).toMatchObject({ cbit: 'trace', technology: 'none' });
    expect(lines.at(-1)).toMatchObject({ kind: 'end', outcome: 'ended' });
    expect(lines.filter(({ kind, name }) => kind === 'exit' && name === 'IOIO').length).toBe(7);
  });
});

describe('--seed random', () => {
  it('prints the seed with which the run can be had again', async () => {
    const path = image('seeded.bin', hello);
    const drawn = JSON.parse((await cbit(['run', path, '--sev', 'sev', '--seed', 'random', '--json'])).stdout);
    const again = JSON.parse((await cbit(['run', path, '--sev', 'sev', '--seed', drawn.seed, '--json'])).stdout);
    expect(again.traceHash).toBe(drawn.traceHash);
    const other = JSON.parse((await cbit(['run', path, '--sev', 'sev', '--json'])).stdout);
    expect(other.traceHash).not.toBe(drawn.traceHash);
  });
});

describe('the account', () => {
  it('has colours if they are asked for', async () => {
    const { stderr } = await cbit(['run', image('colours.bin', hello), '--sev', 'none'], {
      environment: { FORCE_COLOR: '1', NO_COLOR: '' },
    });
    expect(stderr).toContain('\x1b[');
  });
});

describe('images from elsewhere', () => {
  const rom = (): string => {
    const path = join(folder, 'rom.bin');
    const code = `mov ax, 0x1234\nmov dx, 0x3f8\nmov al, 65\nout dx, al\nxor eax, eax\nmov dx, 0xf4\nout dx, eax\nhlt\ntimes 0xff0 - ($ - $$) db 0\njmp 0xf000:0xf000\ntimes 0x1000 - ($ - $$) db 0`;
    writeFileSync(path, assemble(code, { bits: 16 }).bytes);
    return path;
  };

  it('--bios starts a ROM without any other image', async () => {
    const { status, stdout, stderr } = await cbit(['run', '--bios', rom(), '--sev', 'none', '--max-instructions', '1M']);
    expect([status, stdout]).toEqual([0, 'A']);
    expect(stderr).toContain('rom.bin');
  });

  it('--registers json prints the registers on a line of its own behind the serial output', async () => {
    const { stdout } = await cbit(['run', '--bios', rom(), '--sev', 'none', '--registers', 'json', '--max-instructions', '1M']);
    const [serial, line = '', rest] = stdout.split('\n');
    expect([serial, rest]).toEqual(['A', '']);
    expect(JSON.parse(line)).toMatchObject({ rax: '0x0', segments: { cs: { selector: '0xf000' } } });
  });

  it('--registers json with --json is a member of the report', async () => {
    const args = ['run', image('registers.bin', `mov rcx, 7\n${end(0)}`), '--sev', 'none', '--json'];
    const { stdout } = await cbit([...args, '--registers', 'json']);
    expect(JSON.parse(stdout).registers).toMatchObject({ rcx: '0x7', rip: '0x10000e' });
    expect(JSON.parse((await cbit(args)).stdout)).not.toHaveProperty('registers');
  });

  it.each<[string, () => string[], RegExp]>([
    ['a ROM that is not there', () => ['run', '--bios', 'nowhere.bin'], /--bios nowhere.bin: no such file/],
    ['a folder as a ROM', () => ['run', '--bios', folder], /is not a file/],
    ['a ROM of an odd size', () => ['run', '--bios', image('odd.bin', 'nop')], /odd.bin.*4096/],
    ['a mode for a ROM', () => ['run', '--bios', rom(), '--mode', '16'], /--mode/],
    ['an initrd that is not there', () => ['run', image('any.bin', hello), '--initrd', 'nowhere.img'], /--initrd nowhere.img/],
    ['an initrd for nobody', () => ['run', image('any.bin', hello), '--initrd', rom()], /--initrd.*Multiboot/],
    ['registers in another format', () => ['run', image('any.bin', hello), '--registers', 'text'], /--registers text: give json/],
    ['nothing at all', () => ['run'], /give an image/],
  ])('%s: one line, status 2', async (_what, args, says) => {
    const { status, stdout, stderr } = await cbit(args());
    expect([status, stdout, stderr.split('\n').length]).toEqual([2, '', 2]);
    expect(stderr).toMatch(says);
  });
});

describe('pages', () => {
  it.each<[string, string[], RegExp]>([
    ['no image', ['pages'], /image/],
    ['an unknown option', ['pages', 'x', '--frob'], /--frob.*cbit pages --help/],
    ['a moment that is none', ['pages', 'x', '--at', 'cpuidd'], /--at cpuidd: give an exit/],
    ['a page that is no address', ['pages', 'x', '--page', 'here'], /--page here: give a guest physical address/],
    ['a key without a page', ['pages', 'x', '--key', 'host'], /--key is about pages: name one with --page/],
    ['a key that is none', ['pages', 'x', '--page', '0', '--key', 'mine'], /--key mine: give none, host, asid/],
    ['a format that is none', ['pages', 'x', '--format', 'png'], /--format png: give one of text, json, svg/],
    ['too many bytes', ['pages', 'x', '--page', '0', '--bytes', '4097'], /--bytes 4097: give a number from 1 to 4096/],
  ])('%s: one line, status 2', async (_what, args, said) => {
    const { status, stdout, stderr } = await cbit(args);
    expect(stderr).toMatch(said);
    expect(stderr).toMatch(/^cbit: [^\n]+\n$/);
    expect([status, stdout]).toEqual([2, '']);
  });

  it.each<[string, string[], RegExp]>([
    ['a page where no memory is', ['--page', '0x4000000'], /no memory is there: give an address from 0x0 to 0x3ffffff/],
    ['an ASID beyond the last', ['--page', '0', '--key', '254'], /--key 254: this processor has ASIDs up to 253/],
    ['the key of a guest that has none', ['--page', '0', '--key', 'asid', '--sev', 'none'], /--key asid: there is no guest with a key/],
    [
      'an exit that does not come so often',
      ['--sev', 'none', '--at', 'ioio#99'],
      /--at ioio#99: it occurred 7 times before .*: give a lower number/,
    ],
    ['an exit that does not come', ['--sev', 'none', '--at', 'rdtsc'], /--at rdtsc: it never occurred before/],
    ['an end before the moment', ['--sev', 'none', '--at', '1M'], /--at 1M: .* after \d+ instructions: give fewer/],
    ['an output into nowhere', ['--output', 'no/such/file.svg'], /--output no\/such\/file\.svg: cannot be written/],
  ])('%s: one line, status 2', async (_what, args, said) => {
    const { status, stdout, stderr } = await cbit(['pages', image('pages.bin', hello), ...args]);
    expect(stderr).toMatch(said);
    expect(stderr).toMatch(/^cbit: [^\n]+\n$/);
    expect([status, stdout]).toEqual([2, '']);
  });

  it('shows the map on stdout, and nothing of the guest, whatever the guest ended with', async () => {
    const { status, stdout, stderr } = await cbit(['pages', image('nine.bin', `mov edx, 0x3f8\n${say('x')}${end(9)}`), '--sev', 'sev']);
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toContain('Guest physical memory');
    expect(stdout).toMatch(/private +\d+ pages/);
  });

  it('shows a page as it was at an instruction and at an exit', async () => {
    const path = image(
      'marks.bin',
      `mov dword ptr [0x300000], 0x44434241\nmov edx, 0x3f8\nmov al, 88\nout dx, al\nmov dword ptr [0x300000], 0x48474645\n${end(0)}`,
    );
    const at = async (...moment: string[]): Promise<string> =>
      (await cbit(['pages', path, '--sev', 'none', '--page', '300000', '--bytes', '4', ...moment])).stdout;
    expect(await at('--at', '0')).not.toContain('ABCD');
    expect(await at('--at', '1')).toContain('ABCD');
    expect(await at('--at', 'ioio')).toContain('ABCD');
    expect(await at('--at', 'ioio#2')).toContain('EFGH');
    expect(await at()).toContain('EFGH');
  });

  it('writes the picture and the JSON that --output asks for by its ending', async () => {
    const path = image('drawn.bin', hello);
    for (const name of ['map.svg', 'map.json'])
      expect(await cbit(['pages', path, '--output', name])).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(readFileSync(join(folder, 'map.svg'), 'utf8')).toMatch(/^<svg .*<\/svg>\n$/s);
    expect(JSON.parse(readFileSync(join(folder, 'map.json'), 'utf8'))).toMatchObject({
      version: 1,
      technology: 'sev-es',
      map: [{ space: 'guest' }, { space: 'host' }],
    });
  });

  it('are a part of the account and of the JSON of a run with --map', async () => {
    const path = image('mapped.bin', hello);
    const { stderr } = await cbit(['run', path, '--sev', 'sev', '--map']);
    expect(stderr).toContain('Guest physical memory');
    expect(stderr.indexOf('Guest physical memory')).toBeLessThan(stderr.indexOf('How it ended'));
    const [plain, mapped] = [
      await cbit(['run', path, '--sev', 'sev', '--json']),
      await cbit(['run', path, '--sev', 'sev', '--json', '--map']),
    ].map(({ stdout }) => JSON.parse(stdout));
    expect(plain.map).toBeUndefined();
    expect(mapped.map[0].pages.private).toBeGreaterThan(0);
    expect(mapped.traceHash).toBe(plain.traceHash);
  });
});

describe('--bare', () => {
  it('runs the image as the host, with serial output, registers and the account; no exit is counted', async () => {
    const { status, stdout, stderr } = await cbit(['run', image('bare.bin', hello), '--bare', '--registers', 'json']);
    expect(stdout).toMatch(/^Hello\n\{/);
    expect(JSON.parse(stdout.slice('Hello\n'.length))).toMatchObject({ rdx: '0x3f8', efer: '0xd00' });
    expect(stderr).toContain('the host itself on milan');
    expect(stderr).not.toContain('Exits');
    expect(status).toBe(0);
  });

  it('refuses a technology in one line', async () => {
    const { status, stderr } = await cbit(['run', image('bare.bin', hello), '--bare', '--sev', 'sev-es']);
    expect(stderr).toMatch(/^cbit: --bare: [^\n]+--sev sev-es[^\n]+\n$/);
    expect(status).toBe(2);
  });
});
