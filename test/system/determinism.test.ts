// Same image, same options, same seed: same run, bit for bit, whatever does the encryption. Another seed: other keys, other bytes.

import { describe, expect, it } from 'vitest';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { portableAes, run } from '../../src/cbit.ts';
import { guestNames } from '../../tools/guest-manifest.ts';
import { kernel } from './runs.ts';

const kernels = guestNames().filter((name) => !name.startsWith('bench-'));

describe('the trace hash', () => {
  it.each(kernels)('of %s is the same in three runs, and with each AES engine', (name) => {
    const hashes = [nodeAes, nodeAes, nodeAes, portableAes].map((aes) => run({ image: kernel(name), aes }).traceHash);
    expect(hashes[0]).toMatch(/^[0-9a-f]{64}$/);
    expect(new Set(hashes).size).toBe(1);
  });

  it.each(['none', 'sev'] as const)('is the same in three runs under %s', (technology) => {
    const hashes = [1, 2, 3].map(() => run({ image: kernel('hello'), technology, aes: nodeAes }).traceHash);
    expect(new Set(hashes).size).toBe(1);
  });

  it.each([
    ['cr-vc', { intercepts: ['cr'] }],
    ['hello', { cpu: 'naples' }],
    ['hello', { cpu: 'rome', technology: 'sev' }],
    ['fault', { technology: 'none' }],
  ] as const)('of %s with %j is the same with each AES engine', (name, options) => {
    const hashes = [nodeAes, portableAes, nodeAes].map((aes) => run({ image: kernel(name), aes, ...options }).traceHash);
    expect(new Set(hashes).size).toBe(1);
  });

  it('is not the same with another seed, technology, or processor model', () => {
    const hash = (options: object): string => run({ image: kernel('hello'), aes: nodeAes, ...options }).traceHash;
    const hashes = [{}, { seed: '1' }, { technology: 'sev' }, { technology: 'none' }, { cpu: 'genoa' }].map(hash);
    expect(new Set(hashes).size).toBe(hashes.length);
  });
});

describe('another seed', () => {
  it('changes neither what the guest says nor what it executes', () => {
    const [one, other] = ['1', '2'].map((seed) => run({ image: kernel('hello'), seed, aes: nodeAes }));
    expect(one?.serial).toBe(other?.serial);
    expect(one?.instructions).toBe(other?.instructions);
    expect(one?.measurement).not.toBe(other?.measurement);
  });
});
