// A virtual machine as the host's software sees it: a piece of host memory that the guest calls its own, an I/O bus, and what
// became of the run. It meets the machine only through HostProcessor.

import type { Technology } from '../arch/boot-page.ts';
import type { CpuidFeature } from '../arch/cpuid.ts';
import type { GhcbVersion } from '../arch/ghcb.ts';
import { ApicBus } from '../devices/apic-bus.ts';
import type { IoApic } from '../devices/io-apic.ts';
import type { IoBus } from '../devices/io-bus.ts';
import type { MmioBus } from '../devices/mmio-bus.ts';
import type { Pic8259Pair } from '../devices/pic8259.ts';
import type { Pit8254 } from '../devices/pit8254.ts';
import type { Gpa, Spa } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import type { TraceSink } from '../util/trace.ts';
import type { HostProcessor } from '../svm/host-processor.ts';
import type { Interposer } from './ghcb/interposer.ts';
import { type Backing, locatePage, memoryRegions, type MemoryRegion, type Piece, pieces } from './guest-memory.ts';
import { GuestClock } from './guest-clock.ts';
import { HostPages } from './host-pages.ts';
import type { MemoryHeap } from './memory-heap.ts';
import type { Emulator } from './mmio.ts';
import type { Intercepts } from './intercepts.ts';
import type { Outcome } from './outcome.ts';
import { type Schedule, Scheduler } from './scheduler.ts';
import type { Vcpu } from './vcpu.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

export type VmConfig = {
  readonly technology: Technology;
  /** Guest RAM: system physical start and size in bytes. */
  readonly ram: Backing;
  /** Where the firmware image lies in system physical memory. */
  readonly rom?: Backing | undefined;
  readonly asid: number;
  /** Number of virtual CPUs. */
  readonly vcpus: number;
  readonly cBit: number;
  readonly intercepts: Intercepts;
  /** The highest GHCB protocol version to speak; left out: the highest that there is. */
  readonly ghcbVersion?: GhcbVersion | undefined;
  /** Comes between the answers to VMGEXIT and the guest. */
  readonly interposer?: Interposer | undefined;
  /** SEV_FEATURES of every VMSA; left out: 0. */
  readonly sevFeatures?: number | undefined;
  readonly io: IoBus;
  /** Devices by guest physical address. The local APIC is added by its processor. */
  readonly mmio: MmioBus;
  readonly ioApic: IoApic;
  /** Its output is LINT0 of the local APIC. */
  readonly pic: Pic8259Pair;
  /** OUT of its counter 0 is on the timer's lines. */
  readonly pit: Pit8254;
  readonly emulator: Emulator;
  /** Features of the local APIC that this guest is not given. */
  readonly withheld?: readonly CpuidFeature[] | undefined;
  readonly trace: TraceSink | null;
  /** How virtual CPUs take turns. */
  readonly schedule: Schedule;
  /** Which processor a virtual CPU runs on, by the numbers of both. */
  readonly placement: (vcpu: number) => number;
};

/** What a virtual machine needs of the computer that it is on (HostSystem). */
export interface VmHost {
  readonly first: HostProcessor;
  readonly heap: MemoryHeap;
  /** The C-bit as the host's own addresses and tables have it: 0n without SME. */
  readonly cMask: bigint;
  physical(place: Spa): Spa;
  wbinvd(): void;
  /** The virtual CPU's registers come to a processor. */
  enter(number: number, vcpu: Vcpu): HostProcessor;
  /** They go to memory, wherever they are. */
  evict(vcpu: Vcpu): void;
}

/** A slice ends after so many exits, too: they cost far more than instructions, and a surface wants its turn (Ctrl-C, keys). */
const EXITS_PER_SLICE = 20_000;

/** So many different warnings are kept; a guest that provokes more has made its point. */
const MOST_WARNINGS = 32;

export class Vm implements Stateful {
  readonly config: VmConfig;
  readonly pages: HostPages;
  /** The guest's memory, ascending. */
  readonly regions: readonly MemoryRegion[];
  readonly warnings = new Map<string, number>();
  readonly vcpus: Vcpu[] = [];
  readonly bus = new ApicBus();
  readonly clock = new GuestClock();
  readonly scheduler: Scheduler;
  /** The AP jump table of an SEV-ES guest: its guest physical address as the guest gave it; 0: never. */
  jumpTable = 0n;
  /** Set once, by whoever ends the run from within an exit: the test device. */
  ended: Outcome | null = null;
  /** Instructions and elements that the hypervisor executed in the guest's stead. */
  emulated = 0;
  /** Exits that are left of the slice. */
  exitsLeft = EXITS_PER_SLICE;
  /** A run stops right behind an exit of this code, before anybody has looked at it; null: none does. */
  stopsAt: number | null = null;
  /** Told of what software on the host reads of the guest's memory: devices, for their DMA. */
  taken: ((gpa: number, length: number) => void) | null = null;
  /** The processor that works for the guest, or did last. */
  host: HostProcessor;
  readonly #home: VmHost;
  /** Whose turn it is, or was last. */
  #running: Vcpu | null = null;
  #processor = 0;

