// The box: processor, memory with its encryption engine, AMD-SP, and all the chance of a run from one seed. Software on the
// host gets a HostProcessor out of it and nothing else; what is true in here (frames, keys, counts) is for reports and tests.

import { Asp } from '../../firmware/asp.ts';
import { AspMailbox } from '../../firmware/mailbox.ts';
import type { CpuidFeature } from '../arch/cpuid.ts';
import { Msr } from '../arch/msr.ts';
import { processorCpuid, type ProcessorModel } from '../cpu/cpuid.ts';
import { chooseModel } from '../cpu/model-choice.ts';
import type { AesEngine } from '../memory/block-cipher.ts';
import { Dram } from '../memory/dram.ts';
import { Evictions } from '../memory/evictions.ts';
import { EncryptionEngine, type Tweak, type TweakMode } from '../memory/encryption.ts';
import type { Frames } from '../memory/frames.ts';
import { Asids } from '../sev/asid-ownership.ts';
import { TrustedMemory } from '../sev/trusted-memory.ts';
import type { CleanFaults } from '../svm/clean-check.ts';
import type { HostProcessor } from '../svm/host-processor.ts';
import { Svm } from '../svm/svm.ts';
import { vmsaStore } from '../svm/processor-place.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { CodeCounts } from '../util/code-counts.ts';
import { UserError } from '../util/errors.ts';
import { RandomSource, type RandomStream } from '../util/random.ts';
import type { TraceSink } from '../util/trace.ts';
import { apicFeatures } from './apic-features.ts';
import { type Engine, type Execution, returnEngine, takeEngine } from './engine.ts';
import { type MachineObserver, Observers } from './observer.ts';
import type { Components, Fields, Stateful } from '../util/stateful.ts';

export type MachineOptions = {
  /** A processor model, as `chooseModel` reads it. */
  readonly model: string;
  /** System physical memory in bytes. */
  readonly memory: number;
  /** Logical processors; left out: one. They take turns. */
  readonly processors?: number | undefined;
  /** ASIDs for SEV-ES guests, as a computer's firmware sets it (CPUID Fn8000_001F EDX - 1); left out: as the model has it. */
  readonly esAsids?: number | undefined;
  readonly seed: string;
  readonly aes: AesEngine;
  readonly trace: TraceSink | null;
  /** Left out: how the model encrypts. The first generation was built with either (SEVurity 2020, table 1). */
  readonly encryption?: TweakMode | undefined;
  /** Transparent SME, as firmware settings turn it on: all of DRAM is encrypted, with the host's key where no guest's applies. */
  readonly tsme?: boolean | undefined;
  /** The local APIC is the processor's own, and CPUID reports its features: no hypervisor makes one. */
  readonly localApic?: boolean | undefined;
  /** Lines are evicted by chance, too: for processors that do not keep views coherent. */
  readonly evict?: 'random' | undefined;
  /** Left out: 'compiler'. */
  readonly tier?: Execution | undefined;
  /** Is software watched for fields of a VMCB that it changes under a set clean bit? Left out: if there is a trace. */
  readonly checkCleanBits?: boolean | undefined;
};

/** Each has two state blocks of the engine's memory. */
export const MOST_PROCESSORS = 64;

export class Machine implements Stateful {
  readonly model: ProcessorModel;
  /** The processors as the host's software meets them. */
  readonly processors: readonly HostProcessor[];
  readonly engine: Engine;
  readonly dram: Dram;
  readonly encryption: EncryptionEngine;
  /** Null: lines leave caches only because software or a device makes them. */
  readonly evictions: Evictions | null = null;
  readonly #cleanFaults: CleanFaults | null;
  readonly #svms: readonly Svm[];
  /** All that has a state, by name, in the order in which it can be put back: keys before memory, memory before registers. */
  readonly components: Components;
  /** The processor that executed last. */
  #latest: Svm;
  /** Where RDRAND and RDSEED draw from. */
  #chance: RandomStream;
  readonly #observers = new Observers();
  #disposed = false;

