// A guest of a host: its chips, its virtual machine, how far it has come. Whatever it does ends as an Outcome; only what a person did wrong is
// thrown, as UserError, by the constructor.

import { exitName } from '../arch/exit-code.ts';
import type { CpuidFeature } from '../arch/cpuid.ts';
import type { HostSystem } from '../hypervisor/host-system.ts';
import type { Image } from '../hypervisor/images/image.ts';
import { parseIntercepts } from '../hypervisor/intercepts.ts';
import { launch, type Launched, retire } from '../hypervisor/launcher.ts';
import type { Emulator } from '../hypervisor/mmio.ts';
import { describeOutcome, exitStatus, type Outcome } from '../hypervisor/outcome.ts';
import { parseSevFeatures } from '../hypervisor/sev-features.ts';
import type { Vcpu } from '../hypervisor/vcpu.ts';
import type { Vm } from '../hypervisor/vm.ts';
import type { Machine } from '../machine/machine.ts';
import { PAGE_SIZE, type Spa } from '../util/address.ts';
import { CodeCounts } from '../util/code-counts.ts';
import { assert } from '../util/errors.ts';
import { RandomSource, type RandomStream } from '../util/random.ts';
import { chipsetOf } from './chipset.ts';
import { findImage, planFor } from './image.ts';
import { checkGuest, type GuestOptions, type RunResult, scheduleOf } from './options.ts';
import type { Components, Fields, Stateful } from '../util/stateful.ts';

/** The host that a guest is on. */
export type GuestHome = {
  readonly machine: Machine;
  readonly system: HostSystem;
  /** Features that the processor has and its guests are not given. */
  readonly withheld: readonly CpuidFeature[];
  /** Processor of the guest's first virtual CPU; the others follow in order. */
  readonly firstProcessor: number;
};

export class Guest implements Stateful {
  readonly image: Image;
  readonly vm: Vm;
  readonly measurement: Uint8Array | null;
  readonly vc = new CodeCounts();
  readonly #options: GuestOptions;
  readonly #home: GuestHome;
  readonly #launched: Launched;
  readonly #pollDevices: () => void;
  /** Something has come for the guest's serial port. */
  readonly received: () => void;
  readonly #chips: Components;
  /** What RDRAND and RDSEED give: nobody else's draws shift it. */
  readonly #chance: RandomStream;
  #outcome: Outcome | null = null;
  #retired = false;

  constructor(home: GuestHome, options: GuestOptions) {
    checkGuest(options);
    this.#options = options;
    this.#home = home;
    this.#chance = new RandomSource(options.seed).stream('rdrand');
    const { technology, memory, bios, vcpus = 1 } = options;
    const { machine, system, withheld, firstProcessor } = home;
    const intercepts = parseIntercepts(options.intercepts);
    const sevFeatures = parseSevFeatures(options.sevFeatures ?? [], technology, (leaf, subleaf) => system.first.cpuid(leaf, subleaf));
    this.image = findImage(options);
    const plan = planFor(this.image, options, system.capabilities.cBit, system.first.cpuid(1, 0)[0]);
    const { engine } = machine;
    // Only a guest that needs it has the second interpreter made.
    const emulator: Emulator = { execute: (instruction, state, operands) => engine.emulator.execute(instruction, state, operands) };
    let vm: Vm | null = null;
    const chipset = chipsetOf(options, this.image, {
      time: () => vm?.clock.time ?? 0,
      memory: {
        read: (address, into) => vm?.read(address, into) ?? false,
        write: (address, from) => vm?.write(address, from) ?? false,
      },
      iommu: false,
      deliver: (message) => vm?.bus.deliver(message) ?? false,
      interruptRequest: (level) => vm?.vcpus[0]?.interrupts.apic.lint0(level),
      initialise: () => {
        for (const { interrupts } of vm?.vcpus ?? []) interrupts.apic.init = true;
      },
      ended: (value) => {
        if (vm !== null) vm.ended ??= { kind: 'ended', value };
      },
      stopped: (why) => {
        if (vm !== null) vm.ended ??= { kind: why };
      },
    });
    this.#pollDevices = chipset.poll;
    this.received = chipset.received;
    this.#chips = chipset.components;
    const romSize = bios === undefined ? 0 : Math.ceil(bios.bytes.length / PAGE_SIZE) * PAGE_SIZE;
    const ram = { at: system.takeRam(memory), size: memory };
    let rom: { readonly at: Spa; readonly size: number } | undefined;
    try {
      rom = romSize === 0 ? undefined : { at: system.takeRam(romSize), size: romSize };
      const config = {
        technology,
        vcpus,
        ram,
        rom,
        intercepts,
        ghcbVersion: options.ghcbVersion,
        interposer: options.interposer,
        sevFeatures,
        ...chipset,
        emulator,
        withheld,
        trace: options.trace,
      };
      const { processors } = system;
      const placement = (vcpu: number): number => (firstProcessor + vcpu) % processors.length;
      this.#launched = launch(system, { ...config, schedule: scheduleOf(options), placement }, plan);
    } catch (error) {
      system.giveRam(ram.at, ram.size);
      if (rom !== undefined) system.giveRam(rom.at, rom.size);
      throw error;
    }
    vm = this.#launched.vm;
    this.vm = vm;
    this.measurement = this.#launched.measurement;
    const { failure } = this.#launched;
    try {
      if (failure !== null) this.#end({ kind: 'stopped', reason: failure });
    } catch (error) {
      this.retire(); // whoever gets the trace threw something
      throw error;
    }
  }

