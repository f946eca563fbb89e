// A map of memory as rows of cells, for text and pictures alike. A cell is one page or, where that would make too many rows, a power of two
// of them; rows that are all alike are told in one, so that 3 GiB with a few pages in use stay a few rows.

import { PAGE_SIZE } from '../util/address.ts';
import { type PageState, pageStates, type SpaceMap } from './pages.ts';

/** null: no memory. `whole`: all pages of the cell are in this state, else it is the rarest kind among them. */
export type Cell = { readonly state: PageState; readonly whole: boolean } | null;
export type MapRow =
  | { readonly kind: 'cells'; readonly start: number; readonly cells: readonly Cell[] }
  | { readonly kind: 'alike'; readonly start: number; readonly end: number; readonly state: PageState | null };
export type MapLayout = { readonly pagesPerCell: number; readonly rows: readonly MapRow[] };

/** What is seen first where a cell has several: what is rarest in a guest that keeps its memory to itself. */
const rank: readonly PageState[] = ['shared', 'private', 'clear', 'host', 'untouched'];
const bit = (state: PageState): number => 1 << pageStates.indexOf(state);
const cellOf = new Map<number, Cell>();
for (let mask = 1; mask < 1 << pageStates.length; mask++) {
  const state = rank.find((one) => (mask & bit(one)) !== 0);
  if (state !== undefined) cellOf.set(mask, { state, whole: mask === bit(state) });
}

/** Rows of `columns` cells (a power of two), at most `most` of them if cells can grow enough. */
export function layOut({ runs }: SpaceMap, columns: number, most: number): MapLayout {
  const end = Math.max(0, ...runs.slice(-1).map((run) => run.end)) / PAGE_SIZE;
  let masks = new Uint8Array(Math.max(1, Math.ceil(end / columns)) * columns);
  for (const run of runs) masks.fill(bit(run.state), run.start / PAGE_SIZE, run.end / PAGE_SIZE);
  for (let pagesPerCell = 1; ; pagesPerCell *= 2) {
    const rows = rowsOf(masks, columns, pagesPerCell * PAGE_SIZE);
    if (rows.length <= most || masks.length <= columns) return { pagesPerCell, rows };
    masks = coarser(masks, columns);
  }
}

function coarser(masks: Uint8Array, columns: number): Uint8Array<ArrayBuffer> {
  const half = new Uint8Array(Math.ceil(masks.length / 2 / columns) * columns);
  masks.forEach((mask, i) => {
    half[i >>> 1]! |= mask;
  });
  return half;
}

function rowsOf(masks: Uint8Array, columns: number, cellSize: number): MapRow[] {
  const rows: MapRow[] = [];
  for (let at = 0; at < masks.length; at += columns) {
    const row = masks.subarray(at, at + columns);
    const [mask = 0] = row;
    const start = at * cellSize;
    const cell = cellOf.get(mask) ?? null;
    if (!row.every((other) => other === mask) || (cell !== null && !cell.whole)) {
      rows.push({ kind: 'cells', start, cells: Array.from(row, (one) => cellOf.get(one) ?? null) });
      continue;
    }
    const state = cell?.state ?? null;
    const end = start + columns * cellSize;
    const last = rows.at(-1);
    if (last?.kind === 'alike' && last.state === state) rows[rows.length - 1] = { ...last, end };
    else rows.push({ kind: 'alike', start, end, state });
  }
  return rows;
}
