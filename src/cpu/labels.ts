// A processor that follows labels (x86/tainted.ts), and who keeps them for it: the interface that src/taint implements.

import type { EngineMemory } from '../memory/map.ts';
import type { SystemResult } from '../x86/emitter.ts';
import { instantiateLabels } from '../x86/label-algebra.ts';
import type { LabelCallbacks } from '../x86/label-table.ts';
import type { Processor } from './processor.ts';
import type { Routine } from './system/routine.ts';

export interface LabelKeeper extends LabelCallbacks {
  /** Calls a system routine and says what it did to labels: semantics tell nothing of those. */
  routine(p: Processor, record: number, number: number, low: number, high: number, call: Routine): SystemResult;
  /** A handler was entered through its gate. */
  delivered(p: Processor, vector: number): void;
}

/** What handlers import. Without a keeper everything is clean. */
export function labelImports({ memory, labels }: EngineMemory, keeper: () => LabelKeeper | null): WebAssembly.ModuleImports {
  return instantiateLabels(memory, labels, {
    labelLoad: (record, address, size) => keeper()?.labelLoad(record, address >>> 0, size) ?? 0,
    labelShare: (record, address, size, label) => keeper()?.labelShare(record, address >>> 0, size, label),
    labelUnion: (a, b) => keeper()?.labelUnion(a, b) ?? a,
    labelUse: (record, number, use) => keeper()?.labelUse(record, number, use),
  });
}
