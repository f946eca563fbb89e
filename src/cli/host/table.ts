// Tables of text: columns as wide as what stands in them, two spaces apart, titles on top.

import type { Paint } from '../../debug/canvas.ts';

export type Column<R> = { readonly title: string; readonly of: (row: R) => string; readonly right?: true };

export function renderTable<R>(columns: readonly Column<R>[], rows: readonly R[], paint: Paint): string {
  const cells = rows.map((row) => columns.map(({ of }) => of(row)));
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...cells.map((line) => line[i]?.length ?? 0)));
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, i) => (columns[i]?.right ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  return [paint('title', line(columns.map(({ title }) => title))), ...cells.map(line)].map((text) => `${text}\n`).join('');
}

/** Names and values, one to a line. */
export function renderPairs(pairs: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)} : ${value}\n`).join('');
}
