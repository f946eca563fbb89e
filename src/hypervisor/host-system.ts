// The computer as the hypervisor's software has it: processors made ready for guests, memory to give, the AMD-SP, ASIDs. One for all guests. A processor
// remembers whose registers it holds: those that no world switch moves are moved when another guest's virtual CPU comes (KVM's vcpu_load).

import { TMR_SIZE } from '../arch/asp.ts';
import { SEV_LEAF } from '../arch/cpuid.ts';
import { Msr } from '../arch/msr.ts';
import { Efer } from '../arch/registers.ts';
import { Hwcr, Syscfg } from '../arch/sev-features.ts';
import { hostMap } from '../machine/memory-map.ts';
import { AsidAllocator } from '../sev/asid.ts';
import type { HostMemory, HostProcessor } from '../svm/host-processor.ts';
import { PAGE_SIZE, type Spa, spa } from '../util/address.ts';
import { assert, UserError } from '../util/errors.ts';
import type { TraceSink } from '../util/trace.ts';
import { AspDriver, type AspResult } from './asp-driver.ts';
import { HostPages } from './host-pages.ts';
import { ioPermissionMap } from './msrs.ts';
import { MemoryHeap } from './memory-heap.ts';
import { enterOwnTables } from './own-tables.ts';
import type { Vcpu } from './vcpu.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** What CPUID Fn8000_001F says of this processor. */
export type SevCapabilities = {
  readonly cBit: number;
  readonly reducedBits: number;
  readonly asids: number;
  readonly firstPlainSevAsid: number;
};

export function sevCapabilities(processor: HostProcessor): SevCapabilities {
  const [, ebx, ecx, edx] = processor.cpuid(SEV_LEAF, 0);
  return { cBit: ebx & 0x3f, reducedBits: (ebx >>> 6) & 0x3f, asids: ecx, firstPlainSevAsid: edx };
}

export type HostSystemOptions = {
  /** The processor model's name, for people. */
  readonly model: string;
  /** Secure memory encryption: what the host owns and the RAM of its guests is under the host's key. */
  readonly sme: boolean;
  /** The AMD-SP is given memory for SEV-ES guests when it is initialised. */
  readonly encryptedState: boolean;
  readonly trace: TraceSink | null;
};

/** What one processor holds. */
type Place = {
  /** Whose registers. */
  resident: Vcpu | null;
  /** By ASID the virtual CPU that ran last: entries of its TLB may be of that one. */
  readonly lastOf: Map<number, Vcpu>;
};

const SVM_LEAF = 0x8000_000a;
/** Guest RAM begins on boundaries of large pages. */
const RAM_ALIGNMENT = 0x20_0000;

export class HostSystem implements Stateful {
  readonly processors: readonly HostProcessor[];
  readonly capabilities: SevCapabilities;
  readonly heap = new MemoryHeap();
  readonly pages: HostPages;
  readonly asids: AsidAllocator;
  readonly cMask: bigint;
  /** The I/O permission map: one for all guests, nothing is let through. */
  readonly ioPermissions: Spa;
  readonly #options: HostSystemOptions;
  readonly #places: readonly Place[];
  #asp: AspDriver | null = null;
  #aspPage: Spa | null = null;

