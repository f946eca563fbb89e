// A sequence chart in characters: lifelines side by side, arrows between them with their text inside, notes beside a lifeline.

import { Canvas, type Paint, type Style } from './canvas.ts';

export type Lane = { readonly name: string; readonly below: string; readonly style: Style };
export type Step =
  | { readonly kind: 'arrow'; readonly at: number | null; readonly from: number; readonly to: number; readonly text: readonly string[] }
  | { readonly kind: 'note'; readonly at: number | null; readonly lane: number; readonly text: readonly string[]; readonly style?: Style }
  /** An empty row, between things that belong together. */
  | { readonly kind: 'gap' };

const MARGIN = 13; // counts of retired instructions, and half of the first name
const count = new Intl.NumberFormat('en-US');

/** Draws the chart `width` columns wide. */
export function drawSequence(lanes: readonly Lane[], steps: readonly Step[], width: number, paint: Paint): string[] {
  const canvas = new Canvas();
  const last = lanes.length - 1;
  const widest = Math.max(...lanes.map(({ name, below }) => Math.max(name.length, below.length)));
  const spacing = Math.max(16, Math.floor((width - MARGIN - Math.ceil(widest / 2)) / Math.max(1, last)));
  const column = (lane: number): number => MARGIN + lane * spacing;
  const bars = (row: number): void => lanes.forEach(({ style }, lane) => canvas.put(row, column(lane), '│', style));
  const centred = (row: number, lane: number, text: string, style: Style): void =>
    canvas.put(row, column(lane) - Math.floor(text.length / 2), text, style);

  lanes.forEach(({ name, style }, lane) => centred(0, lane, name, style));
  lanes.forEach(({ below }, lane) => centred(1, lane, below, 'dim'));
  let row = lanes.every(({ below }) => below === '') ? 1 : 2;
  bars(row++);

  let shown: number | null = null;
  for (const step of steps) {
    if (step.kind === 'gap') {
      bars(row++);
      continue;
    }
    if (step.at !== null && step.at !== shown) {
      const text = count.format(step.at);
      canvas.put(row, Math.max(0, MARGIN - 3 - text.length), text, 'dim');
      shown = step.at;
    }
    if (step.kind === 'note') {
      for (const text of step.text) {
        bars(row);
        canvas.put(row++, column(step.lane) + 2, text, step.style ?? lanes[step.lane]?.style ?? 'plain');
      }
      continue;
    }
    const rightwards = step.to > step.from;
    const left = column(Math.min(step.from, step.to));
    const right = column(Math.max(step.from, step.to));
    const style = lanes[step.from]?.style ?? 'plain';
    // One line that fits stands inside the shaft, anything longer above it.
    const room = right - left - 5;
    const [only, ...more] = step.text;
    const inside = only !== undefined && more.length === 0 && only.length <= room ? only : null;
    for (const text of inside === null ? step.text.flatMap((line) => wrap(line, room + 2)) : []) {
      bars(row);
      canvas.put(row++, left + 2, text, style);
    }
    bars(row);
    const shaft = '─'.repeat(right - left - 2);
    canvas.put(row, left + 1, rightwards ? `${shaft}▶` : `◀${shaft}`, style);
    if (inside !== null) canvas.put(row, left + 2 + Math.floor((room - inside.length) / 2), ` ${inside} `, style);
    row++;
  }
  return canvas.render(paint);
}

/** Breaks text at spaces into lines of at most `room` characters; a longer word is cut. */
export function wrap(text: string, room: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > room) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
    while (line.length > room) {
      lines.push(line.slice(0, room));
      line = line.slice(room);
    }
  }
  return [...lines, line];
}
