// A host with any number of guests: one machine, one system physical address space, one AMD-SP, and a key of its own for each encrypted guest.
// Guests take turns of equal length in the order of their creation. Each has its own time (GuestClock), so what one does, or when it ends, shows in
// no other: not in its output, its trace or its memory.

import type { Technology } from './arch/boot-page.ts';
import { chooseModel } from './cpu/model-choice.ts';
import { Guest } from './guest/guest.ts';
import type { GuestOptions, RunResult } from './guest/options.ts';
import { HostSystem } from './hypervisor/host-system.ts';
import { Machine, type MachineOptions } from './machine/machine.ts';
import { hostMap } from './machine/memory-map.ts';
import { AsidUse } from './sev/asid.ts';
import { PAGE_SIZE } from './util/address.ts';
import { UserError } from './util/errors.ts';
import type { TraceNote, TraceSink } from './util/trace.ts';

export type HostOptions = {
  /** A processor model, with features taken away if need be: `milan`, `milan,-pcid`. */
  readonly cpu: string;
  readonly seed: string;
  readonly aes: MachineOptions['aes'];
  /** Processors, on which guests run in turn; left out: one. */
  readonly hostCpus?: number | undefined;
  /** All of DRAM in bytes, of which only what is written costs anything; left out: 64 GiB. */
  readonly memory?: number | undefined;
  /** ASIDs for SEV-ES guests, as a computer's firmware sets it; left out: as the processor model has it. */
  readonly esAsids?: number | undefined;
  readonly sme?: boolean | undefined;
  readonly tsme?: boolean | undefined;
  readonly encryption?: MachineOptions['encryption'];
  readonly evict?: MachineOptions['evict'];
  readonly tier?: MachineOptions['tier'];
  /** Instructions of a guest's turn; left out: 100,000. */
  readonly turn?: number | undefined;
  /** Gets what the hypervisor tells the AMD-SP on its own behalf. */
  readonly log?: TraceSink | null | undefined;
  /** Guests may have a trace. */
  readonly traced?: boolean | undefined;
};

export type HostedOptions = Omit<GuestOptions, 'seed' | 'trace'> & {
  readonly name: string;
  readonly trace?: TraceSink | null | undefined;
};

/** Memory as the chips hold it, page by page; `read` gives false for a page that nobody ever wrote. */
export type DramImage = { readonly pages: number; read(page: number, into: Uint8Array): boolean };

export type GuestState = 'running' | 'blocked' | 'paused' | 'ended';

/** How an ASID is used; `owner`: the guest's name. */
export type AsidEntry = { readonly asid: number; readonly use: AsidUse; readonly owner: string | null };

export type HostInfo = {
  readonly model: string;
  readonly processors: number;
  /** Bytes of DRAM that guests and the hypervisor can have, and how many are free. */
  readonly memory: number;
  readonly free: number;
  /** What PLATFORM_STATUS says; null: no guest has needed the AMD-SP yet. */
  readonly asp: { readonly state: number; readonly es: boolean; readonly guests: number; readonly api: string } | null;
  /** DF_FLUSH since power-on on behalf of ASIDs. */
  readonly flushes: number;
};

const DEFAULT_MEMORY = 64 * 2 ** 30;
const MOST_MEMORY = 512 * 2 ** 30;
const DEFAULT_TURN = 100_000;
const MOST_TURN = 1_000_000_000;

/** Hands the processors' events to the guest that runs. */
class CurrentTrace implements TraceSink {
  guest: TraceSink | null = null;
  emit(note: TraceNote): void {
    this.guest?.emit(note);
  }
}

export class HostedGuest {
  /** Counts up; no other guest of the host ever has it. */
  readonly id: number;
  readonly name: string;
  readonly technology: Technology;
  /** Bytes of RAM. */
  readonly memory: number;
  readonly guest: Guest;
  readonly trace: TraceSink | null;
  readonly #host: Host;
  #paused = false;
  #destroyed = false;

  constructor(host: Host, id: number, guest: Guest, { name, technology, memory, trace }: HostedOptions) {
    this.#host = host;
    this.id = id;
    this.guest = guest;
    this.name = name;
    this.technology = technology;
    this.memory = memory;
    this.trace = trace ?? null;
  }

