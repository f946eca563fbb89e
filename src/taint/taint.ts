// `--taint`: attaches the reader to a machine whose tier is 'labels', before its guest has executed anything.

import { Findings } from '../sanitizer/finding.ts';
import { gpa as gpaOf, PAGE_SIZE, pageOf } from '../util/address.ts';
import { UserError } from '../util/errors.ts';
import type { VirtualMachine } from '../virtual-machine.ts';
import { PRIVATE_BYTE } from '../x86/label-table.ts';
import { GhcbHandOver } from './hand-over.ts';
import { Tracker, type TrackerState } from './tracker.ts';

/** Guest physical memory that a person declares private. */
export type Secret = { readonly gpa: number; readonly length: number };

export type TaintState = {
  readonly tracker: TrackerState;
  readonly ghcbs: ReadonlySet<number>;
  readonly findings: ReturnType<Findings['capture']>;
};

export class Taint {
  readonly tracker: Tracker;
  readonly #findings: Findings;
  readonly #handOver: GhcbHandOver;

  /** Throws UserError. `findings`: where to add to. */
  constructor(vm: VirtualMachine, secrets: readonly Secret[] = [], findings: Findings = new Findings()) {
    this.#findings = findings;
    this.#handOver = new GhcbHandOver(vm);
    const { vm: guest } = vm.guest;
    const { machine } = vm;
    this.tracker = new Tracker(
      {
        processor: machine.engine.cpu.processor,
        key: guest.config.asid,
        handOver: this.#handOver,
        retired: () => machine.retired,
      },
      findings,
    );
    for (const { gpa, length } of secrets)
      for (let at = gpa; at < gpa + length; ) {
        const offset = at % PAGE_SIZE;
        const size = Math.min(PAGE_SIZE - offset, gpa + length - at);
        const spa = guest.locate(gpaOf(at - offset), true);
        if (spa === null) {
          const end = guest.config.ram.size.toString(16);
          throw new UserError(`--secret 0x${gpa.toString(16)}:${length}: that is not all RAM of the guest: stay below 0x${end}`);
        }
        this.tracker.memory.declare(pageOf(spa), offset, size, PRIVATE_BYTE);
        at += size;
      }
    guest.taken = (gpa, length) => this.tracker.taken(gpa, length);
  }

  get findings(): Findings['list'] {
    return this.#findings.list;
  }

  /** The run is over. */
  finish(): void {
    this.tracker.finish();
  }

  /** For snapshots (VirtualMachine.capture). */
  capture(): TaintState {
    return { tracker: this.tracker.capture(), ghcbs: this.#handOver.capture(), findings: this.#findings.capture() };
  }

  restore({ tracker, ghcbs, findings }: TaintState): void {
    this.tracker.restore(tracker);
    this.#handOver.restore(ghcbs);
    this.#findings.restore(findings);
  }
}
