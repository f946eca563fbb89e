// The verbs, as a script gives them: what they print and what they refuse.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveScript } from '../../../src/cli/host/script.ts';
import { complete, verbs, wordsOf } from '../../../src/cli/host/verbs.ts';
import { unpainted } from '../../../src/debug/canvas.ts';
import { fakeToolstack, guestOf } from './fake.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cbit-host-verbs-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const usual = [
  guestOf('web', 'hello'),
  guestOf('db', 'long', { sev: 'sev', memory: '16M', vcpus: 2 }),
  guestOf('spare', 'fails', { sev: 'none', autostart: false }),
];

type Played = { readonly out: string; readonly wrong: string[]; readonly mistakes: number; readonly failed: boolean };

async function play(lines: readonly string[], guests: readonly object[] = usual): Promise<Played> {
  const { toolstack } = fakeToolstack(guests);
  let out = '';
  const wrong: string[] = [];
  const mistakes = await serveScript({
    toolstack,
    input: Readable.from([lines.join('\n')]),
    paint: unpainted,
    print: (text) => {
      out += text;
    },
    complain: (text) => wrong.push(text),
  });
  const { failed } = toolstack;
  toolstack.close();
  return { out, wrong, mistakes, failed };
}

describe('list', () => {
  it('has the columns of xl, with technology and ASID', async () => {
    expect((await play(['list'])).out).toBe(
      [
        'Name  ID  Mem  VCPUs  State   Time(instr)  SEV     ASID',
        'web    1   64      1  r-----            0  sev-es     1',
        'db     2   16      2  r-----            0  sev        2',
        '',
      ].join('\n'),
    );
  });
  it('says what state each is in, and what time it has had', async () => {
    const { out } = await play(
      ['create spare', 'wait spare', 'pause db', 'list', 'destroy web', 'list'],
      [...usual, guestOf('bad', 'crashes')],
    );
    expect(out).toContain('web     1   64      1  r-----          500');
    expect(out).toContain('db      2   16      2  --p---          500  sev        2');
    expect(out).toContain('spare   4   64      1  ---s--          500  none       -');
    expect(out).toContain('bad     3   64      1  ----c-          100');
    expect(out.split('bad     3').length).toBe(3);
    expect(out.split('web     1').length).toBe(2);
  });
  it('names some by name or ID, or all as JSON', async () => {
    const { out } = await play(['list 2']);
    expect(out).not.toContain('web');
    expect(JSON.parse((await play(['list -l web'])).out)).toMatchObject([{ name: 'web', id: 1, state: 'running', asid: 1, outcome: null }]);
  });
});

describe('create, pause, unpause, destroy', () => {
  it('take a guest through its life', async () => {
    const { out, wrong } = await play([
      'destroy web',
      'create web',
      'list',
      'pause web',
      'wait 100',
      'list',
      'unpause 3',
      'wait web',
      'destroy web db',
      'list',
    ]);
    expect(wrong).toEqual([]);
    expect(out).toContain('web    3   64      1  r-----            0  sev-es     3');
    expect(out).toContain('web: the guest ended itself with 0\n');
    expect(out.trimEnd().split('\n').at(-1)).toMatch(/^Name/);
  });
  it('create takes a file with one guest, relative to where one stands; -p leaves it paused', async () => {
    const path = join(folder, 'late.json');
    writeFileSync(path, JSON.stringify(guestOf('late', 'hello')));
    const { out, wrong } = await play([`create -p ${path}`, 'list late', `create ${path}`]);
    expect(out).toContain('late   3   64      1  --p---');
    expect(wrong[0]).toMatch(/line 3: late\.json:1:\d+: name: there is a guest "late"/);
  });
  it.each<[string, RegExp]>([
    ['create web', /web exists with ID 1: destroy it first/],
    ['create nobody', /the file has no guest "nobody"/],
    ['create webb', /did you mean web\?/],
    ['create ./nowhere.json', /nowhere\.json: no such file/],
    ['create -x web', /"-x": the options are -c, -p/],
    ['create web db', /name one guest/],
    ['pause', /something is missing: write pause NAME/],
    ['pause spare', /spare does not exist now: create spare/],
    ['pause wbe', /there is no guest "wbe": did you mean web\?/],
    ['destroy 17', /there is no guest "17"/],
    ['unpause web', /web is not paused/],
    ['info now', /too many words: "now": write info/],
    ['reboot web', /there is no verb "reboot": help lists/],
    ['lsit', /did you mean list\?/],
    ['shutdown web', /did you mean destroy\?/],
    ['wait 10X', /wait 10X: give a count/],
    ['help nothing', /there is no verb "nothing"/],
  ])('%s is refused in one line', async (line, said) => {
    const { wrong, mistakes } = await play([line]);
    expect(mistakes).toBe(1);
    expect(wrong[0]).toMatch(said);
    expect(wrong[0]).not.toContain('\n');
  });
  it('a guest that has ended is named as that', async () => {
    const { wrong } = await play(['wait web', 'pause web', 'create web']);
    expect(wrong).toEqual([
      'line 2: web has ended: there is nothing to pause',
      'line 3: web has ended, and still has its memory and ASID: destroy web first',
    ]);
  });
  it('what the host refuses is told with the place in the file', async () => {
    const { wrong } = await play(
      ['create g6'],
      [1, 2, 3, 4, 5, 6].map((n) => guestOf(`g${n}`, 'long', { autostart: n < 6 })),
    );
    expect(wrong[0]).toMatch(/^line 1: host\.json:\d+:\d+: guests\[5\]: no ASID is free/);
  });
});

