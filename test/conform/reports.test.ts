// The forms of the report: table, JSON against its schema, JUnit XML.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { conformJunit } from '../../src/conform/junit.ts';
import { conformReport, type Origin } from '../../src/conform/report.ts';
import { conformSchema } from '../../src/conform/schema.ts';
import { conformText } from '../../src/conform/text.ts';
import { groups, groupTitles } from '../../src/conform/variant.ts';
import { variants } from '../../src/conform/variants.ts';
import { unpainted } from '../../src/debug/canvas.ts';
import { violations } from '../cli/host/schema.ts';
import { guest, judged, optionsFor } from './guests.ts';

const { planned, cells } = judged(optionsFor(guest({ without: ['info1'] })), { event: ({ name }) => name === 'CPUID 0h' });
const origin: Origin = {
  image: 'judged<&>',
  cpu: 'milan',
  memory: 4 << 20,
  seed: '0',
  narrowed: { occurrences: 2, event: 'CPUID', only: null },
};
const report = conformReport(origin, planned, cells, (address) => `main+0x${(address & 0xfffn).toString(16)}`, { status: 1, seconds: 0.5 });
const bad = cells.filter(({ result }) => result === 'violated');

describe('JSON', () => {
  it('has the published schema, and is what it says', () => {
    expect(JSON.parse(readFileSync('docs/conform.schema.json', 'utf8'))).toEqual(conformSchema());
    expect(violations(conformSchema(), JSON.parse(JSON.stringify(report)))).toEqual([]);
  });

  it('counts', () => {
    expect(report.totals).toMatchObject({ events: 1, cells: cells.length, violated: bad.length });
    expect(report.events[0]).toMatchObject({ number: 3, protocol: 'page', code: '0x72', name: 'CPUID 0h', vcpu: 0 });
  });

  it('is refused by the schema if something is missing or strange', () => {
    expect(violations(conformSchema(), { ...report, version: 2 })).not.toEqual([]);
    expect(violations(conformSchema(), { ...report, extra: 1 })).not.toEqual([]);
  });
});

describe('text', () => {
  const wide = conformText(report, null, 200, unpainted);

  it('has a mark for each cell, under its group', () => {
    const row = wide.split('\n').find((line) => line.includes('CPUID 0h'));
    expect(row?.match(/[✓·✗]/g)).toHaveLength(cells.length);
    expect(row?.match(/✗/g)).toHaveLength(bad.length);
    expect(wide).toMatch(/VMGEXIT +event +at +(=) +error +#GP +vector +missing +stale +changed +wrong +injected/);
  });

  it('tells of each violation which cell it is, what the hypervisor did and what came of it', () => {
    for (const { id, reason, variant } of bad) {
      expect(wide).toContain(`✗ ${id}  CPUID 0h at main+`);
      expect(wide).toContain(`the hypervisor ${variant.title}`);
      expect(wide).toContain(reason);
    }
    expect(wide).toContain(`--cell ${bad[0]?.id} --trace=FILE`);
  });

  it('says what it left out', () => {
    expect(wide).toContain('judged is what --event CPUID chose');
  });

  it('counts where marks do not fit', () => {
    const narrow = conformText(report, null, 80, unpainted);
    expect(narrow).toMatch(/correct +tolerated +violated/);
    expect(narrow).toMatch(new RegExp(`CPUID 0h .* ${bad.length}\n`));
  });

  it('lists the cells with another result if it is asked', () => {
    const tolerated = conformText(report, 'tolerated', 200, unpainted);
    expect(tolerated).toContain('· 3.right');
    expect(tolerated).not.toContain(`✗ ${bad[0]?.id}`);
  });
});

describe('JUnit XML', () => {
  const xml = conformJunit(report);

  it('has a suite for each event, a case for each cell, a failure for each violation', () => {
    expect(xml.startsWith('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites ')).toBe(true);
    expect(xml.match(/<testsuite /g)).toHaveLength(1);
    expect(xml.match(/<testcase /g)).toHaveLength(cells.length);
    expect(xml.match(/<failure /g)).toHaveLength(bad.length);
    expect(xml).toContain(`tests="${cells.length}" failures="${bad.length}"`);
  });

  it('escapes what a guest sends', () => {
    expect(xml).toContain('judged&lt;&amp;&gt;');
    expect(xml).not.toMatch(/[^\n\t -\ud7ff\ue000-\ufffd]/u);
    expect(xml).toContain('instead of &quot;');
  });
});

it('docs/conform.md knows every variant, with its group', () => {
  const page = readFileSync('docs/conform.md', 'utf8');
  for (const group of groups) expect(page).toContain(`| \`${group}\` | ${groupTitles[group]} | |`);
  expect(variants.map(({ id }) => id).filter((id) => !page.includes(`\`${id}\``))).toEqual([]);
});