  constructor(processors: readonly HostProcessor[], options: HostSystemOptions) {
    this.processors = processors;
    this.#options = options;
    this.#places = processors.map(() => ({ resident: null, lastOf: new Map<number, Vcpu>() }));
    const { first } = this;
    this.capabilities = sevCapabilities(first);
    this.cMask = options.sme ? 1n << BigInt(this.capabilities.cBit) : 0n;
    const { pages, guest } = hostMap;
    this.heap.give(pages.start, pages.end - pages.start);
    if (first.memory.size > guest) this.heap.give(guest, first.memory.size - guest);
    this.pages = new HostPages(first.memory, this.heap);
    this.#prepare();
    this.ioPermissions = this.place(ioPermissionMap());
    const { asids, firstPlainSevAsid } = this.capabilities;
    const limits = { lastEncrypted: asids, firstWithoutEs: firstPlainSevAsid, count: first.cpuid(SVM_LEAF, 0)[1] };
    this.asids = new AsidAllocator(options.model, limits, () => this.#flush());
  }

  get first(): HostProcessor {
    return this.processors[0]!;
  }

  get memory(): HostMemory {
    return this.first.memory;
  }

  /** A place in memory as the processors and the AMD-SP are told of it. */
  physical(place: Spa): Spa {
    return spa(place + Number(this.cMask));
  }

  /** Bytes as whole pages of the host's. */
  place(bytes: Uint8Array, pages = this.pages): Spa {
    const at = pages.take(Math.ceil(bytes.length / PAGE_SIZE));
    this.memory.write(at, bytes);
    return at;
  }

  /** A piece of memory for a guest: whole pages as they were at power-on. Throws UserError. */
  takeRam(size: number): Spa {
    const { guest } = hostMap;
    const at = this.heap.take(size, RAM_ALIGNMENT, guest) ?? this.heap.take(size, PAGE_SIZE, guest);
    if (at !== null) return spa(at);
    const mib = (bytes: number): string => `${Math.floor(bytes / 2 ** 20)} MiB`;
    throw new UserError(
      `the host has no ${mib(size)} of memory in one piece (${mib(this.heap.longest)} at most): end a guest, or give the host more`,
    );
  }

  /** Its guest has gone: what it left is nobody's to see. */
  giveRam(at: Spa, size: number): void {
    this.memory.zero(at, size);
    this.heap.give(at, size);
  }

  /** On every processor (KVM's wbinvd_on_all_cpus). */
  wbinvd(): void {
    for (const processor of this.processors) processor.wbinvd();
  }

  /**
   * The AMD-SP is initialised, once. A text: what it answered instead. INIT leaves all ASIDs dirty: nothing of an earlier guest may be left in caches
   * when one is bound (15.34.9).
   */
  initialiseAsp(): string | null {
    if (this.#asp !== null) return null;
    this.#aspPage ??= this.pages.take(); // another guest may try again
    const asp = this.driver(this.#aspPage, this.#options.trace);
    const { encryptedState } = this.#options;
    const problem = refused('INIT', asp.init(encryptedState ? { at: hostMap.trustedMemory.start, size: TMR_SIZE } : null));
    if (problem !== null) return problem;
    this.wbinvd();
    this.#asp = asp;
    return refused('DF_FLUSH', asp.dfFlush());
  }

  /** `page`: for the driver alone. What it tells the AMD-SP for a guest without a trace is in the host's. */
  driver(page: Spa, trace: TraceSink | null): AspDriver {
    return new AspDriver(this.first, page, trace ?? this.#options.trace, (at) => this.physical(at));
  }

  /** The AMD-SP as those who administer the host see it; null: no guest has needed it yet. */
  get asp(): AspDriver | null {
    return this.#asp;
  }

  // --- whose registers -------------------------------------------------------------------------------------------------------------

  /** The virtual CPU is to run on a processor: its registers come, those of another go to memory. */
  enter(number: number, vcpu: Vcpu): HostProcessor {
    const processor = this.processors[number]!;
    const place = this.#places[number]!;
    if (place.resident !== vcpu) {
      place.resident?.park(processor);
      this.evict(vcpu);
      place.resident = vcpu;
      vcpu.load(processor);
      // Translations by this ASID may be another virtual CPU's, or its own of an earlier time (15.16; KVM's pre_sev_run).
      const { asid } = vcpu.vm.config;
      if (place.lastOf.get(asid) !== vcpu || vcpu.lastProcessor !== number) vcpu.flushTlb();
      place.lastOf.set(asid, vcpu);
      vcpu.lastProcessor = number;
    }
    return processor;
  }

  /** The virtual CPU's registers go to memory, wherever they are. */
  evict(vcpu: Vcpu): void {
    for (const [number, place] of this.#places.entries()) {
      if (place.resident !== vcpu) continue;
      vcpu.park(this.processors[number]!);
      place.resident = null;
    }
  }

  /** The virtual CPU is no more. */
  forget(vcpu: Vcpu): void {
    for (const place of this.#places) {
      if (place.resident === vcpu) place.resident = null;
      for (const [asid, last] of place.lastOf) if (last === vcpu) place.lastOf.delete(asid);
    }
  }

  /** What software on the host does once: SVM on, memory encryption on, SMM locked (15.4, 15.34.3), page tables and save areas of its own. */
  #prepare(): void {
    for (const processor of this.processors) {
      const set = (index: number, bits: number): void => {
        const now = processor.rdmsr(index);
        assert(
          now !== null && processor.wrmsr(index, now | BigInt(bits)),
          `the host's MSR ${index.toString(16)} takes no bits ${bits.toString(16)}`,
        );
      };
      set(Msr.EFER, Efer.SVME);
      set(Msr.SYSCFG, Syscfg.MEM_ENCRYPTION_MOD_EN);
      set(Msr.HWCR, Hwcr.SMM_LOCK);
    }
    const tables = enterOwnTables(this.first, this.pages, this.cMask);
    for (const processor of this.processors) {
      assert(processor === this.first || processor.loadCr3(tables), 'CR3 is refused');
      const saveArea = this.physical(this.pages.take());
      assert(processor.wrmsr(Msr.VM_HSAVE_PA, BigInt(saveArea)), 'the host save area is refused');
      processor.vmsave(saveArea);
    }
  }

  /** Before ASIDs get other guests. A text: the status that DF_FLUSH gave. */
  #flush(): string | null {
    this.wbinvd();
    const flushed = this.#asp?.dfFlush() ?? { ok: true };
    return flushed.ok ? null : flushed.name;
  }

  /** While no guest comes or goes: nobody takes memory then. */
  exchange(fields: Fields): void {
    for (const place of this.#places) {
      place.resident = fields.value(place.resident);
      fields.map(place.lastOf);
    }
    fields.part(this.asids);
    if (this.#asp !== null) fields.part(this.#asp);
  }
}

/** null: the command succeeded. */
export function refused(command: string, result: AspResult): string | null {
  return result.ok ? null : `the AMD-SP answers ${command} with ${result.name}`;
}
