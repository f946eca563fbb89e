// One run of a workload on our own machine, in this process, through the library.

import { type GuestOptions, launch } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { SLICE } from '../../src/virtual-machine.ts';
import type { Deadline } from './deadline.ts';
import { Marks } from './marks.ts';
import { failureOf, readImage, roundTripsOf } from './workloads.ts';

export const technologies = ['none', 'sev', 'sev-es'] as const;
export type Technology = (typeof technologies)[number];

export const tiers = ['interpreter', 'compiler'] as const;
export type Tier = (typeof tiers)[number];

/** What was measured between the marks. */
export type Sample = {
  readonly seconds: number;
  /** Retired instructions, without the elements of string instructions. */
  readonly instructions: number;
  readonly elements: number;
  readonly roundTrips: number | null;
};

export type Build = {
  readonly path: string;
  /** 64: entered as docs/entry.md says; 32: as the Multiboot specification says. */
  readonly bits: 64 | 32;
};

type TieredOptions = GuestOptions & { readonly tier?: Tier };

/** The tiers that this build of the processor can be told to stop at; it has an engine of one kind if there are none. */
export function tierOf(engine: object): Tier | null {
  const tier: unknown = 'tier' in engine ? engine.tier : undefined;
  return tiers.find((name) => name === tier) ?? null;
}

/** Throws UserError if this machine cannot boot the image, Error if the workload does not pass, OutOfTime. */
export function runGuest(
  build: Build,
  technology: Technology,
  tier: Tier | null,
  deadline: Deadline,
  more: Pick<GuestOptions, 'sme' | 'tsme'> = {},
): Sample {
  const marks = new Marks(() => performance.now());
  const counts = { begin: [0, 0], end: [0, 0] };
  const serial: number[] = [];
  const options: TieredOptions = {
    image: { name: build.path, bytes: readImage(build.path) },
    technology,
    aes: nodeAes,
    ...more,
    // The 64-bit builds have other machines' entries besides ours; the 32-bit ones have no other than Multiboot's.
    ...(build.bits === 64 ? { mode: 64 } : {}),
    ...(tier === null ? {} : { tier }),
    onSerial: (byte) => serial.push(byte),
    debugConsole: (byte) => {
      const mark = marks.byte(byte);
      if (mark !== null) counts[mark] = [vm.machine.retired, vm.machine.host.elements];
    },
  };
  const vm = launch(options);
  try {
    while (!vm.advance(SLICE)) deadline.check();
    const output = new TextDecoder().decode(Uint8Array.from(serial));
    const { status, outcome } = vm.result();
    const { seconds } = marks;
    const wrong = status === 0 ? failureOf(output) : `it ended with status ${status} (${outcome.kind})`;
    if (wrong !== null) throw new Error(`${build.path} under ${technology}: ${wrong}`);
    if (seconds === null) throw new Error(`${build.path} under ${technology}: it did not mark begin and end`);
    const [retired = 0, elements = 0] = counts.end.map((count, i) => count - (counts.begin[i] ?? 0));
    return { seconds, instructions: retired - elements, elements, roundTrips: roundTripsOf(output) };
  } finally {
    vm.dispose();
  }
}
