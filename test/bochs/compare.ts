// Compares two outputs line by line, by the name of the case.

import { type KnownDifference, knownDifferences } from './known-differences.ts';
import type { Program } from './program.ts';

export type Differences = {
  readonly equal: number;
  /** Cases of the table that differ just as it says. */
  readonly known: readonly string[];
  /** Each as three lines: name, theirs, ours. */
  readonly open: readonly string[];
};

/** The lines of an output by the name of the case. */
export function byCase(output: string): Map<string, string> {
  return new Map(
    output
      .split('\n')
      .filter((line) => line !== '' && line !== 'end')
      .map((line) => {
        const at = line.indexOf(':  ');
        return at < 0 ? [line.replace(/:\s*$/, ''), ''] : [line.slice(0, at), line.slice(at + 3).trim()];
      }),
  );
}

const matches = (entry: KnownDifference, program: string, name: string): boolean =>
  entry.program === program && (typeof entry.name === 'string' ? entry.name === name : entry.name.test(name));

const expected = ({ cbit }: KnownDifference, theirs: string): string =>
  typeof cbit === 'string' ? cbit : theirs.replace(cbit[0], cbit[1]);

export function differences(program: Program, ours: string, theirs: string): Differences {
  const [a, b] = [byCase(ours), byCase(theirs)];
  let equal = 0;
  const known: string[] = [];
  const open: string[] = [];
  for (const { name } of program.cases) {
    const [mine, other] = [a.get(name) ?? '(not reached)', b.get(name) ?? '(not reached by Bochs)'];
    const entry = knownDifferences.find((one) => matches(one, program.name, name));
    const wanted = entry ? expected(entry, other) : other;
    if (mine !== wanted || (entry && mine === other))
      open.push(`${name}\n    bochs ${other}\n    cbit  ${mine}${entry ? `\n    known ${wanted}` : ''}`);
    else if (entry) known.push(name);
    else equal++;
  }
  return { equal, known, open };
}
