// The toolstack driven by a file or a pipe: a verb a line. Guests run while the script waits and at no other time, so that the same
// script gives the same output.

import { createInterface } from 'node:readline';
import type { Paint } from '../../debug/canvas.ts';
import { UserError } from '../../util/errors.ts';
import { Runner } from './runner.ts';
import type { Known, Toolstack } from './toolstack.ts';
import { perform, type Surface } from './verbs.ts';

export type ScriptOptions = {
  readonly toolstack: Toolstack;
  readonly input: NodeJS.ReadableStream;
  readonly paint: Paint;
  readonly print: (text: string) => void;
  /** One line about a mistake. */
  readonly complain: (text: string) => void;
};

/** Does what each line says. Gives how many lines were mistaken. */
export async function serveScript({ toolstack, input, paint, print, complain }: ScriptOptions): Promise<number> {
  let over = false;
  let mistakes = 0;
  let broken: { readonly error: unknown } | null = null;
  const waiting = new Runner(
    toolstack,
    false,
    () => {},
    (error) => {
      broken = { error };
    },
  );
  const surface: Surface = {
    toolstack,
    paint,
    print,
    console: (known) => Promise.resolve(showConsole(known, print)),
    async runUntil(done) {
      await waiting.until(done);
      waiting.stop();
      if (broken !== null) throw broken.error;
    },
    quit: () => {
      over = true;
    },
  };
  let number = 0;
  for await (const line of createInterface({ input })) {
    number++;
    try {
      await perform(surface, line);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      mistakes++;
      complain(`line ${number}: ${error.message}`);
    }
    for (const text of toolstack.notices()) print(`${text}\n`);
    if (over) break;
  }
  return mistakes;
}

/** What it said since somebody looked last. */
function showConsole({ console }: Known, print: (text: string) => void): void {
  const pieces: Buffer[] = [];
  console.attach((bytes) => pieces.push(bytes));
  console.detach();
  const text = new TextDecoder().decode(Buffer.concat(pieces));
  print(text === '' || text.endsWith('\n') ? text : `${text}\n`);
}
