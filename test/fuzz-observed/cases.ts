// Hostile guests by number, with how they are run: programs of our own making, conversations of random GHCB pages, images with flipped bits, and kernels of
// several processors with flipped bits.

import { type GuestOptions, memoryDisk } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { Attempts } from '../fuzz-ghcb/attempt.ts';
import { Dice } from '../fuzz-states/dice.ts';
import { messengerImage, SHARED_AREA } from '../hypervisor/ghcb/messenger.ts';
import { hostileOptions } from '../robustness/hostile-images.ts';
import { kernel } from '../system/runs.ts';
import { GHCB } from '../system/small-guest.ts';
import { IMAGE, MEMORY, program } from './programs.ts';

export type Case = { readonly kind: string; readonly options: GuestOptions };

const MOST_INSTRUCTIONS = 30_000;
const MESSAGES = 30;
/** Where the code of our kernels begins in their files. */
const TEXT = 4096;
const kernels = ['hello', 'user', 'nmi', 'timer', 'fault', 'mmio', 'pio', 'bounce', 'cr-vc', 'terminate', 'asm-vc', 'virtio-blk'] as const;
const ofSeveral = ['smp', 'smp-race'] as const;

const cpus = ['milan', 'milan', 'genoa', 'rome', 'naples'] as const;

function common(seed: string, dice: Dice): GuestOptions {
  return {
    memory: MEMORY,
    seed,
    aes: nodeAes,
    maxInstructions: 1 + dice.below(dice.chance(30) ? 500 : MOST_INSTRUCTIONS),
    cpu: dice.one(cpus),
    ...(dice.chance(40) ? { intercepts: ['cr'] } : {}),
    ...(dice.chance(30) ? { intercepts: ['rdtsc', 'rdtscp', 'pushf', 'iret'] } : {}),
    ...(dice.chance(20) ? { ghcbVersion: 1 } : {}),
    ...(dice.chance(20) ? { technology: dice.one(['none', 'sev'] as const) } : {}),
    ...(dice.chance(20) ? { sme: true } : {}),
    ...(dice.chance(60) ? { input: Uint8Array.from({ length: 40 }, () => dice.below(256)) } : {}),
  };
}

function flipped(name: string, dice: Dice): NonNullable<GuestOptions['image']> {
  const image = kernel(name);
  const bytes = image.bytes.slice();
  for (let n = dice.below(24); n > 0; n--) {
    const at = TEXT + dice.below(bytes.length - TEXT);
    bytes[at] = bytes[at]! ^ (1 << dice.below(8));
  }
  return { name, bytes };
}

const makers: readonly (readonly [number, string, (seed: string, dice: Dice, number: number) => GuestOptions])[] = [
  [
    10,
    'program',
    (seed, dice) => ({
      ...common(seed, dice),
      image: { name: 'program', bytes: program(dice) },
      load: IMAGE,
      ...(dice.chance(40) ? { vcpus: 2, quantum: 100 } : {}),
    }),
  ],
  [
    3,
    'messages',
    (seed, dice) => {
      const source = new Attempts(dice, { memory: MEMORY, pages: [GHCB], safe: SHARED_AREA });
      const messages = Array.from({ length: MESSAGES }, () => {
        const { msr, page } = source.next();
        return { msr, page: page.slice() };
      });
      const bytes = messengerImage(
        messages.map(({ msr }) => msr),
        messages.map(({ page }) => page),
      );
      return { ...common(seed, dice), maxInstructions: 200_000, image: { name: 'messenger', bytes } };
    },
  ],
  [
    4,
    'kernel',
    (seed, dice) => {
      const disks = [memoryDisk(new Uint8Array(0x1000))];
      return { ...common(seed, dice), memory: 16 << 20, maxInstructions: 120_000, image: flipped(dice.one(kernels), dice), disks };
    },
  ],
  [
    2,
    'processors',
    (seed, dice) => ({
      ...common(seed, dice),
      image: flipped(dice.one(ofSeveral), dice),
      memory: 16 << 20,
      maxInstructions: 150_000,
      vcpus: 2 + dice.below(3),
      schedule: dice.one(['round-robin', 'random'] as const),
      quantum: 20 + dice.below(2000),
      hostCpus: 1 + dice.below(2),
    }),
  ],
  [
    4,
    'image',
    (_seed, dice, number) => {
      const { serial: _, trace: _trace, ...options } = hostileOptions(2 * number, 1 + dice.below(MOST_INSTRUCTIONS));
      return dice.chance(128) ? { ...options, technology: 'sev-es' } : options;
    },
  ],
];

export function observedCase(seed: string, number: number): Case {
  const dice = new Dice(seed, `observed ${number}`);
  const [kind, make] = dice.weighted(makers.map(([weight, name, maker]) => [weight, [name, maker] as const] as const));
  return { kind, options: make(`${seed} ${number}`, dice, number) };
}
