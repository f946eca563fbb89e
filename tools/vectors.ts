// Runs vector files (test/vectors/README.md) through every tier of the processor.
//
//   npm run vectors -- FILE.x86vec.gz ...
//   npm run vectors -- --tier compiler FILE ...                one tier alone; labels is the third
//   npm run vectors -- --watched FILE ...                      every frame watched, so that no store takes the fast path
//   npm run vectors -- --only '^Add_' --examples 5 FILE ...    some instructions, and more failures of each
//
// Prints the failures by instruction, each with the first field that differs, and closes with "N passed, N failed". Exit status 1 if
// any failed, 2 if it was called wrongly.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { eachAlone } from '../test/lock-step/pair.ts';
import { type Section, sections } from '../test/vectors/format.ts';
import { VectorMachine } from '../test/vectors/machine.ts';
import { runSection, type SectionResult } from '../test/vectors/run.ts';

/** Every way that the processor has of executing an instruction. */
const tiers = {
  interpreter: (watched: boolean) => new VectorMachine(null, watched),
  compiler: (watched: boolean) => new VectorMachine(eachAlone, watched),
  labels: (watched: boolean) => new VectorMachine('labels', watched),
};
/** Without --tier. Labels must make no difference, but take their time. */
const usual = ['interpreter', 'compiler'] as const;
type Tier = keyof typeof tiers;

const USAGE = 'usage: npm run vectors -- [--tier interpreter|compiler|labels] [--watched] [--only REGEX] [--examples N] FILE.x86vec.gz ...';

class Wrong extends Error {}

function read(file: string): Section[] {
  try {
    return [...sections(readFileSync(file))];
  } catch (error) {
    throw new Wrong(`${file} is no vector file: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw new Wrong(`${text} is no regular expression`);
  }
}

/** One line that is written over on a terminal; elsewhere nothing, since every file has a line of its own. */
const progress = (text: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
};

function report(results: readonly SectionResult[], examples: number): void {
  for (const { name, cases, failures } of [...results].sort((a, b) => b.failures.length - a.failures.length)) {
    if (failures.length === 0) continue;
    console.log(`  ${name}: ${failures.length} of ${cases} failed`);
    for (const { bytes, difference } of failures.slice(0, examples)) console.log(`    ${bytes}: ${difference}`);
  }
}

function run(files: readonly string[], chosenTiers: readonly Tier[], watched: boolean, only: RegExp, examples: number): number {
  const machines = chosenTiers.map((tier) => [tier, tiers[tier](watched)] as const);
  let passed = 0;
  let failed = 0;
  for (const [n, file] of files.entries()) {
    const chosen = read(file).filter(({ name }) => only.test(name));
    for (const [tier, machine] of machines) {
      const results: SectionResult[] = [];
      for (const [k, section] of chosen.entries()) {
        progress(`${basename(file)} (${n + 1} of ${files.length}): ${section.name} (${k + 1} of ${chosen.length}), ${failed} failed`);
        results.push(runSection(machine, section));
      }
      const cases = results.reduce((sum, result) => sum + result.cases, 0);
      const wrong = results.reduce((sum, { failures }) => sum + failures.length, 0);
      progress('');
      console.log(`${basename(file)}, ${tier}: ${cases - wrong} of ${cases} passed`);
      report(results, examples);
      passed += cases - wrong;
      failed += wrong;
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

function main(): number {
  try {
    const options = {
      tier: { type: 'string' },
      watched: { type: 'boolean', default: false },
      only: { type: 'string', default: '.' },
      examples: { type: 'string', default: '3' },
    } as const;
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const examples = Number(values.examples);
    if (positionals.length === 0) throw new Wrong('which file?');
    if (!Number.isInteger(examples) || examples < 0) throw new Wrong(`${values.examples} is no number of examples`);
    const names = Object.keys(tiers) as Tier[];
    if (values.tier !== undefined && !names.includes(values.tier as Tier)) throw new Wrong(`${values.tier} is no tier`);
    const chosen = values.tier === undefined ? usual : [values.tier as Tier];
    return run(positionals, chosen, values.watched, pattern(values.only), examples);
  } catch (error) {
    if (!(error instanceof Wrong) && !(error instanceof TypeError && 'code' in error)) throw error;
    console.error(`${error.message}\n${USAGE}`);
    return 2;
  }
}

process.exitCode = main();
