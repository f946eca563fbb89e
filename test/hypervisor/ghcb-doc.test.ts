import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { naeEvents } from '../../src/hypervisor/ghcb/nae-events.ts';

const list = (fields: readonly string[]): string => (fields.length === 0 ? '–' : fields.join(' '));

it('docs/ghcb.md has exactly the events of the table', () => {
  const text = readFileSync(new URL('../../docs/ghcb.md', import.meta.url), 'utf8');
  const table = text.slice(text.indexOf('| code | event |'), text.indexOf('Remarks:')).trim().split('\n').slice(2);
  expect(table).toEqual(
    naeEvents.map(
      ({ code, name, needs, returns }) => `| ${code.toString(16).toUpperCase()} | ${name} | ${list(needs)} | ${list(returns)} |`,
    ),
  );
});
