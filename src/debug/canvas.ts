// A grid of characters with a style for each, for pictures in a terminal: the account draws on it, and only the surface knows what a
// style looks like (colour on a terminal, nothing in a file).

/** What a piece of text is, not how it looks. */
export type Style = 'plain' | 'title' | 'dim' | 'guest' | 'hardware' | 'shared' | 'hypervisor' | 'good' | 'bad';
/** Gives a piece of text its looks. */
export type Paint = (style: Style, text: string) => string;
export const unpainted: Paint = (_style, text) => text;

/** Characters of one style, from a column on. */
export type Span = { readonly column: number; readonly style: Style; readonly text: string };
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
    return this.spans().map((spans) => {
      let line = '';
      let column = 0;
      for (const span of spans) {
        line += ' '.repeat(span.column - column) + (span.style === 'plain' ? span.text : paint(span.style, span.text));
        column = span.column + [...span.text].length;
      }
      return line;
    });
  }

  /** Each row as pieces of one style, for pictures. */
  spans(): Span[][] {
    return this.#rows.map((cells) => {
      const spans: Span[] = [];
      let open: { column: number; style: Style; text: string } | null = null;
      Array.from(cells).forEach((cell, column) => {
        const style = cell?.style ?? 'plain';
        if (open === null || open.style !== style) {
          open = { column, style, text: '' };
          spans.push(open);
        }
        open.text += cell?.character ?? ' ';
      });
      return spans;
    });
  }
}
