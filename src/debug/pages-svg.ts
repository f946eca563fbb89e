// The map of memory and pages of it as a picture: a grid with its legend, and below it the bytes as the text has them. Colours stand
// for states as everywhere; what is only partly in a state is paler. Every stretch of cells says what it is when pointed at.

import { PAGE_SIZE } from '../util/address.ts';
import { Canvas, type Span, type Style } from './canvas.ts';
import { type Keys, type PageReport, type PageState, pageStates, type SpaceMap } from './pages.ts';
import { type Cell, layOut, type MapRow } from './pages-layout.ts';
import { drawPage, hexAddress, meaning, stateStyles } from './pages-text.ts';

export type Picture = {
  readonly title: string;
  readonly keys: Keys;
  readonly maps: readonly SpaceMap[];
  readonly pages: readonly PageReport[];
};

const colours: Readonly<Record<Style, string>> = {
  plain: '#e6edf3',
  title: '#ffffff',
  dim: '#8b949e',
  guest: '#7ee787',
  hardware: '#f2cc60',
  shared: '#d2a8ff',
  hypervisor: '#76e3ea',
  good: '#7ee787',
  bad: '#ff7b72',
};
const fills: Readonly<Record<PageState, string>> = {
  private: '#2ea043',
  shared: '#bc6bff',
  host: '#1f9fb0',
  clear: '#bc6bff',
  untouched: '#21262d',
};
const GROUND = '#0d1117';
const COLUMNS = 128;
const MOST_ROWS = 96;
const CELL = 7;
const MARGIN = 16;
const LABEL = 84;
/** Rows are lower than the addresses beside them: not every one has its own. */
const LABEL_EVERY = 14;
const FONT = 12;
const CHARACTER = 7.2;
const LINE = 16;
const BYTES_WIDTH = 160;
const count = new Intl.NumberFormat('en-US');

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
const pixels = (n: number): string => String(Math.round(n * 10) / 10);

function words(x: number, y: number, said: string, style: Style): string {
  return `<text x="${pixels(x)}" y="${pixels(y)}" fill="${colours[style]}"${style === 'title' ? ' font-weight="bold"' : ''}>${escaped(said)}</text>`;
}

export function drawPicture({ title, keys, maps, pages }: Picture): string {
  const parts: string[] = [words(MARGIN, 28, title, 'title')];
  let y = 44;
  for (const map of maps) {
    const drawn = drawSpace(map, keys, y);
    parts.push(...drawn.parts);
    y = drawn.bottom + LINE;
  }
  const canvas = new Canvas();
  for (const page of pages) {
    if (canvas.height > 0) canvas.put(canvas.height, 0, '');
    drawPage(canvas, page, keys, BYTES_WIDTH);
  }
  const rows = canvas.spans();
  rows.forEach((spans, i) => {
    for (const span of spans) parts.push(drawSpan(span, y + (i + 1) * LINE));
  });
  y += rows.length * LINE + MARGIN;
  const width = Math.max(
    maps.length === 0 ? 0 : 2 * MARGIN + LABEL + COLUMNS * CELL,
    2 * MARGIN + Math.max(title.length, ...rows.flat().map((span) => span.column + span.text.length)) * CHARACTER,
  );
  const size = `width="${Math.ceil(width)}" height="${Math.ceil(y)}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} viewBox="0 0 ${Math.ceil(width)} ${Math.ceil(y)}" role="img" xml:space="preserve">`,
    `<title>${escaped(title)}</title>`,
    '<style>text{white-space:pre}</style>',
    `<pattern id="grid" patternUnits="userSpaceOnUse" x="${MARGIN + LABEL}" width="${CELL}" height="${CELL}"><rect x="${CELL - 1}" width="1" height="${CELL}" fill="${GROUND}"/></pattern>`,
    `<rect width="100%" height="100%" fill="${GROUND}"/>`,
    `<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="${FONT}">`,
    ...parts,
    '</g>',
    '</svg>',
    '',
  ].join('\n');
}

function drawSpan({ column, text: characters, style }: Span, y: number): string {
  const inner = characters.trimStart();
  if (inner === '') return '';
  const x = MARGIN + (column + [...characters].length - [...inner].length) * CHARACTER;
  const shown = inner.trimEnd();
  const look = `fill="${colours[style]}"${style === 'title' ? ' font-weight="bold"' : ''}`;
  return `<text x="${pixels(x)}" y="${y}" textLength="${pixels([...shown].length * CHARACTER)}" ${look}>${escaped(shown)}</text>`;
}

