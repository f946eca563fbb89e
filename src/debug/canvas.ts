// A grid of characters with a style for each, for pictures in a terminal: the account draws on it, and only the surface knows what a
// style looks like (colour on a terminal, nothing in a file).

/** What a piece of text is, not how it looks. */
export type Style = 'plain' | 'title' | 'dim' | 'guest' | 'hardware' | 'shared' | 'hypervisor' | 'good' | 'bad';
/** Gives a piece of text its looks. */
export type Paint = (style: Style, text: string) => string;
export const unpainted: Paint = (_style, text) => text;

type Cell = { readonly character: string; readonly style: Style };

export class Canvas {
  readonly #rows: (Cell | undefined)[][] = [];

  /** Number of rows drawn so far. */
  get height(): number {
    return this.#rows.length;
  }

  /** Puts text at a column of a row, over what was there. */
  put(row: number, column: number, text: string, style: Style = 'plain'): void {
    while (this.#rows.length <= row) this.#rows.push([]);
    const cells = this.#rows[row] ?? [];
    [...text].forEach((character, i) => {
      cells[column + i] = { character, style };
    });
  }

  render(paint: Paint): string[] {
    return this.#rows.map((cells) => {
      let line = '';
      let run = '';
      let style: Style = 'plain';
      const flush = (): void => {
        if (run !== '') line += style === 'plain' ? run : paint(style, run);
        run = '';
      };
      for (const cell of Array.from(cells)) {
        const next = cell?.style ?? 'plain';
        if (next !== style) {
          flush();
          style = next;
        }
        run += cell?.character ?? ' ';
      }
      flush();
      return line;
    });
  }
}
