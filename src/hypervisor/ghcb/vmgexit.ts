// VMGEXIT (exit code 403h): the MSR protocol or the GHCB page, by GHCBInfo. The order of the checks on a page is the table's:
// usage, the three fields that every event has, the event, its variant, its own fields (GHCB specification 4.1; KVM's order).

import { GhcbInfo, GhcbReason, GhcbResponse } from '../../arch/ghcb.ts';
import { type Gpa, gpa, PAGE_SIZE, type Spa } from '../../util/address.ts';
import { assert } from '../../util/errors.ts';
import type { Outcome } from '../outcome.ts';
import { answerMsrProtocol } from './msr-protocol.ts';
import { type Answer, naeRows } from './nae-events.ts';
import type { GhcbPage } from './page.ts';
import type { Services } from './services.ts';

/** A vCPU that speaks the GHCB protocol. */
export interface GhcbVcpu extends Services {
  /** The GHCB MSR as the VMCB holds it (offset 0A0h). */
  ghcbMsr: bigint;
  readonly ghcb: GhcbPage;
  /** Where the host finds a page of guest RAM; null if there is none. */
  locate(page: Gpa): Spa | null;
  /** The guest has named a GHCB page: from now on it can answer #VC by itself. */
  namedGhcb(): void;
}

const INFO = 0xfffn;
const everyEvent = ['swExitCode', 'swExitInfo1', 'swExitInfo2'] as const;

export function handleVmgexit(vcpu: GhcbVcpu): Outcome | null {
  const value = vcpu.ghcbMsr;
  return Number(value & INFO) === GhcbInfo.GPA ? handlePage(vcpu, value) : handleMsr(vcpu, value);
}

function handleMsr(vcpu: GhcbVcpu, request: bigint): Outcome | null {
  if (vcpu.tracing) vcpu.note({ kind: 'ghcb-msr', from: 'guest', value: request });
  const answer = answerMsrProtocol(vcpu, request);
  switch (answer.kind) {
    case 'respond':
      vcpu.ghcbMsr = answer.value;
      if (vcpu.tracing) vcpu.note({ kind: 'ghcb-msr', from: 'hypervisor', value: answer.value });
      return null;
    case 'ignore':
      vcpu.warn(`VMGEXIT with the GHCB MSR 0x${request.toString(16)} ignored: ${answer.why}`);
      return null;
    case 'end':
      return answer.outcome;
  }
}

function handlePage(vcpu: GhcbVcpu, value: bigint): Outcome | null {
  const page = value < BigInt(vcpu.memorySize) && value !== 0n ? gpa(Number(value)) : null;
  const address = page === null || page + PAGE_SIZE > vcpu.memorySize ? null : vcpu.locate(page);
  if (page === null || address === null) {
    vcpu.warn(`VMGEXIT ignored: the GHCB MSR names 0x${value.toString(16)}, which is not a page of the guest's memory`);
    return null;
  }
  vcpu.namedGhcb();
  const { ghcb } = vcpu;
  ghcb.capture(page, address);
  if (vcpu.tracing) vcpu.note({ kind: 'ghcb', from: 'guest', gpa: page, fields: ghcb.fields('guest') });
  const answer = answerPage(vcpu, ghcb);
  if (answer.kind === 'end') return answer.outcome;
  if (answer.kind !== 'done') ghcb.clearAnswers();
  const [info1, info2] = response(answer);
  ghcb.set('swExitInfo1', info1);
  ghcb.set('swExitInfo2', info2);
  if (vcpu.tracing) vcpu.note({ kind: 'ghcb', from: 'hypervisor', gpa: page, fields: ghcb.fields('hypervisor') });
  ghcb.reply();
  return null;
}

function answerPage(vcpu: Services, ghcb: GhcbPage): Answer {
  if (ghcb.usage !== 0) return { kind: 'malformed', reason: GhcbReason.USAGE };
  if (!everyEvent.every((field) => ghcb.has(field))) return { kind: 'malformed', reason: GhcbReason.MISSING_INPUT };
  const rows = naeRows(ghcb.get('swExitCode')).filter(({ offered }) => offered === undefined || offered(vcpu));
  if (rows.length === 0) return { kind: 'malformed', reason: GhcbReason.INVALID_EVENT };
  const info1 = ghcb.get('swExitInfo1');
  const event = rows.find(({ when }) => when === undefined || when(info1));
  if (event === undefined) return { kind: 'malformed', reason: GhcbReason.INVALID_INPUT };
  if (![...event.needs].every((field) => ghcb.has(field)) || !(event.alsoNeeds?.(ghcb) ?? []).every((field) => ghcb.has(field))) {
    return { kind: 'malformed', reason: GhcbReason.MISSING_INPUT };
  }
  const answer = event.handle(vcpu, ghcb);
  if (answer.kind === 'done') {
    for (const field of event.returns) assert(ghcb.answered(field), `the GHCB event ${event.name} did not return ${field}`);
  }
  return answer;
}

function response(answer: Exclude<Answer, { kind: 'end' }>): readonly [info1: bigint, info2: bigint] {
  switch (answer.kind) {
    case 'done':
      return [BigInt(GhcbResponse.OK), answer.info2 ?? 0n];
    case 'exception':
      return [BigInt(GhcbResponse.EXCEPTION), answer.eventInj];
    case 'malformed':
      return [BigInt(GhcbResponse.MALFORMED), BigInt(answer.reason)];
  }
}
