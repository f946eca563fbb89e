// `--trace`: the trace as it happens, into a file. Lines are gathered and written in pieces, so that memory does not grow with the
// run; what is there after an interruption is whole lines.

import { closeSync, openSync, writeSync } from 'node:fs';
import { type TraceOrigin, traceHeader, traceLine } from '../debug/ndjson.ts';
import type { TraceReader } from '../debug/tracer.ts';
import { UserError } from '../util/errors.ts';
import type { TraceEvent } from '../util/trace.ts';
import { code } from './image.ts';

const PIECE = 64 * 1024;

export class TraceFile implements TraceReader {
  readonly path: string;
  readonly #file: number;
  #gathered: string;
  events = 0;

  constructor(path: string, origin: TraceOrigin) {
    this.path = path;
    this.#gathered = `${traceHeader(origin)}\n`;
    try {
      this.#file = openSync(path, 'w');
    } catch (error) {
      throw new UserError(`--trace ${path}: cannot be written (${code(error)}): name a file in a folder that exists and is yours`);
    }
  }

  note(event: TraceEvent): void {
    this.#gathered += `${traceLine(event)}\n`;
    this.events++;
    if (this.#gathered.length >= PIECE) this.#write();
  }

  close(): void {
    this.#write();
    closeSync(this.#file);
  }

  #write(): void {
    const bytes = Buffer.from(this.#gathered);
    this.#gathered = '';
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#file, bytes, done);
    } catch (error) {
      throw new UserError(`--trace ${this.path}: cannot be written (${code(error)}): make room, or name another file`);
    }
  }
}
