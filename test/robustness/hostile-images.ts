// Images that nobody should give us, made from a number: case `n` is the same on every machine. Half of them are well-formed
// ELF files around mutated code, so that the guest gets to execute it; the others are noise, truncated files, and files whose
// headers lie. Used by the test of 500 cases and by `npm run fuzz:images`.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { run, type RunOptions } from '../../src/virtual-machine.ts';
import { UserError } from '../../src/util/errors.ts';
import { RandomSource, type RandomStream } from '../../src/util/random.ts';
import { containerAround, lyingContainer } from './hostile-containers.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const donors = ['hello', 'cpuid', 'msr', 'pio', 'cr-trap', 'cr-vc', 'fault', 'user'].map(
  (name) => new Uint8Array(readFileSync(join(root, 'guests', name, `${name}.elf`))),
);
const technologies = ['none', 'sev', 'sev-es'] as const;
const MEMORY = 4 * 2 ** 20;
const LOAD = 0x10_0000;
const ELF_HEADER = 64;
const PROGRAM_HEADER = 56;

type Case = {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly mode?: 16 | 32 | 64;
  readonly rom?: boolean;
  readonly initrd?: Uint8Array;
};

/** Numbers that fit nowhere. */
const awkward = [
  0n,
  1n,
  0x7fn,
  0xfffn,
  0x1000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  1n << 32n,
  1n << 52n,
  1n << 63n,
  (1n << 64n) - 1n,
] as const;

const pick = <T>(random: RandomStream, from: readonly T[]): T => from[random.below(from.length)] as T;

function flipBits(random: RandomStream, bytes: Uint8Array, from: number, to: number, flips: number): void {
  for (let i = 0; i < flips && to > from; i++) {
    const at = from + random.below(to - from);
    bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
  }
}

/** An executable with one segment, all of it code. */
function elfAround(code: Uint8Array, entry: number): Uint8Array {
  const bytes = new Uint8Array(4096 + code.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(LOAD + entry), true);
  view.setBigUint64(32, BigInt(ELF_HEADER), true);
  view.setUint16(52, ELF_HEADER, true);
  view.setUint16(54, PROGRAM_HEADER, true);
  view.setUint16(56, 1, true);
  view.setUint32(ELF_HEADER, 1, true); // PT_LOAD
  view.setUint32(ELF_HEADER + 4, 7, true);
  for (const [at, value] of [
    [8, 4096],
    [16, LOAD],
    [24, LOAD],
    [32, code.length],
    [40, code.length + 4096],
    [48, 4096],
  ] as const)
    view.setBigUint64(ELF_HEADER + at, BigInt(value), true);
  bytes.set(code, 4096);
  return bytes;
}

/** What a guest's file holds behind its headers, starting anywhere. */
function codeOf(random: RandomStream, donor: Uint8Array): Uint8Array {
  const from = 4096 + random.below(Math.max(1, donor.length - 8192));
  return donor.slice(from, from + 256 + random.below(4096));
}

/** System instructions, string instructions, far transfers, lock and repeat prefixes: where processors go wrong. */
// biome-ignore format: bytes
const spice = [
  [0x0f, 0xa2], [0x0f, 0x30], [0x0f, 0x32], [0x0f, 0x22, 0xc0], [0x0f, 0x22, 0xd8], [0x0f, 0x22, 0xe0], [0x0f, 0x20, 0xc0], [0xf3, 0xaa], [0xf3, 0xa4],
  [0xf3, 0x6e], [0xf3, 0x6c], [0xe6, 0xf4], [0xec], [0x0f, 0x01, 0xd9], [0xf3, 0x0f, 0x01, 0xd9], [0xcf], [0x48, 0xcf], [0xcb], [0x48, 0xcb], [0xff, 0x28],
  [0x0f, 0x05], [0x48, 0x0f, 0x07], [0x0f, 0x01, 0xf8], [0xcc], [0xcd, 0x80], [0x0f, 0x0b], [0x0f, 0x01, 0x10], [0x0f, 0x01, 0x18], [0x0f, 0x00, 0xd8],
  [0x8e, 0xd0], [0xf4], [0xfb], [0xfa], [0x0f, 0x09], [0x0f, 0x08], [0x0f, 0x01, 0x38], [0xc8, 0xff, 0xff, 0x1f], [0xf0, 0x48, 0x0f, 0xc7, 0x0e], [0x0f, 0xc7, 0xf8],
  [0x66, 0xf3, 0x48, 0xa7], [0x67, 0xf2, 0xae], [0x9d], [0x48, 0x0f, 0xae, 0x00], [0x0f, 0xae, 0x08], [0x48, 0xf7, 0x38], [0xe2, 0xfe], [0x0f, 0x31], [0xd6],
] as const;

