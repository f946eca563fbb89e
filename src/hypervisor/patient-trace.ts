// Whoever gets the trace may throw something in the middle of what must not stay half done, a launch or its undoing. Then that is finished first.

import type { TraceNote, TraceSink } from '../util/trace.ts';

export class PatientTrace implements TraceSink {
  readonly #sink: TraceSink;
  #thrown: { readonly error: unknown } | null = null;

  constructor(sink: TraceSink) {
    this.#sink = sink;
  }

  emit(note: TraceNote): void {
    try {
      this.#sink.emit(note);
    } catch (error) {
      this.#thrown ??= { error };
    }
  }

  /** Throws what was thrown first. */
  settle(): void {
    const thrown = this.#thrown;
    this.#thrown = null;
    if (thrown !== null) throw thrown.error;
  }
}
