// The toolstack at a terminal: a prompt with editing, completion and history, guests in the background, and a console that hands
// every key on until Ctrl-]. One reader has stdin, in raw mode, for the whole session: what is typed goes to the line editor or to
// a guest.

import { createInterface, type Interface } from 'node:readline';
import { PassThrough } from 'node:stream';
import { type Paint, unpainted } from '../../debug/canvas.ts';
import { UserError } from '../../util/errors.ts';
import { HISTORY_SIZE } from './history.ts';
import { drained, Runner } from './runner.ts';
import type { Known, Toolstack } from './toolstack.ts';
import { complete, perform, type Surface } from './verbs.ts';

const LEAVE = 0x1d; // Ctrl-]
const CTRL_C = 0x03;
const PROMPT = 'cbit> ';

export type TerminalInput = NodeJS.ReadableStream & { setRawMode?(on: boolean): unknown };
export type TerminalOutput = NodeJS.WritableStream & { readonly columns?: number };

export type PromptOptions = {
  readonly toolstack: Toolstack;
  readonly input: TerminalInput;
  readonly output: TerminalOutput;
  readonly paint: Paint;
  /** Newest first; the session adds to it. */
  readonly history: string[];
};

/** Serves the terminal until the person leaves. Throws whatever is not a UserError. */
export async function serveTerminal(options: PromptOptions): Promise<void> {
  const session = new PromptSession(options);
  try {
    await session.run();
  } finally {
    session.close();
  }
}

class PromptSession implements Surface {
  readonly toolstack: Toolstack;
  readonly paint: Paint;
  readonly #input: TerminalInput;
  readonly #output: TerminalOutput;
  readonly #keys = new PassThrough();
  readonly #editor: Interface;
  readonly #runner: Runner;
  readonly #lines: string[] = [];
  /** Whom keys go to instead of the line editor. */
  #attached: { readonly known: Known; readonly leave: () => void } | null = null;
  /** What was typed in one piece with the key that leaves a console. */
  #behind: Buffer = Buffer.alloc(0);
  #atLineStart = true;
  #working = false;
  #over: { resolve: () => void; reject: (error: unknown) => void } | null = null;
  readonly #typed = (chunk: Buffer | string): void => this.#route(Buffer.from(chunk));
  readonly #gone = (): void => this.#editor.close();

  constructor({ toolstack, input, output, paint, history }: PromptOptions) {
    this.toolstack = toolstack;
    this.paint = paint;
    this.#input = input;
    this.#output = output;
    this.#runner = new Runner(
      toolstack,
      true,
      () => this.#drained(),
      (error) => this.#over?.reject(error),
    );
    this.#editor = createInterface({
      input: this.#keys,
      output,
      terminal: true,
      prompt: PROMPT,
      history,
      historySize: HISTORY_SIZE,
      removeHistoryDuplicates: true,
      completer: (line: string) => complete(toolstack, line),
    });
    this.#editor.on('history', (lines: string[]) => history.splice(0, history.length, ...lines));
  }

  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#over = { resolve, reject };
      this.#input.setRawMode?.(true);
      this.#input.on('data', this.#typed).on('end', this.#gone);
      this.#editor.on('line', (line) => this.#enqueue(line));
      this.#editor.on('close', () => this.#leave());
      this.#editor.on('SIGINT', () => this.#cancel());
      this.#editor.on('SIGTSTP', () => this.#suspend());
      this.#ask();
      this.#runner.kick();
    });
  }

  close(): void {
    this.#runner.stop();
    this.#editor.removeAllListeners('close');
    this.#editor.close();
    this.#input.off('data', this.#typed).off('end', this.#gone);
    this.#input.setRawMode?.(false);
    this.#input.pause();
  }

  print(text: string): void {
    if (text !== '') this.#output.write(text);
  }

  quit(): void {
    this.#over?.resolve();
    this.#over = null;
  }

  runUntil(done: () => boolean): Promise<void> {
    return this.#runner.until(done);
  }

  async console(known: Known): Promise<void> {
    const { name, console } = known;
    this.print(this.paint('dim', `connected to ${name}: Ctrl-] leaves\n`));
    this.#atLineStart = true;
    console.attach((bytes) => {
      this.#output.write(bytes);
      this.#atLineStart = bytes.at(-1) === 0x0a;
    });
    await new Promise<void>((resolve) => {
      this.#attached = { known, leave: resolve };
      this.#stepped(); // it may have ended long ago
      this.#runner.kick();
    });
    this.#attached = null;
    console.detach();
    // Whatever colour the guest left on its screen ends with it.
    this.print(`${this.#atLineStart ? '' : '\n'}${this.paint === unpainted ? '' : '\x1b[0m'}`);
    if (this.#behind.length > 0) this.#keys.write(this.#behind);
    this.#behind = Buffer.alloc(0);
  }

  #route(chunk: Buffer): void {
    const { known, leave } = this.#attached ?? {};
    if (known === undefined || leave === undefined) {
      if (this.#working && chunk.includes(CTRL_C)) this.#runner.abandon();
      else this.#keys.write(chunk);
      return;
    }
    const end = chunk.indexOf(LEAVE);
    known.console.type(end < 0 ? chunk : chunk.subarray(0, end));
    known.guest?.received();
    if (end < 0) return this.#runner.kick();
    this.#behind = chunk.subarray(end + 1);
    leave();
  }

  async #drained(): Promise<void> {
    this.#stepped();
    await drained(this.#output);
  }

  /** Behind each step: a console whose guest has ended is left. */
  #stepped(): void {
    const { known, leave } = this.#attached ?? {};
    if (known === undefined || leave === undefined) return;
    const now = this.toolstack.known.find(({ name }) => name === known.name);
    const guest = now?.guest ?? null;
    if (guest === null || guest.state === 'ended') leave();
  }

  #enqueue(line: string): void {
    this.#lines.push(line);
    if (!this.#working) void this.#work();
  }

  async #work(): Promise<void> {
    this.#working = true;
    for (let line = this.#lines.shift(); line !== undefined && this.#over !== null; line = this.#lines.shift()) {
      try {
        await perform(this, line);
      } catch (error) {
        if (!(error instanceof UserError)) return this.#over?.reject(error);
        this.print(`${this.paint('bad', error.message.replaceAll('\n', ' '))}\n`);
      }
      if (this.#over === null) return;
      this.#runner.kick();
    }
    this.#working = false;
    this.#ask();
  }

  #ask(): void {
    for (const text of this.toolstack.notices()) this.print(`${text}\n`);
    if (this.#over !== null) this.#editor.prompt();
  }

  /** Ctrl-C: the line is not meant, as in a shell. */
  #cancel(): void {
    this.print('^C\n');
    this.#editor.write(null, { ctrl: true, name: 'e' });
    this.#editor.write(null, { ctrl: true, name: 'u' });
    this.#ask();
  }

  /** Ctrl-Z: the terminal is the shell's until we are told to go on. */
  #suspend(): void {
    this.#input.setRawMode?.(false);
    process.once('SIGCONT', () => {
      this.#input.setRawMode?.(true);
      this.#editor.prompt(true);
    });
    process.kill(process.pid, 'SIGTSTP');
  }

  /** Ctrl-D, or the terminal went away. */
  #leave(): void {
    this.print('\n');
    this.quit();
  }
}
