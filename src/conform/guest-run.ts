// A guest under judgement: a virtual machine with a player at its VMGEXITs, a sanitizer beside it, and what it sent.

import { GhcbEvent } from '../arch/ghcb.ts';
import { State } from '../memory/state.ts';
import { describeOutcome, exitStatus, type Outcome } from '../hypervisor/outcome.ts';
import { Tracer, type TraceReader } from '../debug/tracer.ts';
import { attachSanitizer, type Sanitizer } from '../sanitizer/sanitizer.ts';
import type { Finding } from '../sanitizer/finding.ts';
import { type RunOptions, SLICE, VirtualMachine } from '../virtual-machine.ts';
import type { ConformEvent } from './event.ts';
import { Output } from './output.ts';
import { Overlay } from './overlay.ts';
import { Player } from './player.ts';

export type GuestRunOptions = Omit<RunOptions, 'serial' | 'debugConsole' | 'trace' | 'interposer' | 'maxInstructions'>;

/** How a run went. */
export type Ran = {
  readonly outcome: Outcome;
  readonly ending: string;
  /** Exit status of the command line. */
  readonly status: number;
  /** What the guest sent over COM1, its virtio console and the debug console, in the order of sending. */
  readonly output: string;
  readonly instructions: number;
  /** What the sanitizer finds in the guest. */
  readonly findings: readonly Finding[];
  /** The last thing that it asked was to say that it does not know an event. */
  readonly unsupported: boolean;
};

/** Instructions behind a request for termination: enough to come to the next #VC, and few for who waits in a loop. */
const MOST_BEHIND = 10_000;

export class GuestRun {
  readonly vm: VirtualMachine;
  readonly player = new Player();
  readonly sanitizer: Sanitizer;
  readonly #output = new Output();
  readonly #haltOk: boolean;

  constructor(options: GuestRunOptions, readers: readonly TraceReader[] = []) {
    this.#haltOk = options.haltOk;
    const tracer = readers.length === 0 ? null : new Tracer(readers);
    const end = { transmit: (byte: number) => this.#output.add(byte), next: () => undefined };
    const vm = new VirtualMachine({
      ...options,
      maxInstructions: null,
      serial: end,
      ...(options.disks === undefined ? {} : { disks: options.disks.map((disk) => new Overlay(disk)) }),
      ...(options.virtioConsole === undefined ? {} : { virtioConsole: end }),
      trace: tracer,
      interposer: this.player,
    });
    this.vm = vm;
    if (tracer !== null) tracer.clock = () => vm.machine.retired;
    vm.capture('conform', this.player);
    vm.capture('output', this.#output);
    this.sanitizer = attachSanitizer(vm);
    vm.capture('sanitizer', this.sanitizer);
  }

  /** The guest's RIP, which nobody on the host can see: we stand outside of the machine. */
  get rip(): bigint {
    const { engine, guestState } = this.vm.machine;
    return engine.memory.view.getBigUint64(guestState + State.RIP, true);
  }

  /** Goes on until the VMGEXIT with this number is to be answered. False: the run ended before. */
  reach(number: number): boolean {
    while (this.player.count < number - 1 || !this.vm.atVmgexit) {
      if (this.vm.advance(SLICE, { until: 'vmgexit' })) return false;
    }
    return true;
  }

  /** Goes on until the instruction comes that the event's #VC is for. False: it cannot be stopped there. */
  stopBefore({ before }: ConformEvent): boolean {
    const { vm } = this;
    while (vm.consumed < before) if (vm.advance(before - vm.consumed)) return false;
    return vm.consumed === before;
  }

  /** A slice more, unless `most` instructions are used up. True: the run is over. */
  step(most: number): boolean {
    const { vm } = this;
    return vm.consumed >= most || vm.advance(Math.min(SLICE, most - vm.consumed));
  }

  /** How it went: it is over, or so long that it counts as endless. */
  ran(most: number | null): Ran {
    const { vm, player } = this;
    this.sanitizer.finish();
    // A run that goes on from a VMGEXIT may go a slice too far.
    const over = most !== null && (vm.outcome === null || vm.consumed > most);
    const outcome: Outcome = over ? { kind: 'limit', instructions: most } : (vm.outcome ?? { kind: 'interrupted' });
    return {
      outcome,
      ending: describeOutcome(outcome),
      status: exitStatus(outcome, this.#haltOk),
      output: this.#output.text,
      instructions: over ? most : vm.consumed,
      findings: this.sanitizer.findings.filter(({ side }) => side === 'guest'),
      unsupported: player.last === BigInt(GhcbEvent.UNSUPPORTED_EVENT),
    };
  }

  /**
   * The run has ended, maybe because the guest asked for that: then it is entered once more, and what it does (`goes-on`) is a finding. That its request
   * is granted no guest can count on.
   */
  entered(ran: Ran): Ran {
    const { vm, sanitizer } = this;
    if (ran.outcome.kind !== 'terminated') return ran;
    vm.guest.goOn();
    vm.advance(MOST_BEHIND);
    const beyond = sanitizer.findings.filter(({ rule }) => rule === 'goes-on');
    return { ...ran, findings: [...ran.findings.filter(({ rule }) => rule !== 'goes-on'), ...beyond] };
  }

  dispose(): void {
    this.vm.dispose();
  }
}
