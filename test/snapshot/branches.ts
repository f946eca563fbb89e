// What the tests of snapshots share: one run from beginning to end, and the same run with snapshots taken and gone back to all the time. Both must come
// out the same to the last byte of memory.

import { nodeAes } from '../../src/cli/aes-node.ts';
import { type GuestOptions, defaults } from '../../src/cbit.ts';
import { TraceHash } from '../../src/debug/trace-hash.ts';
import { Tracer } from '../../src/debug/tracer.ts';
import type { Snapshot } from '../../src/util/snapshot.ts';
import { RandomSource, type RandomStream } from '../../src/util/random.ts';
import { VirtualMachine } from '../../src/virtual-machine.ts';

export type Settings = Partial<GuestOptions>;

/** A run whose events, output and memory come to one hash. */
export class Recorded {
  readonly vm: VirtualMachine;
  readonly #hash = new TraceHash();
  #sent = '';
  #read = 0;

  constructor({ input, ...settings }: Settings) {
    const tracer = new Tracer([this.#hash]);
    const technology = settings.bare === true ? 'none' : defaults.technology;
    const send = (byte: number): void => {
      this.#sent += String.fromCharCode(byte);
    };
    this.vm = new VirtualMachine({
      ...defaults,
      aes: nodeAes,
      memory: 16 * 2 ** 20,
      technology,
      maxInstructions: 40_000_000,
      ...settings,
      trace: tracer,
      serial: { transmit: send, next: () => input?.[this.#read++] },
    });
    tracer.clock = () => this.vm.machine.retired;
    this.vm.capture('hash', this.#hash);
    this.vm.capture('ends', {
      capture: () => [this.#sent, this.#read] as const,
      restore: ([sent, read]: readonly [string, number]) => {
        this.#sent = sent;
        this.#read = read;
      },
    });
  }

  /** What came of it; goes on being of use after a restore. */
  get outcome(): string {
    const { vm } = this;
    const { machine } = vm;
    const before = this.#hash.capture();
    const hash = this.#hash.finish({ pages: machine.pages, read: (page, into) => machine.readCiphertext(page, into) });
    this.#hash.restore(before);
    return `${hash} ${JSON.stringify(vm.result())} ${this.#sent}`;
  }

  get sent(): string {
    return this.#sent;
  }
}

/** Slices of lengths by chance: how a run is cut may show in its trace, so that two runs must be cut in the same way. */
export function slicesOf(seed: string, longest: number): (n: number) => number {
  const stream = new RandomSource(seed).stream('slices');
  const lengths: number[] = [];
  return (n) => {
    while (lengths.length <= n) lengths.push(1 + stream.below(stream.below(4) === 0 ? 50 : longest));
    return lengths[n]!;
  };
}

export function straight(
  settings: Settings,
  slice: (n: number) => number,
): { readonly outcome: string; readonly slices: number; readonly sent: string } {
  const run = new Recorded(settings);
  try {
    let n = 0;
    while (!run.vm.advance(slice(n))) n++;
    return { outcome: run.outcome, slices: n + 1, sent: run.sent };
  } finally {
    run.vm.dispose();
  }
}

/** Snapshots and restores by chance between the slices; gives what came of each way to the end. */
export function branched(settings: Settings, slice: (n: number) => number, slices: number, seed: string, restores = 6): string[] {
  const chance: RandomStream = new RandomSource(seed).stream('branches');
  const run = new Recorded(settings);
  const { vm } = run;
  const known: { readonly snapshot: Snapshot; readonly n: number }[] = [];
  const ends: string[] = [];
  const often = Math.max(1, Math.floor(slices / 8));
  try {
    let n = 0;
    let left = restores;
    for (;;) {
      if (n === 0 || chance.below(often) === 0) {
        const taken = { snapshot: vm.snapshot(), n };
        if (known.length < 6) known.push(taken);
        else known[chance.below(known.length)] = taken;
      }
      const ended = vm.advance(slice(n++));
      if (ended) ends.push(run.outcome);
      if (ended && left <= 0 && ends.length >= 2) return ends;
      if (ended || (left > 0 && chance.below(often) === 0)) {
        if (!ended) left--;
        const back = known[chance.below(known.length)]!;
        vm.restore(back.snapshot);
        n = back.n;
      }
    }
  } finally {
    vm.dispose();
  }
}
