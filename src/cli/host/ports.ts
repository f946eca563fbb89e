// What the toolstack needs of a host with its guests. `Host` of src/host.ts is one.

import type { Technology } from '../../arch/boot-page.ts';
import type { SerialPeer } from '../../devices/uart16550.ts';
import type { RunResult } from '../../virtual-machine.ts';
import type { FoundGuest } from './read-file.ts';
import type { GuestFiles } from './load.ts';

export interface HostedGuest {
  /** Counts up; no other guest of the host ever has it. */
  readonly id: number;
  readonly name: string;
  readonly technology: Technology;
  readonly state: 'running' | 'blocked' | 'paused' | 'ended';
  /** 0: none. */
  readonly asid: number;
  /** Bytes. */
  readonly memory: number;
  /** Bytes of it that somebody wrote. */
  readonly touched: number;
  readonly vcpus: number;
  /** Instructions so far. */
  readonly consumed: number;
  /** Its console has something for it now. */
  received(): void;
  pause(): void;
  unpause(): void;
  /** Ends it if need be, and gives back all that it had. A text: what the AMD-SP refused. */
  destroy(): string | null;
  /** Somebody wants it to end here. */
  interrupt(): void;
  result(): RunResult;
}

export type AsidRow = {
  readonly asid: number;
  readonly state: 'free' | 'used' | 'dirty';
  /** Name of the guest; null: none that still is. */
  readonly owner: string | null;
};

export type HostFacts = {
  readonly cpu: string;
  readonly processors: number;
  readonly seed: string;
  /** Bytes for guests. */
  readonly memory: { readonly total: number; readonly free: number };
  /** State of the AMD-SP, for people. */
  readonly asp: string;
  /** How often ASIDs were made clean for other guests. */
  readonly flushes: number;
};

export interface HostPort {
  readonly facts: HostFacts;
  readonly asids: readonly AsidRow[];
  /** Instructions of all guests together. */
  readonly retired: number;
  /** Throws UserError. */
  create(guest: FoundGuest, files: GuestFiles, serial: SerialPeer): HostedGuest;
  /** Runs all that can run, for about so many instructions. */
  advance(instructions: number): void;
  dispose(): void;
}
