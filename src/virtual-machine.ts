// The whole of a run: a machine with its host's software and one guest, or a bare machine. It lies above the hypervisor, which must not see the
// machine. It advances by slices, so that a surface can stream serial output and be interrupted between them, and ends with an Outcome.
// Hostile images end as Outcomes; only what a person did wrong is thrown, as UserError, by the constructor.

import { BareProcessor } from './bare/bare-processor.ts';
import { ExitCode } from './arch/exit-code.ts';
import { Efer } from './arch/registers.ts';
import { chooseModel } from './cpu/model-choice.ts';
import { chipsetOf } from './guest/chipset.ts';
import { Guest } from './guest/guest.ts';
import { findImage, planFor } from './guest/image.ts';
import { checkGuest, type GuestOptions, type RunResult } from './guest/options.ts';
import type { BootPlan } from './hypervisor/boot-plan.ts';
import { HostSystem } from './hypervisor/host-system.ts';
import type { Image } from './hypervisor/images/image.ts';
import { vmsaImage } from './hypervisor/launcher.ts';
import { describeOutcome, exitStatus, type Outcome } from './hypervisor/outcome.ts';
import type { Vcpu } from './hypervisor/vcpu.ts';
import { Machine, type MachineOptions } from './machine/machine.ts';
import { hostMap } from './machine/memory-map.ts';
import { PAGE_SIZE } from './util/address.ts';
import { Snapshot } from './util/snapshot.ts';
import { assert, UserError } from './util/errors.ts';
import type { Components, Fields, Stateful } from './util/stateful.ts';

export type { NamedBytes, RunResult } from './guest/options.ts';

export type RunOptions = GuestOptions & {
  /** Secure memory encryption: the hypervisor sets the C-bit for its own memory and the guest's. */
  readonly sme?: boolean | undefined;
  /** Transparent SME, whoever sets a C-bit or not. */
  readonly tsme?: boolean | undefined;
  /** XE or XEX, where the processor model was built with either; left out: as the model has it. */
  readonly encryption?: MachineOptions['encryption'];
  /** Cache lines are evicted by chance, too. */
  readonly evict?: MachineOptions['evict'];
  /** The image is the host: there is no hypervisor. The technology is `none` then. */
  readonly bare?: boolean | undefined;
  /** A processor model, with features taken away if need be: `milan`, `milan,-pcid`. */
  readonly cpu: string;
  /** Processors of the host, on which virtual CPUs run in turn; left out: one. */
  readonly hostCpus?: number | undefined;
  /** Tell of fields of a VMCB that were changed under a set clean bit; left out: if there is a trace. */
  readonly checkCleanBits?: boolean | undefined;
  readonly aes: MachineOptions['aes'];
  /** Whether hot code is compiled, or all of it interpreted. Changes nothing but the time that a run takes. */
  readonly tier?: MachineOptions['tier'];
};

/** Instructions at a time: the end of a slice is an exit (INTR, the host's timer), so every surface uses this one. */
export const SLICE = 1_000_000;

export class VirtualMachine implements Stateful {
  readonly machine: Machine;
  readonly image: Image;
  /** The processor of a bare machine; null: there is a hypervisor. */
  readonly bare: BareProcessor | null = null;
  readonly #guest: Guest | null = null;
  readonly #options: RunOptions;
  readonly #warnings = new Map<string, number>();
  #outcome: Outcome | null = null;
  #pollDevices: () => void = () => {};
  #received: () => void = () => {};
  /** Chips of a bare machine. */
  #chips: Components = new Map();
  #system: HostSystem | null = null;
  #known: Map<string, Stateful> | null = null;

  constructor(options: RunOptions) {
    this.#options = options;
    const { memory, bios, technology } = options;
    checkGuest(options);
    if (options.bare) checkBare(options);
    const image = findImage(options);
    const guest = options.bare ? 0 : hostMap.guest;
    this.machine = new Machine({
      model: options.cpu,
      memory: guest + memory + Math.ceil((bios?.bytes.length ?? 0) / PAGE_SIZE) * PAGE_SIZE,
      processors: options.hostCpus,
      seed: options.seed,
      aes: options.aes,
      trace: options.trace,
      tsme: options.tsme,
      encryption: options.encryption,
      evict: options.evict,
      tier: options.tier,
      checkCleanBits: options.checkCleanBits,
      localApic: options.bare,
    });
    try {
      const { machine } = this;
      if (options.bare) {
        this.image = image;
        this.bare = this.#powerOn(image);
        return;
      }
      const { withheld, model } = chooseModel(options.cpu);
      const encryptedState = technology === 'sev-es';
      const system = new HostSystem(machine.processors, {
        model: model.name,
        sme: options.sme === true,
        encryptedState,
        trace: options.trace,
      });
      this.#system = system;
      this.#guest = new Guest({ machine, system, withheld, firstProcessor: 0 }, options);
      this.image = this.#guest.image;
    } catch (error) {
      this.machine.dispose();
      throw error;
    }
  }

