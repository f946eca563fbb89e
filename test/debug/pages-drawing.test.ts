// The map and the pages as they are drawn: layouts that stay readable, text that fits, pictures that are well formed.

import { describe, expect, it } from 'vitest';
import { unpainted } from '../../src/debug/canvas.ts';
import type { Keys, PageReport, PageRun, PageState, SpaceMap } from '../../src/debug/pages.ts';
import { layOut } from '../../src/debug/pages-layout.ts';
import { pagesJson, type PagesReport, pagesSvg, pagesText } from '../../src/debug/pages-report.ts';
import { PAGE_SIZE } from '../../src/util/address.ts';

const keys: Keys = { guest: 1, hypervisor: 0, host: 16, transparent: false, lastAsid: 15 };
const GIB = 2 ** 30;

function mapOf(runs: readonly PageRun[]): SpaceMap {
  const counts = { private: 0, shared: 0, host: 0, clear: 0, untouched: 0 };
  for (const { state, start, end } of runs) counts[state] += (end - start) / PAGE_SIZE;
  return { name: 'guest', title: 'Guest physical memory', marks: [{ start: 0x1000, size: PAGE_SIZE, name: '<GHCB>' }], runs, counts };
}

const run = (first: number, pages: number, state: PageState): PageRun => ({
  start: first * PAGE_SIZE,
  end: (first + pages) * PAGE_SIZE,
  state,
  key: state === 'untouched' ? null : state === 'private' ? 1 : 0,
});

/** Runs of irregular lengths, so that nothing can be told in one. */
function ragged(bytes: number): PageRun[] {
  const runs: PageRun[] = [];
  const states = ['private', 'untouched', 'private', 'shared'] as const;
  for (let at = 0, n = 0; at < bytes / PAGE_SIZE; n++) {
    const pages = Math.min(bytes / PAGE_SIZE - at, 1 + ((n * 7919) % 97));
    runs.push(run(at, pages, states[n % 4] ?? 'private'));
    at += pages;
  }
  return runs;
}

const sparse = mapOf([run(0, 16, 'private'), run(16, 1, 'shared'), run(17, 16_384 - 17, 'untouched')]);

function pageOf(bytes: Uint8Array, gpa = 0x10_5000): PageReport {
  const view = { staleLines: 0, bytes };
  return {
    gpa,
    spa: gpa + 0x100_0000,
    state: 'private',
    key: 1,
    access: { key: 1, why: 'the guest maps it private', mappings: [{ linear: 0xffff_8000_0010_5000n, private: true, writable: true }] },
    offset: 0,
    views: [
      { side: 'guest', key: 1, ...view },
      { side: 'hypervisor', key: 0, ...view },
      { side: 'dram', key: null, ...view },
    ],
  };
}

const reportOf = (maps: readonly SpaceMap[], pages: readonly PageReport[] = []): PagesReport => ({
  origin: { image: 'a&b<c>', technology: 'sev-es', cpu: 'milan', memory: 64 * 2 ** 20, seed: '0' },
  moment: 'at the end',
  instructions: 1000,
  keys,
  maps,
  pages,
  showMap: true,
});
const linesOf = (report: PagesReport, width: number): string[] => pagesText(report, width, unpainted).trimEnd().split('\n');

describe('the layout', () => {
  it('has a cell for each page where that fits, and tells rows that are alike in one', () => {
    const { pagesPerCell, rows } = layOut(sparse, 64, 40);
    expect(pagesPerCell).toBe(1);
    expect(rows).toHaveLength(2);
    expect(rows[0]).toMatchObject({ kind: 'cells', start: 0 });
    expect(rows[1]).toEqual({ kind: 'alike', start: 64 * PAGE_SIZE, end: 16_384 * PAGE_SIZE, state: 'untouched' });
  });

  it.each([2 ** 20, 64 * 2 ** 20, GIB, 3 * GIB])('stays readable for %i bytes of which all kinds are in use', (bytes) => {
    const { pagesPerCell, rows } = layOut(mapOf(ragged(bytes)), 64, 40);
    expect(rows.length).toBeLessThanOrEqual(40);
    expect(Math.log2(pagesPerCell) % 1).toBe(0);
    const last = rows.at(-1);
    expect(last?.kind === 'alike' ? last.end : (last?.start ?? 0) + 64 * pagesPerCell * PAGE_SIZE).toBeGreaterThanOrEqual(bytes);
  });

  it('shows the one shared page among many', () => {
    const runs = [...ragged(GIB).map((one) => ({ ...one, state: 'private' as const, key: 1 })), run(GIB / PAGE_SIZE, 1, 'shared')];
    const cells = layOut(mapOf(runs), 64, 2).rows.flatMap((row) => (row.kind === 'cells' ? row.cells : []));
    expect(cells.filter((cell) => cell?.state === 'shared')).toHaveLength(1);
  });

  it('leaves holes where there is no memory', () => {
    const { rows } = layOut(mapOf([run(0, 64, 'private'), run(1024, 64, 'private')]), 64, 40);
    expect(rows).toMatchObject([{ state: 'private' }, { state: null }, { state: 'private' }]);
  });

  it('of no memory at all is one empty row', () => {
    expect(layOut(mapOf([]), 64, 40).rows).toMatchObject([{ kind: 'alike', state: null }]);
  });
});

