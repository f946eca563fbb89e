// Runs a program under Bochs, without a display, and gives back what it printed. A ROM ends by itself with Bochs's shutdown port.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { MEMORY, type Program, roms, tidy } from './program.ts';

const WALL_CLOCK_MS = 60_000;

export const bochsPath = (): string | null =>
  (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'bochs'))
    .find((path) => existsSync(path)) ?? null;

export async function underBochs(program: Program): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'cbit-bochs-'));
  try {
    let output = '';
    for (const bytes of roms(program)) output += tidy(await bochs(folder, bytes, program.bochsCpu));
    return output;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function bochs(folder: string, bytes: Uint8Array, model: string): Promise<string> {
  const serial = join(folder, 'serial.txt');
  rmSync(serial, { force: true });
  writeFileSync(join(folder, 'rom.bin'), bytes);
  writeFileSync(join(folder, 'vga.bin'), emptyVideoRom());
  writeFileSync(join(folder, 'continue'), 'c\nq\n');
  writeFileSync(join(folder, 'bochsrc'), configuration(folder, model));
  const child = spawn(bochsPath() ?? 'bochs', ['-q', '-f', join(folder, 'bochsrc'), '-unlock', '-rc', join(folder, 'continue')], {
    cwd: folder,
    stdio: 'ignore',
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), WALL_CLOCK_MS);
  await new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', () => resolve());
  });
  clearTimeout(timer);
  return existsSync(serial) ? readFileSync(serial, 'latin1') : '';
}

/** A low ips makes the emulated line fast in instructions. The display waits for nobody to connect. */
const configuration = (folder: string, model: string): string => `megs: ${MEMORY / 2 ** 20}
romimage: file=${folder}/rom.bin, address=0xffff0000
vgaromimage: file=${folder}/vga.bin
cpu: model=${model}, count=1, ips=1000000, reset_on_triple_fault=0, ignore_bad_msrs=0
com1: enabled=1, mode=file, dev=${folder}/serial.txt
display_library: rfb, options="timeout=0"
log: ${folder}/log.txt
clock: sync=none
panic: action=fatal
sound: waveoutdrv=dummy
plugin_ctrl: unmapped=1, speaker=0, gameport=0, parallel=0
`;

/** Bochs insists on a video BIOS: a header, a far return, a checksum. */
function emptyVideoRom(): Uint8Array {
  const rom = new Uint8Array(512);
  rom.set([0x55, 0xaa, 1, 0xcb]);
  rom[511] = -rom.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return rom;
}
