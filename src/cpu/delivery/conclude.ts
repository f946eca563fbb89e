// What is delivered between instructions, or in the place of one that recorded a fault. Each either enters a handler or ends in an exit, which is
// recorded: that is the answer of every function here.

import { ExitCode } from '../../arch/exit-code.ts';
import { pushesErrorCode, Vector } from '../../arch/exception.ts';
import { State, STOP_NONE } from '../../memory/state.ts';
import { DR6_BREAKPOINTS } from '../breakpoints.ts';
import type { Processor } from '../processor.ts';
import { Delivery, deliver } from './deliver.ts';
import { injectedSource, Source } from './event.ts';

/** True: an exit is recorded. */
export function conclude(p: Processor, outcome: Delivery): boolean {
  // Control went elsewhere: a branch that waits for its link would get the wrong target.
  p.setU32(State.LINK, 0);
  if (outcome === Delivery.SHUTDOWN) p.exit(ExitCode.SHUTDOWN);
  return outcome !== Delivery.DONE;
}

/** #DB for what breakpoints and TF ask for; B3 to B0 are those of this one (13.1.1.3). */
export function deliverTrap(p: Processor): boolean {
  p.setU32(State.DR6, (p.u32(State.DR6) & ~DR6_BREAKPOINTS) | p.breakpoints.pending);
  p.setU32(State.HALTED, 0);
  p.breakpoints.pending = 0;
  p.clearPending();
  return conclude(p, deliver(p, Source.EXCEPTION, Vector.DB, -1));
}

/** The current instruction recorded a fault or an exit. */
export function deliverFault(p: Processor): boolean {
  if ((p.u32(State.STOP) | 0) !== STOP_NONE) return true;
  const vector = p.u32(State.FAULT_VECTOR) | 0;
  return conclude(p, deliver(p, Source.EXCEPTION, vector, pushesErrorCode(vector) ? p.u32(State.FAULT_CODE) : -1));
}

/** An interrupt at an instruction boundary. */
export function deliverInterrupt(p: Processor, type: number, vector: number): boolean {
  p.setU32(State.HALTED, 0);
  return conclude(p, deliver(p, injectedSource(type, vector), vector, -1));
}
