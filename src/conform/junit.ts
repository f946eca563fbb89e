// The report as JUnit XML, as continuous integration reads it: a suite for each event, a test case for each cell.

import type { CellReport, ConformReport, EventReport } from './report.ts';

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** XML 1.0 has no way to write most control characters, not even escaped. */
const escape = (text: string): string =>
  Array.from(text, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (code === 9 || code === 10 || code === 13) return `&#${code};`;
    return code < 0x20 || (code >= 0xd800 && code < 0xe000) || code === 0xfffe || code === 0xffff
      ? '\ufffd'
      : (entities[character] ?? character);
  }).join('');

const attributes = (values: Readonly<Record<string, string | number>>): string =>
  Object.entries(values)
    .map(([name, value]) => ` ${name}="${escape(String(value))}"`)
    .join('');

export const eventTitle = ({ number, name, rip, function: place }: EventReport): string => `${number} ${name} at ${place ?? rip}`;

function testCase(event: EventReport, { id, variant, title, result, reason }: CellReport): string {
  const open = `    <testcase${attributes({ classname: eventTitle(event), name: variant })}`;
  if (result !== 'violated') return `${open}/>\n`;
  const text = `cell ${id}: the hypervisor ${title}: ${reason}`;
  return `${open}>\n      <failure${attributes({ message: reason, type: 'violated' })}>${escape(text)}</failure>\n    </testcase>\n`;
}

const violated = ({ cells }: EventReport): number => cells.filter(({ result }) => result === 'violated').length;

export function conformJunit({ image, totals, events, seconds }: ConformReport): string {
  const suites = events.map(
    (event) =>
      `  <testsuite${attributes({ name: eventTitle(event), tests: event.cells.length, failures: violated(event), errors: 0, skipped: 0 })}>\n${event.cells
        .map((cell) => testCase(event, cell))
        .join('')}  </testsuite>\n`,
  );
  const all = { name: `cbit conform ${image}`, tests: totals.cells, failures: totals.violated, errors: 0, time: seconds };
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites${attributes(all)}>\n${suites.join('')}</testsuites>\n`;
}
