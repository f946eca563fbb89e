// A guest with several virtual CPUs runs the same whatever the slices into which a surface cuts the run: it is the guest's turns that end, never they for a
// slice's sake. So nothing differs, the exits for a physical interrupt included.

import { expect, it } from 'vitest';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { type GuestOptions, launch } from '../../src/cbit.ts';
import { TraceHash } from '../../src/debug/trace-hash.ts';
import { kernel } from './runs.ts';

const slices = [1_000, 77_777, 1_000_000];

function hashOf(name: string, slice: number, options: Partial<GuestOptions>): { readonly hash: string; readonly instructions: number } {
  const hash = new TraceHash();
  const vm = launch({ image: kernel(name), aes: nodeAes, maxInstructions: 20_000_000, ...options, onEvent: (event) => hash.note(event) });
  try {
    while (!vm.advance(slice));
    const { machine } = vm;
    expect(vm.result().outcome.kind).toBe('ended');
    const pages = { pages: machine.pages, read: (page: number, into: Uint8Array) => machine.readCiphertext(page, into) };
    return { hash: hash.finish(pages), instructions: vm.result().instructions };
  } finally {
    vm.dispose();
  }
}

it.each([
  ['smp', { vcpus: 2, technology: 'none', schedule: 'round-robin' }],
  ['smp', { vcpus: 3, technology: 'sev', schedule: 'random', quantum: 300, hostCpus: 2 }],
  ['smp', { vcpus: 5, technology: 'sev-es', schedule: 'random' }],
  ['smp', { vcpus: 2, technology: 'sev-es', schedule: 'round-robin', quantum: 500, hostCpus: 2 }],
  ['smp-race', { vcpus: 2, technology: 'sev-es', schedule: 'random', seed: '3' }],
] as const)('%s with %j has one trace', (name, options) => {
  const [first, ...others] = slices.map((slice) => hashOf(name, slice, options));
  for (const other of others) expect(other).toEqual(first);
});
