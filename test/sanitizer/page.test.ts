// docs/sanitizer.md says of every rule what the table says, and of no other.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { rules } from '../../src/sanitizer/rules.ts';

const page = readFileSync(new URL('../../docs/sanitizer.md', import.meta.url), 'utf8').replaceAll(/\n\s+/g, (white) =>
  white.includes('\n\n') ? white : ' ',
);

it('docs/sanitizer.md has the rules in their order, those of guests first', () => {
  const named = [...page.matchAll(/^### (\S+)$/gm)].map(([, id]) => id);
  const inOrder = (['guest', 'hypervisor'] as const).flatMap((side) => rules.filter((rule) => rule.side === side).map(({ id }) => id));
  expect(named).toEqual(inOrder);
});

it.each(rules)(
  'docs/sanitizer.md says of $id what it is, why it matters, where it was seen and how to mend it',
  ({ id, title, section, why, seen, mend }) => {
    const from = page.indexOf(`### ${id}\n`);
    const end = page.indexOf('\n#', from + 1);
    const text = page.slice(from, end < 0 ? undefined : end).replaceAll(/\s+/g, ' ');
    expect(text).toContain(`*${title[0]!.toUpperCase()}${title.slice(1)}* (${section}).`);
    expect(text).toContain(`**Why:** ${why}`);
    expect(text).toContain(`**Seen:** ${seen}`);
    expect(text).toContain(`**Mend:** ${mend}`);
  },
);
