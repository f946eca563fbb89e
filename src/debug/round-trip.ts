// Finds one whole CPUID in the trace, from the instruction to the VMRUN that brings the answer: the first that goes through a GHCB
// page, else the first that goes through the GHCB MSR, else (a guest without SEV-ES) the first plain exit. A trip that something
// else got into is passed over.

import { ExitCode } from '../arch/exit-code.ts';
import { Vector } from '../arch/exception.ts';
import type { TraceEvent } from '../util/trace.ts';
import type { TraceReader } from './tracer.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** The MSR protocol answers a register at a time, so that one CPUID is up to four trips of four events. */
const LONGEST = 32;

/** By which way the answer came; a later way in this list is shown rather than an earlier one. */
export const Way = { NONE: 0, EXIT: 1, MSR: 2, PAGE: 3 } as const;
export type Way = (typeof Way)[keyof typeof Way];

export class RoundTrip implements TraceReader, Stateful {
  /** The events of the trip that is shown, in order; empty if there was none. */
  events: readonly TraceEvent[] = [];
  way: Way = Way.NONE;
  #current: TraceEvent[] | null = null;
  #found: Way = Way.NONE;

  note(event: TraceEvent): void {
    if (this.way === Way.PAGE) return;
    if (startsTrip(event)) {
      this.#current = [event];
      this.#found = event.kind === 'exit' ? Way.EXIT : Way.NONE;
      return;
    }
    if (this.#current === null || event.kind === 'asp') return;
    if (disturbs(event) || this.#current.length === LONGEST) {
      this.#current = null;
      return;
    }
    this.#current.push(event);
    if (event.kind === 'ghcb' && event.from === 'hypervisor') this.#found = Way.PAGE;
    if (event.kind === 'ghcb-msr' && event.from === 'hypervisor') this.#found = Way.MSR;
    if (event.kind === 'vmrun') this.#keep();
  }

  /** VMRUN closes the trip, except that the MSR protocol may go on with the next register of the same CPUID. */
  #keep(): void {
    const better = this.#found > this.way || (this.#found === Way.MSR && this.events[0] === this.#current?.[0]);
    if (better && this.#current !== null) {
      this.events = [...this.#current];
      this.way = this.#found;
    }
    if (this.#found !== Way.MSR) this.#current = null;
  }

  exchange(fields: Fields): void {
    this.events = fields.value(this.events);
    this.way = fields.value(this.way);
    this.#found = fields.value(this.#found);
    this.#current = fields.value(this.#current?.slice() ?? null)?.slice() ?? null;
  }
}

const startsTrip = (event: TraceEvent): boolean => (event.kind === 'vc' || event.kind === 'exit') && event.exitCode === ExitCode.CPUID;

function disturbs(event: TraceEvent): boolean {
  switch (event.kind) {
    case 'exit':
      return event.exitCode !== ExitCode.VMGEXIT;
    case 'exception':
      return event.vector !== Vector.VC;
    case 'vc':
    case 'inject':
    case 'unimplemented':
    case 'end':
      return true;
    default:
      return false;
  }
}
