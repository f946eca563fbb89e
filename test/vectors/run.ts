// Runs vector files against the processor and reports failures by instruction, each with the first field that differs.
//   node --import tsx test/vectors/run.ts [--examples N] [--only REGEX] FILE.x86vec.gz ...

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { type Section, sections } from './format.ts';
import { VectorMachine } from './machine.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export type Failure = { readonly bytes: string; readonly difference: string };
export type SectionResult = { readonly name: string; readonly cases: number; readonly failures: readonly Failure[] };

export function runSection(machine: VectorMachine, section: Section): SectionResult {
  const failures: Failure[] = [];
  for (const c of section.cases) {
    const difference = machine.run(section, c);
    if (difference !== null) failures.push({ bytes: hex(c.bytes), difference });
  }
  return { name: section.name, cases: section.cases.length, failures };
}

function main(args: string[]): void {
  let examples = 3;
  let only = /./;
  const files: string[] = [];
  while (args.length > 0) {
    const argument = args.shift() ?? '';
    if (argument === '--examples') examples = Number(args.shift());
    else if (argument === '--only') only = new RegExp(args.shift() ?? '');
    else files.push(argument);
  }
  const machine = new VectorMachine();
  for (const file of files) {
    const results = [...sections(readFileSync(file))].filter(({ name }) => only.test(name)).map((section) => runSection(machine, section));
    const cases = results.reduce((sum, result) => sum + result.cases, 0);
    const failed = results.reduce((sum, { failures }) => sum + failures.length, 0);
    console.log(`${basename(file)}: ${cases - failed} of ${cases} pass (${((100 * (cases - failed)) / cases).toFixed(2)}%)`);
    for (const { name, cases: count, failures } of [...results].sort((a, b) => b.failures.length - a.failures.length)) {
      if (failures.length === 0) continue;
      console.log(`  ${name}: ${failures.length} of ${count} fail`);
      for (const { bytes, difference } of failures.slice(0, examples)) console.log(`    ${bytes}: ${difference}`);
    }
  }
}

if (process.argv[1]?.endsWith('run.ts')) main(process.argv.slice(2));