  constructor(options: MachineOptions) {
    const { model: chosen, withheld } = chooseModel(options.model);
    const model = withEsAsids(chosen, options.esAsids);
    this.model = model;
    checkCaches(model, options.evict);
    const processors = options.processors ?? 1;
    checkProcessors(processors);
    const random = new RandomSource(options.seed);
    const chance = random.stream('rdrand');
    this.#chance = chance;
    const tweaks = random.stream('memory tweak');
    const hostKeys = random.stream('memory host key');
    const firmware = random.stream('amd-sp');
    this.dram = new Dram(options.memory);
    this.encryption = new EncryptionEngine(
      options.aes,
      model.lastAsid + 1,
      tweakOf(model, options.encryption),
      (into) => tweaks.fill(into),
      {
        random: (into) => hostKeys.fill(into),
        transparent: options.tsme ?? false,
      },
    );
    const cpuid = options.localApic ? withLocalApic(processorCpuid(model), withheld) : processorCpuid(model);
    const { trace } = options;
    const user = { cpuid, random64: () => this.#chance.u64(), trace, coherent: model.coherent };
    this.engine = takeEngine(this.dram, this.encryption, user, options.tier ?? 'compiler');
    const { memory, frames, mmu, cpu } = this.engine;
    const asids = new Asids(model.lastAsid, model.firstAsidWithoutEs, processors);
    const trustedMemory = new TrustedMemory();
    const asp = new Asp({
      memory: aspMemory(frames, options.memory),
      keys: this.encryption,
      asids,
      trustedMemory,
      random: (into) => firmware.fill(into),
      addresses: () => this.#svms[0]!.addresses,
      syscfg: () => Number((this.host.rdmsr(Msr.SYSCFG) ?? 0n) & 0xffff_ffffn),
    });
    const evicted = random.stream('evictions');
    if (options.evict === 'random') this.evictions = new Evictions(frames, () => evicted.u32());
    const { evictions } = this;
    const cleanFaults: CleanFaults | null = (options.checkCleanBits ?? trace !== null) ? new Map() : null;
    this.#cleanFaults = cleanFaults;
    const mailbox = new AspMailbox(asp);
    const parts = { memory, frames, mmu, cpu, asids, trustedMemory, model, cpuid, mailbox, trace, evictions, cleanFaults };
    const vmsas = vmsaStore(parts, processors);
    const running = (svm: Svm): void => {
      this.#latest = svm;
    };
    this.#svms = Array.from({ length: processors }, (_, number) => new Svm({ ...parts, processor: { number, vmsas }, running }));
    this.#latest = this.#svms[0]!;
    this.processors = this.#svms;
    this.countVcs(new CodeCounts());
    const components = new Map<string, Stateful>([
      ['machine', this],
      ['memory keys', this.encryption],
      ['memory', frames],
      ['asids', asids],
      ['trusted memory', trustedMemory],
      ['amd-sp', asp],
      ['amd-sp mailbox', mailbox],
      ['amd-sp chance', firmware],
      ['chance', chance],
      ['chance of evictions', evicted],
      ...this.#svms.map((svm, n): [string, Stateful] => [`processor ${n}`, svm]),
      ['vmsas', vmsas],
      ['translation', mmu],
      ['execution', cpu],
    ]);
    if (evictions !== null) components.set('evictions', evictions);
    this.components = components;
  }

  /** The first processor. */
  get host(): HostProcessor {
    return this.#svms[0]!;
  }

  /** #VC by exit code: what only the processors know. */
  get vcCounts(): CodeCounts {
    return this.#latest.vcCounts;
  }

  /** From now on #VCs are counted there. */
  countVcs(counts: CodeCounts): void {
    for (const svm of this.#svms) svm.vcCounts = counts;
  }

  /** From now on RDRAND and RDSEED draw from there. */
  drawFrom(chance: RandomStream): void {
    this.#chance = chance;
  }

  /** From now on somebody looks on. */
  observe(observer: MachineObserver): void {
    this.#observers.add(observer);
    this.#handIn();
  }

  unobserve(observer: MachineObserver): void {
    this.#observers.remove(observer);
    if (!this.#disposed) this.#handIn();
  }

  /** Nobody costs nothing. Pages that are observed have no translations kept. */
  #handIn(): void {
    const observers = this.#observers.size === 0 ? null : this.#observers;
    const { mmu, cpu } = this.engine;
    mmu.witnesses.observer = observers;
    cpu.processor.observer = observers;
    for (const svm of this.#svms) svm.observer = observers;
    mmu.flush();
  }

  /** Why the last VMRUN gave INVALID, in words: the processor tells no hypervisor. */
  get refusal(): string | null {
    return this.#latest.refusal;
  }

  /** Fields that the hypervisor changed under a set clean bit: a line for each, none if nobody looked. */
  get cleanBitFaults(): string[] {
    return Array.from(this.#cleanFaults ?? [], ([text, times]) => (times === 1 ? text : `${text} (${times} times)`));
  }

  /** Instructions retired since power-on, elements of repeated string instructions among them. */
  get retired(): number {
    return this.engine.cpu.retired;
  }

  /** Time since power-on in instructions: those retired, and idle time. */
  get time(): number {
    return this.host.time;
  }

  /** State block of the guest that runs or ran last, in the engine's memory. */
  get guestState(): number {
    return this.#latest.guestState;
  }

  /** Pages of DRAM. */
  get pages(): number {
    return this.dram.pages;
  }

  /** Copies what the chips hold of a page; false: nobody ever wrote it, so that they hold zeros. */
  readCiphertext(page: number, into: Uint8Array): boolean {
    const { frames } = this.engine;
    if (frames.blank(page)) return false;
    frames.ciphertext(page, into);
    return true;
  }

  /** The machine is done; its engine is for the next one. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    returnEngine(this.engine);
  }

  /** What belongs to no one part; the others are `components`. */
  exchange(fields: Fields): void {
    const latest = fields.value(this.#svms.indexOf(this.#latest));
    this.#latest = this.#svms[latest]!;
    if (this.#cleanFaults !== null) fields.map(this.#cleanFaults);
  }
}

/** CPUID of a processor whose local APIC is in use: leaf 1 ECX has what it can do. */
function withLocalApic(cpuid: ReturnType<typeof processorCpuid>, withheld: readonly CpuidFeature[]): ReturnType<typeof processorCpuid> {
  const features = apicFeatures(withheld);
  return (leaf, subleaf) => {
    const [eax, ebx, ecx, edx] = cpuid(leaf, subleaf);
    return [eax, ebx, leaf === 1 ? (ecx | features) >>> 0 : ecx, edx];
  };
}

/** Throws UserError. */
function tweakOf({ name, tweak }: ProcessorModel, mode: TweakMode | undefined): Tweak {
  if (mode === undefined || mode === tweak.mode) return tweak;
  if (tweak.constants === 'published') return { ...tweak, mode };
  throw new UserError(`--encryption ${mode}: ${name} encrypts by ${tweak.mode} only: leave it out, or take --cpu naples`);
}

/** Throws UserError. */
function withEsAsids(model: ProcessorModel, count: number | undefined): ProcessorModel {
  if (count === undefined) return model;
  if (!Number.isInteger(count) || count < 0 || count > model.lastAsid)
    throw new UserError(
      `${count} ASIDs for SEV-ES guests: ${model.name} has ${model.lastAsid} for encrypted guests in all: give 0 to ${model.lastAsid}`,
    );
  return { ...model, firstAsidWithoutEs: count + 1 };
}

/** Throws UserError. */
function checkProcessors(count: number): void {
  if (!Number.isInteger(count) || count < 1 || count > MOST_PROCESSORS)
    throw new UserError(`--host-cpus ${count} is not a number from 1 to ${MOST_PROCESSORS}: give for example 4`);
}

/** Throws UserError. */
function checkCaches({ name, coherent }: ProcessorModel, evict: MachineOptions['evict']): void {
  if (evict !== undefined && coherent)
    throw new UserError(
      `--evict ${evict}: ${name} keeps all views of memory coherent, so that nobody could tell: take --cpu naples or rome`,
    );
}

/** Memory as the AMD-SP reaches it. */
function aspMemory(frames: Frames, size: number) {
  return {
    size,
    read: (address: number, slot: number, into: Uint8Array) => frames.readSecure(address, slot, into),
    write: (address: number, slot: number, from: Uint8Array) => frames.writeSecure(address, slot, from),
    fence: (start: number, length: number) => frames.fence(start / PAGE_SIZE, length / PAGE_SIZE),
    unfence: (start: number, length: number) => frames.unfence(start / PAGE_SIZE, length / PAGE_SIZE),
  };
}
