// The whole of a run: a machine, its host's software, one guest. It lies above the hypervisor, which must not see the machine. It
// advances by slices, so that a surface can stream serial output and be interrupted between them, and ends with an Outcome.
// Hostile images end as Outcomes; only what a person did wrong is thrown, as UserError, by the constructor.

import { technologies, type Technology } from './arch/boot-page.ts';
import { BareProcessor } from './bare/bare-processor.ts';
import { exitName } from './arch/exit-code.ts';
import { Efer } from './arch/registers.ts';
import { chooseModel } from './cpu/model-choice.ts';
import type { DmaMemory } from './devices/device.ts';
import { e820File, FwCfg, FwCfgItem } from './devices/fw-cfg.ts';
import type { LocalApic } from './devices/local-apic.ts';
import type { SerialPeer } from './devices/uart16550.ts';
import { type Chipset, wireChipset } from './machine/chipset.ts';
import { Machine, type MachineOptions } from './machine/machine.ts';
import { guestMap, hostMap } from './machine/memory-map.ts';
import { PAGE_SIZE, spa } from './util/address.ts';
import type { CodeCounts } from './util/code-counts.ts';
import { assert, UserError } from './util/errors.ts';
import { planBoot } from './hypervisor/boot.ts';
import { planMultiboot } from './hypervisor/boot-multiboot.ts';
import type { BootPlan } from './hypervisor/boot-plan.ts';
import { planPvh } from './hypervisor/boot-pvh.ts';
import { planRom } from './hypervisor/boot-rom.ts';
import type { Image, Placement } from './hypervisor/images/image.ts';
import { readImage } from './hypervisor/images/read.ts';
import { readRom } from './hypervisor/images/rom.ts';
import { parseIntercepts } from './hypervisor/intercepts.ts';
import { launch, sevCapabilities, vmsaImage } from './hypervisor/launcher.ts';
import type { Emulator } from './hypervisor/mmio.ts';
import { describeOutcome, exitStatus, type Outcome } from './hypervisor/outcome.ts';
import type { Vcpu } from './hypervisor/vcpu.ts';

/** A file: its name is for messages and for what a boot protocol tells the guest. */
export type NamedBytes = { readonly name: string; readonly bytes: Uint8Array };

