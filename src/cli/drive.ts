// A run in slices, so that keys, Ctrl-C and a slow reader of stdout are served between them.

import { SLICE, type VirtualMachine } from '../virtual-machine.ts';
import type { Progress } from './progress.ts';
import type { Terminal } from './terminal.ts';

/** How far a slice may go: so many instructions more; 0 stops here. */
export type Stride = () => number;

/** Runs to the end, to where `stride` stops, or until the person interrupts. */
export async function drive(vm: VirtualMachine, terminal: Terminal, progress: Progress, stride: Stride = () => SLICE): Promise<void> {
  let arrived = false;
  terminal.open(() => (arrived = true));
  const { host } = vm.machine;
  for (;;) {
    const instructions = stride();
    if (instructions === 0) return;
    const over = vm.advance(instructions);
    const wrote = terminal.flush();
    if (over) return;
    progress.show(host.retired, wrote, terminal.atLineStart);
    await terminal.drained();
    await new Promise((resolve) => setImmediate(resolve));
    if (arrived) vm.received();
    arrived = false;
    if (terminal.interrupted) vm.interrupt();
  }
}
