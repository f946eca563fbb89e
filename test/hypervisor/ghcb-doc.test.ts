// docs/ghcb.md states the tables of events and of MSR-protocol requests; here they are held against those that the hypervisor reads.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { msrRequests } from '../../src/hypervisor/ghcb/msr-protocol.ts';
import { naeEvents } from '../../src/hypervisor/ghcb/nae-events.ts';

const text = readFileSync(new URL('../../docs/ghcb.md', import.meta.url), 'utf8');
/** The rows of the table with this heading. */
const table = (heading: string): string[] => {
  const from = text.indexOf(heading);
  expect(from).toBeGreaterThan(0);
  return text.slice(from, text.indexOf('\n\n', from)).split('\n').slice(2);
};
const hex = (code: number): string => code.toString(16).toUpperCase();
const list = (parts: readonly string[]): string => (parts.length === 0 ? '–' : parts.join(' '));

it('docs/ghcb.md has exactly the events of the table', () => {
  expect(table('| code | event |')).toEqual(
    naeEvents.map(({ code, name, since = 1, info1 = '–', info2 = '–', needs, needsIf, takes = [], returns, result = '–' }) => {
      const needed = [...needs, ...(needsIf === undefined ? [] : [`(${needsIf.field})`]), ...takes.map((field) => `[${field}]`)];
      return `| ${hex(code)} | ${name} | ${since} | ${info1} | ${info2} | ${list(needed)} | ${list(returns)} | ${result} |`;
    }),
  );
});

it('docs/ghcb.md has exactly the refusals of the table', () => {
  const rows = naeEvents.flatMap(({ name, refuses = [], needsIf }) => [
    ...(needsIf === undefined ? [] : [`| ${name} | 2/4 | ${needsIf.field} is not marked valid and ${needsIf.when} |`]),
    ...refuses.map(({ answer, when }) => `| ${name} | ${answer} | ${when} |`),
  ]);
  expect(table('| event | answer |')).toEqual(rows);
});

it('docs/ghcb.md has exactly the requests of the MSR protocol', () => {
  expect(table('| request | since |')).toEqual(
    msrRequests.map(({ code, response, name, since = 1, says }) => {
      const number = (value: number): string => `${hex(value).padStart(3, '0')}h`;
      return `| ${number(code)} ${name} | ${since} | ${response === null || says.startsWith('the end') ? '' : `${number(response)}: `}${says} |`;
    }),
  );
});
