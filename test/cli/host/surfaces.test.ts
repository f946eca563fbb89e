// The terminal, --once, and what both are made of, with a host that is a script.

import { PassThrough } from 'node:stream';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GuestConsole } from '../../../src/cli/host/console.ts';
import { loadHistory, saveHistory } from '../../../src/cli/host/history.ts';
import { HostLog } from '../../../src/cli/host/host-log.ts';
import { runOnce } from '../../../src/cli/host/once.ts';
import { PrefixedLines } from '../../../src/cli/host/prefixed.ts';
import { serveTerminal } from '../../../src/cli/host/prompt.ts';
import { unpainted } from '../../../src/debug/canvas.ts';
import { fakeToolstack, guestOf } from './fake.ts';

/** A person at a terminal: types when something has appeared, and remembers all that did. */
class Person {
  readonly input = new PassThrough();
  readonly output = new PassThrough();
  readonly raw: boolean[] = [];
  seen = '';
  #from = 0;

  constructor() {
    this.output.on('data', (chunk: Buffer) => {
      this.seen += chunk.toString();
    });
    Object.assign(this.input, { setRawMode: (on: boolean) => this.raw.push(on) });
  }

  type(text: string): void {
    this.#from = this.seen.length;
    this.input.write(text);
  }

  /** Since the last keys. */
  async sees(what: string): Promise<string> {
    for (let n = 0; n < 1000; n++) {
      const fresh = this.seen.slice(this.#from);
      if (fresh.includes(what)) return fresh;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    throw new Error(`never saw ${what}: ${JSON.stringify(this.seen.slice(this.#from))}`);
  }
}

const PROMPT = 'cbit> ';

function sitDown(guests: readonly object[], history: string[] = []) {
  const person = new Person();
  const { toolstack, host } = fakeToolstack(guests);
  const { input, output } = person;
  const over = serveTerminal({ toolstack, input, output, paint: unpainted, history }).finally(() => toolstack.close());
  return { person, over, history, toolstack, host };
}

describe('the prompt', () => {
  it('performs verbs while guests run, and leaves by Ctrl-D with the terminal as it was', async () => {
    const { person, over, history, host } = sitDown([guestOf('web', 'hello'), guestOf('db', 'long')]);
    await person.sees(PROMPT);
    person.type('list\r');
    expect(await person.sees('db ')).toContain('Name  ID  Mem');
    person.type('nonsense\r');
    expect(await person.sees('help lists')).toContain('there is no verb "nonsense"');
    person.type('\x04');
    await over;
    expect(person.raw).toEqual([true, false]);
    expect(history).toEqual(['nonsense', 'list']);
    expect(host.disposed).toBe(true);
  });

  it('tells of ends before the next prompt', async () => {
    const { person, over } = sitDown([guestOf('web', 'hello')]);
    await person.sees(PROMPT);
    person.type('wait web\r');
    expect(await person.sees(`ended itself with 0\n`)).toContain('web: the guest ended itself with 0\n');
    person.type('quit\r');
    await over;
  });

  it('completes verbs and names by Tab, and remembers lines', async () => {
    const { person, over } = sitDown([guestOf('webserver', 'long')], ['info']);
    await person.sees(PROMPT);
    for (const key of ['pau', '\t', 'w', '\t', '\r']) {
      person.type(key); // a Tab within a pasted text would be text
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await person.sees(PROMPT);
    person.type('list\r');
    await person.sees('--p---');
    person.type('\x1b[A\x1b[A\x1b[A\r'); // list, pause, info
    await person.sees('cpu_model');
    person.type('\x04');
    await over;
  });

  it('drops a line by Ctrl-C, and ends a wait by it', async () => {
    const { person, over } = sitDown([guestOf('db', 'long')]);
    await person.sees(PROMPT);
    person.type('destroy db\x03');
    await person.sees('^C');
    person.type('list\r');
    await person.sees('db ');
    person.type('wait\r');
    await new Promise((resolve) => setTimeout(resolve, 20));
    person.type('\x03');
    await person.sees(PROMPT);
    person.type('\x04');
    await over;
  });

  it('takes several lines at once, and goes when the terminal goes', async () => {
    const { person, over } = sitDown([guestOf('db', 'long')]);
    await person.sees(PROMPT);
    person.type('pause db\rlist\rinfo\r');
    await person.sees('cpu_model');
    expect(person.seen).toContain('--p---');
    person.input.end();
    await over;
  });

  it('runs nothing while nothing can run', async () => {
    const { person, over, host } = sitDown([guestOf('db', 'long')]);
    await person.sees(PROMPT);
    person.type('pause db\r');
    await person.sees(PROMPT);
    await new Promise((resolve) => setTimeout(resolve, 10));
    const { retired } = host;
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(host.retired).toBe(retired);
    person.type('unpause db\r');
    await person.sees(PROMPT);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(host.retired).toBeGreaterThan(retired);
    person.type('\x04');
    await over;
  });
});

describe('a console', () => {
  it('shows what was said before, hands keys on until Ctrl-], and more can be typed behind it', async () => {
    const { person, over } = sitDown([guestOf('sh', 'echo')]);
    await person.sees(PROMPT);
    person.type('console sh\r');
    await person.sees('? ');
    person.type('ls\x03');
    await person.sees('ls\x03');
    person.type('x\x1dlist\r');
    const seen = await person.sees('sh ');
    expect(seen).toMatch(/list\r\nName/);
    person.type('console sh\r'); // the answer to the last key came when nobody looked
    await person.sees('leaves\nx');
    person.type('\x1d');
    await person.sees(PROMPT);
    person.type('\x04');
    await over;
  });
  it('ends with its guest', async () => {
    const { person, over } = sitDown([guestOf('sh', 'echo')]);
    await person.sees(PROMPT);
    person.type('console sh\r');
    await person.sees('? ');
    person.type('bye!');
    expect(await person.sees(PROMPT)).toContain('bye!\nsh: the guest ended itself with 0\n');
    person.type('console sh\r');
    await person.sees(PROMPT);
    person.type('\x04');
    await over;
  });
  it('of a guest that begins anew stays', async () => {
    const { person, over } = sitDown([guestOf('sh', 'echo', { 'on-poweroff': 'restart' })]);
    await person.sees(PROMPT);
    person.type('console sh\r');
    await person.sees('? ');
    person.type('!');
    await person.sees('!? ');
    person.type('\x1d');
    expect(await person.sees(PROMPT)).toContain('and begins anew');
    person.type('\x04');
    await over;
  });
});

describe('--once', () => {
  async function once(guests: readonly object[], json = false, interrupted = () => false) {
    const { toolstack } = fakeToolstack(guests, true);
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const status = await runOnce({ toolstack, json, stdout, stderr, paints: [unpainted, unpainted], interrupted, seconds: () => 1.5 });
    toolstack.close();
    return { status, stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') };
  }

  it('prefixes lines with their guest and ends with a table', async () => {
    const { status, stdout, stderr } = await once([guestOf('web', 'hello'), guestOf('job-2', 'fails', { sev: 'none' })]);
    expect(stdout).toBe('web   | Hello\nweb   | World\njob-2 | oops\n');
    expect(stderr).toBe(
      [
        '',
        'Name   SEV     ASID  Instructions  Exits  Touched  Status  How it ended',
        'web    sev-es     1         1,000      3    8 KiB       0  the guest ended itself with 0',
        'job-2  none       -           500      3    8 KiB       1  the guest ended itself with 3',
        '',
      ].join('\n'),
    );
    expect(status).toBe(1);
  });
  it('succeeds if all do, whatever is to become of them', async () => {
    expect(
      (await once([guestOf('web', 'hello', { 'on-poweroff': 'restart' }), guestOf('w2', 'hello', { 'on-poweroff': 'destroy' })])).status,
    ).toBe(0);
  });
  it('--json is one object', async () => {
    const { status, stdout, stderr } = await once([guestOf('web', 'hello'), guestOf('bad', 'crashes')], true);
    expect(stdout).toMatch(/^\{.*\}\n$/);
    expect(JSON.parse(stdout)).toMatchObject({
      version: 1,
      status: 1,
      guests: [
        { name: 'web', outcome: 'ended', status: 0, serial: 'Hello\nWorld\n', touched: 8192, asid: 1 },
        { name: 'bad', outcome: 'shutdown', status: 1, value: null },
      ],
    });
    expect([status, stderr]).toEqual([1, '']);
  });
  it('interrupted ends all with 130', async () => {
    const { status, stderr } = await once([guestOf('db', 'long')], false, () => true);
    expect(status).toBe(130);
    expect(stderr).toContain('interrupted');
  });
  it('with nothing to run is a mistake', async () => {
    await expect(once([guestOf('db', 'long', { autostart: false })])).rejects.toThrow(/no guest starts by itself/);
  });
});

describe('lines with prefixes', () => {
  const lines = (...sent: [string, string][]): string => {
    let written = '';
    const prefixed = new PrefixedLines(['a', 'bb'], unpainted, (text) => {
      written += text;
    });
    for (const [name, text] of sent) prefixed.add(name, Buffer.from(text, 'latin1'));
    prefixed.end();
    return written;
  };
  it('come when they are whole, in that order', () => {
    expect(lines(['a', 'one'], ['bb', 'two\n'], ['a', ' more\nrest'])).toBe('bb | two\na  | one more\na  | rest\n');
  });
  it('lose the carriage return of their end', () => expect(lines(['a', 'x\r\n\r\n'])).toBe('a  | x\na  | \n'));
  it('keep colours, and show what would move the cursor', () => {
    expect(lines(['a', '\x1b[1;31mred\x1b[0m \x1b[2J\rbb | spoof\x07\n'])).toBe('a  | \x1b[1;31mred\x1b[0m ^[[2J^Mbb | spoof^G\n');
  });
  it('are taken as UTF-8', () => expect(lines(['a', 'gr\xc3\xbc\xdfe\n'])).toBe('a  | gr\u00fc\ufffde\n'));
  it('without end are broken', () => {
    const long = lines(['a', 'x'.repeat(10_000)]);
    expect(long.split('\n').map((line) => line.length)).toEqual([4101, 4101, 1813, 0]);
  });
});

describe('what is kept', () => {
  it('of a console that nobody looks at is its end', () => {
    const console = new GuestConsole();
    for (let n = 0; n < 200_000; n++) {
      console.transmit(0x61 + (n % 26));
      if (n % 7 === 0) console.flush();
    }
    const pieces: Buffer[] = [];
    console.attach((bytes) => pieces.push(bytes));
    const text = Buffer.concat(pieces).toString();
    expect(text).toHaveLength(65_536);
    expect(text.at(-1)).toBe(String.fromCharCode(0x61 + (199_999 % 26)));
  });
  it('of keys for a guest that asks for none is bounded', () => {
    const console = new GuestConsole();
    console.type(Buffer.alloc(10_000, 0x6b));
    let taken = 0;
    while (console.next() !== undefined) taken++;
    expect(taken).toBe(4096);
  });
  it('of the log of the host is its end', () => {
    const log = new HostLog();
    for (let n = 0; n < 5000; n++) log.note(String(n));
    expect(log.lines).toHaveLength(4096);
    expect([log.lines[0], log.lines.at(-1)].map((line) => line?.slice(17))).toEqual(['904', '4999']);
  });
  it('of lines typed is there in the next session', () => {
    const folder = mkdtempSync(join(tmpdir(), 'cbit-history-'));
    const environment = { XDG_STATE_HOME: folder };
    expect(loadHistory(environment)).toEqual([]);
    saveHistory(['newest', 'oldest'], environment);
    expect(readFileSync(join(folder, 'cbit/host_history'), 'utf8')).toBe('oldest\nnewest\n');
    expect(loadHistory(environment)).toEqual(['newest', 'oldest']);
    expect(() => saveHistory(['x'], { XDG_STATE_HOME: '/dev/null' })).not.toThrow();
    rmSync(folder, { recursive: true });
  });
});