describe('the text', () => {
  const busy = Uint8Array.from({ length: PAGE_SIZE }, (_, i) => (i * 31) ^ (i >>> 4));

  it.each([80, 100, 160, 220])('fits %i columns', (width) => {
    for (const line of linesOf(reportOf([mapOf(ragged(3 * GIB))], [pageOf(busy, 0xfffe_0000)]), width))
      expect(line.length).toBeLessThanOrEqual(width);
  });

  it('has the three views side by side where they fit, else one under the other', () => {
    const headings = (width: number): number =>
      linesOf(reportOf([], [pageOf(busy)]), width).filter((line) => /guest \(|hypervisor \(|DRAM/.test(line)).length;
    expect([160, 100, 80].map(headings)).toEqual([1, 1, 3]);
  });

  it('leaves out rows that say what the one above says, but not the last', () => {
    const lines = linesOf(reportOf([], [pageOf(new Uint8Array(PAGE_SIZE))]), 160);
    expect(lines.filter((line) => line.startsWith('0x'))).toHaveLength(2);
    expect(lines.filter((line) => line.trim() === '*')).toHaveLength(1);
    expect(lines.at(-1)).toMatch(/^0x00105ff0 /);
  });

  it('is letters without colours, capital where all of a cell is alike', () => {
    expect(linesOf(reportOf([sparse]), 100)[3]).toMatch(/^ {2}0x00000000 {2}P{16}S·{47}$/);
    const coarse = linesOf(reportOf([mapOf(ragged(3 * GIB))]), 100).join('\n');
    expect(coarse).toMatch(/[ps]{3}/);
    expect(coarse).toContain('small where only some are so');
  });

  it('is blocks where colours are', () => {
    expect(pagesText(reportOf([sparse]), 100, (style, text) => `<${style}:${text}>`)).toContain(`<guest:${'█'.repeat(16)}><shared:█>`);
  });

  it('says where the guest maps a page, and where caches and DRAM differ', () => {
    const page = pageOf(busy);
    const [guest, ...rest] = page.views;
    const stale = { ...page, views: [{ ...guest!, staleLines: 3 }, ...rest] };
    const said = linesOf(reportOf([], [stale]), 160).join('\n');
    expect(said).toContain('mapped at 0xffff800000105000, C-bit set, writable');
    expect(said).toContain('caches hold 3 lines otherwise than DRAM does');
  });
});

describe('the picture', () => {
  it('is well-formed: every element closed, nothing of the image unescaped', () => {
    const svg = pagesSvg(reportOf([sparse, mapOf(ragged(3 * GIB))], [pageOf(new TextEncoder().encode('<&>'.repeat(20)))]));
    const open: string[] = [];
    for (const [, closing, name = '', own] of svg.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/gi)) {
      if (closing === '/') expect(open.pop()).toBe(name);
      else if (own !== '/') open.push(name);
    }
    expect(open).toEqual([]);
    expect(svg).toContain('a&amp;b&lt;c&gt;');
    expect(svg.replaceAll(/&(amp|lt|gt|quot);/g, '')).not.toContain('&');
  });

  it('stays small for much memory', () => {
    expect(pagesSvg(reportOf([mapOf(ragged(3 * GIB))])).length).toBeLessThan(2_000_000);
  });
});

describe('the JSON', () => {
  it('has the map in runs and the pages in hex', () => {
    const { version, map, pages } = JSON.parse(pagesJson(reportOf([sparse], [pageOf(Uint8Array.of(1, 0xfe))])));
    expect(version).toBe(1);
    expect(map[0].runs[1]).toEqual({ start: '0x10000', end: '0x11000', state: 'shared', key: 'none' });
    expect(pages[0]).toMatchObject({ gpa: '0x105000', spa: '0x1105000', state: 'private', key: 'ASID 1', guestReads: { key: 'ASID 1' } });
    expect(pages[0].views[2]).toEqual({ side: 'dram', key: null, staleLines: 0, bytes: '01fe' });
  });
});