export type RunOptions = Placement & {
  /** May be left out where there is a ROM image. */
  readonly image?: NamedBytes | undefined;
  /** A ROM image: execution begins at its reset vector, and the other image is what its firmware finds in fw_cfg. */
  readonly bios?: NamedBytes | undefined;
  /** A file for the guest, as its boot protocol has it. */
  readonly initrd?: NamedBytes | undefined;
  readonly technology: Technology;
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
  /** Guest RAM in bytes; of a bare machine, all of its DRAM. */
  readonly memory: number;
  /** A processor model, with features taken away if need be: `milan`, `milan,-pcid`. */
  readonly cpu: string;
  readonly seed: string;
  /** null: as many as it takes. */
  readonly maxInstructions: number | null;
  /** Names as --intercept has them. */
  readonly intercepts: readonly string[];
  readonly append: string;
  /** A halt for good counts as success. */
  readonly haltOk: boolean;
  /** The guest's date at power-on: milliseconds since 1970-01-01 UTC. */
  readonly rtc: number;
  /** The other end of COM1. */
  readonly serial: SerialPeer;
  /** Where the debug console's bytes go; left out: to the other end of COM1. */
  readonly debugConsole?: ((byte: number) => void) | undefined;
  readonly aes: MachineOptions['aes'];
  readonly trace: MachineOptions['trace'];
  /** Whether hot code is compiled, or all of it interpreted. Changes nothing but the time that a run takes. */
  readonly tier?: MachineOptions['tier'];
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

/** Instructions at a time: the end of a slice is an exit (INTR, the host's timer), so every surface uses this one. */
export const SLICE = 1_000_000;

/** What executes the image: a virtual CPU of the hypervisor's, or the processor itself. */
interface Runner {
  readonly consumed: number;
  run(budget: number): Outcome | null;
}

export class VirtualMachine {
  readonly machine: Machine;
  readonly image: Image;
  /** The processor of a bare machine; null: there is a hypervisor. */
  readonly bare: BareProcessor | null = null;
  readonly measurement: Uint8Array | null = null;
  readonly #options: RunOptions;
  readonly #vcpu: Vcpu | null = null;
  readonly #runner: Runner;
  readonly #warnings = new Map<string, number>();
  /** Memory as devices reach it. */
  readonly #memory: DmaMemory = {
    read: (address, into) => (this.bare === null ? this.vcpu.readMemory(address, into) : this.bare.memory.read(address, into)),
    write: (address, from) => (this.bare === null ? this.vcpu.writeMemory(address, from) : this.bare.memory.write(address, from)),
  };
  #outcome: Outcome | null = null;

  constructor(options: RunOptions) {
    this.#options = options;
    const { technology, memory, bios } = options;
    if (!technologies.includes(technology)) throw new UserError(`--sev ${technology}: choose one of ${technologies.join(', ')}`);
    checkMemory(memory);
    if (options.bare) checkBare(options);
    const intercepts = parseIntercepts(options.intercepts);
    const loaded = findImage(options);
    this.image = loaded;
    const guest = options.bare ? 0 : hostMap.guest;
    const rom = bios === undefined ? undefined : { at: spa(guest + memory), size: bios.bytes.length };
    this.machine = new Machine({
      model: options.cpu,
      memory: guest + memory + (rom?.size ?? 0),
      seed: options.seed,
      aes: options.aes,
      trace: options.trace,
      tsme: options.tsme,
      encryption: options.encryption,
      evict: options.evict,
      tier: options.tier,
      localApic: options.bare,
    });
    try {
      const { host } = this.machine;
      const { cBit } = sevCapabilities(host);
      const { withheld } = chooseModel(options.cpu);
      const plan = planFor(loaded, options, cBit, host.cpuid(1, 0)[0]);
      const chipset = this.#chipset();
      if (options.bare) {
        this.bare = new BareProcessor(this.machine, chipset);
        this.#runner = this.bare;
        this.#powerOn(this.bare, plan);
        return;
      }
      const { engine } = this.machine;
      // Only a guest that needs it has the second interpreter made.
      const emulator: Emulator = { execute: (instruction, state, operands) => engine.emulator.execute(instruction, state, operands) };
      const launched = launch(
        host,
        {
          technology,
          sme: options.sme,
          ram: { at: hostMap.guest, size: memory },
          rom,
          intercepts,
          ...chipset,
          emulator,
          withheld,
          trace: options.trace,
        },
        plan,
      );
      this.#vcpu = launched.vcpu;
      this.#runner = launched.vcpu;
      this.measurement = launched.measurement;
      if (launched.failure !== null) this.#end({ kind: 'stopped', reason: launched.failure });
    } catch (error) {
      this.machine.dispose();
      throw error;
    }
  }

  /** The guest's virtual CPU; a bare machine has none. */
  get vcpu(): Vcpu {
    assert(this.#vcpu !== null, 'a bare machine has no virtual CPU');
    return this.#vcpu;
  }

  /** Instructions of the budget used up so far: those retired, elements of string instructions included, and those emulated. */
  get consumed(): number {
    return this.#runner.consumed;
  }

  /** How the run ended; null while it goes on. */
  get outcome(): Outcome | null {
    return this.#outcome;
  }

  /** Runs at most so many instructions more. True: the run has ended. */
  advance(instructions: number): boolean {
    if (this.#outcome !== null) return true;
    const { maxInstructions } = this.#options;
    const runner = this.#runner;
    const left = maxInstructions === null ? Number.POSITIVE_INFINITY : maxInstructions - runner.consumed;
    const outcome = left > 0 ? runner.run(Math.min(instructions, left)) : null;
    if (outcome !== null) this.#end(outcome);
    else if (maxInstructions !== null && runner.consumed >= maxInstructions) this.#end({ kind: 'limit', instructions: maxInstructions });
    return this.#outcome !== null;
  }

  /** Somebody wants the run to end here. */
  interrupt(): void {
    if (this.#outcome === null) this.#end({ kind: 'interrupted' });
  }

  /** What is known of the run so far; final once it has ended. */
  result(): RunResult {
    const outcome = this.#outcome ?? { kind: 'interrupted' };
    const { retired } = this.machine;
    const { elements } = this.machine.host;
    return {
      outcome,
      status: exitStatus(outcome, this.#options.haltOk),
      value: outcome.kind === 'ended' ? outcome.value : null,
      instructions: retired - elements,
      elements,
      exits: this.#vcpu === null ? {} : byName(this.#vcpu.exits),
      vc: byName(this.machine.vcCounts),
      measurement: this.measurement === null ? null : Array.from(this.measurement, (byte) => byte.toString(16).padStart(2, '0')).join(''),
      warnings: Array.from(this.#vcpu?.vm.warnings ?? this.#warnings, ([text, times]) => (times === 1 ? text : `${text} (${times} times)`)),
    };
  }

  /** Gives the machine's memory back for the next run. The virtual machine is of no use afterwards. */
  dispose(): void {
    this.machine.dispose();
  }

  #end(given: Outcome): void {
    const { refusal } = this.machine;
    const outcome: Outcome = given.kind === 'refused' && refusal !== null ? { kind: 'refused', reason: refusal } : given;
    this.#outcome = outcome;
    this.#options.trace?.emit({ kind: 'end', outcome: outcome.kind, detail: describeOutcome(outcome) });
  }

  /** What a boot loader does: image and boot structures into memory, without a key, and the registers of the first instruction. */
  #powerOn(bare: BareProcessor, { ranges, contents, state, warnings }: BootPlan): void {
    for (const { start, end } of ranges) bare.memory.write(BigInt(start), new Uint8Array(end - start));
    for (const { start, bytes } of contents) bare.memory.write(BigInt(start), bytes);
    for (const text of warnings) this.#warnings.set(text, 1);
    bare.start(vmsaImage({ ...state, efer: state.efer & ~BigInt(Efer.SVME) }));
  }

  #chipset(): Chipset {
    const { serial, debugConsole, rtc } = this.#options;
    const apic = (): LocalApic => (this.bare ?? this.vcpu).interrupts.apic;
    return wireChipset({
      time: () => this.machine.time,
      serial,
      debugConsole,
      rtc,
      fwCfg: this.#configuration(),
      memory: this.#memory,
      iommu: this.#options.bare === true,
      picInitialised: this.image.protocol === 'multiboot', // Multiboot specification 0.6.96, 3.2
      deliver: (message) => apic().deliver(message),
      interruptRequest: (level) => apic().lint0(level),
      initialise: () => {
        apic().init = true;
      },
      ended: (value) => {
        if (this.bare !== null) this.bare.end(value);
        else this.vcpu.vm.ended ??= { kind: 'ended', value };
      },
    });
  }

  /** What firmware and kernels ask of fw_cfg. */
  #configuration(): FwCfg {
    const { memory, append, initrd, bios, image } = this.#options;
    const config = new FwCfg(this.#memory);
    config.addNumber(FwCfgItem.RAM_SIZE, memory, 8);
    config.addNumber(FwCfgItem.CPU_COUNT, 1, 2);
    config.addNumber(FwCfgItem.MAX_CPUS, 1, 2);
    config.addNumber(FwCfgItem.BOOT_MENU, 0, 2);
    if (append !== '') {
      const line = new TextEncoder().encode(`${append}\0`);
      config.addNumber(FwCfgItem.COMMAND_LINE_SIZE, line.length, 4);
      config.add(FwCfgItem.COMMAND_LINE_DATA, line);
    }
    if (initrd !== undefined) {
      config.addNumber(FwCfgItem.INITRD_SIZE, initrd.bytes.length, 4);
      config.add(FwCfgItem.INITRD_DATA, initrd.bytes);
    }
    if (bios !== undefined && image !== undefined) {
      config.addNumber(FwCfgItem.KERNEL_SIZE, image.bytes.length, 4);
      config.add(FwCfgItem.KERNEL_DATA, image.bytes);
    }
    config.addFile('etc/e820', e820File([{ start: guestMap.ram, size: memory, type: 1 }]));
    return config;
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

function findImage(options: RunOptions): Image {
  const { image, bios, initrd, append, memory } = options;
  if (bios !== undefined) {
    const unused = append !== '' ? '--append' : initrd !== undefined ? '--initrd' : null;
    if (unused !== null && image === undefined)
      throw new UserError(`${unused} goes with an image, which firmware fetches by fw_cfg: name an image besides --bios`);
    return readRom(bios.name, bios.bytes, options);
  }
  if (image === undefined) throw new UserError('there is nothing to run: give an image, or a ROM with --bios');
  const { name, bytes } = image;
  const found = readImage(name, bytes, memory, options);
  if (initrd !== undefined && found.protocol === 'cbit')
    throw new UserError('--initrd: the image knows no boot protocol that could take it (Multiboot, PVH): leave it out');
  return found;
}

/** `signature`: family, model and stepping of the processor. */
function planFor(image: Image, options: RunOptions, cBit: number, signature: number): BootPlan {
  const file = options.image ?? { name: '', bytes: new Uint8Array(0) };
  switch (image.protocol) {
    case 'reset':
      return planRom(options.bios?.bytes ?? file.bytes, signature);
    case 'multiboot':
      return planMultiboot(file.name, image, file.bytes, { ...options, cBit });
    case 'pvh':
      return planPvh(file.name, image, { ...options, cBit });
    case 'cbit':
      return planBoot(file.name, image, { ...options, cBit });
  }
}

/** What a machine without a hypervisor has no use for. */
function checkBare({ technology, sme, intercepts, bios }: RunOptions): void {
  if (technology !== 'none')
    throw new UserError(`--bare: there is no guest that --sev ${technology} could encrypt: leave it out, or give --sev none`);
  if (sme === true) throw new UserError('--bare: the image sets C-bits itself, in its own page tables: leave --sme out');
  if (intercepts.length > 0) throw new UserError('--bare: there is no hypervisor that could intercept anything: leave --intercept out');
  if (bios !== undefined) throw new UserError('--bare: a ROM image needs a hypervisor that maps it: leave --bios out');
}

function checkMemory(memory: number): void {
  if (!Number.isInteger(memory) || memory % PAGE_SIZE !== 0)
    throw new UserError(`--memory ${memory} is not a whole number of pages: give for example 64M`);
  if (memory < guestMap.least || memory > guestMap.most)
    throw new UserError(`--memory ${memory} is not between 1M and 3G: give for example 64M`);
}

const byName = (counts: CodeCounts): Record<string, number> =>
  Object.fromEntries([...counts].map(([code, count]) => [exitName(code), count]));
