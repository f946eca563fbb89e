// The whole of a run: a machine with its host's software and one guest, or a bare machine. It lies above the hypervisor, which must not see the
// machine. It advances by slices, so that a surface can stream serial output and be interrupted between them, and ends with an Outcome.
// Hostile images end as Outcomes; only what a person did wrong is thrown, as UserError, by the constructor.

import { BareProcessor } from './bare/bare-processor.ts';
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
import { assert, UserError } from './util/errors.ts';

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

export class VirtualMachine {
  readonly machine: Machine;
  readonly image: Image;
  /** The processor of a bare machine; null: there is a hypervisor. */
  readonly bare: BareProcessor | null = null;
  readonly #guest: Guest | null = null;
  readonly #options: RunOptions;
  readonly #warnings = new Map<string, number>();
  #outcome: Outcome | null = null;
  #pollDevices: () => void = () => {};

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

  /** Runs at most so many instructions more. True: the run has ended. */
  advance(instructions: number): boolean {
    const { bare } = this;
    if (bare === null) return this.guest.advance(instructions);
    if (this.#outcome !== null) return true;
    const { maxInstructions } = this.#options;
    this.#pollDevices();
    const left = maxInstructions === null ? Number.POSITIVE_INFINITY : maxInstructions - bare.consumed;
    const outcome = left > 0 ? bare.run(Math.min(instructions, left)) : null;
    if (outcome !== null) this.#end(outcome);
    else if (maxInstructions !== null && bare.consumed >= maxInstructions) this.#end({ kind: 'limit', instructions: maxInstructions });
    return this.#outcome !== null;
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
    bare = new BareProcessor(machine, chipset);
    for (const { start, end } of ranges) bare.memory.write(BigInt(start), new Uint8Array(end - start));
    for (const { start, bytes } of contents) bare.memory.write(BigInt(start), bytes);
    for (const text of warnings) this.#warnings.set(text, 1);
    bare.start(vmsaImage({ ...state, efer: state.efer & ~BigInt(Efer.SVME) }));
    return bare;
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
