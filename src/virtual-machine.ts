// The whole of a run: a machine, its host's software, one guest. It lies above the hypervisor, which must not see the machine. It
// advances by slices, so that a surface can stream serial output and be interrupted between them, and ends with an Outcome.
// Hostile images end as Outcomes; only what a person did wrong is thrown, as UserError, by the constructor.

import { technologies, type Technology } from './arch/boot-page.ts';
import { exitName } from './arch/exit-code.ts';
import { chooseModel } from './cpu/model-choice.ts';
import { CmosRtc } from './devices/cmos-rtc.ts';
import { DebugConsole } from './devices/debug-console.ts';
import { e820File, FwCfg, FwCfgItem } from './devices/fw-cfg.ts';
import { IoApic } from './devices/io-apic.ts';
import { IoBus } from './devices/io-bus.ts';
import { MmioBus } from './devices/mmio-bus.ts';
import { Pic8259Pair } from './devices/pic8259.ts';
import { Pit8254 } from './devices/pit8254.ts';
import { PmTimer } from './devices/pm-timer.ts';
import { SystemControlA, SystemControlB } from './devices/system-control.ts';
import { TestDevice } from './devices/test-device.ts';
import { EchoPorts, LinePorts, TestMemory } from './devices/test-ports.ts';
import { type SerialPeer, Uart16550 } from './devices/uart16550.ts';
import { Machine, type MachineOptions } from './machine/machine.ts';
import { guestMap, hostMap } from './machine/memory-map.ts';
import { portMap } from './machine/ports.ts';
import { PAGE_SIZE, spa } from './util/address.ts';
import type { CodeCounts } from './util/code-counts.ts';
import { UserError } from './util/errors.ts';
import { planBoot } from './hypervisor/boot.ts';
import { planMultiboot } from './hypervisor/boot-multiboot.ts';
import type { BootPlan } from './hypervisor/boot-plan.ts';
import { planPvh } from './hypervisor/boot-pvh.ts';
import { planRom } from './hypervisor/boot-rom.ts';
import type { Image, Placement } from './hypervisor/images/image.ts';
import { readImage } from './hypervisor/images/read.ts';
import { readRom } from './hypervisor/images/rom.ts';
import { parseIntercepts } from './hypervisor/intercepts.ts';
import { NANOSECONDS, TIMER_IRQ, TIMER_PIN } from './hypervisor/interrupts.ts';
import { launch, sevCapabilities } from './hypervisor/launcher.ts';
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
  /** Guest RAM in bytes. */
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

/** Nanoseconds of virtual time for each instruction. */
export const NANOSECONDS_PER_INSTRUCTION = NANOSECONDS;

/** Pin of the I/O APIC and input of the 8259A that COM1 has on a PC. */
const COM1_LINE = 4;

/** Instructions at a time: the end of a slice is an exit (INTR, the host's timer), so every surface uses this one. */
export const SLICE = 1_000_000;

export class VirtualMachine {
  readonly machine: Machine;
  readonly image: Image;
  readonly vcpu: Vcpu;
  readonly measurement: Uint8Array | null;
  readonly #options: RunOptions;
  #outcome: Outcome | null = null;

  constructor(options: RunOptions) {
    this.#options = options;
    const { technology, memory, bios } = options;
    if (!technologies.includes(technology)) throw new UserError(`--sev ${technology}: choose one of ${technologies.join(', ')}`);
    checkMemory(memory);
    const intercepts = parseIntercepts(options.intercepts);
    const loaded = findImage(options);
    this.image = loaded;
    const rom = bios === undefined ? undefined : { at: spa(hostMap.guest + memory), size: bios.bytes.length };
    this.machine = new Machine({
      model: options.cpu,
      memory: hostMap.guest + memory + (rom?.size ?? 0),
      seed: options.seed,
      aes: options.aes,
      trace: options.trace,
      tier: options.tier,
    });
    try {
      const { host } = this.machine;
      const { cBit } = sevCapabilities(host);
      const { withheld } = chooseModel(options.cpu);
      const plan = planFor(loaded, options, cBit, host.cpuid(1, 0)[0]);
      const devices = this.#devices();
      const { engine } = this.machine;
      // Only a guest that needs it has the second interpreter made.
      const emulator: Emulator = { execute: (instruction, state, operands) => engine.emulator.execute(instruction, state, operands) };
      const launched = launch(
        host,
        { technology, ram: { at: hostMap.guest, size: memory }, rom, intercepts, ...devices, emulator, withheld, trace: options.trace },
        plan,
      );
      this.vcpu = launched.vcpu;
      this.measurement = launched.measurement;
      if (launched.failure !== null) this.#end({ kind: 'stopped', reason: launched.failure });
    } catch (error) {
      this.machine.dispose();
      throw error;
    }
  }

