// Campaigns as commands: what is wrong with their options is one line, with status 2.

import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { Mistake, numberOf, toolOptions } from '../../tools/tool-options.ts';

const options = { jobs: { type: 'string', default: '1' } } as const;

describe('options of a campaign', () => {
  it('are read', () => {
    expect(toolOptions('', options, ['--jobs', '2']).jobs).toBe('2');
    expect(toolOptions('', options, []).jobs).toBe('1');
    expect([numberOf('jobs', '2'), numberOf('start', '0', 0)]).toEqual([2, 0]);
  });

  it.each([
    [['--job', '2'], "Unknown option '--job': see --help"],
    [['2'], "Unexpected argument '2'. This command does not take positional arguments: see --help"],
    [['--jobs'], "Option '--jobs <value>' argument missing: see --help"],
  ])('%j is a mistake', (args, said) => {
    expect(() => toolOptions('', options, args)).toThrow(new Mistake(said));
  });

  it.each(['0', 'x', '', '1.5', '-1'])('so is a number such as "%s"', (text) => {
    expect(() => numberOf('jobs', text)).toThrow(`--jobs ${text}: give a number such as 2`);
  });
});

const tool = (name: string, ...args: string[]) =>
  spawnSync(process.execPath, ['tools/bundled.mjs', `tools/${name}.ts`, ...args], { encoding: 'utf8', timeout: 60_000 });

describe.each(['conform-guests', 'fuzz-observed'])('%s', (name) => {
  it('says what it takes', () => {
    const { status, stdout } = tool(name, '--help');
    expect(stdout).toContain('--jobs N');
    expect(status).toBe(0);
  });

  it('says what is wrong, in one line', () => {
    const { status, stdout, stderr } = tool(name, '--jobs', 'many');
    expect(stderr).toBe(`${name}: --jobs many: give a number such as 2\n`);
    expect([status, stdout]).toEqual([2, '']);
  });
});
