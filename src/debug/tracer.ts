// The hub of the trace: stamps each event with the number of instructions retired and hands it to whoever reads. Readers get
// every event once, in order.

import type { TraceEvent, TraceNote, TraceSink } from '../util/trace.ts';

export interface TraceReader {
  note(event: TraceEvent): void;
}

export class Tracer implements TraceSink {
  readonly #readers: readonly TraceReader[];
  /** Instructions retired so far. Set once the machine exists; the machine wants the tracer first. */
  clock: () => number = () => 0;

  constructor(readers: readonly TraceReader[]) {
    this.#readers = readers;
  }

  emit(note: TraceNote): void {
    const event = { at: this.clock(), ...note } as TraceEvent;
    for (const reader of this.#readers) reader.note(event);
  }
}