  /** How the run ended; null while it goes on. */
  get outcome(): Outcome | null {
    return this.#outcome;
  }

  /** Runs at most so many instructions more. True: the run has ended. */
  advance(instructions: number): boolean {
    if (this.#outcome !== null) return true;
    const { maxInstructions } = this.#options;
    const left = maxInstructions === null ? Number.POSITIVE_INFINITY : maxInstructions - this.vcpu.consumed;
    const outcome = left > 0 ? this.vcpu.run(Math.min(instructions, left)) : null;
    if (outcome !== null) this.#end(outcome);
    else if (maxInstructions !== null && this.vcpu.consumed >= maxInstructions) this.#end({ kind: 'limit', instructions: maxInstructions });
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
      exits: byName(this.vcpu.exits),
      vc: byName(this.machine.vcCounts),
      measurement: this.measurement === null ? null : Array.from(this.measurement, (byte) => byte.toString(16).padStart(2, '0')).join(''),
      warnings: Array.from(this.vcpu.vm.warnings, ([text, times]) => (times === 1 ? text : `${text} (${times} times)`)),
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

  /** The chips around the processor, at their addresses. */
  #devices(): { io: IoBus; mmio: MmioBus; ioApic: IoApic; pic: Pic8259Pair; pit: Pit8254 } {
    const { serial, debugConsole, rtc } = this.#options;
    const io = new IoBus();
    const mmio = new MmioBus();
    const now = (): number => this.machine.time * NANOSECONDS_PER_INSTRUCTION;
    const settle = (): void => pit.settle();
    const ioApic = new IoApic((message) => this.vcpu.interrupts.apic.deliver(message), settle);
    const pic = new Pic8259Pair((level) => this.vcpu.interrupts.apic.lint0(level), settle);
    if (this.image.protocol === 'multiboot') pic.initialiseAsFirmware(); // Multiboot specification 0.6.96, 3.2
    const interrupt = (irq: number, level: boolean): void => {
      ioApic.line(irq, level);
      pic.line(irq, level);
    };
    const pit = new Pit8254(now, (level) => {
      pic.line(TIMER_IRQ, level);
      ioApic.line(TIMER_PIN, level);
    });
    mmio.map(guestMap.ioApic, PAGE_SIZE, ioApic);
    mmio.map(guestMap.testMemory.start, guestMap.testMemory.size, new TestMemory(guestMap.testMemory.size));
    const console = new DebugConsole(debugConsole ?? ((byte) => serial.transmit(byte)));
    const devices = {
      pic: pic.masterPorts,
      slavePic: pic.slavePorts,
      levelControl: pic.elcrPorts,
      pit,
      systemControlB: new SystemControlB(pit),
      systemControlA: new SystemControlA(() => {
        this.vcpu.interrupts.apic.init = true;
      }),
      realTimeClock: new CmosRtc(() => rtc + now() / 1e6),
      echoPorts: new EchoPorts(),
      debugConsole: console,
      testText: console,
      testDevice: new TestDevice((value) => {
        this.vcpu.vm.ended ??= { kind: 'ended', value };
      }),
      com1: new Uart16550(serial, (level) => interrupt(COM1_LINE, level)),
      fwCfg: this.#configuration(),
      pmTimer: new PmTimer(now),
      interruptLines: new LinePorts(interrupt),
    } satisfies Record<keyof typeof portMap, unknown>;
    for (const name of Object.keys(portMap) as (keyof typeof portMap)[]) io.map(portMap[name].base, portMap[name].ports, devices[name]);
    return { io, mmio, ioApic, pic, pit };
  }

  /** What firmware and kernels ask of fw_cfg. */
  #configuration(): FwCfg {
    const { memory, append, initrd, bios, image } = this.#options;
    const config = new FwCfg({
      read: (address, into) => this.vcpu.readMemory(address, into),
      write: (address, from) => this.vcpu.writeMemory(address, from),
    });
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

function checkMemory(memory: number): void {
  if (!Number.isInteger(memory) || memory % PAGE_SIZE !== 0)
    throw new UserError(`--memory ${memory} is not a whole number of pages: give for example 64M`);
  if (memory < guestMap.least || memory > guestMap.most)
    throw new UserError(`--memory ${memory} is not between 1M and 3G: give for example 64M`);
}

const byName = (counts: CodeCounts): Record<string, number> =>
  Object.fromEntries([...counts].map(([code, count]) => [exitName(code), count]));
