// A host whose guests are created, run, paused, unpaused and destroyed at random. After each step somebody looks who has every key slot, every cache
// and copies of all ciphertext that ever was: nobody but its owner, while it lives, may find a guest's plaintext, and its owner always does.

import { technologies } from '../../src/arch/boot-page.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { Host, type HostedGuest, type HostOptions } from '../../src/host.ts';
import { AsidUse } from '../../src/sev/asid.ts';
import { PAGE_SIZE } from '../../src/util/address.ts';
import { UserError } from '../../src/util/errors.ts';
import { RandomSource, type RandomStream } from '../../src/util/random.ts';
import { FlushLedger } from './flush-ledger.ts';
import { MEMORY, SECRET_AT, secretGuest, WRITTEN_AFTER } from './secret-guest.ts';

export type Campaign = {
  readonly seed: string;
  readonly steps: number;
  readonly host: Partial<HostOptions>;
  /** Breaks something, to see whether it is noticed. */
  readonly sabotage?: (host: Host) => void;
};

export type CampaignReport = {
  /** At most a few: then it ends. */
  readonly faults: readonly string[];
  readonly created: number;
  readonly destroyed: number;
  /** Refused, rightly, because all ASIDs of the technology were in use. */
  readonly refused: number;
  /** ASIDs that got another guest, and DF_FLUSHes for that. */
  readonly reused: number;
  readonly flushes: number;
  /** Decryptions of somebody's page under somebody else's key. */
  readonly looks: number;
};

/** Ciphertext at the same address is all that a key is good for. */
type Copy = { readonly secret: bigint; readonly at: number; readonly asid: number; readonly bytes: Uint8Array };

const MOST_GUESTS = 14;
const MOST_COPIES = 300;
const MOST_FAULTS = 5;
const MOST_INSTRUCTIONS = 6_000;
const TURN = 700;
const HOST_MEMORY = 80 << 20;
const COPIED = 64;
/** Key slots to try at a look. */
const MOST_KEYS = 5;

/** Is the secret anywhere in these bytes? */
function finds(secret: bigint, bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + 8 <= bytes.length; at += 8) if (view.getBigUint64(at, true) === secret) return true;
  return false;
}

class Run {
  readonly host: Host;
  readonly ledger = new FlushLedger();
  readonly faults: string[] = [];
  created = 0;
  destroyed = 0;
  refused = 0;
  looks = 0;
  readonly #chance: RandomStream;
  readonly #secrets = new Map<HostedGuest, bigint>();
  readonly #copies: Copy[] = [];
  readonly #page = new Uint8Array(PAGE_SIZE);
  readonly #free: number;
  readonly #sme: boolean;

  constructor({ seed, host, sabotage }: Campaign) {
    this.#chance = new RandomSource(seed).stream('steps');
    this.#sme = host.sme === true;
    this.host = new Host({ cpu: 'naples', seed, aes: nodeAes, hostCpus: 3, turn: TURN, memory: HOST_MEMORY, log: this.ledger, ...host });
    this.ledger.watch(this.host);
    this.#note(this.host.system.initialiseAsp());
    this.#free = this.host.system.heap.free;
    sabotage?.(this.host);
  }

  step(): void {
    const guest = this.#anyOf(this.host.guests);
    const draw = this.#chance.below(100);
    if (guest === null || (draw < 25 && this.host.guests.length < MOST_GUESTS)) this.#create();
    else if (draw < 60) this.host.advance(1 + this.#chance.below(MOST_INSTRUCTIONS));
    else if (draw < 70) guest.pause();
    else if (draw < 82) guest.unpause();
    else this.#destroy(guest);
    this.#lookAtLiving();
    this.#lookAtCopies();
  }

  /** Everybody goes. */
  end(): void {
    for (const guest of [...this.host.guests]) this.#destroy(guest);
    const { heap, asids } = this.host.system;
    if (heap.free !== this.#free) this.#note(`${this.#free - heap.free} bytes of memory are lost`);
    for (const technology of technologies)
      if (asids.count(technology, AsidUse.IN_USE) !== 0) this.#note(`an ASID for ${technology} is in use, and there is no guest`);
    const guests = this.host.info().asp?.guests;
    if (guests !== 0) this.#note(`the AMD-SP still has ${guests} guests`);
  }

  #note(fault: string | null): void {
    if (fault !== null) this.faults.push(fault);
  }

  /** The slot of its private pages. */
  #keyOf({ technology, asid }: HostedGuest): number {
    return technology !== 'none' ? asid : this.#sme ? this.host.machine.encryption.hostKey : 0;
  }

  #anyOf<T>(all: readonly T[]): T | null {
    return all.length === 0 ? null : all[this.#chance.below(all.length)]!;
  }