function drawSpace(map: SpaceMap, keys: Keys, top: number): { parts: string[]; bottom: number } {
  const { pagesPerCell, rows } = layOut(map, COLUMNS, MOST_ROWS);
  const parts: string[] = [];
  let y = top + LINE;
  parts.push(words(MARGIN, y, map.title, 'title'));
  parts.push(
    words(
      MARGIN + (map.title.length + 3) * CHARACTER,
      y,
      `a square is ${pagesPerCell === 1 ? 'a page of 4 KiB' : `${count.format(pagesPerCell)} pages, paler where only some are so`}`,
      'dim',
    ),
  );
  y += 6;
  for (const state of pageStates) {
    const pages = map.counts[state];
    if (pages === 0) continue;
    y += LINE;
    parts.push(`<rect x="${MARGIN}" y="${y - 9}" width="10" height="10" rx="2" fill="${fills[state]}"/>`);
    parts.push(words(MARGIN + 18, y, state, stateStyles[state]));
    parts.push(words(MARGIN + 100, y, `${count.format(pages)} page${pages === 1 ? '' : 's'}`.padStart(15), 'plain'));
    parts.push(words(MARGIN + 226, y, meaning(state, map, keys), 'dim'));
  }
  y += 10;
  let labelled = Number.NEGATIVE_INFINITY;
  for (const row of rows) {
    const height = row.kind === 'alike' ? LINE : CELL + 1;
    if (row.kind === 'alike' || y - labelled >= LABEL_EVERY) {
      parts.push(label(row.start, y + (row.kind === 'alike' ? 11 : 8)));
      labelled = y;
    }
    parts.push(...drawRow(row, y, pagesPerCell));
    y += height;
  }
  y += 4;
  for (const { start, size, name } of map.marks.slice(0, 40)) {
    y += LINE;
    parts.push(words(MARGIN, y, hexAddress(start), 'dim'));
    parts.push(
      words(MARGIN + LABEL, y, `${name}, ${count.format(Math.ceil(size / PAGE_SIZE))} page${size > PAGE_SIZE ? 's' : ''}`, 'plain'),
    );
  }
  return { parts, bottom: y };
}

function drawRow(row: MapRow, y: number, pagesPerCell: number): string[] {
  const left = MARGIN + LABEL;
  if (row.kind === 'alike') {
    const what = row.state === null ? 'no memory' : row.state === 'untouched' ? 'never written' : row.state;
    const said = `${what} up to ${hexAddress(row.end - 1)}, ${count.format((row.end - row.start) / PAGE_SIZE)} pages`;
    const band = `<rect x="${left}" y="${y + 1}" width="${COLUMNS * CELL - 1}" height="${LINE - 3}" rx="2" fill="${row.state === null ? 'none' : fills[row.state]}"/>`;
    return [band, words(left + 8, y + 11, said, row.state === 'untouched' || row.state === null ? 'dim' : 'title')];
  }
  const parts: string[] = [];
  for (let at = 0; at < row.cells.length; ) {
    const cell = row.cells[at] ?? null;
    let end = at + 1;
    while (end < row.cells.length && sameCell(row.cells[end] ?? null, cell)) end++;
    if (cell !== null) {
      const from = row.start + at * pagesPerCell * PAGE_SIZE;
      const to = row.start + end * pagesPerCell * PAGE_SIZE - 1;
      const said = `${hexAddress(from)} to ${hexAddress(to)}: ${cell.whole ? '' : 'partly '}${cell.state}`;
      const pale = cell.whole ? '' : ' fill-opacity="0.7"';
      parts.push(
        `<rect x="${left + at * CELL}" y="${y}" width="${(end - at) * CELL - 1}" height="${CELL}" fill="${fills[cell.state]}"${pale}><title>${said}</title></rect>`,
      );
    }
    at = end;
  }
  parts.push(`<rect x="${left}" y="${y}" width="${COLUMNS * CELL}" height="${CELL}" fill="url(#grid)" pointer-events="none"/>`);
  return parts;
}

const label = (address: number, y: number): string =>
  `<text x="${MARGIN}" y="${y}" fill="${colours.dim}" font-size="10">${hexAddress(address)}</text>`;
const sameCell = (a: Cell, b: Cell): boolean => a?.state === b?.state && a?.whole === b?.whole;
