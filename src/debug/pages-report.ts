// What the inspector shows, put together: one report, as text, as JSON (docs/pages.md states it) or as a picture.

import { Canvas, type Paint, unpainted } from './canvas.ts';
import { hex } from './ndjson.ts';
import { inspect, keyName, type Keys, mapMemory, type PageReport, type Scene, type SpaceMap } from './pages.ts';
import { drawPicture } from './pages-svg.ts';
import { drawMap, drawPage } from './pages-text.ts';

/** Grows when a field changes its meaning or goes; new fields do not change it. */
const VERSION = 1;

export type Origin = {
  readonly image: string;
  readonly technology: string;
  readonly cpu: string;
  readonly memory: number;
  readonly seed: string;
};
/** A page that is asked for: from an address on, so many bytes, under further keys. */
export type Wanted = { readonly addresses: readonly number[]; readonly bytes: number; readonly keys: readonly number[] };

export type PagesReport = {
  readonly origin: Origin;
  /** When it was looked at, for people. */
  readonly moment: string;
  readonly instructions: number;
  readonly keys: Keys;
  readonly maps: readonly SpaceMap[];
  readonly pages: readonly PageReport[];
  /** The person wants to see the map. */
  readonly showMap: boolean;
};

/** Addresses that are no memory are left out: whoever asks checks them. */
export const lookAt = (scene: Scene, { addresses, bytes, keys }: Wanted): { maps: SpaceMap[]; pages: PageReport[] } => ({
  maps: mapMemory(scene),
  pages: addresses.flatMap((address) => inspect(scene, address, bytes, keys) ?? []),
});

function drawAll({ pages, maps, keys, showMap }: PagesReport, canvas: Canvas, width: number, coloured: boolean): void {
  const gap = (): void => {
    if (canvas.height > 0) canvas.put(canvas.height, 0, '');
  };
  if (showMap)
    for (const map of maps) {
      gap();
      drawMap(canvas, map, keys, width, coloured);
    }
  for (const page of pages) {
    gap();
    drawPage(canvas, page, keys, width);
  }
}

const titleOf = ({ origin, moment }: PagesReport): string => `${origin.image} (${origin.technology}, ${origin.cpu}), ${moment}`;

export function pagesText(report: PagesReport, width: number, paint: Paint): string {
  const canvas = new Canvas();
  canvas.put(0, 0, titleOf(report), 'title');
  drawAll(report, canvas, width, paint !== unpainted);
  return `${canvas.render(paint).join('\n')}\n`;
}

/** The map alone, for the account of a run. */
export function mapLines(maps: readonly SpaceMap[], keys: Keys, width: number, paint: Paint): string[] {
  const canvas = new Canvas();
  maps.forEach((map, i) => {
    if (i > 0) canvas.put(canvas.height, 0, '');
    drawMap(canvas, map, keys, width, paint !== unpainted);
  });
  return canvas.render(paint);
}

export const pagesSvg = (report: PagesReport): string =>
  drawPicture({ ...report, maps: report.showMap ? report.maps : [], title: titleOf(report) });

/** The map as plain values: member `map` of both JSON reports. */
export const mapJson = (maps: readonly SpaceMap[], keys: Keys): object[] =>
  maps.map(({ name, counts, runs, marks }) => ({
    space: name,
    pages: counts,
    runs: runs.map(({ start, end, state, key }) => ({
      start: hex(start),
      end: hex(end),
      state,
      key: key === null ? null : keyName(key, keys),
    })),
    named: marks.map(({ start, size, name: called }) => ({ start: hex(start), end: hex(start + size), name: called })),
  }));

export function pagesJson({ origin, moment, instructions, keys, maps, pages }: PagesReport): string {
  const name = (key: number | null): string | null => (key === null ? null : keyName(key, keys));
  return JSON.stringify({
    version: VERSION,
    ...origin,
    at: moment,
    instructions,
    map: mapJson(maps, keys),
    pages: pages.map(({ gpa, spa, state, key, access, offset, views }) => ({
      gpa: hex(gpa),
      spa: hex(spa),
      state,
      key: name(key),
      guestReads: { key: keyName(access.key, keys), why: access.why },
      mappings: access.mappings.map((mapping) => ({ ...mapping, linear: hex(mapping.linear) })),
      offset,
      views: views.map(({ side, key: under, staleLines, bytes }) => ({
        side,
        key: name(under),
        staleLines,
        bytes: Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(''),
      })),
    })),
  });
}
