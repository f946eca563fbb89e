// A guest's serial cable: what it sends is kept until somebody looks, bounded, and goes to whoever is attached and to the guest's
// log; what is typed waits until its UART asks. It outlives the guest: a guest that begins anew has the same cable.

import { closeSync, openSync, writeSync } from 'node:fs';
import type { SerialPeer } from '../../devices/uart16550.ts';
import { UserError } from '../../util/errors.ts';
import { code } from '../image.ts';

/** What is kept of what nobody has seen. */
const KEPT = 64 * 1024;
/** Keys that may wait for a guest that does not ask for them. */
const WAITING = 4096;
const PIECE = 4096;

export class GuestConsole implements SerialPeer {
  /** Gets what is sent, in pieces; null: nobody looks, and it is kept. */
  #attached: ((bytes: Buffer) => void) | null = null;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  readonly #piece = Buffer.alloc(PIECE);
  #gathered = 0;
  readonly #keys: number[] = [];
  readonly #logName: string | undefined;
  #log: number | null = null;

  /** `log`: a file that gets everything. */
  constructor(log?: string) {
    this.#logName = log;
  }

  /** The guest is about to begin: its log is there from now on, and empty. Throws UserError. */
  open(): void {
    if (this.#logName === undefined || this.#log !== null) return;
    try {
      this.#log = openSync(this.#logName, 'w');
    } catch (error) {
      throw new UserError(
        `console-log ${this.#logName}: cannot be written (${code(error)}): name a file in a folder that exists and is yours`,
      );
    }
  }

  next(): number | undefined {
    return this.#keys.shift();
  }

  transmit(byte: number): void {
    this.#piece[this.#gathered++] = byte;
    if (this.#gathered === PIECE) this.flush();
  }

  /** What is typed; what is too much is lost, as on a real cable. */
  type(bytes: Iterable<number>): void {
    for (const byte of bytes) if (this.#keys.length < WAITING) this.#keys.push(byte);
  }

  /** `take` first gets what was kept. */
  attach(take: (bytes: Buffer) => void): void {
    this.flush();
    for (const piece of this.#kept.splice(0)) take(piece);
    this.#keptBytes = 0;
    this.#attached = take;
  }

  detach(): void {
    this.flush();
    this.#attached = null;
  }

  /** Hands on what was sent. */
  flush(): void {
    if (this.#gathered === 0) return;
    const bytes = Buffer.from(this.#piece.subarray(0, this.#gathered));
    this.#gathered = 0;
    if (this.#log !== null) this.#write(this.#log, bytes);
    if (this.#attached !== null) this.#attached(bytes);
    else this.#keep(bytes);
  }

  close(): void {
    this.flush();
    if (this.#log !== null) closeSync(this.#log);
    this.#log = null;
  }

  #keep(bytes: Buffer): void {
    this.#kept.push(bytes);
    this.#keptBytes += bytes.length;
    // Pieces may be small: a guest that is looked at often sends a line at a time.
    if (this.#kept.length > KEPT / PIECE) this.#kept = [Buffer.concat(this.#kept)];
    const over = this.#keptBytes - KEPT;
    if (over <= 0) return;
    this.#kept = [Buffer.concat(this.#kept).subarray(over)];
    this.#keptBytes = KEPT;
  }

  #write(file: number, bytes: Buffer): void {
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
    } catch (error) {
      throw new UserError(`console-log ${this.#logName}: cannot be written (${code(error)}): make room, or name another file`);
    }
  }
}
