// VMGEXIT (exit code 403h): the MSR protocol or the GHCB page, by GHCBInfo. The order of the checks on a page is the table's:
// usage, the three fields that every event has, the event, its variant, its own fields (GHCB specification 4.1; KVM's order).

import { Ghcb, GhcbInfo, GhcbResponse } from '../../arch/ghcb.ts';
import { type Gpa, gpa, PAGE_SIZE, type Spa } from '../../util/address.ts';
import { InternalError } from '../../util/errors.ts';
import type { Outcome } from '../outcome.ts';
import { type Answer, badUsage, malformed, missingInput } from './answers.ts';
import { answerMsrProtocol } from './msr-protocol.ts';
import { type NaeEvent, naeRow } from './nae-events.ts';
import { fieldSet, type GhcbPage } from './page.ts';
import type { Services } from './services.ts';

/** A vCPU that speaks the GHCB protocol. */
export interface GhcbVcpu extends Services {
  /** The GHCB MSR as the VMCB holds it (offset 0A0h). */
  ghcbMsr: bigint;
  /** The same by halves. */
  readonly ghcbMsrLow: number;
  readonly ghcbMsrHigh: number;
  readonly ghcb: GhcbPage;
  /** Where the host finds a page of guest RAM; null if there is none. */
  locate(page: Gpa): Spa | null;
  /** The guest has named a GHCB page: from now on it can answer #VC by itself. */
  namedGhcb(): void;
}

const { swExitInfo1, swExitInfo2 } = Ghcb.layout;
const INFO = 0xfff;
const everyEvent = fieldSet(['swExitCode', 'swExitInfo1', 'swExitInfo2']);

export function handleVmgexit(vcpu: GhcbVcpu): Outcome | null {
  return (vcpu.ghcbMsrLow & INFO) === GhcbInfo.GPA ? handlePage(vcpu) : handleMsr(vcpu, vcpu.ghcbMsr);
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

function handlePage(vcpu: GhcbVcpu): Outcome | null {
  const { ghcb } = vcpu;
  const value = vcpu.ghcbMsrHigh * 2 ** 32 + vcpu.ghcbMsrLow;
  const page = value !== 0 && value + PAGE_SIZE <= vcpu.memorySize ? gpa(value) : null;
  const address = page === null ? null : (ghcb.addressOf(page) ?? vcpu.locate(page));
  if (page === null || address === null) {
    vcpu.warn(`VMGEXIT ignored: the GHCB MSR names 0x${vcpu.ghcbMsr.toString(16)}, which is not a page of the guest's memory`);
    return null;
  }
  vcpu.namedGhcb();
  ghcb.capture(page, address, vcpu.ghcbVersion);
  if (ghcb.unknownVersion !== 0) vcpu.warn(`GHCB page of protocol version ${ghcb.unknownVersion}: taken as version ${vcpu.ghcbVersion}`);
  if (vcpu.tracing) vcpu.note({ kind: 'ghcb', from: 'guest', gpa: page, fields: ghcb.fields('guest') });
  const answer = answerPage(vcpu, ghcb);
  if (answer.kind === 'end') return answer.outcome;
  if (answer.kind !== 'done') ghcb.clearAnswers();
  respond(ghcb, answer);
  if (vcpu.tracing) vcpu.note({ kind: 'ghcb', from: 'hypervisor', gpa: page, fields: ghcb.fields('hypervisor') });
  ghcb.reply();
  return null;
}

function answerPage(vcpu: Services, ghcb: GhcbPage): Answer {
  if (ghcb.usage !== 0) return badUsage;
  if (!ghcb.hasAll(everyEvent)) return missingInput;
  const row = naeRow(vcpu, ghcb);
  if (typeof row === 'number') return malformed(row);
  if (!ghcb.hasAll(row.needs)) return missingInput;
  const { event } = row;
  const { needsIf } = event;
  if (needsIf?.test(ghcb) === true && !ghcb.has(Ghcb.layout[needsIf.field])) return missingInput;
  if (!(row.anyInfo1 || ghcb.isZero(swExitInfo1)) || !(row.anyInfo2 || ghcb.isZero(swExitInfo2))) vcpu.warn(notZero(event));
  const answer = event.handle(vcpu, ghcb);
  if (answer.kind === 'done' && !ghcb.answeredAll(row.returns)) forgotten(event);
  return answer;
}

/** The specification demands it (4.1); KVM does not look. */
function notZero({ name, info1, info2 }: NaeEvent): string {
  const fields = [...(info1 === undefined ? ['SW_EXITINFO1'] : []), ...(info2 === undefined ? ['SW_EXITINFO2'] : [])];
  return `GHCB event ${name}: ${fields.join(' and ')} should be 0`;
}

function forgotten(event: NaeEvent): never {
  throw new InternalError(`the GHCB event ${event.name} did not return all of ${event.returns.join(', ')}`);
}

function respond(ghcb: GhcbPage, answer: Exclude<Answer, { kind: 'end' }>): void {
  switch (answer.kind) {
    case 'done':
      ghcb.set64(swExitInfo1, GhcbResponse.OK, 0);
      if (answer.info2 === undefined) ghcb.set64(swExitInfo2, 0, 0);
      else ghcb.set(swExitInfo2, answer.info2);
      return;
    case 'exception':
      ghcb.set64(swExitInfo1, GhcbResponse.EXCEPTION, 0);
      ghcb.set(swExitInfo2, answer.eventInj);
      return;
    case 'malformed':
      ghcb.set64(swExitInfo1, GhcbResponse.MALFORMED, 0);
      ghcb.set64(swExitInfo2, answer.reason, 0);
  }
}
