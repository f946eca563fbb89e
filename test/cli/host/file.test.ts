// Host files: what is right, and a hundred ways to be wrong.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Field, guestFields, hostFields } from '../../../src/cli/host/fields.ts';
import { parseJson } from '../../../src/cli/host/json.ts';
import { loadFiles } from '../../../src/cli/host/load.ts';
import { nearest } from '../../../src/cli/host/nearest.ts';
import { parseHost, readGuestFile, readHostFile } from '../../../src/cli/host/read-file.ts';
import { hostSchema } from '../../../src/cli/host/schema.ts';
import { UserError } from '../../../src/util/errors.ts';
import { verbs } from '../../../src/cli/host/verbs.ts';
import { violations } from './schema.ts';
import { contradictions, missingFiles, structureMistakes, syntaxMistakes, type Wrong } from './wrong-files.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cbit-host-file-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What reading and loading it says. */
function complaint(text: string): string {
  const path = join(folder, 'wrong.json');
  writeFileSync(path, text);
  try {
    const file = readHostFile(path);
    for (const guest of file.guests) loadFiles(path, guest);
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as UserError).message;
  }
  return 'nothing is wrong';
}

function expectComplaint([, text, path, said]: Wrong): void {
  const message = complaint(text);
  expect(message).toMatch(/^wrong\.json:\d+:\d+: [^\n]+$/);
  expect(message).toContain(path);
  expect(message).toMatch(said);
  expect(message.length).toBeLessThan(400);
}

const whole = {
  $schema: './host.schema.json',
  cpu: 'genoa,-pcid',
  'host-cpus': 4,
  seed: '0x10',
  sme: true,
  tsme: false,
  encryption: 'xex',
  schedule: 'random',
  quantum: '10K',
  tier: 'interpreter',
  guests: [
    {
      name: 'web-1.a',
      image: 'guests/hello',
      sev: 'sev',
      memory: '16M',
      vcpus: 2,
      append: 'quiet',
      intercept: ['rdtsc', 'cr'],
      'ghcb-version': 1,
      mode: 64,
      entry: '0x100000',
      rtc: '2026-01-31T12:00:00',
      'max-instructions': '10M',
      'halt-ok': true,
      autostart: false,
      'on-poweroff': 'destroy',
      'on-crash': 'restart',
      'console-log': 'web.log',
    },
    { name: 'kernel', image: 'vmlinux', mode: 'pvh', initrd: 'root.cpio', 'max-instructions': 5 },
    { name: 'rom', bios: 'bios.rom' },
  ],
};

describe('a host file', () => {
  it('gives each key its meaning', () => {
    const { host, guests } = parseHost('host.json', JSON.stringify(whole));
    expect(host.values).toMatchObject({ cpu: 'genoa,-pcid', 'host-cpus': 4, quantum: 10_000, seed: { value: '16', drawn: false } });
    expect(guests.map(({ values }) => values.name)).toEqual(['web-1.a', 'kernel', 'rom']);
    expect(guests[0]?.values).toMatchObject({
      memory: 16 * 2 ** 20,
      entry: 0x10_0000,
      rtc: Date.UTC(2026, 0, 31, 12),
      'max-instructions': 10_000_000,
      intercept: ['rdtsc', 'cr'],
      'on-crash': 'restart',
    });
  });

  it('may begin with a byte order mark, and have no guests', () => {
    expect(parseHost('h', '\ufeff{"guests": []}').guests).toEqual([]);
  });

  it('names its files relative to itself, or in the package', () => {
    const path = join(folder, 'files.json');
    writeFileSync(join(folder, 'flat.bin'), 'x');
    writeFileSync(
      path,
      JSON.stringify({
        guests: [
          { name: 'a', image: 'flat.bin' },
          { name: 'b', image: 'guests/hello', 'console-log': 'b.log' },
        ],
      }),
    );
    const [a, b] = readHostFile(path).guests.map((guest) => loadFiles(path, guest));
    expect(a?.image).toEqual({ name: 'flat.bin', bytes: Buffer.from('x') });
    expect([b?.image?.name, b?.consoleLog]).toEqual(['hello.elf', join(folder, 'b.log')]);
  });
});

describe('a file that is not JSON: one line with line and column', () => {
  it.each(syntaxMistakes)('%s', (...wrong) => expectComplaint(wrong));
  it('is what JSON.parse refuses, too, but for keys that stand twice and nests', () => {
    const accepted = syntaxMistakes.filter(([, text]) => {
      try {
        return JSON.parse(text) !== undefined;
      } catch {
        return false;
      }
    });
    expect(accepted.map(([what]) => what)).toEqual(['a key that stands twice', 'a key of a guest that stands twice', 'guests twice']);
  });
});

describe('a file of another structure: one line with the path', () => {
  it.each(structureMistakes)('%s', (...wrong) => expectComplaint(wrong));
});

describe('a file that contradicts itself: one line with the path', () => {
  it.each(contradictions)('%s', (...wrong) => expectComplaint(wrong));
});

describe('a file whose files are missing: one line with the path', () => {
  it.each(missingFiles)('%s', (...wrong) => expectComplaint(wrong));
});

