// The map of memory and pages of it as characters. On a terminal with colours a page is a block in its side's colour; without, a letter:
// capital where all pages of the cell are alike, small where some are.

import { PAGE_SIZE } from '../util/address.ts';
import type { Canvas, Style } from './canvas.ts';
import { asText, inHex } from './hexdump.ts';
import { type Keys, type Mark, type PageReport, type PageState, pageStates, type PageView, type SpaceMap } from './pages.ts';
import { type Cell, layOut } from './pages-layout.ts';
import { wrap } from './sequence.ts';

export const stateStyles: Readonly<Record<PageState, Style>> = {
  private: 'guest',
  shared: 'shared',
  host: 'hypervisor',
  clear: 'shared',
  untouched: 'dim',
};
type Symbols = Readonly<Record<PageState, readonly [all: string, some: string]>>;
const letters: Symbols = { private: ['P', 'p'], shared: ['S', 's'], host: ['H', 'h'], clear: ['C', 'c'], untouched: ['·', '·'] };
const block = ['█', '▒'] as const;
const blocks: Symbols = { private: block, shared: block, host: block, clear: block, untouched: letters.untouched };

const MOST_ROWS = 40;
const MOST_MARKS = 24;
const WIDE = 160;
const count = new Intl.NumberFormat('en-US');

export const hexAddress = (address: number): string => `0x${address.toString(16).padStart(8, '0')}`;
const pagesIn = (pages: number): string => `${count.format(pages)} page${pages === 1 ? '' : 's'}`;

/** A key in a sentence. */
export function keyWords(key: number, keys: Keys): string {
  if (key === 0) return keys.transparent ? "the host's key, by TSME" : 'no key';
  return key === keys.host ? "the host's key" : `the key of ASID ${key}`;
}

const meanings: Readonly<Record<PageState, string>> = {
  private: "the guest's",
  shared: 'the hypervisor reads it, too',
  host: "the host's",
  clear: 'without the C-bit',
  untouched: 'nobody has written it',
};

/** What a state means in this map: the legend. */
export function meaning(state: PageState, { runs }: SpaceMap, keys: Keys): string {
  const under = new Set(runs.flatMap((run) => (run.state === state && run.key !== null ? [keyWords(run.key, keys)] : [])));
  return under.size === 0 ? meanings[state] : `${meanings[state]}; last written under ${[...under].join(' or ')}`;
}

/** One address space, appended to a canvas. */
export function drawMap(canvas: Canvas, map: SpaceMap, keys: Keys, width: number, coloured: boolean): void {
  const columns = width >= 146 ? 128 : 64;
  const { pagesPerCell, rows } = layOut(map, columns, MOST_ROWS);
  const line = (column: number, text: string, style: Style = 'plain', row = canvas.height): void => canvas.put(row, column, text, style);
  line(0, map.title, 'title');
  line(
    map.title.length,
    `   a ${coloured ? 'block' : 'letter'} is ${pagesPerCell === 1 ? 'a page of 4 KiB' : `${pagesPerCell} pages, ${coloured ? 'grey' : 'small'} where only some are so`}`,
    'dim',
    canvas.height - 1,
  );
  for (const row of rows) {
    const at = canvas.height;
    line(2, hexAddress(row.start), 'dim', at);
    if (row.kind === 'alike') {
      const what =
        row.state === null
          ? 'no memory'
          : `${row.state === 'untouched' ? 'never written' : row.state}, ${pagesIn((row.end - row.start) / PAGE_SIZE)}`;
      line(14, `up to ${hexAddress(row.end - 1)}: ${what}`, row.state === null ? 'dim' : stateStyles[row.state], at);
      continue;
    }
    row.cells.forEach((cell, i) => {
      if (cell !== null) line(14 + i, symbol(cell, coloured), stateStyles[cell.state], at);
    });
  }
  for (const state of pageStates) {
    if (map.counts[state] === 0) continue;
    const at = canvas.height;
    const shown = coloured ? blocks[state] : letters[state];
    line(2, shown[0] === shown[1] || pagesPerCell === 1 ? shown[0] : shown.join(' '), stateStyles[state], at);
    line(6, state.padEnd(10), 'plain', at);
    line(16, pagesIn(map.counts[state]).padStart(15), 'plain', at);
    wrap(meaning(state, map, keys), width - 33).forEach((text, i) => line(33, text, 'dim', at + i));
  }
  drawMarks(canvas, map.marks, width);
}

const symbol = (cell: NonNullable<Cell>, coloured: boolean): string => (coloured ? blocks : letters)[cell.state][cell.whole ? 0 : 1];

