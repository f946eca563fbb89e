// Runs a program under cbit and gives back what it printed. A ROM ends by itself with the test device.

import { run } from '../../src/cbit.ts';
import { MEMORY, type Program, roms, tidy } from './program.ts';

const MAX_INSTRUCTIONS = 30_000_000;

export function underCbit(program: Program): string {
  return roms(program)
    .map((bytes) => {
      const { serial } = run({
        bios: { name: program.name, bytes },
        technology: 'none',
        cpu: program.cbitCpu ?? 'turin',
        memory: MEMORY,
        maxInstructions: MAX_INSTRUCTIONS,
      });
      return tidy(serial);
    })
    .join('');
}
