// `--taint` and `--secret`.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { secretsOf } from '../../src/cli/secrets.ts';
import { elfPath, root } from '../../tools/guest-manifest.ts';

const image = new Uint8Array(readFileSync(join(root, elfPath('hello'))));
const ask = (secret: readonly string[], technology: 'none' | 'sev' | 'sev-es' = 'sev-es') =>
  secretsOf({ taint: true, secret }, { technology, bare: false }, image);

describe('--secret', () => {
  it('takes addresses with lengths, and symbols with their sizes', () => {
    expect(ask(['0x200000:32', '4096:0x10'])).toEqual([
      { gpa: 0x20_0000, length: 32 },
      { gpa: 4096, length: 16 },
    ]);
    expect(ask(['boot'])).toEqual([{ gpa: expect.any(Number), length: 40 }]);
    expect(ask([])).toEqual([]);
  });

  it.each([
    ['nowhere', /has no such symbol/],
    ['0x200000:0', /at least 1/],
    ['0x200000:', /has no such symbol/],
    ['', /^--secret: give a symbol/],
  ])('refuses %s', (text, why) => {
    expect(() => ask([text])).toThrow(why);
  });

  it('wants --taint, and that a guest with hidden state', () => {
    expect(() => secretsOf({ secret: ['x'] }, { technology: 'sev-es', bare: false }, image)).toThrow(/only --taint/);
    expect(() => ask([], 'sev')).toThrow(/SEV-ES/);
    expect(secretsOf({}, { technology: 'none', bare: true }, image)).toBeNull();
  });
});
