// What is found wrong, as values: who, where, in which event. The same thing at the same place is one finding, with how often.

/** Who has broken the protocol. */
export type Side = 'guest' | 'hypervisor';

export type Finding = {
  /** A name from a table of rules. */
  readonly rule: string;
  readonly side: Side;
  /** The guest's instruction; of the hypervisor's doing, where the guest goes on. */
  readonly rip: bigint;
  /** The event under way: `CPUID`, `MMIO read`, `GHCB MSR 004h`; empty if there is none. */
  readonly exit: string;
  /** What has happened, in one sentence. */
  readonly text: string;
  /** Instructions that had been retired when it was seen first. */
  readonly at: number;
  readonly times: number;
};

/** A guest in a loop must not fill our memory. */
const MOST_FINDINGS = 1000;

export class Findings {
  #found = new Map<string, Finding>();

  get list(): readonly Finding[] {
    return [...this.#found.values()];
  }

  add(finding: Omit<Finding, 'times'>): void {
    const { rule, side, rip, exit } = finding;
    const key = `${rule} ${side} ${rip} ${exit}`;
    const known = this.#found.get(key);
    if (known !== undefined) this.#found.set(key, { ...known, times: known.times + 1 });
    else if (this.#found.size < MOST_FINDINGS) this.#found.set(key, { ...finding, times: 1 });
  }

  capture(): readonly Finding[] {
    return this.list;
  }

  restore(list: readonly Finding[]): void {
    this.#found = new Map(list.map((finding) => [`${finding.rule} ${finding.side} ${finding.rip} ${finding.exit}`, finding]));
  }
}