  /** The guest; a bare machine has none. */
  get guest(): Guest {
    assert(this.#guest !== null, 'a bare machine has no guest');
    return this.#guest;
  }

  /** The guest's boot processor. */
  get vcpu(): Vcpu {
    return this.guest.vm.vcpus[0]!;
  }

  get measurement(): Uint8Array | null {
    return this.#guest?.measurement ?? null;
  }

  /** Instructions of the budget used up so far: those retired, elements of string instructions included, and those emulated. */
  get consumed(): number {
    return this.bare?.consumed ?? this.guest.consumed;
  }

  /** How the run ended; null while it goes on. */
  get outcome(): Outcome | null {
    return this.#guest?.outcome ?? this.#outcome;
  }

  /**
   * Runs at most so many instructions more. True: the run has ended. With `until` it stops right behind a VMGEXIT, before the hypervisor has looked
   * at it (`atVmgexit`); the next call begins with that and goes on to the end of the same slice, whatever number it is given.
   */
  advance(instructions: number, { until }: { readonly until?: 'vmgexit' | undefined } = {}): boolean {
    const { bare } = this;
    if (bare === null) return this.guest.advance(instructions, until === 'vmgexit' ? ExitCode.VMGEXIT : null);
    if (this.#outcome !== null) return true;
    const { maxInstructions } = this.#options;
    this.#pollDevices();
    const left = maxInstructions === null ? Number.POSITIVE_INFINITY : maxInstructions - bare.consumed;
    const outcome = left > 0 ? bare.run(Math.min(instructions, left)) : null;
    if (outcome !== null) this.#end(outcome);
    else if (maxInstructions !== null && bare.consumed >= maxInstructions) this.#end({ kind: 'limit', instructions: maxInstructions });
    return this.#outcome !== null;
  }

  /** Between calls of `advance`: the other end of the serial line has something now, for a program that waits for the interrupt. */
  received(): void {
    if (this.bare === null) this.guest.received();
    else this.#received();
  }

  /** Has the last `advance` stopped at a VMGEXIT that is not answered yet? */
  get atVmgexit(): boolean {
    return this.pendingVcpu !== null;
  }

  /** The virtual CPU that has executed it; null: there is none. */
  get pendingVcpu(): Vcpu | null {
    return this.#guest?.pending ?? null;
  }

  /** The run as it is now; between calls of `advance`. From the first one on the machine notes which pages change. */
  snapshot(): Snapshot {
    return Snapshot.of(this.#components);
  }

  /** The run is as it was: any snapshot of it, any number of times, in any order, also after its end. */
  restore(snapshot: Snapshot): void {
    snapshot.restore(this.#components);
  }

  /** A reader of the run (a trace hash, what a guest wrote to its serial port) is part of snapshots from now on. */
  capture(name: string, component: Stateful | { capture(): unknown; restore(state: never): void }): void {
    assert(!this.#components.has(name), 'a component of that name is captured already');
    this.#known?.set(name, 'exchange' in component ? component : new Reader(component as ReaderState));
  }

  get #components(): Components {
    const { machine } = this;
    this.#known ??= new Map<string, Stateful>([
      ...machine.components,
      ...(this.#system === null ? [] : [['hypervisor', this.#system] as const]),
      ...(this.#guest?.components ?? []),
      ...(this.bare === null ? [] : [['run', this] as const, ['board', this.bare] as const, ...this.#chips]),
    ]);
    return this.#known;
  }

  /** Of a bare machine; the others are guests. */
  exchange(fields: Fields): void {
    this.#outcome = fields.value(this.#outcome);
    fields.map(this.#warnings);
  }

  /** Somebody wants the run to end here. */
  interrupt(): void {
    if (this.#guest !== null) this.#guest.interrupt();
    else if (this.#outcome === null) this.#end({ kind: 'interrupted' });
  }

  /** What is known of the run so far; final once it has ended. */
  result(): RunResult {
    if (this.#guest !== null) {
      const result = this.#guest.result();
      return { ...result, warnings: [...result.warnings, ...this.machine.cleanBitFaults] };
    }
    const outcome = this.#outcome ?? { kind: 'interrupted' };
    const { retired } = this.machine;
    const { elements } = this.machine.host;
    return {
      outcome,
      status: exitStatus(outcome, this.#options.haltOk),
      value: outcome.kind === 'ended' ? outcome.value : null,
      instructions: retired - elements,
      elements,
      exits: {},
      vc: {},
      measurement: null,
      warnings: [...this.#warnings.keys()],
    };
  }

  /** Gives the machine's memory back for the next run. The virtual machine is of no use afterwards. */
  dispose(): void {
    this.machine.dispose();
  }

  #end(outcome: Outcome): void {
    this.#outcome = outcome;
    this.#options.trace?.emit({ kind: 'end', outcome: outcome.kind, detail: describeOutcome(outcome) });
  }

  /** What a boot loader does: image and boot structures into memory, without a key, and the registers of the first instruction. */
  #powerOn(image: Image): BareProcessor {
    const { machine } = this;
    const { host } = machine;
    const cBit = host.cpuid(0x8000_001f, 0)[1] & 0x3f;
    const { ranges, contents, state, warnings }: BootPlan = planFor(image, this.#options, cBit, host.cpuid(1, 0)[0]);
    let bare: BareProcessor | null = null;
    const chipset = chipsetOf(this.#options, image, {
      time: () => machine.time,
      memory: {
        read: (address, into) => bare?.memory.read(address, into) ?? false,
        write: (address, from) => bare?.memory.write(address, from) ?? false,
      },
      iommu: true,
      deliver: (message) => bare?.interrupts.apic.deliver(message) ?? false,
      interruptRequest: (level) => bare?.interrupts.apic.lint0(level),
      initialise: () => {
        if (bare !== null) bare.interrupts.apic.init = true;
      },
      ended: (value) => bare?.end(value),
      stopped: (why) => bare?.stop(why),
    });
    this.#pollDevices = chipset.poll;
    this.#received = chipset.received;
    this.#chips = chipset.components;
    bare = new BareProcessor(machine, chipset);
    for (const { start, end } of ranges) bare.memory.write(BigInt(start), new Uint8Array(end - start));
    for (const { start, bytes } of contents) bare.memory.write(BigInt(start), bytes);
    for (const text of warnings) this.#warnings.set(text, 1);
    bare.start(vmsaImage({ ...state, efer: state.efer & ~BigInt(Efer.SVME) }));
    return bare;
  }
}

/** Something outside the machine that is captured as a whole. */
type ReaderState = { capture(): unknown; restore(state: unknown): void };

class Reader implements Stateful {
  readonly #state: ReaderState;

  constructor(state: ReaderState) {
    this.#state = state;
  }

  exchange(fields: Fields): void {
    if (fields.restoring) this.#state.restore(fields.value<unknown>(null));
    else fields.value(this.#state.capture());
  }
}

/** Runs a guest to its end. */
export function run(options: RunOptions, slice = SLICE): RunResult {
  const vm = new VirtualMachine(options);
  try {
    while (!vm.advance(slice));
    return vm.result();
  } finally {
    vm.dispose();
  }
}

/** What a machine without a hypervisor has no use for. */
function checkBare({ technology, sme, intercepts, sevFeatures = [], bios, vcpus = 1, hostCpus = 1 }: RunOptions): void {
  if (technology !== 'none')
    throw new UserError(`--bare: there is no guest that --sev ${technology} could encrypt: leave it out, or give --sev none`);
  if (sme === true) throw new UserError('--bare: the image sets C-bits itself, in its own page tables: leave --sme out');
  if (intercepts.length > 0) throw new UserError('--bare: there is no hypervisor that could intercept anything: leave --intercept out');
  if (sevFeatures.length > 0) throw new UserError('--bare: there is no VMSA: leave --sev-features out');
  if (bios !== undefined) throw new UserError('--bare: a ROM image needs a hypervisor that maps it: leave --bios out');
  if (vcpus > 1 || hostCpus > 1)
    throw new UserError('--bare: the machine has one processor: leave --vcpus and --host-cpus out, or run the image as a guest');
}
