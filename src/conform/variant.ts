// What a variant of an answer is. The tables of variants are beside: page, MSR protocol, injected events.

import type { GhcbField } from '../arch/ghcb.ts';
import type { Outcome } from '../hypervisor/outcome.ts';
import type { InterposedVcpu } from '../hypervisor/ghcb/interposer.ts';
import type { ConformEvent, Request } from './event.ts';
import type { PageBytes } from './page-bytes.ts';

/** In the order of the table's columns. */
export const groups = ['right', 'error', 'exception', 'vector', 'missing', 'stale', 'changed', 'wrong', 'injected'] as const;
export type Group = (typeof groups)[number];

/** For people, and for docs/conform.md. */
export const groupTitles: Readonly<Record<Group, string>> = {
  right: 'the answer as it is',
  error: 'malformed input, and response codes that nobody has defined',
  exception: 'an exception that the hypervisor may ask for: #GP or #UD',
  vector: 'an event that it may not ask for',
  missing: 'valid bits that are not set; the fields hold junk',
  stale: 'values of an earlier answer, or of the request',
  changed: 'fields that are no answer are changed',
  wrong: 'values that the guest can know to be wrong',
  injected: 'the right answer, and an event that nobody expects: in the handler (`inject-`), or before the instruction itself (`early-`)',
};

export type Variant = {
  /** Part of a cell's name. */
  readonly id: string;
  readonly group: Group;
  /** What the hypervisor does, as the end of a sentence. */
  readonly title: string;
  /** The exception that it rightly asks for: the guest may go on with it, and its output is then another. */
  readonly asks?: true;
  /** Refuses the request: nothing of it is done. */
  readonly refuses?: true;
  /** Says a wrong figure that a guest may hand on to whoever asked, if it does not act upon it. */
  readonly told?: true;
  /** The same with another value, which a guest refuses if it refuses this one. In no table. */
  readonly control?: Variant;
  /** Brings the event that could as well have come before the instruction. */
  readonly event?: (vcpu: InterposedVcpu) => void;
  /** The event is an NMI, which keeps others back until the guest says in its GHCB that it is complete. */
  readonly nmi?: true;
  /** Comes before the instruction that the #VC is for, and the answer is the right one. */
  readonly early?: (vcpu: InterposedVcpu) => void;
  readonly applies: (event: ConformEvent) => boolean;
  readonly play: (window: Window) => Outcome | null;
};

/** The time between a VMGEXIT and the next VMRUN, with all that the hypervisor has. */
export type Window = {
  readonly vcpu: InterposedVcpu;
  readonly request: Request;
  /** The page of the answer before this one. */
  readonly previous: PageBytes | null;
  /** Answers as the hypervisor does. An outcome: the run ends. */
  readonly answer: () => Outcome | null;
  /** The GHCB page as it is now, and its way back. */
  readonly page: () => PageBytes;
  readonly store: (page: PageBytes) => void;
  /** A value that nobody expects in a field. Two runs of a cell may have different ones. */
  readonly junk: (field: GhcbField) => bigint;
};
