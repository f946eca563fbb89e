// Options of a machine that concern its memory: what they do to a run, and where they make no sense.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { type GuestOptions, run } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';

const guest = (name: string, options: GuestOptions) =>
  run({ image: { name, bytes: readFileSync(`guests/${name}/${name}.elf`) }, aes: nodeAes, ...options });

it.each(['1', '2', '3', '4', '5'])('lines that leave by chance harm nobody who flushes: seed %s', (seed) => {
  for (const cpu of ['naples', 'rome']) {
    expect(guest('flip', { cpu, seed, evict: 'random' }).status).toBe(0);
    expect(guest('hello', { cpu, seed, evict: 'random' }).status).toBe(0);
    expect(guest('flip-no-flush', { cpu, seed, evict: 'random' }).status).toBe(1);
  }
});

it('chance comes from the seed alone', () => {
  const options = { cpu: 'naples', seed: '7', evict: 'random' } as const;
  expect(guest('flip-no-flush', options)).toEqual(guest('flip-no-flush', options));
});

it('a model that keeps views coherent has no lines that anybody could miss', () => {
  expect(() => guest('hello', { cpu: 'milan', evict: 'random' })).toThrow(
    '--evict random: milan keeps all views of memory coherent, so that nobody could tell: take --cpu naples or rome',
  );
});

it('the first generation was built with XE and with XEX: other ciphertext, the same run', () => {
  const xe = guest('hello', { cpu: 'naples' });
  const xex = guest('hello', { cpu: 'naples', encryption: 'xex' });
  expect(guest('hello', { cpu: 'naples', encryption: 'xe' })).toEqual(xe);
  expect({ ...xex, traceHash: '' }).toEqual({ ...xe, traceHash: '' });
  expect(xex.traceHash).not.toBe(xe.traceHash);
});

it('later ones know XEX only', () => {
  expect(() => guest('hello', { cpu: 'rome', encryption: 'xe' })).toThrow(
    '--encryption xe: rome encrypts by xex only: leave it out, or take --cpu naples',
  );
});
