// Runs a section of vectors against a processor: which cases fail, each with the first field that differs. tools/vectors.ts runs files.

import type { Section } from './format.ts';
import type { VectorMachine } from './machine.ts';

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
