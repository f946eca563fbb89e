import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { paintFor } from '../../src/cli/colours.ts';
import { packageRoot, readImage } from '../../src/cli/image.ts';
import { SerialLog } from '../../src/cli/serial.ts';
import { Terminal } from '../../src/cli/terminal.ts';
import { TraceFile } from '../../src/cli/trace-file.ts';
import { nobleAes } from '../../src/memory/aes-noble.ts';
import { UserError } from '../../src/util/errors.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cbit-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('AES on node:crypto', () => {
  it('gives the vector of FIPS 197, appendix C.1', () => {
    const key = nodeAes.create(Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex'));
    const block = new Uint8Array(Buffer.from('00112233445566778899aabbccddeeff', 'hex'));
    key.encrypt(block);
    expect(hex(block)).toBe('69c4e0d86a7b0430d8cdb78070b4c55a');
    key.decrypt(block);
    expect(hex(block)).toBe('00112233445566778899aabbccddeeff');
  });

  it('agrees with the portable engine, block by block and page by page, again and again', () => {
    const secret = Uint8Array.from({ length: 16 }, (_, i) => i * 29 + 3);
    const [one, other] = [nodeAes.create(secret), nobleAes.create(secret)];
    for (const length of [16, 48, 4096, 16, 4096]) {
      const page = Uint8Array.from({ length }, (_, i) => (i * 7 + length) & 0xff);
      const [a, b] = [page.slice(), page.slice()];
      one.encrypt(a);
      other.encrypt(b);
      expect(hex(a)).toBe(hex(b));
      one.decrypt(a);
      expect(hex(a)).toBe(hex(page));
    }
  });

  it('works on a part of a larger buffer and leaves the rest alone', () => {
    const all = new Uint8Array(48).fill(0x11);
    nodeAes.create(new Uint8Array(16)).encrypt(all.subarray(16, 32));
    expect([all[15], all[32]]).toEqual([0x11, 0x11]);
    expect(hex(all.subarray(16, 32))).not.toBe('11'.repeat(16));
  });
});

describe('images', () => {
  it('are files, or folders with the file of their name', () => {
    writeFileSync(join(folder, 'flat.bin'), 'x');
    mkdirSync(join(folder, 'toy'));
    writeFileSync(join(folder, 'toy', 'toy.elf'), 'y');
    expect(hex(readImage(join(folder, 'flat.bin')).bytes)).toBe('78');
    expect(hex(readImage(join(folder, 'toy')).bytes)).toBe('79');
    expect(hex(readImage(`${join(folder, 'toy')}/`).bytes)).toBe('79');
  });

  it('that are missing are a mistake with its mend', () => {
    mkdirSync(join(folder, 'empty'));
    expect(() => readImage(join(folder, 'nothing'))).toThrow(/no such file: give /);
    expect(() => readImage(join(folder, 'empty'))).toThrow(/has no empty\.elf/);
    expect(() => readImage('')).toThrow(UserError);
    expect(() => readImage('/dev/null')).toThrow(/neither a file nor a folder/);
    expect(() => readImage('a\0b')).toThrow(UserError);
  });

  it('of the package are found from everywhere', () => {
    expect(packageRoot()).toBe(process.cwd());
  });
});

describe('colours', () => {
  const terminal = { isTTY: true };
  it('are for terminals', () => {
    expect(paintFor(terminal, {})('good', 'x')).toContain('\x1b[');
    expect(paintFor({}, {})('good', 'x')).toBe('x');
  });
  it('obey NO_COLOR, FORCE_COLOR and a dumb terminal', () => {
    expect(paintFor(terminal, { NO_COLOR: '1' })('good', 'x')).toBe('x');
    expect(paintFor(terminal, { NO_COLOR: '' })('good', 'x')).toContain('\x1b[');
    expect(paintFor({}, { FORCE_COLOR: '1' })('good', 'x')).toContain('\x1b[');
    expect(paintFor(terminal, { TERM: 'dumb' })('good', 'x')).toBe('x');
  });
});

describe('the log of serial output', () => {
  it('is text', () => {
    const log = new SerialLog();
    for (const byte of new TextEncoder().encode('grüße\n')) log.add(byte);
    log.add(0xff);
    expect([log.text, log.dropped]).toEqual(['grüße\n\ufffd', 0]);
  });
  it('keeps the last MiB at least, and says what it dropped', () => {
    const log = new SerialLog();
    const sent = 5 * 2 ** 20 + 17;
    for (let n = 0; n < sent; n++) log.add((n % 26) + 0x61);
    const { text, dropped } = log;
    expect(text.length + dropped).toBe(sent);
    expect(text.length).toBeGreaterThanOrEqual(2 ** 20);
    expect(text.length).toBeLessThanOrEqual(2 ** 21);
    expect(text.at(-1)).toBe(String.fromCharCode(((sent - 1) % 26) + 0x61));
  });
});

describe('the terminal', () => {
  it('hands serial output on, byte by byte, and says whether something came', () => {
    const bytes: number[] = [];
    const terminal = new Terminal({ toStdout: false, sent: (byte) => bytes.push(byte) });
    terminal.transmit(0x41);
    expect(terminal.flush()).toBe(true);
    expect(terminal.flush()).toBe(false);
    expect(bytes).toEqual([0x41]);
    expect(terminal.next()).toBeUndefined();
  });
});

describe('--trace', () => {
  it('writes header and events as lines, in pieces', () => {
    const path = join(folder, 'trace.ndjson');
    const file = new TraceFile(path, { image: 'i', technology: 'sev', cpu: 'milan', memory: 1, seed: '0' });
    for (let n = 0; n < 5000; n++) file.note({ at: n, kind: 'vmrun', vmcb: n });
    file.close();
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    expect(lines.length).toBe(5001);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ cbit: 'trace', version: 1 });
    expect(JSON.parse(lines[5000] ?? '')).toEqual({ at: 4999, kind: 'vmrun', vmcb: '0x1387' });
    expect(file.events).toBe(5000);
  });
  it('into a place that cannot be written is a mistake', () => {
    expect(() => new TraceFile(join(folder, 'no', 'where'), { image: '', technology: '', cpu: '', memory: 0, seed: '' })).toThrow(
      UserError,
    );
  });
});