  /** Instructions of the budget used up so far: those retired, elements of string instructions included, and those emulated. */
  get consumed(): number {
    return this.vm.consumed;
  }

  /** How the run ended; null while it goes on. */
  get outcome(): Outcome | null {
    return this.#outcome;
  }

  /**
   * Runs at most so many instructions more. True: the run has ended. With `until` it stops right behind an exit of that code, before the hypervisor
   * has looked at it (`pending`); the next call goes on with the same slice.
   */
  advance(instructions: number, until: number | null = null): boolean {
    if (this.#outcome !== null) return true;
    const { maxInstructions } = this.#options;
    const { vm } = this;
    this.#home.machine.countVcs(this.vc);
    this.#home.machine.drawFrom(this.#chance);
    const resumes = vm.scheduler.pending !== null;
    if (!resumes) this.#pollDevices();
    vm.stopsAt = until;
    const left = maxInstructions === null ? Number.POSITIVE_INFINITY : maxInstructions - vm.consumed;
    const outcome = left > 0 || resumes ? this.#run(Math.min(instructions, left), left) : null;
    if (outcome !== null) this.#end(outcome);
    else if (vm.scheduler.pending !== null) return false;
    else if (maxInstructions !== null && vm.consumed >= maxInstructions) this.#end({ kind: 'limit', instructions: maxInstructions });
    return this.#outcome !== null;
  }

  /** The run goes on though the guest asked for its end: nothing forces a hypervisor to follow that. */
  goOn(): void {
    assert(this.#outcome?.kind === 'terminated', 'the guest has asked for its end');
    this.#outcome = null;
  }

  /** The virtual CPU with an exit that the hypervisor has not looked at yet; null: there is none. */
  get pending(): Vcpu | null {
    return this.vm.scheduler.pending;
  }

  /** All that has a state, by name: for snapshots, between calls of `advance`. */
  get components(): Components {
    const { vm } = this;
    return new Map<string, Stateful>([
      ['guest', this],
      ['virtual machine', vm],
      ...vm.vcpus.map((vcpu): [string, Stateful] => [`virtual cpu ${vcpu.number}`, vcpu]),
      ...this.#chips,
    ]);
  }

  /** Somebody wants the run to end here. */
  interrupt(): void {
    this.vm.ended ??= { kind: 'interrupted' }; // from within an exit: then this is the last one
    this.#end({ kind: 'interrupted' });
  }

  /** What is known of the run so far; final once it has ended. */
  result(): RunResult {
    const outcome = this.#outcome ?? { kind: 'interrupted' };
    const { clock, vcpus, warnings } = this.vm;
    const { measurement } = this;
    return {
      outcome,
      status: exitStatus(outcome, this.#options.haltOk),
      value: outcome.kind === 'ended' ? outcome.value : null,
      instructions: clock.retired - clock.elements,
      elements: clock.elements,
      exits: byName(vcpus.map(({ exits }) => exits)),
      vc: byName([this.vc]),
      measurement: measurement === null ? null : Array.from(measurement, (byte) => byte.toString(16).padStart(2, '0')).join(''),
      warnings: Array.from(warnings, ([text, times]) => (times === 1 ? text : `${text} (${times} times)`)),
    };
  }

  /** Gives ASID, key and memory back. A text: what the AMD-SP refused. */
  retire(): string | null {
    if (this.#retired) return null;
    this.#retired = true;
    this.interrupt();
    return retire(this.#home.system, this.#launched);
  }

  #run(budget: number, limit: number): Outcome | null {
    try {
      return this.vm.scheduler.run(budget, limit);
    } finally {
      this.vm.clock.leave(); // also if whoever gets the guest's output threw something
    }
  }

  #end(given: Outcome): void {
    if (this.#outcome !== null) return;
    const { refusal } = this.#home.machine;
    const outcome: Outcome = given.kind === 'refused' && refusal !== null ? { kind: 'refused', reason: refusal } : given;
    this.#outcome = outcome;
    this.#options.trace?.emit({ kind: 'end', outcome: outcome.kind, detail: describeOutcome(outcome) });
  }

  /** How far it has come; what it consists of are `components`. */
  exchange(fields: Fields): void {
    fields.part(this.vc);
    fields.part(this.#chance);
    this.#outcome = fields.value(this.#outcome);
    this.#retired = fields.value(this.#retired);
  }
}

function byName(counted: readonly CodeCounts[]): Record<string, number> {
  const sums = new Map<number, number>();
  for (const counts of counted) for (const [code, count] of counts) sums.set(code, (sums.get(code) ?? 0) + count);
  return Object.fromEntries([...sums].sort(([a], [b]) => a - b).map(([code, count]) => [exitName(code), count]));
}
