// A virtual machine as the host's software sees it: a piece of host memory that the guest calls its own, an I/O bus, and what
// became of the run. It meets the machine only through Host.

import type { Technology } from '../arch/boot-page.ts';
import type { IoBus } from '../devices/io-bus.ts';
import { type Gpa, PAGE_SIZE, type Spa, spa } from '../util/address.ts';
import type { TraceSink } from '../util/trace.ts';
import type { Host } from '../svm/host.ts';
import { HostPages } from './host-pages.ts';
import type { Emulator } from './mmio.ts';
import type { Intercepts } from './intercepts.ts';
import type { Outcome } from './outcome.ts';

export type VmConfig = {
  readonly technology: Technology;
  /** Guest RAM: system physical start and size in bytes. */
  readonly ram: { readonly at: Spa; readonly size: number };
  readonly asid: number;
  readonly cBit: number;
  readonly intercepts: Intercepts;
  readonly io: IoBus;
  readonly emulator: Emulator;
  readonly trace: TraceSink | null;
};

/** So many different warnings are kept; a guest that provokes more has made its point. */
const MOST_WARNINGS = 32;

export class Vm {
  readonly host: Host;
  readonly config: VmConfig;
  readonly pages: HostPages;
  readonly warnings = new Map<string, number>();
  /** Set once, by whoever ends the run from within an exit: the test device. */
  ended: Outcome | null = null;

  constructor(host: Host, config: VmConfig) {
    this.host = host;
    this.config = config;
    this.pages = new HostPages(host.memory);
  }

  get encryptedState(): boolean {
    return this.config.technology === 'sev-es';
  }

  /** Where the host finds a page of guest RAM; null if there is none. */
  locate(page: Gpa): Spa | null {
    return page + PAGE_SIZE <= this.config.ram.size ? spa(this.config.ram.at + page) : null;
  }

  /** Guest RAM as the host sees it; false if the range is not all RAM. */
  read(gpa: bigint, into: Uint8Array): boolean {
    if (gpa + BigInt(into.length) > BigInt(this.config.ram.size)) return false;
    this.host.memory.read(spa(this.config.ram.at + Number(gpa)), into);
    return true;
  }

  write(gpa: bigint, from: Uint8Array): boolean {
    if (gpa + BigInt(from.length) > BigInt(this.config.ram.size)) return false;
    this.host.memory.write(spa(this.config.ram.at + Number(gpa)), from);
    return true;
  }

  /** Something odd that the hypervisor got over. */
  warn(text: string): void {
    const times = this.warnings.get(text);
    if (times !== undefined) this.warnings.set(text, times + 1);
    else if (this.warnings.size < MOST_WARNINGS) this.warnings.set(text, 1);
  }
}
