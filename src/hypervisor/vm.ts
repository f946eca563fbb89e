// A virtual machine as the host's software sees it: a piece of host memory that the guest calls its own, an I/O bus, and what
// became of the run. It meets the machine only through HostProcessor.

import type { Technology } from '../arch/boot-page.ts';
import type { CpuidFeature } from '../arch/cpuid.ts';
import type { IoApic } from '../devices/io-apic.ts';
import type { IoBus } from '../devices/io-bus.ts';
import type { MmioBus } from '../devices/mmio-bus.ts';
import type { Pic8259Pair } from '../devices/pic8259.ts';
import type { Pit8254 } from '../devices/pit8254.ts';
import { type Gpa, type Spa, spa } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import type { TraceSink } from '../util/trace.ts';
import type { HostProcessor } from '../svm/host-processor.ts';
import { type Backing, locatePage, memoryRegions, type MemoryRegion, type Piece, pieces } from './guest-memory.ts';
import { HostPages } from './host-pages.ts';
import type { Emulator } from './mmio.ts';
import type { Intercepts } from './intercepts.ts';
import type { Outcome } from './outcome.ts';

export type VmConfig = {
  readonly technology: Technology;
  /** Guest RAM: system physical start and size in bytes. */
  readonly ram: Backing;
  /** Where the firmware image lies in system physical memory. */
  readonly rom?: Backing | undefined;
  readonly asid: number;
  readonly cBit: number;
  /** Secure memory encryption: what the host owns and the RAM of its guests is under the host's key. */
  readonly sme?: boolean | undefined;
  readonly intercepts: Intercepts;
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
};

/** So many different warnings are kept; a guest that provokes more has made its point. */
const MOST_WARNINGS = 32;

export class Vm {
  readonly host: HostProcessor;
  readonly config: VmConfig;
  readonly pages: HostPages;
  /** The guest's memory, ascending. */
  readonly regions: readonly MemoryRegion[];
  readonly warnings = new Map<string, number>();
  /** Set once, by whoever ends the run from within an exit: the test device. */
  ended: Outcome | null = null;

  constructor(host: HostProcessor, config: VmConfig) {
    this.host = host;
    this.config = config;
    this.pages = new HostPages(host.memory);
    this.regions = memoryRegions(config.ram, config.rom ?? null);
  }

  /** The C-bit as the host's own addresses and tables have it: 0 without SME. */
  get cMask(): bigint {
    return this.config.sme === true ? 1n << BigInt(this.config.cBit) : 0n;
  }

  /** A place in memory as the processor and the AMD-SP are told of it. */
  physical(place: Spa): Spa {
    return spa(place + Number(this.cMask));
  }

  get encryptedState(): boolean {
    return this.config.technology === 'sev-es';
  }

  /** Where the host finds a page of the guest's memory; null if there is none. */
  locate(page: Gpa): Spa | null {
    return locatePage(this.regions, page);
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
    for (const { at, offset, size } of found) this.host.memory.read(at, into.subarray(offset, offset + size));
    return true;
  }

  /** Writes what the guest could write itself; false if the range is not all RAM. */
  write(gpa: bigint, from: Uint8Array): boolean {
    const found = pieces(this.regions, gpa, from.length);
    return found !== null && found.every(({ writable }) => writable) && this.#store(found, from);
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
}
