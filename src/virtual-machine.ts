// The whole of a run: a machine, its host's software, one guest. It lies above the hypervisor, which must not see the machine. It
// advances by slices, so that a surface can stream serial output and be interrupted between them, and ends with an Outcome.
// Hostile images end as Outcomes; only what a person did wrong is thrown, as UserError, by the constructor.

import { technologies, type Technology } from './arch/boot-page.ts';
import { exitName } from './arch/exit-code.ts';
import { CmosRtc } from './devices/cmos-rtc.ts';
import { DebugConsole } from './devices/debug-console.ts';
import { IoBus } from './devices/io-bus.ts';
import { TestDevice } from './devices/test-device.ts';
import { type SerialPeer, Uart16550 } from './devices/uart16550.ts';
import { Machine, type MachineOptions } from './machine/machine.ts';
import { guestMap, hostMap } from './machine/memory-map.ts';
import { portMap } from './machine/ports.ts';
import { PAGE_SIZE } from './util/address.ts';
import { UserError } from './util/errors.ts';
import { planBoot } from './hypervisor/boot.ts';
import { isElf, readElf } from './hypervisor/images/elf.ts';
import { readFlat } from './hypervisor/images/flat.ts';
import type { Image, Placement } from './hypervisor/images/image.ts';
import { parseIntercepts } from './hypervisor/intercepts.ts';
import { launch, sevCapabilities } from './hypervisor/launcher.ts';
import type { Emulator } from './hypervisor/mmio.ts';
import { describeOutcome, exitStatus, type Outcome } from './hypervisor/outcome.ts';
import type { Vcpu } from './hypervisor/vcpu.ts';

export type RunOptions = Placement & {
  readonly image: { readonly name: string; readonly bytes: Uint8Array };
  readonly technology: Technology;
  /** Guest RAM in bytes. */
  readonly memory: number;
  /** Name of a processor model. */
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
export const NANOSECONDS_PER_INSTRUCTION = 16;

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
    const { image, technology, memory } = options;
    if (!technologies.includes(technology)) throw new UserError(`--sev ${technology}: choose one of ${technologies.join(', ')}`);
    checkMemory(memory);
    const intercepts = parseIntercepts(options.intercepts);
    const { name, bytes } = image;
    const loaded = isElf(bytes) ? readElf(name, bytes, memory, options) : readFlat(name, bytes, memory, options);
    this.image = loaded;
    this.machine = new Machine({
      model: options.cpu,
      memory: hostMap.guest + memory,
      seed: options.seed,
      aes: options.aes,
      trace: options.trace,
      tier: options.tier,
    });
    try {
      const { host } = this.machine;
      const { cBit } = sevCapabilities(host);
      const plan = planBoot(name, loaded, { technology, memory, cBit, append: options.append });
      const io = this.#bus();
      const { engine } = this.machine;
      // Only a guest that needs it has the second interpreter made.
      const emulator: Emulator = { execute: (instruction, state, operands) => engine.emulator.execute(instruction, state, operands) };
      const launched = launch(
        host,
        { technology, ram: { at: hostMap.guest, size: memory }, intercepts, io, emulator, trace: options.trace },
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

  #bus(): IoBus {
    const { serial, debugConsole, rtc } = this.#options;
    const io = new IoBus();
    const devices = {
      realTimeClock: new CmosRtc(() => rtc + (this.machine.retired * NANOSECONDS_PER_INSTRUCTION) / 1e6),
      debugConsole: new DebugConsole(debugConsole ?? ((byte) => serial.transmit(byte))),
      testDevice: new TestDevice((value) => {
        this.vcpu.vm.ended ??= { kind: 'ended', value };
      }),
      com1: new Uart16550(serial),
    } satisfies Record<keyof typeof portMap, unknown>;
    for (const name of Object.keys(portMap) as (keyof typeof portMap)[]) io.map(portMap[name].base, portMap[name].ports, devices[name]);
    return io;
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

function checkMemory(memory: number): void {
  if (!Number.isInteger(memory) || memory % PAGE_SIZE !== 0)
    throw new UserError(`--memory ${memory} is not a whole number of pages: give for example 64M`);
  if (memory < guestMap.least || memory > guestMap.most)
    throw new UserError(`--memory ${memory} is not between 1M and 3G: give for example 64M`);
}

const byName = (counts: ReadonlyMap<number, number>): Record<string, number> =>
  Object.fromEntries([...counts].sort(([a], [b]) => a - b).map(([code, count]) => [exitName(code), count]));
