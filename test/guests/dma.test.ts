// guests/dma from outside: what a device reads and writes of a guest's memory by the host's mapping, under each technology.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type GuestOptions, type Run, run } from '../../src/cbit.ts';
import { elfPath, root } from '../../tools/guest-manifest.ts';

const TEXT = '41 20 6c 65 74 74 65 72 20 74 68 61 74 20 61 20'; // "A letter that a "
const NOTHING = Array(16).fill('00').join(' ');

function play(options: Partial<GuestOptions>): Run {
  const bytes = new Uint8Array(readFileSync(join(root, elfPath('dma'))));
  return run({ image: { name: 'dma', bytes }, maxInstructions: 20_000_000, ...options });
}

/** The bytes behind a line that begins so, each time. */
const shown = ({ serial }: Run, what: string): string[] =>
  serial
    .split('\n')
    .filter((line) => line.startsWith(`  ${what}`))
    .map((line) => line.slice(line.indexOf(':') + 2).trim());

const models = ['naples', 'rome', 'milan'] as const;

describe.each(models)('on %s', (cpu) => {
  it.each(['sev', 'sev-es'] as const)(
    'a device that copies gives garbage both ways on private pages of %s, and the text through shared ones',
    (technology) => {
      const result = play({ technology, cpu });
      expect(result.status).toBe(0);
      expect(shown(result, 'what we wrote')).toEqual([TEXT]);
      const [read] = shown(result, 'what it read');
      expect([TEXT, NOTHING]).not.toContain(read);
      const [noise, bounced] = shown(result, 'what we read');
      expect([TEXT, NOTHING]).not.toContain(noise);
      expect(bounced).toBe(TEXT);
      expect(result.serial).toContain('a list of descriptors in a private page: the device finds none there');
    },
  );

  it('the device works on any page of a plain guest', () => {
    const result = play({ technology: 'none', cpu });
    expect(result.status).toBe(0);
    for (const what of ['what we wrote', 'what it read', 'what it wrote', 'what we read'])
      expect(new Set(shown(result, what))).toEqual(new Set([TEXT]));
  });
});

it('two guests with other keys: the device reads other ciphertext', () => {
  const of = (seed: string): string[] => shown(play({ technology: 'sev', seed }), 'what it read');
  expect(of('1')).toEqual(of('1'));
  expect(of('1')).not.toEqual(of('2'));
});

it('its registers are nested page faults of a plain or SEV guest, and #VC 400h with MMIO events under SEV-ES, one for each access', () => {
  const [plain, sev, es] = (['none', 'sev', 'sev-es'] as const).map((technology) => play({ technology })) as [Run, Run, Run];
  expect([plain.vc.NPF, sev.vc.NPF, es.exits.NPF]).toEqual([undefined, undefined, undefined]);
  expect(plain.exits.NPF).toBeGreaterThan(20);
  expect(sev.exits.NPF).toBe((plain.exits.NPF ?? 0) + 1); // it asks where the error was
  expect(es.vc.NPF).toBe(sev.exits.NPF);
});
