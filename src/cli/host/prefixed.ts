// Serial output of several guests on one stream: whole lines, each behind the name of who sent it, in the order in which they were
// completed. What could move the cursor or clear the screen is shown, not done, so that no guest can write another's lines.

import type { Paint, Style } from '../../debug/canvas.ts';

/** A line longer than this is broken. */
const LONGEST = 4096;
/** Control characters but TAB, and ESC unless it begins a change of colour. */
// oxlint-disable-next-line no-control-regex
const CONTROL = /\x1b(?!\[[\d;]*m)|[\0-\x08\x0b-\x1a\x1c-\x1f\x7f]/g;
const styles: readonly Style[] = ['guest', 'hypervisor', 'hardware', 'shared'];

export class PrefixedLines {
  readonly #paint: Paint;
  readonly #write: (text: string) => void;
  readonly #open = new Map<string, { bytes: number[]; prefix: string }>();

  /** `names`: all that will write. */
  constructor(names: readonly string[], paint: Paint, write: (text: string) => void) {
    this.#paint = paint;
    this.#write = write;
    const width = Math.max(0, ...names.map((name) => name.length));
    names.forEach((name, i) => {
      const style = styles[i % styles.length] ?? 'plain';
      this.#open.set(name, { bytes: [], prefix: paint(style, `${name.padEnd(width)} | `) });
    });
  }

  add(name: string, bytes: Uint8Array): void {
    const open = this.#open.get(name);
    if (open === undefined) return;
    for (const byte of bytes) {
      if (byte !== 0x0a) open.bytes.push(byte);
      if (byte === 0x0a || open.bytes.length >= LONGEST) this.#line(open);
    }
  }

  /** Nothing more will come: lines without an end are lines, too. */
  end(): void {
    for (const open of this.#open.values()) if (open.bytes.length > 0) this.#line(open);
  }

  #line({ bytes, prefix }: { readonly bytes: number[]; readonly prefix: string }): void {
    const text = new TextDecoder().decode(Uint8Array.from(bytes.splice(0))).replace(/\r+$/, '');
    const shown = text.replace(CONTROL, (character) => `^${String.fromCharCode(character.charCodeAt(0) ^ 0x40)}`);
    const reset = shown.includes('\x1b') && this.#paint('good', '') !== '' ? '\x1b[0m' : '';
    this.#write(`${prefix}${shown}${reset}\n`);
  }
}
