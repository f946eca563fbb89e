// The trace of a run from its first VMRUN on, a short line for each event, so that a test can state a whole run.

import { exitName } from '../../src/arch/exit-code.ts';
import { type GuestOptions, run, type TraceEvent } from '../../src/cbit.ts';
import { MEMORY } from './small-guest.ts';

const hex = (value: number | bigint): string => `${value.toString(16)}h`;
const short: Readonly<Record<string, string>> = { swExitCode: 'code', swExitInfo1: 'info1', swExitInfo2: 'info2' };

/** One event in the manual's words. */
export function line(event: TraceEvent): string {
  switch (event.kind) {
    case 'vmrun':
      return 'VMRUN';
    case 'vc':
      return `#VC ${exitName(event.exitCode)}`;
    case 'exception':
      return `vector ${event.vector}${event.errorCode === null ? '' : `, error code ${hex(event.errorCode)}`}`;
    case 'exit':
      return `#VMEXIT ${exitName(event.exitCode)} ${hex(event.exitInfo1)} ${hex(event.exitInfo2)}`;
    case 'ghcb':
      return `GHCB ${event.from === 'guest' ? '<-' : '->'} ${Object.entries(event.fields)
        .map(([name, value]) => `${short[name] ?? name}=${hex(value)}`)
        .join(' ')}`;
    case 'ghcb-msr':
      return `GHCB MSR ${event.from === 'guest' ? '<-' : '->'} ${hex(event.value)}`;
    case 'clean-bits':
      return `changed under clean bit ${event.bit}: ${event.field}`;
    case 'inject':
      return `inject ${hex(event.eventInj)}`;
    case 'asp':
      return `AMD-SP ${event.command}: ${event.status}`;
    case 'unimplemented':
      return `not implemented: ${event.instruction}`;
    case 'end':
      return `end: ${event.outcome}`;
  }
}

/** Every event of a run of this image. */
export function eventsOf(bytes: Uint8Array, options: Partial<GuestOptions>): TraceEvent[] {
  const events: TraceEvent[] = [];
  run({ image: { name: 'test', bytes }, memory: MEMORY, maxInstructions: 20_000_000, ...options, onEvent: (event) => events.push(event) });
  return events;
}

/** The same as lines, without the launch before the first VMRUN. */
export function linesOf(bytes: Uint8Array, options: Partial<GuestOptions>): string[] {
  const events = eventsOf(bytes, options);
  return events.slice(events.findIndex(({ kind }) => kind === 'vmrun')).map(line);
}
