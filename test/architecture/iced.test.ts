// What an instruction means is written in one place. So the names that iced-x86 gives to instructions (`Code`, `Mnemonic`) may
// appear in the semantics, in the assembler and in the decoder's tables, and nowhere else.

import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { parse, type Source, sources, visit, where } from './sources.ts';

const allowed = /^src\/(x86\/(semantics\/|decode)|asm\/)|^test\/(x86|asm|instructions)\//;
const forbidden: ReadonlySet<string> = new Set(['Code', 'Mnemonic']);

/** Local names that stand for the whole package: `import * as iced`, `const iced = await import(...)`. */
function namespaces(source: Source): Set<string> {
  const names = new Set<string>();
  visit(source.tree, (node) => {
    if (ts.isNamespaceImport(node) && node.parent.parent.moduleSpecifier.getText(source.tree).includes('iced-x86'))
      names.add(node.name.text);
    if (ts.isImportClause(node) && node.name && node.parent.moduleSpecifier.getText(source.tree).includes('iced-x86'))
      names.add(node.name.text);
  });
  return names;
}

function named(source: Source): string[] {
  const found = source.imports
    .filter(({ specifier, names }) => specifier === 'iced-x86' && names.some((name) => forbidden.has(name)))
    .map(({ names }) => `${source.path} imports ${names.filter((name) => forbidden.has(name)).join(' and ')}`);
  const packages = namespaces(source);
  visit(source.tree, (node) => {
    if (ts.isPropertyAccessExpression(node) && forbidden.has(node.name.text) && packages.has(node.expression.getText(source.tree)))
      found.push(`${where(source, node)} names ${node.getText(source.tree)}`);
  });
  return found;
}

describe('names of instructions', () => {
  const all = sources('src', 'firmware', 'tools', 'test');

  it('appear only in the semantics, the assembler and the tables of the decoder', () => {
    expect(all.filter(({ path }) => !allowed.test(path)).flatMap(named)).toEqual([]);
  });

  it('would be found', () => {
    expect(named(parse('src/cpu/cpu.ts', "import { Code, Decoder } from 'iced-x86';"))).toHaveLength(1);
    expect(named(parse('src/cpu/cpu.ts', "import { Code as C } from 'iced-x86';"))).toHaveLength(1);
    expect(named(parse('src/cpu/cpu.ts', "import * as iced from 'iced-x86';\nif (x === iced.Code.Nopd) stop();"))).toHaveLength(1);
    expect(named(parse('src/cpu/cpu.ts', "import { Decoder } from 'iced-x86'; // Code.Nopd"))).toEqual([]);
  });
});
