// Same image, same options, same seed: same run, bit for bit, whichever engine does the AES. And the readers of the trace count
// what the machine itself counted.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { technologies, type Technology } from '../../src/arch/boot-page.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { dramOf } from '../../src/cli/views.ts';
import { Tally } from '../../src/debug/tally.ts';
import { TraceHash } from '../../src/debug/trace-hash.ts';
import { Tracer } from '../../src/debug/tracer.ts';
import { nobleAes } from '../../src/memory/aes-noble.ts';
import type { AesEngine } from '../../src/memory/block-cipher.ts';
import { SLICE, VirtualMachine } from '../../src/virtual-machine.ts';

/** Kernels that test something; the benchmark only runs long. */
const kernels = readdirSync('guests', { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'lib' && !entry.name.startsWith('bench'))
  .map(({ name }) => name);

function hashOf(kernel: string, technology: Technology, aes: AesEngine, seed = '0') {
  const hash = new TraceHash();
  const tally = new Tally();
  const tracer = new Tracer([hash, tally]);
  const vm = new VirtualMachine({
    image: { name: kernel, bytes: readFileSync(join('guests', kernel, `${kernel}.elf`)) },
    technology,
    memory: 64 << 20,
    cpu: 'milan',
    seed,
    maxInstructions: 100_000_000,
    intercepts: [],
    append: '',
    haltOk: false,
    rtc: 0,
    serial: { transmit: () => {}, next: () => undefined },
    aes,
    trace: tracer,
  });
  try {
    tracer.clock = () => vm.machine.host.retired;
    while (!vm.advance(SLICE));
    return { traceHash: hash.finish(dramOf(vm)), result: vm.result(), tally };
  } finally {
    vm.dispose();
  }
}

describe.each(technologies)('under %s', (technology) => {
  it.each(kernels)('%s has the same trace hash in three runs and with each AES engine', (kernel) => {
    const runs = [nodeAes, nodeAes, nodeAes, nobleAes].map((aes) => hashOf(kernel, technology, aes));
    expect(new Set(runs.map(({ traceHash }) => traceHash)).size).toBe(1);
    for (const { result, tally } of runs) {
      expect(Object.fromEntries(tally.exits)).toEqual(result.exits);
      expect(Object.fromEntries(tally.vc)).toEqual(result.vc);
      expect(`${tally.measurement ?? ''}${tally.measurementNonce ?? ''}`).toBe(result.measurement ?? '');
      expect(tally.end?.outcome).toBe(result.outcome.kind);
    }
  });
});

it('another seed gives another trace hash, because keys and nonces are others', () => {
  expect(hashOf('hello', 'sev-es', nodeAes, '1').traceHash).not.toBe(hashOf('hello', 'sev-es', nodeAes).traceHash);
});
