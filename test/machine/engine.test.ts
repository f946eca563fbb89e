import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { nodeAes } from '../../src/cli/aes-node.ts';
import type { TraceNote } from '../../src/util/trace.ts';
import { type RunOptions, run, VirtualMachine } from '../../src/virtual-machine.ts';
import { quiet } from './options.ts';

const guest = (name: string) => readFileSync(new URL(`../../guests/${name}/${name}.elf`, import.meta.url));

function traced(options: RunOptions): readonly string[] {
  const lines: string[] = [];
  const emit = (note: TraceNote) => lines.push(JSON.stringify(note, (_, value) => (typeof value === 'bigint' ? `${value}` : value)));
  const { outcome, ...rest } = run({ ...options, trace: { emit } });
  return [...lines, JSON.stringify(rest), outcome.kind];
}

const options = (name: string, more: Partial<RunOptions> = {}) =>
  quiet(guest(name), { technology: 'sev-es', memory: 64 << 20, aes: nodeAes, ...more });

it('a machine on an engine that others used behaves as on a new one', () => {
  const first = traced(options('cpuid'));
  for (const technology of ['none', 'sev', 'sev-es'] as const)
    run(options('fault', { technology, cpu: 'naples', maxInstructions: 20_000 }));
  expect(traced(options('cpuid'))).toEqual(first);
});

it('two machines at once do not see each other', () => {
  const alone = run(options('cpuid'));
  const machines = [new VirtualMachine(options('cpuid')), new VirtualMachine(options('cpuid', { technology: 'none' }))];
  while (!machines.map((machine) => machine.advance(1000)).every((ended) => ended));
  const [one, other] = machines.map((machine) => machine.result());
  for (const machine of machines) machine.dispose();
  expect(one).toMatchObject({ outcome: alone.outcome, vc: alone.vc, measurement: alone.measurement });
  expect(other).toMatchObject({ outcome: { kind: 'ended', value: 0 }, vc: {} });
});

it('the seed changes keys and ciphertext, and nothing that this guest does', () => {
  const memory = (seed: string): Uint8Array => {
    const vm = new VirtualMachine(options('hello', { seed }));
    while (!vm.advance(1_000_000));
    const page = new Uint8Array(4096);
    expect(vm.machine.readCiphertext(0x110_0000 / 4096, page)).toBe(true);
    vm.dispose();
    return page;
  };
  expect(memory('1')).toEqual(memory('1'));
  expect(memory('1')).not.toEqual(memory('2'));
  expect(run(options('hello', { seed: '1' })).instructions).toBe(run(options('hello', { seed: '2' })).instructions);
});