  constructor(home: VmHost, config: VmConfig) {
    this.#home = home;
    this.host = home.first;
    this.config = config;
    this.pages = new HostPages(home.first.memory, home.heap);
    this.regions = memoryRegions(config.ram, config.rom ?? null);
    this.scheduler = new Scheduler(this, config.schedule, config.placement);
  }

  /** Everything consumed of a budget so far: what processors retired for the guest, elements included, and what was emulated. */
  get consumed(): number {
    return this.clock.retired + this.emulated;
  }

  beginSlice(): void {
    this.exitsLeft = EXITS_PER_SLICE;
  }

  /** A virtual CPU runs on a processor. */
  run(vcpu: Vcpu, processor: number, budget: number): Outcome | null {
    this.#processor = processor;
    this.enter(vcpu);
    return vcpu.run(budget);
  }

  /** The virtual CPU's registers come to the processor that works for the guest. */
  enter(vcpu: Vcpu): void {
    this.host = this.#home.enter(this.#processor, vcpu);
    if (this.#running === vcpu) return;
    if (this.#running !== null) this.#running.interrupts.running = false;
    vcpu.interrupts.running = true;
    this.#running = vcpu;
  }

  /** All its registers are in memory. */
  evict(vcpu: Vcpu): void {
    this.#home.evict(vcpu);
  }

  /** All sleep: time passes. */
  idle(instructions: number): void {
    this.clock.enter(this.host);
    this.host.idle(instructions);
    this.clock.leave();
  }

  /** On every processor: the guest's lines may be in any cache. */
  wbinvd(): void {
    this.#home.wbinvd();
  }

  get cMask(): bigint {
    return this.#home.cMask;
  }

  /** A place in memory as the processor and the AMD-SP are told of it. */
  physical(place: Spa): Spa {
    return this.#home.physical(place);
  }

  get encryptedState(): boolean {
    return this.config.technology === 'sev-es';
  }

  /** Where the host finds a page of the guest's memory; null if there is none. `ram`: one of ROM does not count. */
  locate(page: Gpa, ram = false): Spa | null {
    return locatePage(this.regions, page, ram);
  }

  /** An address of the guest's, for people: why an access could not simply happen. */
  describe(gpa: bigint): string {
    const rom = pieces(this.regions, gpa, 1) !== null;
    const where = rom ? 'in ROM' : `outside the guest's RAM of 0x${this.config.ram.size.toString(16)} bytes`;
    return `guest physical address 0x${gpa.toString(16)}, ${where}`;
  }

  /** Guest memory as the host sees it; false if the range is not all memory. */
  read(gpa: bigint, into: Uint8Array): boolean {
    const found = pieces(this.regions, gpa, into.length);
    if (found === null) return false;
    this.taken?.(Number(gpa), into.length);
    for (const { at, offset, size } of found) this.host.memory.read(at, into.subarray(offset, offset + size));
    return true;
  }

  /** Writes what the guest could write itself; false if the range is not all RAM. */
  write(gpa: bigint, from: Uint8Array): boolean {
    const found = pieces(this.regions, gpa, from.length);
    return found !== null && found.every(({ writable }) => writable) && this.#store(found, from);
  }

  /** Is the whole range RAM? */
  isRam(gpa: bigint, length: number): boolean {
    return pieces(this.regions, gpa, length)?.every(({ writable }) => writable) ?? false;
  }

  /** Puts something into memory before the guest starts, ROM included. */
  install(gpa: number, from: Uint8Array): boolean {
    const found = pieces(this.regions, BigInt(gpa), from.length);
    return found !== null && this.#store(found, from);
  }

  /** The pieces of host memory that are behind a range of the guest's. */
  find(gpa: number, length: number): readonly Piece[] {
    const found = pieces(this.regions, BigInt(gpa), length);
    assert(found !== null, 'the range is not all memory');
    return found;
  }

  #store(found: readonly Piece[], from: Uint8Array): true {
    for (const { at, offset, size } of found) this.host.memory.write(at, from.subarray(offset, offset + size));
    return true;
  }

  /** Something odd that the hypervisor got over. */
  warn(text: string): void {
    const times = this.warnings.get(text);
    if (times !== undefined) this.warnings.set(text, times + 1);
    else if (this.warnings.size < MOST_WARNINGS) this.warnings.set(text, 1);
  }

  exchange(fields: Fields): void {
    fields.part(this.clock);
    fields.part(this.scheduler);
    fields.map(this.warnings);
    this.#running = this.vcpus[fields.value(this.#running?.number ?? -1)] ?? null;
    this.#processor = fields.value(this.#processor);
    this.host = fields.value(this.host);
    this.jumpTable = fields.value(this.jumpTable);
    this.ended = fields.value(this.ended);
    this.emulated = fields.value(this.emulated);
    this.exitsLeft = fields.value(this.exitsLeft);
  }
}
