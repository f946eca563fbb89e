// The committed guest images are the ones that their sources make: by hashes, so that no compiler is needed. Whether a
// compiler makes them again byte for byte is `npm run guests -- --check`.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { guestHeader } from '../../tools/guest-header.ts';
import { bugNames, checkHashes, elfPath, guestNames, isAlone, readManifest, root, sourcesOf } from '../../tools/guest-manifest.ts';

describe('guest images', () => {
  const manifest = readManifest();

  it('have the sources, the header and the images that the manifest names', () => {
    expect(checkHashes(manifest)).toEqual([]);
  });

  it('notice an edited source, an edited image and a file that nobody listed', () => {
    const [source = ''] = Object.keys(manifest.sources);
    const { [source]: _dropped, ...others } = manifest.sources;
    expect(checkHashes({ ...manifest, sources: { ...manifest.sources, [source]: '00' } })).toEqual([
      `${source} has changed since the images were built`,
    ]);
    expect(checkHashes({ ...manifest, sources: others })).toEqual([`${source} is not in the manifest`]);
    expect(checkHashes({ ...manifest, images: { ...manifest.images, 'guests/gone/gone.elf': '00' } })).toEqual([
      'guests/gone/gone.elf is missing',
    ]);
  });

  it('are there for every kernel, each with the whole library', () => {
    const kernels = ['cpuid', 'cr-trap', 'cr-vc', 'fault', 'hello', 'msr', 'pio', 'user'];
    expect(guestNames()).toEqual(expect.arrayContaining(kernels));
    for (const name of guestNames().filter((guest) => !isAlone(guest))) expect(sourcesOf(name)).toContain('guests/lib/vc.c');
    for (const name of bugNames().filter((bug) => !isAlone(bug)))
      expect(sourcesOf(name)).toEqual(expect.arrayContaining(['guests/lib/vc.c', 'guests/bugs/lib/steps.h']));
  });

  it.each([...guestNames(), ...bugNames()])('%s is an ELF64 executable linked at 1 MiB', (name) => {
    const elf = readFileSync(join(root, elfPath(name)));
    expect(elf.subarray(0, 5)).toEqual(Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2]));
    expect(elf.readUInt16LE(16)).toBe(2); // e_type: executable
    expect(elf.readBigUInt64LE(24)).toBe(0x10_0000n); // e_entry
  });
});

describe('the header that guests share with this program', () => {
  it('names the exit codes, GHCB fields and MSRs as src/arch has them', () => {
    const header = guestHeader();
    expect(header).toMatch(/^#define EXIT_CPUID +0x72$/m);
    expect(header).toMatch(/^#define GHCB_SW_EXIT_CODE +0x390$/m);
    expect(header).toMatch(/^#define MSR_GHCB +0xc0010130$/m);
  });

  it('defines each name once', () => {
    const names = [...guestHeader().matchAll(/^#define (\w+) /gm)].map(([, name]) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});
