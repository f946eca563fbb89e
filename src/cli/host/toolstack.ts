// What the verbs do: guests of the file and those created since, by name; what becomes of one that has ended; the host's log.
// Knows nothing of terminals.

import { describeOutcome, ExitStatus, type Outcome } from '../../hypervisor/outcome.ts';
import { UserError } from '../../util/errors.ts';
import type { RunResult } from '../../virtual-machine.ts';
import { GuestConsole } from './console.ts';
import { type GuestEntry, guestFields } from './fields.ts';
import type { HostLog } from './host-log.ts';
import { quoted } from './json.ts';
import { type GuestFiles, loadFiles } from './load.ts';
import { nearest } from './nearest.ts';
import type { HostedGuest, HostPort } from './ports.ts';
import { type FoundGuest, type HostFile, readGuestFile } from './read-file.ts';

/** A guest that is known by its name, whether it exists now or not. */
export type Known = {
  readonly name: string;
  readonly console: GuestConsole;
  /** null: it was not created, or is destroyed. */
  readonly guest: HostedGuest | null;
  /** How it ended last, by itself; null: it has not. */
  readonly last: RunResult | null;
};
type Entry = { -readonly [K in keyof Known]: Known[K] } & {
  readonly file: string;
  readonly found: FoundGuest;
  /** Its files, as they were when it was last asked for. */
  files: GuestFiles;
  /** They are to be looked at again: between two creations they may have changed. */
  stale: boolean;
};

/** Instructions between two looks at keys and ends. */
const STEP = 1_000_000;

export class Toolstack {
  readonly host: HostPort;
  readonly log: HostLog;
  /** File of the host. */
  readonly path: string;
  readonly #known = new Map<string, Entry>();
  readonly #notices = new Map<string, number>();

  /** Guests that have ended stay, whatever the file says. */
  readonly #once: boolean;

  /** Throws UserError: all files of all guests are looked at now. */
  constructor(file: HostFile, host: HostPort, log: HostLog, once = false) {
    this.#once = once;
    this.host = host;
    this.log = log;
    this.path = file.path;
    for (const found of file.guests) this.#add(file.path, found);
  }

