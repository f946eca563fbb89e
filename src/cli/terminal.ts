// The person's end of the serial cable: keys to COM1, COM1 to stdout as it comes and unaltered, Ctrl-C to the run. A terminal is put
// into raw mode, so that the guest gets each key; there Ctrl-C arrives as a byte and is taken out.

import type { SerialPeer } from '../devices/uart16550.ts';

const CTRL_C = 0x03;
/** The reader of stdin pauses while this much waits for a guest that does not ask for it. */
const MOST_WAITING = 64 * 1024;
/** Output is written at a line feed or when this much has come. */
const FLUSH = 4096;

export class Terminal implements SerialPeer {
  /** Set by Ctrl-C, SIGTERM or a reader of stdout that went away: the run is to stop at the next opportunity. */
  interrupted = false;
  /** Column of the cursor is 0, as far as we wrote. */
  atLineStart = true;
  /** Called with each byte of serial output. */
  readonly #sent: (byte: number) => void;
  readonly #toStdout: boolean;
  #wrote = false;
  readonly #input: Buffer[] = [];
  #waiting = 0;
  #read = 0;
  #output = Buffer.alloc(FLUSH);
  #gathered = 0;
  #stop: (() => void)[] = [];

  constructor(options: { readonly toStdout: boolean; readonly sent: (byte: number) => void }) {
    this.#toStdout = options.toStdout;
    this.#sent = options.sent;
  }

  /** Starts listening. `arrived`: called when there is something for the UART to take. */
  open(arrived: () => unknown): void {
    const { stdin, stdout } = process;
    const data = (chunk: Buffer): void => {
      if (stdin.isTTY && chunk.includes(CTRL_C)) this.interrupted = true;
      this.#input.push(chunk);
      this.#waiting += chunk.length;
      if (this.#waiting > MOST_WAITING) stdin.pause();
      arrived();
    };
    const ignore = (): void => {};
    const signal = (): void => {
      this.interrupted = true;
    };
    // `cbit run | head`: nobody reads any more.
    const gone = (): void => {
      this.interrupted = true;
    };
    if (stdin.isTTY) stdin.setRawMode(true);
    stdin.on('data', data);
    stdin.on('error', ignore);
    stdout.on('error', gone);
    process.on('SIGINT', signal);
    process.on('SIGTERM', signal);
    this.#stop = [
      () => stdin.isTTY && stdin.setRawMode(false),
      () => stdin.off('data', data),
      () => stdin.pause(),
      () => stdin.unref?.(), // a pipe that is never closed must not keep us
      () => process.off('SIGINT', signal),
      () => process.off('SIGTERM', signal),
    ];
  }

  close(): void {
    this.flush();
    for (const undo of this.#stop.splice(0)) undo();
  }

  next(): number | undefined {
    const chunk = this.#input[0];
    if (chunk === undefined) return undefined;
    const byte = chunk[this.#read++];
    if (this.#read >= chunk.length) {
      this.#input.shift();
      this.#read = 0;
      this.#waiting -= chunk.length;
      if (this.#waiting <= MOST_WAITING / 2 && this.#stop.length > 0) process.stdin.resume();
    }
    return byte === CTRL_C && process.stdin.isTTY ? this.next() : byte;
  }

  transmit(byte: number): void {
    this.#sent(byte);
    this.#wrote = true;
    if (!this.#toStdout) return;
    this.#output[this.#gathered++] = byte;
    this.atLineStart = byte === 0x0a;
    if (byte === 0x0a || this.#gathered === FLUSH) this.#flush();
  }

  /** Shows what was sent without a line feed, a prompt for instance. True: something was sent since the last time. */
  flush(): boolean {
    const wrote = this.#wrote;
    this.#wrote = false;
    this.#flush();
    return wrote;
  }

  #flush(): void {
    if (this.#gathered === 0) return;
    // The stream keeps what the kernel does not take at once, so it gets a buffer of its own.
    process.stdout.write(Buffer.from(this.#output.subarray(0, this.#gathered)));
    this.#gathered = 0;
  }

  /** Resolves when stdout has taken what was written: a reader that is slow slows the guest, not our memory. */
  async drained(): Promise<void> {
    const { stdout } = process;
    if (!stdout.writableNeedDrain || stdout.destroyed) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        stdout.off('drain', done).off('close', done).off('error', done);
        resolve();
      };
      stdout.once('drain', done).once('close', done).once('error', done);
    });
  }
}

/** What of the guest's the person is the other end of: with a virtio console, COM1 only sends. */
export function endsOf(terminal: SerialPeer, virtioConsole: boolean): { readonly serial: SerialPeer; readonly virtioConsole?: SerialPeer } {
  if (!virtioConsole) return { serial: terminal };
  return { serial: { transmit: (byte) => terminal.transmit(byte), next: () => undefined }, virtioConsole: terminal };
}
