// What must have happened before an ASID gets another guest, kept beside the AMD-SP's own account: WBINVD on every processor since a guest had it
// last, and then DF_FLUSH (APM 15.34.9).

import type { Host } from '../../src/host.ts';
import type { TraceNote, TraceSink } from '../../src/util/trace.ts';

export class FlushLedger implements TraceSink {
  readonly faults: string[] = [];
  /** How often an ASID went from one guest to another. */
  reused = 0;
  readonly #asidOf = new Map<number, number>();
  readonly #dirty = new Set<number>();
  readonly #had = new Set<number>();
  #writtenBack: boolean[] = [];

  /** From now on every WBINVD of the host's processors is noted. */
  watch({ machine }: Host): void {
    this.#writtenBack = machine.processors.map(() => false);
    for (const [number, processor] of machine.processors.entries()) {
      const wbinvd = processor.wbinvd.bind(processor);
      processor.wbinvd = () => {
        this.#writtenBack[number] = true;
        wbinvd();
      };
    }
  }

  /** Commands that the AMD-SP has executed. */
  emit(note: TraceNote): void {
    if (note.kind !== 'asp' || note.status !== 'SUCCESS') return;
    const handle = Number(note.detail['handle'] ?? 0);
    if (note.command === 'DF_FLUSH') {
      if (this.#writtenBack.every(Boolean)) this.#dirty.clear();
      else this.faults.push('DF_FLUSH without WBINVD on every processor');
    } else if (note.command === 'ACTIVATE') {
      const asid = Number(note.detail['asid']);
      if (this.#dirty.has(asid)) this.faults.push(`ASID ${asid} has another guest without WBINVD on all processors and DF_FLUSH`);
      if (this.#had.has(asid)) this.reused++;
      this.#had.add(asid);
      this.#asidOf.set(handle, asid);
    } else if (note.command === 'DEACTIVATE') {
      this.#dirty.add(this.#asidOf.get(handle) ?? 0);
      this.#writtenBack.fill(false);
    }
  }
}