describe('what is no file at all', () => {
  it.each<[string, () => string, RegExp]>([
    ['nothing', () => join(folder, 'nothing.json'), /nothing\.json: no such file/],
    ['a folder', () => folder, /is a folder/],
    ['not UTF-8', () => binary(Uint8Array.of(0x7b, 0xff, 0xfe)), /is not UTF-8/],
    ['far too large', () => binary(new Uint8Array(5 * 2 ** 20)), /larger than 4 MiB/],
  ])('%s', (_what, path, said) => {
    expect(() => readHostFile(path())).toThrow(UserError);
    expect(() => readHostFile(path())).toThrow(said);
  });
  const binary = (bytes: Uint8Array): string => {
    const path = join(folder, 'binary.json');
    writeFileSync(path, bytes);
    return path;
  };
});

describe('a file of one guest, for create', () => {
  const read = (text: string) => {
    const path = join(folder, 'guest.json');
    writeFileSync(path, text);
    return readGuestFile(path);
  };
  it('is the object of a guest', () => expect(read('{"name": "late", "image": "x"}').values.name).toBe('late'));
  it('is no host', () => expect(() => read('{"guests": []}')).toThrow(/guest\.json:1:1: is a host/));
  it('is checked as a guest is', () => expect(() => read('{"name": "late"}')).toThrow(/image is missing/));
});

describe('the schema', () => {
  const schema = hostSchema();
  it('is the one that is published', () => {
    expect(JSON.parse(readFileSync('docs/host.schema.json', 'utf8'))).toEqual(schema);
  });
  it('accepts what the check accepts', () => {
    expect(violations(schema, whole)).toEqual([]);
    expect(violations(schema, { guests: [] })).toEqual([]);
    expect(violations(schema, JSON.parse(readFileSync('docs/examples/two-guests.json', 'utf8')))).toEqual([]);
  });
  it.each(structureMistakes)('refuses what the check refuses: %s', (_what, text) => {
    expect(violations(schema, JSON.parse(text))).not.toEqual([]);
  });
  it.each(contradictions)('has nothing to say about %s', (_what, text) => {
    const found = violations(schema, JSON.parse(text));
    expect(found).toEqual([]);
  });
  it('has the keys, values and defaults of docs/host.md', () => {
    const rows = readFileSync('docs/host.md', 'utf8')
      .split('\n')
      .map((line) => /^\| `([a-z-]+)` \|.*\| (.*?) ?\|$/.exec(line))
      .flatMap((found) => (found === null ? [] : [[found[1], found[2]]]));
    const known = [hostFields, guestFields].flatMap((fields) =>
      Object.entries<Field<unknown>>(fields).map(([key, { required, default: without }]) => [
        key,
        required ? 'required' : without === undefined ? '' : `\`${JSON.stringify(without)}\``,
      ]),
    );
    const verbNames = new Set(verbs.map(({ name }) => name));
    expect(rows.filter(([key = '']) => !verbNames.has(key) && key !== 'guests')).toEqual(known.filter(([key]) => key !== '$schema'));
  });
  it('describes every key, with an example of each default that the check accepts', () => {
    for (const fields of [hostFields, guestFields])
      for (const [key, row] of Object.entries(fields)) {
        expect(`${key}: ${row.description}`).toMatch(/^\S+: [A-Z].*\.$/);
        if (!('default' in row)) continue;
        const text = JSON.stringify(
          fields === hostFields
            ? { [key]: row.default, guests: [] }
            : { guests: [{ name: 'a', image: 'x', rng: true, [key]: row.default }] },
        );
        expect(() => parseHost('h', text)).not.toThrow();
      }
  });
});

describe('JSON with positions', () => {
  it.each(['0', '-0.5e-3', '"\\u00e9\\n\\"\\\\\\/"', '[]', '{}', '[1, [2, {"a": null}], true]', ' {"a" : {"b":\t[false]}}\r\n', '"ü𐍈"'])(
    '%s means what JSON.parse says',
    (text) => {
      const plain = (node: ReturnType<typeof parseJson>): unknown =>
        node.kind === 'object'
          ? Object.fromEntries([...node.members].map(([key, { value }]) => [key, plain(value)]))
          : node.kind === 'array'
            ? node.items.map(plain)
            : node.kind === 'null'
              ? null
              : node.value;
      expect(plain(parseJson('x', text))).toEqual(JSON.parse(text));
    },
  );
});

describe('the nearest word', () => {
  const near = ['list', 'create', 'pause', 'unpause', 'console', 'destroy', 'dmesg', 'info'];
  it.each([
    ['lsit', 'list'],
    ['LIST', 'list'],
    ['consle', 'console'],
    ['dest', 'destroy'],
    ['un-pause', 'unpause'],
    ['inof', 'info'],
  ])('to %s is %s', (given, meant) => expect(nearest(given, near)).toBe(meant));
  it.each(['', 'x', 'reboot', 'z'.repeat(1000)])('to %j is none', (given) => expect(nearest(given, near)).toBeNull());
});
