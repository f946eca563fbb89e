// Every guest with a planted bug (guests/bugs): with a hypervisor that means well it passes like any other guest, and each tool that its row names finds
// it. What the row says stands in the guest's own header and in guests/bugs/README.md, too.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { defaults, launch, run } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { judgeAll, plan, type Step } from '../../src/conform/campaign.ts';
import { attachSanitizer } from '../../src/sanitizer/sanitizer.ts';
import { Taint } from '../../src/taint/taint.ts';
import { SLICE } from '../../src/virtual-machine.ts';
import { bugNames, elfPath, root } from '../../tools/guest-manifest.ts';
import { MOST, type Row, settingsOf, table } from './table.ts';

function options(row: Row) {
  const { name } = row;
  const bytes = new Uint8Array(readFileSync(join(root, elfPath(`bugs/${name}`))));
  return { ...defaults, image: { name, bytes }, ...settingsOf(row), aes: nodeAes };
}

function sanitize(row: Row): string[] {
  const vm = launch(options(row));
  try {
    const sanitizer = attachSanitizer(vm);
    while (!vm.advance(SLICE));
    sanitizer.finish();
    return sanitizer.findings.map(({ rule }) => rule);
  } finally {
    vm.dispose();
  }
}

function taint(row: Row): string[] {
  const vm = launch({ ...options(row), tier: 'labels' });
  try {
    const reader = new Taint(vm);
    while (!vm.advance(SLICE));
    reader.finish();
    return reader.findings.map(({ rule }) => rule);
  } finally {
    vm.dispose();
  }
}

function end<T>(steps: Step<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** Variants that are violated, of the one that is tried. */
function conform(row: Row): string[] {
  const guest = { ...options(row), serial: undefined, trace: undefined };
  const planned = end(plan(guest, { occurrences: 1, event: () => true, variant: ({ id }) => id === row.conform }, MOST));
  return [...judgeAll(guest, planned)].flatMap((cell) => (cell?.result === 'violated' ? [cell.variant.id] : []));
}

const rowsWith = (tool: 'sanitize' | 'taint' | 'conform'): [string, string, Row][] =>
  table.flatMap((row) => (row[tool] === undefined ? [] : [[row.name, row[tool], row] satisfies [string, string, Row]]));

describe('the table of planted bugs', () => {
  it('has every folder of guests/bugs, and at least one tool for each', () => {
    expect(table.map(({ name }) => `bugs/${name}`)).toEqual(bugNames());
    for (const { sanitize: rule, taint: label, conform: variant } of table) expect(rule ?? label ?? variant).toBeDefined();
  });

  it.each(table)('$name tells in its header which tools find it', (row) => {
    const { name, sanitize: rule, taint: label, conform: variant, intercepts } = row;
    const more = row.vcpus === undefined ? '' : ` --vcpus ${row.vcpus} --quantum ${row.quantum}`;
    const intercept = intercepts === undefined ? '' : ` --intercept ${intercepts.join()}`;
    const folder = join(root, 'guests/bugs', name);
    const source = [`${name}.c`, 'vc.S'].map((file) => join(folder, file)).find((path) => existsSync(path)) ?? '';
    const header = readFileSync(source, 'utf8').split('*/', 1)[0] ?? '';
    expect(header).toContain(` * ${name}: `);
    expect(header).toContain('Published:');
    expect(header).toContain('Watch');
    expect(new RegExp(`cbit run guests/bugs/${name}${more}${intercept} --sanitize`).test(header)).toBe(rule !== undefined);
    expect(new RegExp(`cbit run guests/bugs/${name}${more}${intercept} --taint`).test(header)).toBe(label !== undefined);
    expect(new RegExp(`cbit conform guests/bugs/${name}`).test(header)).toBe(variant !== undefined);
  });

  it('is the table of guests/bugs/README.md', () => {
    const readme = readFileSync(join(root, 'guests/bugs/README.md'), 'utf8');
    const rows = readme
      .split('\n')
      .flatMap((line) => /^\| \[`([\w-]+)`\].*\| ([^|]*) \| ([^|]*) \| ([^|]*) \|$/.exec(line)?.slice(1) ?? []);
    const cell = (id: string | undefined): string => (id === undefined ? '' : `\`${id}\``);
    expect(rows.map((text) => text.trim())).toEqual(
      table.flatMap(({ name, sanitize: rule, taint: label, conform: variant }) => [name, cell(rule), cell(label), cell(variant)]),
    );
  });
});

describe('without a tool', () => {
  it.each(table)('$name passes like any other guest', (row) => {
    const result = run(options(row));
    expect(result.serial).toMatch(/^PASS: /m);
    expect(result.serial).not.toMatch(/^FAIL/m);
    expect(result.outcome.kind).toBe(row.terminates === true ? 'terminated' : 'ended');
    if (row.terminates !== true) expect(result.serial).toMatch(/SUMMARY: \d+ tests, 0 failed/);
  });
});

describe('the sanitizer', () => {
  it.each(rowsWith('sanitize'))('finds %s: %s', (_name, rule, row) => {
    expect(sanitize(row)).toContain(rule);
  });
});

describe('the label reader', () => {
  it.each(rowsWith('taint'))('finds %s: %s', (_name, rule, row) => {
    expect(taint(row)).toContain(rule);
  });
});

describe('conform', () => {
  it.each(rowsWith('conform'))('finds %s: %s', (_name, variant, row) => {
    expect(conform(row)).toContain(variant);
  });
});
