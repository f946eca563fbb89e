// `cbit conform` as a person starts it: exit statuses, forms, one-line mistakes.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCell, parseEvent, parseOccurrences, parseOnly } from '../../src/cli/conform-options.ts';
import type { ConformEvent } from '../../src/conform/event.ts';
import { guest } from '../conform/guests.ts';

let folder: string;
const root = process.cwd();
const cbit = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [join(root, 'tools/cbit.mjs'), 'conform', ...args], { cwd: folder, encoding: 'utf8', timeout: 120_000 });
const flat = (...args: string[]) => cbit(...args, '--memory', '4M', '--mode', '64');

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cbit-conform-'));
  writeFileSync(join(folder, 'good.bin'), guest());
  writeFileSync(join(folder, 'halt.bin'), Uint8Array.of(0xf4));
  writeFileSync(join(folder, 'careless.bin'), guest({ without: ['info1', 'valid'] }));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('exit status', () => {
  it('0 without violations, with a table on stdout and nothing on stderr', () => {
    const { status, stdout, stderr } = flat('good.bin', '--event', 'CPUID');
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toContain('0 violated');
  });

  it('1 with violations', () => {
    const { status, stdout } = flat('careless.bin', '--event', '72h', '--only', 'missing');
    expect(status).toBe(1);
    expect(stdout).toContain('✗ 3.missing-rbx');
  });

  it.each<[string[], string]>([
    [['good.bin', '--sev', 'none'], 'only SEV-ES guests speak the GHCB protocol'],
    [['good.bin', '--event', 'RDPMC'], "none of the guest's 7 VMGEXITs is that"],
    [['good.bin', '--only', 'nonsense'], '--only nonsense: give a result'],
    [['good.bin', '--occurrences', '0'], '--occurrences 0: give a number'],
    [['good.bin', '--all', '--occurrences', '3'], 'leave --occurrences out'],
    [['good.bin', '--cell', '3'], '--cell 3: give the name of a cell'],
    [['good.bin', '--cell', '300.right'], 'executes 7 VMGEXITs'],
    [['good.bin', '--cell', '2.missing-rbx'], 'has no such variant: give one of right'],
    [['good.bin', '--cell', '3.right', '--event', 'CPUID'], 'leave --event'],
    [['good.bin', '--trace'], '--trace is of one run'],
    [['good.bin', '--format', 'yaml'], '--format yaml: give one of text, json, junit'],
    [['good.bin', '--bare'], 'leave it out'],
    [['good.bin', '--disk', 'x.img'], '--disk x.img: no such file'],
    [['missing.bin'], 'no such file'],
    [['good.bin', '--only', ''], '--only: give a result'],
    [['good.bin', 'careless.bin'], 'Expected 1 argument but got 2: see `cbit conform --help`'],
    [
      ['good.bin', '--output', 'nowhere/out.json', '--max-instructions', '1'],
      '--output nowhere/out.json: cannot be written (ENOENT): name a file',
    ],
    [['good.bin', '--output', '.', '--max-instructions', '1'], '--output .: cannot be written (EISDIR): name a file'],
    [['halt.bin', '--halt-ok'], 'the guest never executes VMGEXIT, so there is nothing to judge: `cbit run` shows what it does instead'],
    [['good.bin', '--max-instructions', '10'], 'nothing to compare with'],
  ])('2 and one line for %j', (args, said) => {
    const { status, stdout, stderr } = flat(...args);
    expect(stderr).toContain(said);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });
});

describe('forms', () => {
  it('JSON, by --format or by the ending of --output', () => {
    const { stdout } = flat('good.bin', '--event', 'CPUID', '--format', 'json');
    const report = JSON.parse(stdout) as { version: number; totals: { violated: number }; narrowed: object };
    expect(report).toMatchObject({ version: 1, totals: { violated: 0 }, narrowed: { event: 'CPUID', only: null, occurrences: 2 } });
    expect(flat('good.bin', '--event', 'CPUID', '--output', 'out.json').stdout).toBe('');
    const { seconds: _, ...written } = JSON.parse(readFileSync(join(folder, 'out.json'), 'utf8')) as { seconds: number };
    expect({ ...report, seconds: 0 }).toEqual({ ...written, seconds: 0 });
  });

  it('JUnit XML', () => {
    flat('careless.bin', '--event', 'CPUID', '--output', 'out.xml');
    expect(readFileSync(join(folder, 'out.xml'), 'utf8')).toContain('<failure ');
  });

  it('its schema', () => {
    expect(JSON.parse(cbit('--schema').stdout)).toEqual(JSON.parse(readFileSync(join(root, 'docs/conform.schema.json'), 'utf8')));
  });
});

describe('a cell', () => {
  it('is run again alone, with a trace', () => {
    const { status, stdout, stderr } = flat('careless.bin', '--cell', '3.missing-rbx', '--trace=cell.ndjson');
    expect(status).toBe(1);
    expect(stdout).toContain('✗ 3.missing-rbx  CPUID 0h');
    expect(stderr).toMatch(/^trace: cell\.ndjson, \d+ events\n$/);
    expect(existsSync(join(folder, 'cell.ndjson'))).toBe(true);
    expect(readFileSync(join(folder, 'cell.ndjson'), 'utf8').split('\n')[0]).toContain('"cbit":"trace"');
  });
});

describe('options', () => {
  const event = (code: number, name: string) => ({ code, name }) as ConformEvent;

  it.each([
    ['72', 0x72, 'x', true],
    ['72h', 0x72, 'x', true],
    ['0x72', 0x72, 'x', true],
    ['72', 0x7c, 'x', false],
    ['80000001', 0x8000_0001, 'x', true],
    ['cpuid', 1, 'MSR: CPUID 0h EAX', true],
    ['OUT', 1, 'OUT 3F8h', true],
    ['OUT', 1, 'IN 3F8h', false],
  ])('--event %s', (text, code, name, chosen) => {
    expect(parseEvent(text)(event(code, name))).toBe(chosen);
  });

  it('--only takes variants, groups and a result', () => {
    const { variant, listed } = parseOnly('missing,gp,violated');
    const chosen = (id: string, group: string): boolean => variant({ id, group } as Parameters<typeof variant>[0]);
    expect([chosen('missing-rax', 'missing'), chosen('gp', 'exception'), chosen('ud', 'exception'), listed]).toEqual([
      true,
      true,
      false,
      'violated',
    ]);
    expect(parseOnly('tolerated').variant({ id: 'x', group: 'error' } as Parameters<typeof variant>[0])).toBe(true);
  });

  it('--occurrences and --all', () => {
    expect([parseOccurrences(undefined, false), parseOccurrences('7', false), parseOccurrences(undefined, true)]).toEqual([2, 7, null]);
  });

  it('--cell', () => {
    expect(parseCell('17.missing-RAX')).toEqual({ number: 17, variant: 'missing-rax' });
  });
});
