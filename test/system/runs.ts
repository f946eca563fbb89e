// What the tests of whole runs share: a guest kernel with its events, and the events around one of them.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exitName } from '../../src/arch/exit-code.ts';
import { type GuestOptions, launch, type Run, run, type TraceEvent, type VirtualMachine } from '../../src/cbit.ts';
import { elfPath, root } from '../../tools/guest-manifest.ts';

export const technologies = ['none', 'sev', 'sev-es'] as const;

export const kernel = (name: string): GuestOptions['image'] => ({ name, bytes: new Uint8Array(readFileSync(join(root, elfPath(name)))) });

/** Runs a guest kernel and keeps its events. */
export function runKernel(name: string, options: Partial<GuestOptions> = {}): Run & { readonly events: readonly TraceEvent[] } {
  const events: TraceEvent[] = [];
  const result = run({ image: kernel(name), maxInstructions: 20_000_000, ...options, onEvent: (event) => events.push(event) });
  return { ...result, events };
}

/** A guest kernel after its last instruction, with its machine; `dispose` it. */
export function finished(name: string, options: Partial<GuestOptions> = {}): VirtualMachine {
  const vm = launch({ image: kernel(name), maxInstructions: 20_000_000, ...options });
  while (!vm.advance(1_000_000));
  return vm;
}

/** An event in a few words: what it is and which exit it concerns. */
export function brief(event: TraceEvent): string {
  switch (event.kind) {
    case 'vc':
    case 'exit':
      return `${event.kind} ${exitName(event.exitCode)}`;
    case 'exception':
      return `exception ${event.vector}`;
    case 'ghcb':
    case 'ghcb-msr':
      return `${event.kind} from ${event.from}`;
    default:
      return event.kind;
  }
}

/** From the first event that fits up to and with the VMRUN after it, or to before the next #VC. */
export function sequence(events: readonly TraceEvent[], from: (event: TraceEvent, next: TraceEvent | undefined) => boolean): TraceEvent[] {
  const start = events.findIndex((event, n) => from(event, events[n + 1]));
  const rest = events.slice(Math.max(start, 0));
  const end = rest.findIndex(({ kind }) => kind === 'vmrun');
  return start < 0 ? [] : rest.slice(0, end + 1);
}
