// Makes a small sample of a vector file: of each section every n-th case, and at least a few.
//   node --import tsx test/vectors/thin.ts FILE.x86vec.gz CASES_PER_SECTION OUT.x86vec.gz

import { readFileSync, writeFileSync } from 'node:fs';
import { sections, vectorFile } from './format.ts';

const [input, count, output] = process.argv.slice(2);
if (!input || !count || !output) throw new Error('usage: thin.ts FILE CASES_PER_SECTION OUT');
const wanted = Number(count);
const sample = [...sections(readFileSync(input))].map((section) => {
  const step = Math.max(1, Math.floor(section.cases.length / wanted));
  return { ...section, cases: section.cases.filter((_, n) => n % step === 0).slice(0, wanted) };
});
writeFileSync(output, vectorFile(sample));