describe('what becomes of a guest that has ended', () => {
  it('is as on-poweroff and on-crash say', async () => {
    const guests = [
      guestOf('stays', 'hello'),
      guestOf('goes', 'hello', { 'on-poweroff': 'destroy' }),
      guestOf('again', 'crashes', { sev: 'none', 'on-crash': 'restart' }),
      guestOf('other', 'crashes', { 'on-poweroff': 'restart' }),
    ];
    const { out } = await play(['wait stays', 'list'], guests);
    expect(out).toContain('goes: the guest ended itself with 0, and is destroyed\n');
    expect(out).toContain('again: the guest shut down: triple fault, and begins anew (10 times)\n');
    expect(out).toMatch(/^stays +1 .* ---s-- /m);
    expect(out).toMatch(/^again +14 .* r----- /m);
    expect(out).toMatch(/^other +4 .* ----c- /m);
    expect(out).not.toMatch(/^goes +2/m);
  });
  it('fails the session if it failed', async () => {
    expect((await play(['wait web'])).failed).toBe(false);
    expect((await play(['create spare', 'wait spare'])).failed).toBe(true);
    expect((await play(['create spare', 'wait spare', 'destroy spare'])).failed).toBe(true);
    expect((await play(['quit'])).failed).toBe(false);
  });
});

describe('console', () => {
  it('in a script prints what was said since somebody looked', async () => {
    const { out } = await play(['wait web', 'console web', 'console web']);
    expect(out.match(/Hello\nWorld\n/g)).toHaveLength(1);
  });
  it('console-log gets all of it', async () => {
    const log = join(folder, 'web.log');
    await play(['wait web'], [guestOf('web', 'hello', { 'console-log': log })]);
    expect(readFileSync(log, 'utf8')).toBe('Hello\nWorld\n');
  });
});

describe('wait', () => {
  it('lets guests run for so many instructions', async () => {
    expect((await play(['wait 250', 'list'])).out).toContain('db     2   16      2  r-----          300');
  });
  it('ends when nothing can run', async () => {
    expect((await play(['pause web db', 'wait', 'list'])).wrong).toEqual([]);
    expect((await play(['pause web', 'wait web'])).wrong).toEqual(['line 2: web is paused: unpause web first']);
  });
});

describe('dmesg, info, asid, help', () => {
  it('dmesg has launches and ends with the time of the host', async () => {
    const { out } = await play(['wait web', 'destroy web', 'dmesg']);
    expect(out).toContain('[             0] web (1): created, sev-es, ASID 1, 64 MiB, 1 vcpu\n');
    expect(out).toContain('[          1000] web (1): the guest ended itself with 0\n');
    expect(out).toContain('[          1000] web (1): destroyed\n');
  });
  it('info is names and values', async () => {
    const { out } = await play(['info']);
    expect(out).toMatch(/^cpu_model +: milan$/m);
    expect(out).toMatch(/^total_memory +: 1024 MiB$/m);
    expect(out).toMatch(/^asids +: 2 used, 3 free, 0 dirty, 1 flush$/m);
  });
  it('asid takes neighbours together', async () => {
    const { out } = await play(['destroy db', 'asid']);
    expect(out).toBe('ASID  State  Owner\n   1  used   web\n   2  dirty  -\n 3-5  free   -\n');
  });
  it('help has a line for each verb', async () => {
    const { out } = await play(['help', 'help wait']);
    for (const { name } of verbs) expect(out).toMatch(new RegExp(`^${name} `, 'm'));
    expect(out.trimEnd().split('\n')).toHaveLength(verbs.length + 1);
  });
});

describe('lines', () => {
  it.each<[string, string[]]>([
    ['', []],
    ['  list   -l ', ['list', '-l']],
    ['xl list', ['list']],
    ['# nothing', []],
    ['list # all', ['list']],
  ])('%j are words', (line, words) => expect(wordsOf(line)).toEqual(words));
  it('after quit are not read', async () => {
    expect((await play(['quit', 'list'])).out).toBe('');
  });
});

describe('completion', () => {
  const { toolstack } = fakeToolstack(usual);
  it.each<[string, string[]]>([
    ['', verbs.map(({ name }) => `${name} `)],
    ['d', ['destroy ', 'dmesg ']],
    ['xl un', ['unpause ']],
    ['pause ', ['web ', 'db ']],
    ['pause w', ['web ']],
    ['pause web ', ['db ']],
    ['console web ', []],
    ['create ', ['spare ']],
    ['create -c s', ['spare ']],
    ['help des', ['destroy ']],
    ['nothing ', []],
    ['dmesg ', []],
  ])('of %j', (line, offered) => expect(complete(toolstack, line)[0]).toEqual(offered));
});
