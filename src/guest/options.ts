// What a guest is run with, and what is known of it in the end.

import { technologies, type Technology } from '../arch/boot-page.ts';
import type { GhcbVersion } from '../arch/ghcb.ts';
import type { SerialPeer } from '../devices/uart16550.ts';
import type { Interposer } from '../hypervisor/ghcb/interposer.ts';
import type { Placement } from '../hypervisor/images/image.ts';
import type { Outcome } from '../hypervisor/outcome.ts';
import { DEFAULT_QUANTUM, type Schedule, type SchedulePolicy, schedules } from '../hypervisor/scheduler.ts';
import { guestMap } from '../machine/memory-map.ts';
import type { VirtioChoice } from '../machine/virtio-choice.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { UserError } from '../util/errors.ts';
import { RandomSource } from '../util/random.ts';
import type { TraceSink } from '../util/trace.ts';

/** A file: its name is for messages and for what a boot protocol tells the guest. */
export type NamedBytes = { readonly name: string; readonly bytes: Uint8Array };

type Chosen = Placement & VirtioChoice;

export type GuestOptions = Chosen & {
  /** May be left out where there is a ROM image. */
  readonly image?: NamedBytes | undefined;
  /** A ROM image: execution begins at its reset vector, and the other image is what its firmware finds in fw_cfg. */
  readonly bios?: NamedBytes | undefined;
  /** A file for the guest, as its boot protocol has it. */
  readonly initrd?: NamedBytes | undefined;
  readonly technology: Technology;
  /** Guest RAM in bytes; of a bare machine, all of its DRAM. */
  readonly memory: number;
  /** Virtual CPUs; left out: one. */
  readonly vcpus?: number | undefined;
  /** How they take turns; left out: in order. */
  readonly schedule?: SchedulePolicy | undefined;
  /** Instructions of a turn; left out: 10,000. */
  readonly quantum?: number | undefined;
  readonly seed: string;
  /** null: as many as it takes. */
  readonly maxInstructions: number | null;
  /** Names as --intercept has them. */
  readonly intercepts: readonly string[];
  /** The highest GHCB protocol version that the hypervisor speaks; left out: the highest that there is. */
  readonly ghcbVersion?: GhcbVersion | undefined;
  /** Comes between the hypervisor's answers to VMGEXIT and the guest. */
  readonly interposer?: Interposer | undefined;
  /** Features that an SEV-ES guest's VMSAs enable, as --sev-features has them: `debug-swap`. */
  readonly sevFeatures?: readonly string[] | undefined;
  readonly append: string;
  /** A halt for good counts as success. */
  readonly haltOk: boolean;
  /** The guest's date at power-on: milliseconds since 1970-01-01 UTC. */
  readonly rtc: number;
  /** The other end of COM1. */
  readonly serial: SerialPeer;
  /** Where the debug console's bytes go; left out: to the other end of COM1. */
  readonly debugConsole?: ((byte: number) => void) | undefined;
  readonly trace: TraceSink | null;
};

export type RunResult = {
  readonly outcome: Outcome;
  /** Exit status of the command line. */
  readonly status: number;
  /** What the guest wrote to the test device. */
  readonly value: number | null;
  /** Retired instructions, without the elements of string instructions. */
  readonly instructions: number;
  readonly elements: number;
  /** #VMEXITs by name. */
  readonly exits: Readonly<Record<string, number>>;
  /** #VC by exit name. */
  readonly vc: Readonly<Record<string, number>>;
  /** LAUNCH_MEASURE: 32 bytes of measurement, 16 of nonce, in hex. */
  readonly measurement: string | null;
  /** Odd things that the hypervisor got over, with how often. */
  readonly warnings: readonly string[];
};

export const MOST_VCPUS = 64;
export const MOST_QUANTUM = 1_000_000_000;

/** Throws UserError. */
export function checkGuest({ technology, memory, vcpus = 1, schedule, quantum }: GuestOptions): void {
  if (!technologies.includes(technology)) throw new UserError(`--sev ${technology}: choose one of ${technologies.join(', ')}`);
  if (!Number.isInteger(memory) || memory % PAGE_SIZE !== 0)
    throw new UserError(`--memory ${memory} is not a whole number of pages: give for example 64M`);
  if (memory < guestMap.least || memory > guestMap.most)
    throw new UserError(`--memory ${memory} is not between 1M and 3G: give for example 64M`);
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MOST_VCPUS)
    throw new UserError(`--vcpus ${vcpus} is not a number from 1 to ${MOST_VCPUS}: give for example 2`);
  if (schedule !== undefined && !schedules.includes(schedule))
    throw new UserError(`--schedule ${String(schedule)}: choose one of ${schedules.join(', ')}`);
  if (quantum !== undefined && (!Number.isInteger(quantum) || quantum < 1 || quantum > MOST_QUANTUM))
    throw new UserError(
      `--quantum ${quantum} is not a number of instructions from 1 to ${MOST_QUANTUM}: give for example ${DEFAULT_QUANTUM}`,
    );
}

export function scheduleOf({ schedule, quantum, seed }: GuestOptions): Schedule {
  const stream = new RandomSource(seed).stream('schedule');
  return { policy: schedule ?? 'round-robin', quantum: quantum ?? DEFAULT_QUANTUM, chance: () => stream.u32(), stream };
}