function seasoned(random: RandomStream, code: Uint8Array): Uint8Array {
  for (let i = random.below(12); i > 0; i--) {
    const bytes = pick(random, spice);
    if (code.length > bytes.length) code.set(bytes, random.below(code.length - bytes.length));
  }
  return code;
}

const executable: readonly ((random: RandomStream) => Case)[] = [
  // A guest of ours with a few bits of code or data wrong: gets far, then goes astray.
  (random) => {
    const bytes = pick(random, donors).slice();
    flipBits(random, bytes, 4096, bytes.length, 1 + random.below(64));
    return { name: 'guest with flipped bits', bytes };
  },
  (random) => {
    const code = codeOf(random, pick(random, donors));
    flipBits(random, code, 0, code.length, random.below(32));
    return { name: 'mutated code', bytes: elfAround(seasoned(random, code), random.below(code.length)) };
  },
  (random) => {
    const code = random.bytes(64 + random.below(2048));
    return { name: 'random code', bytes: elfAround(seasoned(random, code), random.below(64)) };
  },
  (random) => {
    const code = random.below(2) ? codeOf(random, pick(random, donors)) : random.bytes(64 + random.below(2048));
    return containerAround(random, seasoned(random, code));
  },
];

const malformed: readonly ((random: RandomStream) => Case)[] = [
  (random) =>
    lyingContainer(random, seasoned(random, random.bytes(64 + random.below(512))), () => Number(pick(random, awkward) & 0xffff_ffffn)),
  (random) => ({ name: 'noise', bytes: random.bytes(random.below(3000)), mode: pick(random, [16, 32, 64] as const) }),
  (random) => {
    const donor = pick(random, donors);
    return { name: 'truncated', bytes: donor.slice(0, random.below(2) ? random.below(200) : random.below(donor.length)) };
  },
  (random) => {
    const bytes = pick(random, donors).slice();
    flipBits(random, bytes, 4, ELF_HEADER + 4 * PROGRAM_HEADER, 1 + random.below(8));
    return { name: 'headers with flipped bits', bytes };
  },
  (random) => {
    const bytes = pick(random, donors).slice();
    const view = new DataView(bytes.buffer);
    const eight = 24 + 8 * random.below(30);
    for (let i = 0; i <= random.below(3); i++) view.setBigUint64(i === 0 ? eight : 24 + 8 * random.below(30), pick(random, awkward), true);
    return { name: 'headers that lie', bytes };
  },
];

const seeds = new RandomSource('hostile images');

/** Case `n`: even ones execute, odd ones are malformed. */
export function hostileImage(n: number): Case {
  const random = seeds.stream(String(n));
  return pick(random, n % 2 === 0 ? executable : malformed)(random);
}

export type Verdict = { readonly status: number; readonly kind: string };

/** What the command line would run case `n` with. */
export function hostileOptions(n: number, maxInstructions: number): RunOptions {
  const { name, bytes, mode, rom = false, initrd } = hostileImage(n);
  return {
    [rom ? 'bios' : 'image']: { name, bytes },
    initrd: initrd && { name: 'initrd', bytes: initrd },
    technology: technologies[n % 3] as (typeof technologies)[number],
    memory: MEMORY,
    cpu: 'milan',
    seed: String(n),
    maxInstructions,
    intercepts: n % 5 === 0 ? ['cr'] : [],
    append: '',
    haltOk: false,
    rtc: 0,
    serial: { transmit: () => {}, next: () => undefined },
    aes: nodeAes,
    trace: null,
    mode,
  };
}

/** Runs case `n`. Throws what the command line would call a bug of ours. */
export function judge(n: number, maxInstructions = 20_000): Verdict {
  try {
    const { status, outcome } = run(hostileOptions(n, maxInstructions));
    return { status, kind: outcome.kind };
  } catch (error) {
    if (error instanceof UserError) return { status: 2, kind: 'mistake' };
    throw error;
  }
}