function drawMarks(canvas: Canvas, marks: readonly Mark[], width: number): void {
  const texts = marks
    .slice(0, MOST_MARKS)
    .map(({ start, size, name }) => `${hexAddress(start)} ${name}${size > PAGE_SIZE ? `, ${pagesIn(Math.ceil(size / PAGE_SIZE))}` : ''}`);
  if (marks.length > MOST_MARKS) texts.push(`and ${marks.length - MOST_MARKS} more`);
  const wide = Math.max(0, ...texts.map((text) => text.length)) + 3;
  const perRow = Math.max(1, Math.floor((width - 2) / wide));
  const rows = Math.ceil(texts.length / perRow);
  const top = canvas.height;
  texts.forEach((text, i) => canvas.put(top + (i % rows), 2 + Math.floor(i / rows) * wide, text, 'dim'));
}

/** One page as every side has it, appended to a canvas. */
export function drawPage(canvas: Canvas, page: PageReport, keys: Keys, width: number): void {
  const { gpa, spa, state, key, access, views } = page;
  const head = `Page ${hexAddress(gpa)}`;
  const top = canvas.height;
  const written = key === null ? 'never written' : `${state}: last written under ${keyWords(key, keys)}`;
  canvas.put(top, 0, head, 'title');
  canvas.put(top, head.length + 3, written, stateStyles[state]);
  canvas.put(top + 1, 2, `system physical ${hexAddress(spa)}; ${access.why}`, 'dim');
  access.mappings.forEach(({ linear, private: isPrivate, writable }, i) => {
    const kind = keys.guest === null ? '' : isPrivate ? ', C-bit set' : ', C-bit clear';
    canvas.put(top + 2 + i, 2, `mapped at 0x${linear.toString(16)}${kind}, ${writable ? 'writable' : 'read-only'}`, 'dim');
  });
  for (const { side, key: under, staleLines } of views) {
    if (staleLines === 0) continue;
    const lines = `${staleLines} line${staleLines === 1 ? '' : 's'}`;
    const text = `${sideName(side, under, keys)}: caches hold ${lines} otherwise than DRAM does; shown is what the caches hold`;
    for (const piece of wrap(text, width - 2)) canvas.put(canvas.height, 2, piece, 'bad');
  }
  const [first, second, dram, ...others] = views;
  if (first === undefined || second === undefined || dram === undefined) return;
  // Sixteen bytes a row with text beside the two sides that have any; eight where that does not fit; below that one under the other.
  if (width >= WIDE - 1) drawColumns(canvas, page, [first, second, dram], keys, 16);
  else if (width >= 88) drawColumns(canvas, page, [first, second, dram], keys, 8);
  else for (const view of [first, second, dram]) drawColumns(canvas, page, [view], keys, 16);
  for (const other of others) drawColumns(canvas, page, [other], keys, 16);
}

const sideStyles: Readonly<Record<PageView['side'], Style>> = {
  guest: 'guest',
  software: 'guest',
  hypervisor: 'hypervisor',
  device: 'hypervisor',
  dram: 'hardware',
  key: 'plain',
};

function sideName(side: PageView['side'], key: number | null, keys: Keys): string {
  if (key === null || side === 'dram') return 'DRAM';
  const under = keyWords(key, keys);
  return side === 'key' ? `under ${under}` : `${side} (${under})`;
}

/** Hex of the views side by side, with the text of all but DRAM. A row that says what the one above says is left out. */
function drawColumns(canvas: Canvas, { gpa, offset }: PageReport, views: readonly PageView[], keys: Keys, perRow: number): void {
  const start = 11;
  const hexWidth = inHex(new Uint8Array(perRow), 4).length;
  let column = start;
  const columns = views.map((view) => {
    const text = view.side !== 'dram' || views.length === 1;
    const place = { view, at: column, text };
    column += hexWidth + (text ? 2 + perRow : 0) + 3;
    return place;
  });
  const top = canvas.height;
  for (const { view, at } of columns) canvas.put(top, at, sideName(view.side, view.key, keys), sideStyles[view.side]);
  const length = views[0]?.bytes.length ?? 0;
  let skipped = false;
  for (let from = 0; from < length; from += perRow) {
    const last = from + perRow >= length;
    if (from > 0 && !last && views.every(({ bytes }) => sameRow(bytes, from, perRow))) {
      if (!skipped) canvas.put(canvas.height, 2, '*', 'dim');
      skipped = true;
      continue;
    }
    skipped = false;
    const row = canvas.height;
    canvas.put(row, 0, hexAddress(gpa + offset + from), 'dim');
    columns.forEach(({ view, at, text }, i) => {
      const bytes = view.bytes.subarray(from, from + perRow);
      if (i > 0) canvas.put(row, at - 2, '│', 'dim');
      canvas.put(row, at, inHex(bytes, 4));
      if (text) canvas.put(row, at + hexWidth + 2, asText(bytes), sideStyles[view.side]);
    });
  }
}

const sameRow = (bytes: Uint8Array, from: number, size: number): boolean =>
  bytes.subarray(from, from + size).every((byte, i) => byte === bytes[from - size + i]);
