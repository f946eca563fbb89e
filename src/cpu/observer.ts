// Who looks at what the processor delivers and returns from. Nothing is allocated for it; registers are read from the state block.

import type { Source } from './delivery/event.ts';

export interface ProcessorObserver {
  /** An event is about to be delivered: the state block is that of the interrupted program. An error code below 0 is none. */
  delivering(state: number, vector: number, source: Source, errorCode: number): void;
  /** Its handler has been entered. Without it, another event was met on the way, or an exit. */
  delivered(state: number): void;
  /** IRET has restored RIP, CS, RFLAGS, RSP and SS. */
  returned(state: number): void;
  /** The program has written the GHCB MSR. */
  ghcbWritten(state: number): void;
}
