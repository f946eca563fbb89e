// A host whose guests are scripts: what they say, how long they run, how they end. For tests of the toolstack and its surfaces.

import type { Technology } from '../../../src/arch/boot-page.ts';
import { HostLog } from '../../../src/cli/host/host-log.ts';
import type { AsidRow, HostedGuest, HostFacts, HostPort } from '../../../src/cli/host/ports.ts';
import { type FoundGuest, parseHost } from '../../../src/cli/host/read-file.ts';
import { Toolstack } from '../../../src/cli/host/toolstack.ts';
import type { SerialPeer } from '../../../src/devices/uart16550.ts';
import { exitStatus, type Outcome } from '../../../src/hypervisor/outcome.ts';
import { UserError } from '../../../src/util/errors.ts';
import type { RunResult } from '../../../src/virtual-machine.ts';

const LAST_ASID = 5;

/** What a guest does, told by its `append`. */
const lives: Readonly<Record<string, { says: string; runs: number; ends: Outcome }>> = {
  hello: { says: 'Hello\nWorld\n', runs: 1000, ends: { kind: 'ended', value: 0 } },
  fails: { says: 'oops', runs: 500, ends: { kind: 'ended', value: 3 } },
  crashes: { says: '', runs: 10, ends: { kind: 'shutdown' } },
  long: { says: 'tick\n', runs: 1e12, ends: { kind: 'ended', value: 0 } },
  echo: { says: '? ', runs: 1e12, ends: { kind: 'ended', value: 0 } },
};

class FakeGuest implements HostedGuest {
  readonly touched = 8192;
  consumed = 0;
  gone = false;
  #paused = false;
  #outcome: Outcome | null = null;
  #said = false;
  readonly id: number;
  readonly asid: number;
  readonly #found: FoundGuest;
  readonly #serial: SerialPeer;
  readonly #life: (typeof lives)[string] | undefined;

  constructor(id: number, asid: number, found: FoundGuest, serial: SerialPeer) {
    this.id = id;
    this.asid = asid;
    this.#found = found;
    this.#serial = serial;
    this.#life = lives[found.values.append ?? 'hello'] ?? lives['hello'];
  }

  get name(): string {
    return this.#found.values.name ?? '';
  }
  get technology(): Technology {
    return this.#found.values.sev ?? 'sev-es';
  }
  get memory(): number {
    return this.#found.values.memory ?? 64 * 2 ** 20;
  }
  get vcpus(): number {
    return this.#found.values.vcpus ?? 1;
  }
  get state(): HostedGuest['state'] {
    return this.#outcome !== null ? 'ended' : this.#paused ? 'paused' : 'running';
  }

  run(instructions: number): void {
    if (this.state !== 'running' || this.gone || this.#life === undefined) return;
    this.consumed += instructions;
    if (!this.#said) for (const byte of Buffer.from(this.#life.says)) this.#serial.transmit(byte);
    this.#said = true;
    for (let byte = this.#serial.next(); byte !== undefined; byte = this.#serial.next()) {
      this.#serial.transmit(byte);
      if (byte === 0x21) this.#outcome = { kind: 'ended', value: 0 }; // "!"
    }
    if (this.consumed >= this.#life.runs) this.#outcome = this.#life.ends;
  }

  /** How often its console had something for it. */
  heard = 0;
  received(): void {
    this.heard++;
  }
  pause(): void {
    this.#paused = true;
  }
  unpause(): void {
    this.#paused = false;
  }
  interrupt(): void {
    this.#outcome ??= { kind: 'interrupted' };
  }
  destroy(): string | null {
    this.gone = true;
    return null;
  }
  result(): RunResult {
    const outcome = this.#outcome ?? { kind: 'interrupted' };
    const status = exitStatus(outcome, false);
    return {
      outcome,
      status,
      value: outcome.kind === 'ended' ? outcome.value : null,
      instructions: this.consumed,
      elements: 0,
      exits: { CPUID: 2, MSR: 1 },
      vc: {},
      measurement: null,
      warnings: [],
    };
  }
}

export class FakeHost implements HostPort {
  readonly guests: FakeGuest[] = [];
  retired = 0;
  disposed = false;
  #ids = 0;

  readonly facts: HostFacts = {
    cpu: 'milan',
    processors: 1,
    seed: '0',
    memory: { total: 2 ** 30, free: 2 ** 29 },
    asp: 'WORKING, API 1.55',
    flushes: 1,
  };

  get asids(): AsidRow[] {
    return Array.from({ length: LAST_ASID }, (_, i) => {
      const asid = i + 1;
      const former = this.guests.find((guest) => guest.asid === asid);
      const owner = former === undefined || former.gone ? null : former.name;
      return { asid, state: former === undefined ? 'free' : former.gone ? 'dirty' : 'used', owner };
    });
  }

  create(found: FoundGuest, _files: unknown, serial: SerialPeer): HostedGuest {
    const asid = found.values.sev === 'none' ? 0 : this.asids.find(({ state }) => state === 'free')?.asid;
    if (asid === undefined) throw new UserError('no ASID is free: destroy a guest first');
    const guest = new FakeGuest(++this.#ids, asid, found, serial);
    this.guests.push(guest);
    return guest;
  }

  advance(): void {
    this.retired += 100;
    for (const guest of this.guests) guest.run(100);
  }

  dispose(): void {
    this.disposed = true;
  }
}

export const guestOf = (name: string, append: string, more: object = {}): object => ({ name, image: 'guests/hello', append, ...more });

export function fakeToolstack(guests: readonly object[], once = false): { toolstack: Toolstack; host: FakeHost } {
  const host = new FakeHost();
  const log = new HostLog();
  log.clock = () => host.retired;
  const toolstack = new Toolstack(parseHost('host.json', JSON.stringify({ guests })), host, log, once);
  toolstack.autostart();
  return { toolstack, host };
}
