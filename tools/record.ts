// Makes docs/hello.svg, the picture on the first page of the README, from a real run: starts the command line, takes what it
// writes, colours included, and draws it as a terminal would. Nothing in the picture is typed by hand. `npm run record`.

import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const OUTPUT = 'docs/hello.svg';
const ARGUMENTS = ['run', 'guests/hello'] as const;
const PROMPT = '$ npm start';

/** What the picture measures, in pixels. */
const CELL = { width: 8.4, height: 18 } as const;
const FONT_SIZE = 14;
const MARGIN = { x: 16, top: 44, bottom: 16 } as const;
/** Seconds from one line to the next, for viewers that animate. */
const PACE = 0.03;
/** And before the first line of output. */
const WAIT = 0.3;

/** Select Graphic Rendition codes that the command line uses, as colours on a dark ground. */
const colours: Readonly<Record<number, string>> = {
  31: '#ff7b72',
  32: '#7ee787',
  33: '#f2cc60',
  34: '#79c0ff',
  35: '#d2a8ff',
  36: '#76e3ea',
  90: '#8b949e',
};
const PLAIN = '#e6edf3';

type Look = { readonly colour: string; readonly bold: boolean };
type Span = Look & { readonly column: number; readonly text: string };

/** Everything that the run writes to stdout and stderr, in the order of its coming. */
function record(): Promise<string> {
  const { NO_COLOR: _, ...environment } = process.env;
  const child = spawn(process.execPath, ['tools/cbit.mjs', ...ARGUMENTS], {
    cwd: root,
    env: { ...environment, FORCE_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const pieces: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => pieces.push(piece));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => {
      if (status === 0) resolve(Buffer.concat(pieces).toString('utf8'));
      else reject(new Error(`the run ended with status ${status}\n${Buffer.concat(pieces).toString('utf8')}`));
    });
  });
}

function applied(look: Look, codes: string): Look {
  return codes
    .split(';')
    .map(Number)
    .reduce<Look>((now, code) => {
      if (code === 0) return { colour: PLAIN, bold: false };
      if (code === 1) return { ...now, bold: true };
      if (code === 22) return { ...now, bold: false };
      if (code === 39) return { ...now, colour: PLAIN };
      return { ...now, colour: colours[code] ?? now.colour };
    }, look);
}

/** A line of terminal output as pieces of one look each. */
function spansOf(line: string): Span[] {
  const spans: Span[] = [];
  let look: Look = { colour: PLAIN, bold: false };
  let column = 0;
  // oxlint-disable-next-line no-control-regex
  for (const piece of line.split(/(\x1b\[[\d;]*m)/)) {
    const codes = /\[([\d;]*)m$/.exec(piece);
    if (piece.startsWith('\x1b')) look = applied(look, codes?.[1] || '0');
    else if (piece !== '') {
      spans.push({ ...look, column, text: piece });
      column += [...piece].length;
    }
  }
  return spans;
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const pixels = (n: number): string => String(Math.round(n * 10) / 10);

function drawSpan({ column, text, colour, bold }: Span, y: number): string {
  const inner = text.trimStart();
  const start = column + [...text].length - [...inner].length;
  const shown = inner.trimEnd();
  if (shown === '') return '';
  const length = [...shown].length;
  const look = `fill="${colour}"${bold ? ' font-weight="bold"' : ''}`;
  return `<text x="${pixels(MARGIN.x + start * CELL.width)}" y="${y}" textLength="${pixels(length * CELL.width)}" ${look}>${escaped(shown)}</text>`;
}

function draw(output: string): string {
  const lines = [PROMPT, ...output.replaceAll('\r', '').trimEnd().split('\n')].map(spansOf);
  const columns = Math.max(...lines.flat().map(({ column, text }) => column + [...text].length));
  const width = Math.ceil(2 * MARGIN.x + columns * CELL.width);
  const height = MARGIN.top + lines.length * CELL.height + MARGIN.bottom;
  const drawn = lines.map((spans, n) => {
    const y = MARGIN.top + (n + 1) * CELL.height - 5;
    return `<g class="line" style="animation-delay:${(n === 0 ? 0 : WAIT + n * PACE).toFixed(2)}s">${spans.map((span) => drawSpan(span, y)).join('')}</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" xml:space="preserve">`,
    `<title>${escaped(`cbit ${ARGUMENTS.join(' ')}`)}</title>`,
    '<style>text{white-space:pre}g.line{animation:appear .01s linear backwards}@keyframes appear{from{opacity:0}}</style>',
    `<rect width="100%" height="100%" rx="8" fill="#0d1117"/>`,
    ...['#ff5f57', '#febc2e', '#28c840'].map((colour, n) => `<circle cx="${22 + 20 * n}" cy="20" r="6" fill="${colour}"/>`),
    `<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="${FONT_SIZE}">`,
    ...drawn,
    '</g>',
    '</svg>',
    '',
  ].join('\n');
}

writeFileSync(join(root, OUTPUT), draw(await record()));
console.log(`wrote ${OUTPUT}`);
