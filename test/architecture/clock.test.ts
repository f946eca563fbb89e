// Same image, same options, same seed: same run, bit for bit. So nothing under src/ or firmware/ asks the wall clock, the
// system's random source or the engine's idea of sine; the seed provider and one stopwatch in src/cli are the exceptions.

import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { parse, type Source, sources, visit, where } from './sources.ts';

/** `--seed random` draws a seed and prints it; the stopwatch's readings are only printed. */
const exceptions: ReadonlySet<string> = new Set(['src/cli/seed.ts', 'src/cli/stopwatch.ts']);

const members: Readonly<Record<string, RegExp>> = {
  Date: /^now$/,
  Math: /^(random|a?sinh?|a?cosh?|a?tanh?|atan2|exp|expm1|log|log2|log10|log1p|pow|cbrt|hypot)$/, // results differ between engines
  process: /^(hrtime|uptime|cpuUsage|resourceUsage)$/,
  crypto: /^/,
};
const globals: ReadonlySet<string> = new Set(['performance', 'setTimeout', 'setInterval']);
const randomOfNode: ReadonlySet<string> = new Set([
  'randomBytes',
  'randomFillSync',
  'randomFill',
  'randomInt',
  'randomUUID',
  'webcrypto',
  'getRandomValues',
  '*',
]);
const clocksOfNode = /^node:(perf_hooks|timers|os)/;

/** An identifier that is a reference to a global: not a property name, not a declaration. */
function refersToGlobal(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isPropertyAssignment(parent) || ts.isPropertySignature(parent) || ts.isPropertyDeclaration(parent)) return parent.name !== node;
  return !(ts.isParameter(parent) || ts.isVariableDeclaration(parent) || ts.isMethodDeclaration(parent) || ts.isTypeReferenceNode(parent));
}

function readings(source: Source): string[] {
  const found = source.imports.flatMap(({ specifier, names }) => {
    const random = specifier === 'node:crypto' && names.some((name) => randomOfNode.has(name));
    return random || clocksOfNode.test(specifier) ? [`${source.path} imports ${names.join(', ')} from ${specifier}`] : [];
  });
  visit(source.tree, (node) => {
    const seen = (): unknown => found.push(`${where(source, node)}: ${node.getText(source.tree)}`);
    if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression) && members[node.expression.text]?.test(node.name.text))
      seen();
    if (ts.isNewExpression(node) && node.expression.getText(source.tree) === 'Date' && !node.arguments?.length) seen();
    if (ts.isCallExpression(node) && node.expression.getText(source.tree) === 'Date') seen();
    if (ts.isIdentifier(node) && globals.has(node.text) && refersToGlobal(node)) seen();
  });
  return found;
}

describe('wall clock, system randomness and inexact mathematics', () => {
  it('are used by nothing under src/ and firmware/ but the seed provider and the stopwatch', () => {
    const all = sources('src', 'firmware').filter(({ path }) => !exceptions.has(path));
    expect(all.flatMap(readings)).toEqual([]);
  });

  it.each([
    ['const t = Date.now();', 1],
    ['const t = new Date();', 1],
    ['const t = Date();', 1],
    ['const t = new Date(text);', 0],
    ['const t = Date.UTC(2000, 0);', 0],
    ['const x = Math.random();', 1],
    ['const x = Math.sin(y);', 1],
    ['const x = Math.imul(y, z);', 0],
    ['const t = performance.now();', 1],
    ['const report = { performance: 3 };', 0],
    ["import { randomBytes } from 'node:crypto';", 1],
    ["import { createCipheriv } from 'node:crypto';", 0],
    ['crypto.getRandomValues(bytes);', 1],
    ['const t = process.hrtime.bigint();', 1],
    ['// Date.now() is not asked', 0],
  ])('`%s` is found %i times', (text, times) => {
    expect(readings(parse('src/machine/clock.ts', text))).toHaveLength(times);
  });
});
