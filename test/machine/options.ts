// Run options for tests: a flat binary, quiet devices.

import { nobleAes } from '../../src/memory/aes-noble.ts';
import type { RunOptions } from '../../src/virtual-machine.ts';

export type Quiet = RunOptions & { readonly output: number[] };

/** Options for running these bytes; what COM1 and the debug console say is in `output`. */
export function quiet(image: readonly number[] | Uint8Array, more: Partial<RunOptions> = {}): Quiet {
  const output: number[] = [];
  return {
    image: { name: 'test', bytes: Uint8Array.from(image) },
    technology: 'none',
    memory: 4 << 20,
    cpu: 'milan',
    seed: '0',
    maxInstructions: 1_000_000,
    intercepts: [],
    append: '',
    haltOk: false,
    rtc: 0,
    serial: { transmit: (byte) => output.push(byte), next: () => undefined },
    aes: nobleAes,
    trace: null,
    output,
    ...more,
  };
}