  /** Creates the guests that start by themselves. Throws UserError. */
  autostart(): void {
    for (const entry of this.#known.values()) if (entry.found.values.autostart !== false) this.#create(entry);
  }

  /** Guests that exist, by ID. */
  get guests(): (Known & { readonly guest: HostedGuest })[] {
    return [...this.#known.values()]
      .filter((entry): entry is Entry & { guest: HostedGuest } => entry.guest !== null)
      .sort((a, b) => a.guest.id - b.guest.id);
  }

  /** All names, as they came. */
  get known(): readonly Known[] {
    return [...this.#known.values()];
  }

  /** A guest whose last end was no success; who was destroyed before its end has had none. */
  get failed(): boolean {
    return this.known.some(({ last }) => last !== null && last.status !== ExitStatus.OK);
  }

  /** Something can run. */
  get busy(): boolean {
    return this.guests.some(({ guest }) => guest.state === 'running' || guest.state === 'blocked');
  }

  /** The existing guest with a name or ID. Throws UserError. */
  find(given: string): Known & { readonly guest: HostedGuest } {
    const all = this.guests;
    const found = all.find(({ name, guest }) => name === given || String(guest.id) === given);
    if (found !== undefined) return found;
    if (this.#known.has(given)) throw new UserError(`${given} does not exist now: create ${given}`);
    const near = nearest(
      given,
      all.map(({ name }) => name),
    );
    throw new UserError(
      `there is no guest ${quoted(given)}: ${near === null ? 'list shows those that there are' : `did you mean ${near}?`}`,
    );
  }

  /** By the name that the file gives it, or from a file of its own. Throws UserError. */
  create(given: string): Known & { readonly guest: HostedGuest } {
    let entry = this.#known.get(given);
    if (entry === undefined) {
      if (!/[/\\]|\.json$/i.test(given)) {
        const near = nearest(given, [...this.#known.keys()]);
        throw new UserError(
          `the file has no guest ${quoted(given)}: ${near === null ? 'give a name of it, or a file of its own such as ./web.json' : `did you mean ${near}?`}`,
        );
      }
      const found = readGuestFile(given);
      const name = found.values.name ?? '';
      const same = this.#known.get(name);
      if (same !== undefined && same.guest !== null)
        found.at('name').refuse(`there is a guest ${quoted(name)}: destroy it first, or give another name`);
      same?.console.close();
      entry = this.#add(given, found);
    }
    const { guest } = entry;
    if (guest !== null)
      throw new UserError(
        guest.state === 'ended'
          ? `${entry.name} has ended, and still has its memory and ASID: destroy ${entry.name} first`
          : `${entry.name} exists with ID ${guest.id}: destroy it first`,
      );
    return { ...entry, guest: this.#create(entry) };
  }

  destroy(given: string): void {
    const { name, guest } = this.find(given);
    const entry = this.#known.get(name);
    if (entry === undefined) return;
    this.log.note(`${this.#called(guest)}: destroyed`);
    this.#take(entry);
    entry.stale = true;
  }

  /** Runs for a while. True: there is more to run. */
  step(instructions = STEP): boolean {
    this.host.advance(instructions);
    for (const entry of this.#known.values()) {
      entry.console.flush();
      const { guest } = entry;
      if (guest !== null && guest.state === 'ended' && entry.last === null) this.#ended(entry, guest);
    }
    return this.busy;
  }

  /** Somebody wants all to end here. */
  interrupt(): void {
    for (const { guest } of this.guests) guest.interrupt();
    this.step(0);
  }

  /** What happened since the last time that a person should know, in a line each. */
  notices(): string[] {
    const lines = [...this.#notices].map(([text, times]) => (times === 1 ? text : `${text} (${times} times)`));
    this.#notices.clear();
    return lines;
  }

  close(): void {
    for (const { console } of this.#known.values()) console.close();
    this.host.dispose();
  }

  #add(file: string, found: FoundGuest): Entry {
    const files = loadFiles(file, found);
    const name = found.values.name ?? '';
    const entry: Entry = { name, file, found, files, stale: false, console: new GuestConsole(files.consoleLog), guest: null, last: null };
    this.#known.set(name, entry);
    return entry;
  }

  #create(entry: Entry): HostedGuest {
    if (entry.stale) entry.files = loadFiles(entry.file, entry.found);
    entry.stale = false;
    const { files } = entry;
    entry.console.open();
    const guest = refusingAt(entry.found, () => this.host.create(entry.found, files, entry.console));
    entry.guest = guest;
    entry.last = null;
    const { technology, asid, memory, vcpus } = guest;
    const key = technology === 'none' ? 'no key' : `${technology}, ASID ${asid}`;
    this.log.note(`${this.#called(guest)}: created, ${key}, ${memory / 2 ** 20} MiB, ${vcpus} ${vcpus === 1 ? 'vcpu' : 'vcpus'}`);
    return guest;
  }

  #ended(entry: Entry, guest: HostedGuest): void {
    const result = guest.result();
    entry.last = result;
    const { values } = entry.found;
    const { kind } = result.outcome;
    const policy = kind === 'reset' ? 'on-reboot' : endedItself(result.outcome) ? 'on-poweroff' : 'on-crash';
    const wanted = values[policy] ?? 'preserve';
    const said = `${this.#called(guest)}: ${describeOutcome(result.outcome)}`;
    this.log.note(said);
    // Who interrupts does not want it back.
    const then = this.#once || kind === 'interrupted' ? 'preserve' : wanted;
    const became = { preserve: '', destroy: ', and is destroyed', restart: ', and begins anew' }[then];
    this.#notice(`${entry.name}: ${describeOutcome(result.outcome)}${became}`);
    if (then === 'preserve') return;
    this.#take(entry);
    entry.stale = then === 'destroy';
    if (then === 'destroy') return;
    try {
      this.#create(entry);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      this.#notice(`${entry.name}: cannot begin anew: ${error.message}`);
    }
  }

  #notice(text: string): void {
    this.#notices.set(text, (this.#notices.get(text) ?? 0) + 1);
  }

  /** Takes all from a guest; its cable stays. */
  #take(entry: Entry): void {
    entry.console.flush();
    const { guest } = entry;
    entry.guest = null;
    const refused = guest?.destroy() ?? null;
    if (guest !== null && refused !== null) this.log.note(`${this.#called(guest)}: ${refused}`);
  }

  #called({ name, id }: HostedGuest): string {
    return `${name} (${id})`;
  }
}

/** Its own doing, or a person's; everything else is a crash. */
export const endedItself = ({ kind }: Outcome): boolean =>
  kind === 'ended' || kind === 'powered-off' || kind === 'reset' || kind === 'halted' || kind === 'limit' || kind === 'interrupted';

/** What the launch has against a guest is told as a mistake of the key that it is about, or of the guest. Keys are called as in the file. */
function refusingAt<T>({ values, spot, at }: FoundGuest, create: () => T): T {
  try {
    return create();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const options = [...error.message.matchAll(/--([a-z-]+)/g)].map(([, name = '']) => name);
    const about = options.find((name): name is keyof GuestEntry & string => Object.hasOwn(values, name));
    const text = error.message.replaceAll(/--([a-z-]+)/g, (option, name: string) => (Object.hasOwn(guestFields, name) ? name : option));
    return (about === undefined ? spot : at(about)).refuse(text);
  }
}
