// The planted bugs: which tool finds each, and how it wants to be run.

import type { RuleId } from '../../src/sanitizer/rules.ts';
import type { TaintRule } from '../../src/taint/taint-rules.ts';

export type Row = {
  readonly name: string;
  /** The sanitizer's rule. */
  readonly sanitize?: RuleId;
  /** The label reader's rule. */
  readonly taint?: TaintRule;
  /** The variant of an answer that it violates. */
  readonly conform?: string;
  readonly vcpus?: number;
  /** Turns so short that another processor comes in between hundreds of times. */
  readonly quantum?: number;
  /** Instructions that nobody intercepts unless asked to. */
  readonly intercepts?: readonly string[];
  /** It ends by asking for its termination. */
  readonly terminates?: true;
};

// biome-ignore format: a table
export const table: readonly Row[] = [
  { name: 'address-size', sanitize: 'string-count' },
  { name: 'answer-table', taint: 'taint-address', conform: 'undefined-3' },
  { name: 'any-error-code', conform: 'gp-junk-code' },
  { name: 'any-exception', conform: 'raise-de' },
  { name: 'any-version', conform: 'versions-above' },
  { name: 'asm-vc-clobber', sanitize: 'register-changed' },
  { name: 'asm-vc-trusting', sanitize: 'unchecked-valid-bit', conform: 'missing-rbx' },
  { name: 'believed-c-bit', taint: 'cbit-unverified', conform: 'c-bit-0' },
  { name: 'count-from-answer', sanitize: 'exposed-register', taint: 'taint-address', conform: 'request-fields' },
  { name: 'count-truncated', sanitize: 'string-count' },
  { name: 'cpuid-index', conform: 'other-register' },
  { name: 'direction-ignored', sanitize: 'string-source' },
  { name: 'dr7-as-written', sanitize: 'dr7-value' },
  { name: 'half-opcode', conform: 'inject-vc-81' },
  { name: 'heckler', conform: 'inject-80' },
  { name: 'hidden-sev', conform: 'no-sev' },
  { name: 'ignored-refusal', sanitize: 'unchecked-info1', conform: 'malformed-input' },
  { name: 'interrupts-on', sanitize: 'interrupts-enabled' },
  { name: 'jump-table-unchecked', taint: 'taint-address', conform: 'jump-table-unaligned' },
  { name: 'late-share', sanitize: 'ghcb-private' },
  { name: 'mmio-anywhere', conform: 'inject-vc-400' },
  { name: 'movzx-half', sanitize: 'register-width' },
  { name: 'msr-code-unchecked', conform: 'zero' },
  { name: 'mwait-swapped', sanitize: 'wrong-request' },
  { name: 'narrow-in', sanitize: 'register-width' },
  { name: 'nmi-incomplete', sanitize: 'nmi-incomplete' },
  { name: 'nmi-no-backup', sanitize: 'nested-use' },
  { name: 'outs-segment', sanitize: 'string-source' },
  { name: 'over-copy', taint: 'taint-private-to-shared' },
  { name: 'own-reason', sanitize: 'termination-reason', terminates: true },
  { name: 'port-sign', sanitize: 'wrong-request' },
  { name: 'private-scratch', sanitize: 'scratch-bounds' },
  { name: 'rdtscp-aux', sanitize: 'result-lost', intercepts: ['rdtscp'] },
  { name: 'rdtscp-length', sanitize: 'resumed-elsewhere', intercepts: ['rdtscp'] },
  { name: 'register-leak', sanitize: 'exposed-register', taint: 'taint-private-to-shared' },
  { name: 'retried-ins', sanitize: 'string-count' },
  { name: 'scratch-from-answer', taint: 'taint-address' },
  { name: 'shared-neighbour', taint: 'taint-private-to-shared' },
  { name: 'shared-pointer', taint: 'taint-branch' },
  { name: 'short-rip', sanitize: 'resumed-elsewhere' },
  { name: 'smp-refetch', sanitize: 'user-access', vcpus: 2, quantum: 997 },
  { name: 'smp-user-ports', sanitize: 'user-access', vcpus: 2, quantum: 997 },
  { name: 'stale-bitmap', sanitize: 'stale-bitmap' },
  { name: 'string-page-end', sanitize: 'user-access' },
  { name: 'syscall-gap', sanitize: 'user-stack' },
  { name: 'termination-ignored', conform: 'entered-again', terminates: true },
  { name: 'third-user', sanitize: 'nested-use' },
  { name: 'unmarked-msr', sanitize: 'unchecked-valid-bit', conform: 'missing-rax' },
  { name: 'unmarked-result', sanitize: 'unchecked-valid-bit', conform: 'missing-rbx' },
  { name: 'user-mmio', sanitize: 'user-access' },
  { name: 'user-string', sanitize: 'user-access' },
  { name: 'user-vmgexit', sanitize: 'user-request' },
  { name: 'wesee', conform: 'inject-vc-72' },
  { name: 'whole-register-file', sanitize: 'exposed-register', taint: 'taint-private-to-shared' },
  { name: 'wide-load', sanitize: 'register-width', conform: 'shared-buffer' },
  { name: 'wide-out', sanitize: 'exposed-register' },
  { name: 'wide-result', conform: 'wide' },
];

export const MOST = 60_000_000;

/** Options for its run. */
export const settingsOf = ({ vcpus = 1, quantum, intercepts = [] }: Row) => ({
  vcpus,
  intercepts,
  maxInstructions: MOST,
  ...(quantum === undefined ? {} : { quantum }),
});
