// `--disk`: a file as the sectors of a disk, and what is said of files that cannot be one.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDisk } from '../../src/cli/disk.ts';
import { parseVirtio } from '../../src/cli/options.ts';

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cbit-disk-'));
  file = join(folder, 'disk.img');
  writeFileSync(
    file,
    Uint8Array.from({ length: 1024 }, (_, n) => n >>> 9),
  );
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('--disk', () => {
  it('reads and writes the file where the guest does', () => {
    const disk = openDisk(file);
    const sector = new Uint8Array(512);
    expect([disk.size, disk.readOnly, disk.read(512, sector), sector[0], disk.write(0, sector), disk.flush()]).toEqual([
      1024,
      false,
      true,
      1,
      true,
      true,
    ]);
    expect(readFileSync(file)[0]).toBe(1);
  });

  it('FILE,ro is never written', () => {
    const disk = openDisk(`${file},ro`);
    expect([disk.readOnly, disk.write(0, new Uint8Array(512).fill(9))]).toEqual([true, false]);
    expect(readFileSync(file)[0]).toBe(0);
  });

  it('a file that has become shorter gives I/O errors', () => {
    const disk = openDisk(file);
    writeFileSync(file, '');
    expect(disk.read(0, new Uint8Array(512))).toBe(false);
  });

  it('is a file of whole sectors', () => {
    writeFileSync(file, 'abc');
    expect(() => openDisk(file)).toThrow(/has 3 bytes, which are not whole sectors of 512: make it/);
    writeFileSync(file, '');
    expect(() => openDisk(file)).toThrow('not whole sectors');
    expect(() => openDisk(join(folder, 'none'))).toThrow(/no such file: make one/);
    expect(() => openDisk(`${folder},ro`)).toThrow('is not a file: name one');
    expect(() => openDisk(folder)).toThrow('is not a file: name one');
    expect(() => openDisk(',ro')).toThrow('the name of the file is empty');
  });
});

describe('--virtio', () => {
  it('is pci or mmio', () => {
    expect(['pci', 'mmio'].map(parseVirtio)).toEqual(['pci', 'mmio']);
    expect(() => parseVirtio('isa')).toThrow('--virtio isa: give one of pci, mmio');
  });
});