  #create(): void {
    const { asids } = this.host.system;
    const technology = technologies[this.#chance.below(technologies.length)]!;
    const secret = this.#chance.u64();
    const bytes = secretGuest(secret, 1 + this.#chance.below(20));
    try {
      const guest = this.host.create({
        name: String(this.created),
        image: { name: 'secret', bytes },
        technology,
        memory: MEMORY,
        maxInstructions: null,
        intercepts: [],
        append: '',
        haltOk: true,
        rtc: 0,
        serial: { transmit: () => {}, next: () => undefined },
      });
      this.created++;
      this.#secrets.set(guest, secret);
      if (guest.state === 'ended') this.#note(`guest ${guest.name} cannot start: ${JSON.stringify(guest.result().outcome)}`);
      this.#lookForFormer(guest);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      const { first, last } = asids.range(technology);
      if (asids.count(technology, AsidUse.IN_USE) === last - first + 1) this.refused++;
      else this.#note(error.message);
    }
  }

  #destroy(guest: HostedGuest): void {
    const at = guest.guest.vm.config.ram.at + SECRET_AT;
    const outcome = guest.guest.outcome?.kind;
    if (outcome !== undefined && outcome !== 'halted') this.#note(`guest ${guest.name} ended with ${outcome}`);
    this.#keep(guest, at);
    this.#secrets.delete(guest);
    this.#note(guest.destroy());
    this.destroyed++;
    this.host.machine.readCiphertext(at / PAGE_SIZE, this.#page.fill(0));
    if (this.#page.some((byte) => byte !== 0)) this.#note(`memory of guest ${guest.name} is given back with something in it`);
  }

  /** The ciphertext of a page with a secret, for later. */
  #keep(guest: HostedGuest, at: number): void {
    if (guest.technology === 'none' || guest.consumed < WRITTEN_AFTER) return;
    this.host.machine.readCiphertext(at / PAGE_SIZE, this.#page);
    const copy = { secret: this.#secrets.get(guest)!, at, asid: guest.asid, bytes: this.#page.slice(0, COPIED) };
    if (this.#copies.length < MOST_COPIES) this.#copies.push(copy);
    else this.#copies[this.#chance.below(MOST_COPIES)] = copy;
  }

  /** Does a new guest read what a former one left in its pages? */
  #lookForFormer(guest: HostedGuest): void {
    const { frames } = this.host.machine.engine;
    const { at: start, size } = guest.guest.vm.config.ram;
    const key = this.#keyOf(guest);
    for (const { secret, at } of this.#copies) {
      if (at < start || at >= start + size) continue;
      this.looks++;
      if (finds(secret, frames.bytes(frames.glimpse(at / PAGE_SIZE, key))))
        this.#note(`guest ${guest.name} reads a former guest's plaintext`);
    }
  }

  /** One of those that are there: its owner reads the secret, and no other slot and no cache gives it. */
  #lookAtLiving(): void {
    const guest = this.#anyOf(this.host.guests);
    if (guest === null || guest.consumed < WRITTEN_AFTER) return;
    const { machine, system } = this.host;
    const { frames } = machine.engine;
    const secret = this.#secrets.get(guest)!;
    const at = guest.guest.vm.config.ram.at + SECRET_AT;
    const page = at / PAGE_SIZE;
    const key = this.#keyOf(guest);
    const own = frames.bytes(frames.glimpse(page, key));
    const view = new DataView(own.buffer, own.byteOffset, PAGE_SIZE);
    if (view.getBigUint64(8 * this.#chance.below(512), true) !== secret) this.#note(`guest ${guest.name} has lost its secret`);
    if (guest.technology === 'none') return;
    machine.readCiphertext(page, this.#page);
    const copy = { secret, at, asid: key, bytes: this.#page.slice(0, COPIED) };
    for (let n = 0; n < MOST_KEYS; n++) {
      const slot = this.#chance.below(system.capabilities.asids + 1);
      if (slot === key) continue;
      this.#tryKey(slot, copy, `guest ${guest.name}, which is there`);
      if (frames.cached(page, slot, this.#page) && finds(secret, this.#page))
        this.#note(`a cache has plaintext of guest ${guest.name} under key slot ${slot}`);
    }
  }

  /** One of those that were: no key that there is now gives its secret. */
  #lookAtCopies(): void {
    const copy = this.#anyOf(this.#copies);
    if (copy === null) return;
    for (let n = 0; n < MOST_KEYS; n++) this.#tryKey(1 + this.#chance.below(this.host.system.capabilities.asids), copy, 'a former guest');
    this.#tryKey(copy.asid, copy, 'a former guest');
  }

  #tryKey(slot: number, { secret, at, bytes }: Copy, owner: string): void {
    const plaintext = bytes.slice();
    this.looks++;
    this.host.machine.encryption.decrypt(slot, at, plaintext);
    if (finds(secret, plaintext)) this.#note(`key slot ${slot} decrypts a page of ${owner}`);
  }
}

export function campaign(options: Campaign): CampaignReport {
  const run = new Run(options);
  const faults = (): string[] => [...run.faults, ...run.ledger.faults];
  try {
    for (let step = 0; step < options.steps && faults().length < MOST_FAULTS; step++) run.step();
    if (faults().length === 0) run.end();
    const { created, destroyed, refused, looks, ledger, host } = run;
    return { faults: faults(), created, destroyed, refused, looks, reused: ledger.reused, flushes: host.info().flushes };
  } finally {
    run.host.dispose();
  }
}
