// What a processor's world switches are made of, and its place among the processors of one machine.

import type { ProcessorModel } from '../cpu/cpuid.ts';
import type { Evictions } from '../memory/evictions.ts';
import type { Frames } from '../memory/frames.ts';
import type { EngineMemory } from '../memory/map.ts';
import { STATE_SIZE } from '../memory/state.ts';
import type { Asids } from '../sev/asid-ownership.ts';
import type { TrustedMemory } from '../sev/trusted-memory.ts';
import type { TraceSink } from '../util/trace.ts';
import type { CleanFaults } from './clean-check.ts';
import type { CpuPort, MmuPort } from './ports.ts';
import { VmsaStore } from './vmsa-store.ts';

export type WorldSwitchParts = {
  readonly memory: EngineMemory;
  readonly frames: Frames;
  readonly mmu: MmuPort;
  readonly cpu: CpuPort;
  readonly asids: Asids;
  readonly trustedMemory: TrustedMemory;
  readonly model: ProcessorModel;
  readonly trace: TraceSink | null;
  /** Lines that leave caches by chance. */
  readonly evictions?: Evictions | null;
  /** Fields that software changed under a set clean bit, with how often; null: nobody looks. */
  readonly cleanFaults?: CleanFaults | null;
  /** Which of the machine's processors this is; left out: the only one. */
  readonly processor?: ProcessorPlace;
};

/** One processor among others of the same machine: they share the VMSAs that are loaded. */
export type ProcessorPlace = { readonly number: number; readonly vmsas: VmsaStore };

/** State blocks of a processor besides those of VMSAs: its registers, and the host's of type A. */
export const HOST_STATES = 2;

/** The store of VMSAs for a machine of so many processors; their own state blocks lie before it. */
export function vmsaStore(
  { memory, frames, trustedMemory }: Pick<WorldSwitchParts, 'memory' | 'frames' | 'trustedMemory'>,
  processors = 1,
): VmsaStore {
  const before = HOST_STATES * processors;
  return new VmsaStore(memory, frames, trustedMemory, memory.states + before * STATE_SIZE, memory.stateCount - before);
}
