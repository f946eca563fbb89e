// Reads our own sources for the architecture tests: the files, their imports, and the names that they mention. Everything is
// taken from TypeScript's own syntax tree, so that comments and strings never count.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export interface Import {
  /** As written. */
  readonly specifier: string;
  /** Path from the root for a file of ours, null for a package. */
  readonly file: string | null;
  /** It vanishes when types are stripped. */
  readonly typeOnly: boolean;
  /** The imported names; ['*'] for a namespace, a dynamic or a bare import. */
  readonly names: readonly string[];
}

export interface Source {
  /** Path from the root, with `/`. */
  readonly path: string;
  readonly tree: ts.SourceFile;
  readonly imports: readonly Import[];
}

function files(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return files(path);
    return path.endsWith('.ts') ? [path] : [];
  });
}

export function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  ts.forEachChild(node, (child) => visit(child, see));
}

/** `new URL('x.ts', import.meta.url)` and the like are not imports; a string given to import() is. */
function importsOf(path: string, tree: ts.SourceFile): Import[] {
  const found: Import[] = [];
  const add = (specifier: ts.Node, typeOnly: boolean, names: readonly string[]): void => {
    if (!ts.isStringLiteralLike(specifier)) throw new Error(`${path}: an import whose target is not a plain string cannot be checked`);
    const { text } = specifier;
    found.push({ specifier: text, file: text.startsWith('.') ? posix.join(posix.dirname(path), text) : null, typeOnly, names });
  };
  visit(tree, (node) => {
    if (ts.isImportDeclaration(node)) {
      const clause = node.importClause;
      const bindings = clause?.namedBindings;
      const elements = bindings && ts.isNamedImports(bindings) ? bindings.elements : null;
      const all = elements?.map((element) => (element.propertyName ?? element.name).text) ?? ['*'];
      const wholeClause = clause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
      const eachName =
        elements !== null && elements.length > 0 && clause?.name === undefined && elements.every((element) => element.isTypeOnly);
      add(node.moduleSpecifier, wholeClause || eachName, clause?.name ? [...all, 'default'] : all);
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier) {
      const elements = node.exportClause && ts.isNamedExports(node.exportClause) ? node.exportClause.elements : null;
      add(node.moduleSpecifier, node.isTypeOnly, elements?.map((element) => (element.propertyName ?? element.name).text) ?? ['*']);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [target] = node.arguments;
      if (target) add(target, false, ['*']);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, true, ['*']);
    }
  });
  return found;
}

/** Every TypeScript file under the given folders of the checkout. */
export function sources(...folders: readonly string[]): Source[] {
  return folders.flatMap(files).map((path) => parse(path, readFileSync(join(root, path), 'utf8')));
}

export function parse(path: string, text: string): Source {
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  return { path, tree, imports: importsOf(path, tree) };
}

/** `path:line` of a node, as editors and terminals open it. */
export const where = (source: Source, node: ts.Node): string =>
  `${source.path}:${source.tree.getLineAndCharacterOfPosition(node.getStart(source.tree)).line + 1}`;
