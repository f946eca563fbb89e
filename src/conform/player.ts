// Stands between the hypervisor's answers and the guest: counts VMGEXITs, writes down what a plain run asks and gets, and plays one variant
// at one of them.

import { Ghcb, GhcbInfo } from '../arch/ghcb.ts';
import { ghcbFields } from '../hypervisor/ghcb/page.ts';
import type { InterposedVcpu, Interposer } from '../hypervisor/ghcb/interposer.ts';
import type { Outcome } from '../hypervisor/outcome.ts';
import { InternalError } from '../util/errors.ts';
import { BytesPort } from '../util/struct.ts';
import { INFO, msrRowOf, type Reply, type Request, rowOf } from './event.ts';
import { PageBytes } from './page-bytes.ts';
import type { Variant, Window } from './variant.ts';

/** Told of every VMGEXIT that has been answered. */
export type Record = (vcpu: number, number: number, request: Request, reply: Reply, previous: PageBytes | null) => void;

export type Part = { readonly number: number; readonly variant: Variant; readonly fill: number };

type State = { readonly count: number; readonly previous: ReadonlyMap<number, PageBytes>; readonly last: bigint | null };

/** Not canonical, no page of RAM, and nothing that a guest would print by chance; the two differ in every byte. */
const fills = [0x5bad_c0de_f00d_cafen, 0x3a5e_1e55_a11e_6a5dn] as const;

export class Player implements Interposer {
  /** The variant to play, and where. */
  part: Part | null = null;
  /** Nothing is written down if it is null. */
  record: Record | null = null;
  /** VMGEXITs so far. */
  count = 0;
  /** SW_EXITCODE of the last request; null: it came by the MSR. */
  last: bigint | null = null;
  /** The pages of the last answers, by virtual CPU. */
  #previous = new Map<number, PageBytes>();

  capture(): State {
    return { count: this.count, previous: new Map(this.#previous), last: this.last };
  }

  restore({ count, previous, last }: State): void {
    this.count = count;
    this.last = last;
    this.#previous = new Map(previous);
  }

  vmgexit(vcpu: InterposedVcpu, answer: () => Outcome | null): Outcome | null {
    const number = ++this.count;
    const { part, record } = this;
    this.last = exitCodeOf(vcpu);
    if (part !== null && number > part.number) return answer(); // nobody asks any more
    const request = read(vcpu);
    if (request === null) return answer();
    if (part !== null && number === part.number) return part.variant.play(this.#window(vcpu, request, answer, part.fill));
    const outcome = answer();
    const previous = this.#previous.get(vcpu.number) ?? null;
    const page = outcome === null && request.protocol === 'page' ? PageBytes.read(vcpu, vcpu.ghcbMsr) : null;
    if (page !== null) this.#previous.set(vcpu.number, page);
    record?.(vcpu.number, number, request, outcome !== null ? null : page === null ? { value: vcpu.ghcbMsr } : { page }, previous);
    return outcome;
  }

  #window(vcpu: InterposedVcpu, request: Request, answer: () => Outcome | null, fill: number): Window {
    const gpa = vcpu.ghcbMsr;
    return {
      vcpu,
      request,
      answer,
      previous: this.#previous.get(vcpu.number) ?? null,
      page: () => {
        const page = PageBytes.read(vcpu, gpa);
        if (page === null) throw new InternalError('a variant for a GHCB page where there is none');
        return page;
      },
      store: ({ bytes }) => void vcpu.writeMemory(gpa, bytes),
      junk: (field) => (fills[fill % fills.length] ?? 0n) + BigInt(ghcbFields.indexOf(field)) * 0x101_0101n,
    };
  }
}

const quadword = new Uint8Array(8);
const exitCode = new BytesPort(quadword);

function exitCodeOf(vcpu: InterposedVcpu): bigint | null {
  const value = vcpu.ghcbMsr;
  const byPage = (value & INFO) === BigInt(GhcbInfo.GPA) && vcpu.readMemory(value + BigInt(Ghcb.layout.swExitCode.offset), quadword);
  return byPage ? exitCode.u64(0) : null;
}

/** What the guest asks; null: the MSR names no page of RAM, and the hypervisor will not look. */
function read(vcpu: InterposedVcpu): Request | null {
  const value = vcpu.ghcbMsr;
  if ((value & INFO) !== BigInt(GhcbInfo.GPA)) return { protocol: 'msr', value, row: msrRowOf(value) };
  const page = PageBytes.read(vcpu, value);
  return page === null ? null : { protocol: 'page', page, row: rowOf(page) };
}
