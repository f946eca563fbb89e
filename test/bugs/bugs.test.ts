// Every guest with a planted bug (guests/bugs): with a hypervisor that means well it passes like any other guest, and each tool that its row names finds
// it. What the row says stands in the guest's own header and in guests/bugs/README.md, too.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { defaults, launch, run } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { judgeAll, plan, type Step } from '../../src/conform/campaign.ts';
import { attachSanitizer } from '../../src/sanitizer/sanitizer.ts';
import type { RuleId } from '../../src/sanitizer/rules.ts';
import { Taint } from '../../src/taint/taint.ts';
import type { TaintRule } from '../../src/taint/taint-rules.ts';
import { SLICE } from '../../src/virtual-machine.ts';
import { bugNames, elfPath, root } from '../../tools/guest-manifest.ts';

type Row = {
  readonly name: string;
  /** The sanitizer's rule. */
  readonly sanitize?: RuleId;
  /** The label reader's rule. */
  readonly taint?: TaintRule;
  /** The variant of an answer that it violates. */
  readonly conform?: string;
  readonly vcpus?: number;
  /** Turns so short that another processor comes in between hundreds of times. */
  readonly quantum?: number;
  /** It ends by asking for its termination. */
  readonly terminates?: true;
};

// biome-ignore format: a table
const table: readonly Row[] = [
  { name: 'answer-table', taint: 'taint-address', conform: 'undefined-3' },
  { name: 'any-exception', conform: 'raise-de' },
  { name: 'any-version', conform: 'versions-above' },
  { name: 'asm-vc-clobber', sanitize: 'register-changed' },
  { name: 'asm-vc-trusting', sanitize: 'unchecked-valid-bit', conform: 'missing-rbx' },
  { name: 'believed-c-bit', conform: 'c-bit-0' },
  { name: 'count-from-answer', sanitize: 'exposed-register', taint: 'taint-address', conform: 'request-fields' },
  { name: 'cpuid-index', conform: 'other-register' },
  { name: 'direction-ignored', sanitize: 'string-source' },
  { name: 'half-opcode', conform: 'inject-vc-81' },
  { name: 'heckler', conform: 'inject-80' },
  { name: 'hidden-sev', conform: 'no-sev' },
  { name: 'ignored-refusal', sanitize: 'unchecked-info1', conform: 'malformed-input' },
  { name: 'interrupts-on', sanitize: 'interrupts-enabled' },
  { name: 'jump-table-unchecked', taint: 'taint-address', conform: 'jump-table-unaligned' },
  { name: 'late-share', sanitize: 'ghcb-private' },
  { name: 'mmio-anywhere', conform: 'inject-vc-400' },
  { name: 'msr-code-unchecked', conform: 'zero' },
  { name: 'narrow-in', sanitize: 'register-width' },
  { name: 'nmi-no-backup', sanitize: 'nested-use' },
  { name: 'outs-segment', sanitize: 'string-source' },
  { name: 'over-copy', taint: 'taint-private-to-shared' },
  { name: 'private-scratch', sanitize: 'scratch-bounds' },
  { name: 'register-leak', sanitize: 'exposed-register', taint: 'taint-private-to-shared' },
  { name: 'scratch-from-answer', taint: 'taint-address' },
  { name: 'shared-neighbour', taint: 'taint-private-to-shared' },
  { name: 'shared-pointer', taint: 'taint-branch' },
  { name: 'smp-refetch', sanitize: 'user-access', vcpus: 2, quantum: 997 },
  { name: 'smp-user-ports', sanitize: 'user-access', vcpus: 2, quantum: 997 },
  { name: 'stale-bitmap', sanitize: 'stale-bitmap' },
  { name: 'termination-ignored', conform: 'entered-again', terminates: true },
  { name: 'unmarked-msr', sanitize: 'unchecked-valid-bit', conform: 'missing-rax' },
  { name: 'unmarked-result', sanitize: 'unchecked-valid-bit', conform: 'missing-rbx' },
  { name: 'user-mmio', sanitize: 'user-access' },
  { name: 'user-string', sanitize: 'user-access' },
  { name: 'user-vmgexit', sanitize: 'user-request' },
  { name: 'wesee', conform: 'inject-vc-72' },
  { name: 'whole-register-file', sanitize: 'exposed-register', taint: 'taint-private-to-shared' },
  { name: 'wide-out', sanitize: 'exposed-register' },
  { name: 'wide-result', conform: 'wide' },
];

const MOST = 60_000_000;

function options({ name, vcpus = 1, quantum }: Row) {
  const bytes = new Uint8Array(readFileSync(join(root, elfPath(`bugs/${name}`))));
  return { ...defaults, image: { name, bytes }, vcpus, ...(quantum === undefined ? {} : { quantum }), aes: nodeAes };
}

function sanitize(row: Row): string[] {
  const vm = launch({ ...options(row), maxInstructions: MOST });
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
  const vm = launch({ ...options(row), tier: 'labels', maxInstructions: MOST });
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

  it.each(table)('$name tells in its header which tools find it', ({ name, sanitize: rule, taint: label, conform: variant }) => {
    const folder = join(root, 'guests/bugs', name);
    const source = [`${name}.c`, 'vc.S'].map((file) => join(folder, file)).find((path) => existsSync(path)) ?? '';
    const header = readFileSync(source, 'utf8').split('*/', 1)[0] ?? '';
    expect(header).toContain(` * ${name}: `);
    expect(header).toContain('Published:');
    expect(header).toContain('Watch');
    expect(new RegExp(`cbit run guests/bugs/${name}( --vcpus 2 --quantum 997)? --sanitize`).test(header)).toBe(rule !== undefined);
    expect(new RegExp(`cbit run guests/bugs/${name}( --vcpus 2 --quantum 997)? --taint`).test(header)).toBe(label !== undefined);
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
    const result = run({ ...options(row), maxInstructions: MOST });
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
