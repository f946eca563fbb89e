// npm run bochs [-- --record] [NAME...]: runs the programs of test/bochs under cbit and Bochs and shows where the output differs.
// --record writes what Bochs said to test/bochs/expected.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bochsPath, underBochs } from '../test/bochs/under-bochs.ts';
import { programs } from '../test/bochs/programs.ts';
import { differences } from '../test/bochs/compare.ts';

async function main(): Promise<void> {
  const words = process.argv.slice(2);
  const record = words.includes('--record');
  const names = words.filter((word) => !word.startsWith('--'));
  if (bochsPath() === null) throw new Error('bochs is not installed: apt-get install bochs');
  for (const program of programs) {
    if (names.length > 0 && !names.includes(program.name)) continue;
    const theirs = await underBochs(program);
    if (record) writeFileSync(join(import.meta.dirname, '../test/bochs/expected', `${program.name}.txt`), theirs);
    if (words.includes('--only')) continue;
    const { underCbit } = await import('../test/bochs/under-cbit.ts');
    const ours = underCbit(program);
    const { equal, open, known } = differences(program, ours, theirs);
    for (const line of open) process.stdout.write(`${line}\n`);
    process.stdout.write(`${program.name}: ${equal} equal, ${known.length} known differences, ${open.length} open\n`);
  }
}

void main();