  get state(): GuestState {
    if (this.guest.outcome !== null || this.#host.disposed) return 'ended';
    if (this.#paused) return 'paused';
    return this.guest.vm.scheduler.asleep ? 'blocked' : 'running';
  }
  get asid(): number {
    return this.guest.vm.config.asid;
  }
  get vcpus(): number {
    return this.guest.vm.vcpus.length;
  }
  /** Instructions so far. */
  get consumed(): number {
    return this.guest.consumed;
  }
  /** Its console has something for it now. */
  received(): void {
    this.guest.received();
  }
  /** Its own time, in instructions. */
  get time(): number {
    return this.guest.vm.clock.time;
  }
  /** Instructions retired: what stamps its trace. */
  get retired(): number {
    return this.guest.vm.clock.retired;
  }
  /** Bytes of RAM that somebody wrote. */
  get touched(): number {
    return this.#gone ? 0 : this.#host.touched(this.guest.vm.config.ram.at, this.memory);
  }
  /** Its RAM as the chips hold it; none once it is destroyed. */
  get dram(): DramImage {
    return this.#host.ciphertext(this.guest.vm.config.ram.at, this.#gone ? 0 : this.memory);
  }
  get #gone(): boolean {
    return this.#destroyed || this.#host.disposed;
  }
  /** Takes effect when its turn is over. */
  pause(): void {
    this.#paused = true;
  }
  unpause(): void {
    this.#paused = false;
  }
  /** Somebody wants it to end here. */
  interrupt(): void {
    this.guest.interrupt();
  }
  result(): RunResult {
    return this.guest.result();
  }
  /**
   * Ends it if need be and gives back its ASID, its key and its memory, which is wiped. A text: what the AMD-SP refused. From within its own turn (a
   * byte that it sends) only ends it, and the rest comes right after the turn.
   */
  destroy(): string | null {
    if (this.#destroyed) return null;
    this.interrupt();
    if (this.#host.runs(this)) {
      this.#condemned = true;
      return null;
    }
    this.#destroyed = true;
    return this.#host.remove(this);
  }
  /** Its turn is over. */
  turnEnds(): void {
    if (this.#condemned) this.destroy();
  }
  #condemned = false;
}

export class Host {
  readonly machine: Machine;
  readonly system: HostSystem;
  readonly #options: HostOptions;
  readonly #current: CurrentTrace | null;
  readonly #model: string;
  readonly #memory: number;
  readonly #guests: HostedGuest[] = [];
  #running: HostedGuest | null = null;
  #disposed = false;
  readonly #turn: number;
  #nextId = 1;
  /** Whose turn comes next, and how much of it is left. */
  #next = 0;
  #left: number;

  /** Throws UserError. */
  constructor(options: HostOptions) {
    const { model } = chooseModel(options.cpu);
    const memory = options.memory ?? DEFAULT_MEMORY;
    if (!Number.isInteger(memory) || memory % PAGE_SIZE !== 0 || memory <= hostMap.guest || memory > MOST_MEMORY)
      throw new UserError(
        `the host's memory, ${memory} bytes, is not a whole number of pages from 16 MiB to 512 GiB: give for example 4 GiB`,
      );
    const { turn = DEFAULT_TURN } = options;
    if (!Number.isInteger(turn) || turn < 1 || turn > MOST_TURN)
      throw new UserError(
        `a guest's turn, ${turn}, is not a number of instructions from 1 to ${MOST_TURN}: give for example ${DEFAULT_TURN}`,
      );
    this.#options = options;
    this.#model = model.name;
    this.#memory = memory;
    this.#turn = turn;
    this.#left = this.#turn;
    this.#current = options.traced === true ? new CurrentTrace() : null;
    this.machine = new Machine({
      model: options.cpu,
      memory,
      processors: options.hostCpus,
      esAsids: options.esAsids,
      seed: options.seed,
      aes: options.aes,
      trace: this.#current,
      tsme: options.tsme,
      encryption: options.encryption,
      evict: options.evict,
      tier: options.tier,
    });
    try {
      const { processors, model: chosen } = this.machine;
      const encryptedState = chosen.firstAsidWithoutEs > 1;
      this.system = new HostSystem(processors, {
        model: model.name,
        sme: options.sme === true,
        encryptedState,
        trace: options.log ?? null,
      });
    } catch (error) {
      this.machine.dispose();
      throw error;
    }
  }

  /** Guests that exist, in the order of their creation; those that have ended, too, until they are destroyed. */
  get guests(): readonly HostedGuest[] {
    return this.#guests;
  }

  /** Launches a guest, up to but not including its first instruction. Throws UserError. */
  create(options: HostedOptions): HostedGuest {
    const { machine, system } = this;
    this.#between('create');
    // What is left to chance in a guest follows from its name, so that it is the same alone and among others.
    if (this.#guests.some(({ name }) => name === options.name))
      throw new UserError(`there is a guest named '${options.name}' already: give this one another name, or destroy that one`);
    if (options.trace && this.#current === null)
      throw new UserError(`the guest '${options.name}' is to have a trace, and the host has none: give it traced: true`);
    const { withheld } = chooseModel(this.#options.cpu);
    const home = { machine, system, withheld, firstProcessor: (this.#nextId - 1) % machine.processors.length };
    const guest = new Guest(home, { ...options, seed: `${this.#options.seed} ${options.name}`, trace: options.trace ?? null });
    const hosted = new HostedGuest(this, this.#nextId++, guest, options);
    this.#guests.push(hosted);
    return hosted;
  }

  /** Is there a guest that can go on? */
  get busy(): boolean {
    return this.#guests.some(({ state }) => state === 'running' || state === 'blocked');
  }

  /** Runs all that can go on, in turns, for about so many instructions together. True: there is none left. */
  advance(instructions: number): boolean {
    this.#between('advance');
    for (let left = instructions; left > 0; ) {
      const guest = this.#pick();
      if (guest === null) return true;
      left -= this.#turnOf(guest);
    }
    return !this.busy;
  }

  /** Gives what it used of it. */
  #turnOf(guest: HostedGuest): number {
    const before = guest.consumed;
    if (this.#current !== null) this.#current.guest = guest.trace;
    this.#running = guest;
    try {
      guest.guest.advance(this.#left);
    } finally {
      this.#running = null;
      if (this.#current !== null) this.#current.guest = null;
    }
    // Exits cost, too: a guest that only leaves has had its turn as well.
    const used = Math.max(guest.consumed - before, 1);
    this.#left -= used;
    if (this.#left <= 0 || guest.consumed === before || guest.state !== 'running') this.#rotate(guest);
    guest.turnEnds();
    return used;
  }

  /** The AMD-SP is asked for its state. */
  info(): HostInfo {
    this.#exists('info');
    const status = this.system.asp?.platformStatus();
    const asp = status?.ok
      ? {
          state: status.state,
          es: status.es,
          guests: status.guestCount,
          api: `${status.apiMajor}.${status.apiMinor} build ${status.build}`,
        }
      : null;
    return {
      model: this.#model,
      processors: this.machine.processors.length,
      memory: this.#memory,
      free: this.system.heap.free,
      asp,
      flushes: this.system.asids.flushes,
    };
  }

  /** ASIDs that are in use or wait for a flush, ascending. */
  asids(): AsidEntry[] {
    const { asids, capabilities } = this.system;
    const owners = new Map(this.#guests.map(({ asid, name }) => [asid, name]));
    const found: AsidEntry[] = [];
    for (let asid = 1; asid <= capabilities.asids; asid++) {
      const use = asids.use(asid);
      if (use !== AsidUse.FREE) found.push({ asid, use, owner: owners.get(asid) ?? null });
    }
    for (const { asid, name } of this.#guests) if (asid > capabilities.asids) found.push({ asid, use: AsidUse.IN_USE, owner: name });
    return found.sort((a, b) => a.asid - b.asid);
  }

  /** Gives the machine's memory back. The host is of no use afterwards. */
  dispose(): void {
    if (this.#disposed) return;
    this.#between('dispose');
    this.#disposed = true;
    this.machine.dispose();
  }

  /** Its memory may be another machine's by now. */
  get disposed(): boolean {
    return this.#disposed;
  }

  #exists(what: string): void {
    if (this.#disposed) throw new UserError(`${what}(): the host's memory was given back by dispose(): make another host`);
  }

  /** What cannot be done when all is over, nor from within a guest's turn. Throws UserError. */
  #between(what: string): void {
    this.#exists(what);
    if (this.#running !== null)
      throw new UserError(`${what}() in the middle of a turn of the guest '${this.#running.name}': do it when advance() has returned`);
  }

  // --- for its guests --------------------------------------------------------------------------------------------------------------

  /** Is it the guest's turn at this moment? */
  runs(guest: HostedGuest): boolean {
    return guest === this.#running;
  }

  remove(guest: HostedGuest): string | null {
    const at = this.#guests.indexOf(guest);
    if (at < 0) return null;
    this.#guests.splice(at, 1);
    if (at < this.#next) this.#next--;
    else if (at === this.#next) this.#left = this.#turn;
    return this.#disposed ? null : guest.guest.retire();
  }

  touched(at: number, size: number): number {
    const { frames } = this.machine.engine;
    let pages = 0;
    for (let page = at / PAGE_SIZE; page < (at + size) / PAGE_SIZE; page++) if (frames.writtenUnder(page) !== null) pages++;
    return pages * PAGE_SIZE;
  }

  ciphertext(at: number, size: number): DramImage {
    return { pages: size / PAGE_SIZE, read: (page, into) => this.machine.readCiphertext(at / PAGE_SIZE + page, into) };
  }

  /** Whose turn it is; null: nobody can go on. */
  #pick(): HostedGuest | null {
    const guests = this.#guests;
    for (let n = 0; n < guests.length; n++) {
      const guest = guests[(this.#next + n) % guests.length]!;
      if (guest.state !== 'running' && guest.state !== 'blocked') continue;
      if (n > 0) {
        this.#next = (this.#next + n) % guests.length;
        this.#left = this.#turn;
      }
      return guest;
    }
    return null;
  }

  #rotate(guest: HostedGuest): void {
    this.#left = this.#turn;
    this.#next = (this.#guests.indexOf(guest) + 1) % Math.max(this.#guests.length, 1);
  }
}
