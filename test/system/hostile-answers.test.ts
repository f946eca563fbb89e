// Answers that the GHCB protocol does not allow. What the hypervisor did not mark valid is no answer, an exception is only one that section 4.1 allows,
// the MSR protocol's responses are to what was asked, and nobody may hide SEV. The guest does not go on with them.

import { afterEach, describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Vector } from '../../src/arch/exception.ts';
import { type GhcbField, GhcbEvent, GhcbInfo, GhcbReason, GhcbResponse } from '../../src/arch/ghcb.ts';
import { EventInjection, EventType } from '../../src/arch/vmcb.ts';
import type { GuestOptions } from '../../src/cbit.ts';
import { Answer, distrusted, type Ended, REFUSED, Victim } from './hostile-hypervisor.ts';

let victim: Victim | null = null;
afterEach(() => {
  victim?.dispose();
  victim = null;
});

function begin(name: string, options: Partial<GuestOptions> = {}): Victim {
  victim?.dispose();
  victim = new Victim(name, options);
  return victim;
}

type Event = {
  readonly guest: string;
  readonly code: number;
  /** The fields that it returns. */
  readonly returns: readonly GhcbField[];
  readonly options?: Partial<GuestOptions>;
  /** Is it this one of the events with the code? By what the guest asked, or what the honest answer is. */
  readonly which?: (answer: Answer) => boolean;
};

/** Alters the answer to one event before the guest sees it. */
function altered({ guest, options, code, which = () => true }: Event, alter: (answer: Answer) => void): Ended {
  const asked = begin(guest, options);
  let done = false;
  asked.meddle(() => {
    const answer = done ? null : Answer.of(asked.vm);
    if (answer === null || answer.event !== code || asked.serial === '' || !which(answer)) return;
    done = true;
    alter(answer);
  });
  const ended = asked.end();
  expect(done).toBe(true);
  return ended;
}

function refused(ended: Ended): void {
  expect(ended).toMatchObject(distrusted);
  expect(ended.serial).toContain(`${REFUSED}\n`);
}

const timed = { intercepts: ['rdtsc', 'rdtscp'] };
// biome-ignore format: a table
const events: Readonly<Record<string, Event>> = {
  CPUID:   { guest: 'cpuid',   code: ExitCode.CPUID,   returns: ['rax', 'rbx', 'rcx', 'rdx'] },
  RDMSR:   { guest: 'msr',     code: ExitCode.MSR,     returns: ['rax', 'rdx'], which: (answer) => answer.isValid('rdx') },
  RDTSC:   { guest: 'rdtsc',   code: ExitCode.RDTSC,   returns: ['rax', 'rdx'], options: timed },
  RDTSCP:  { guest: 'rdtsc',   code: ExitCode.RDTSCP,  returns: ['rax', 'rcx', 'rdx'], options: timed },
  RDPMC:   { guest: 'rdtsc',   code: ExitCode.RDPMC,   returns: ['rax', 'rdx'], which: (answer) => answer.isValid('rdx') },
  IN:      { guest: 'pio',     code: ExitCode.IOIO,    returns: ['rax'], which: (answer) => answer.isValid('rax') },
  VMMCALL: { guest: 'vmmcall', code: ExitCode.VMMCALL, returns: ['rax'] },
};
const others: Readonly<Record<string, Event>> = {
  OUT: { guest: 'pio', code: ExitCode.IOIO, returns: [], which: (answer) => !answer.isValid('rax') },
  'INS and OUTS': { guest: 'pio', code: ExitCode.IOIO, returns: [], which: (answer) => answer.get('swScratch') !== 0n },
  WRMSR: { guest: 'msr', code: ExitCode.MSR, returns: [], which: (answer) => !answer.isValid('rdx') },
  'a write of DR7': { guest: 'dr7', code: ExitCode.DR0_WRITE + 7, returns: [] },
  MONITOR: { guest: 'mwait', code: ExitCode.MONITOR, returns: [] },
  MWAIT: { guest: 'mwait', code: ExitCode.MWAIT, returns: [] },
  'MMIO read': { guest: 'mmio', code: GhcbEvent.MMIO_READ, returns: [] },
  'MMIO write': { guest: 'mmio', code: GhcbEvent.MMIO_WRITE, returns: [] },
};
const all = Object.entries({ ...events, ...others });

describe('a result that is not marked valid is no result', () => {
  const fields = Object.entries(events).flatMap(([name, event]) => event.returns.map((field) => [name, field, event] as const));
  it.each(fields)('%s without %s', (_name, field, event) => {
    refused(altered(event, (answer) => answer.mark(field, false)));
  });

  it.each(all)('%s without SW_EXITINFO1 or SW_EXITINFO2', (_name, event) => {
    for (const field of ['swExitInfo1', 'swExitInfo2'] as const) refused(altered(event, (answer) => answer.mark(field, false)));
  });
});

describe('an error is an error', () => {
  it.each(all)('%s refused as malformed', (_name, event) => {
    const malformed = (answer: Answer): void => {
      answer.set('swExitInfo1', BigInt(GhcbResponse.MALFORMED));
      answer.set('swExitInfo2', BigInt(GhcbReason.INVALID_INPUT));
    };
    refused(altered(event, malformed));
  });

  it.each([3, 4, 0x8000_0000, 0xffff_ffff])('whatever its number: %i', (number) => {
    for (const event of [events.RDMSR!, others.WRMSR!, events.IN!])
      refused(altered(event, (answer) => answer.set('swExitInfo1', BigInt(number))));
  });

  it('the upper half of SW_EXITINFO1 is none', () => {
    const { outcome } = altered(events.CPUID!, (answer) => answer.set('swExitInfo1', 1n << 32n));
    expect(outcome).toEqual({ kind: 'ended', value: 0 });
  });
});

describe('an exception that the hypervisor asks for', () => {
  const { V, EV } = EventInjection;
  const event = (type: number, vector: number, errorCode?: number): bigint =>
    BigInt(V + (errorCode === undefined ? 0 : EV) + (type << 8) + vector) | (BigInt(errorCode ?? 0) << 32n);
  const raise = (info2: bigint) => (answer: Answer) => {
    answer.set('swExitInfo1', BigInt(GhcbResponse.EXCEPTION));
    answer.set('swExitInfo2', info2);
  };
  const { INTR, NMI, EXCEPTION, SOFTWARE_INTERRUPT } = EventType;

  it.each([
    ['#GP', event(EXCEPTION, Vector.GP), 13, '0'],
    ['#GP with an error code', event(EXCEPTION, Vector.GP, 0x1234), 13, '1234'],
    ['#UD', event(EXCEPTION, Vector.UD), 6, '0'],
    ['#UD, which has no error code', event(EXCEPTION, Vector.UD, 0x1234), 6, '0'],
  ])('is raised if it is %s', (_name, info2, vector, code) => {
    const { outcome, serial } = altered(events.CPUID!, raise(info2));
    expect(serial).toContain(`FAIL: unexpected exception ${vector}, error code ${code}\n`);
    expect(outcome).toEqual({ kind: 'ended', value: 1 });
  });

  it.each<readonly [string, bigint]>([
    ['not valid', event(EXCEPTION, Vector.GP) & ~BigInt(V)],
    ['an interrupt', event(INTR, Vector.GP)],
    ['an NMI', event(NMI, Vector.GP)],
    ['a software interrupt', event(SOFTWARE_INTERRUPT, Vector.GP)],
    ['of a reserved type', event(1, Vector.GP)],
    ['a system call', event(SOFTWARE_INTERRUPT, 0x80)],
    ['nothing', 0n],
    ...[0, 1, 3, 8, 12, 14, 17, 18, 28, 29, 30, 0x20, 0x8d, 0xff].map(
      (vector) => [`exception ${vector}`, event(EXCEPTION, vector, 0)] as const,
    ),
  ])('is not raised if it is %s', (_name, info2) => {
    for (const asked of [events.CPUID!, others.WRMSR!]) refused(altered(asked, raise(info2)));
  });
});

describe('SEV cannot be hidden', () => {
  const SEV = 2n;
  const C_BIT = 51n;
  it('by function 8000_001Fh', () => {
    const which = (answer: Answer): boolean =>
      (answer.get('rbx') & 0x3fn) === C_BIT &&
      (answer.get('rax') & 0xffn & SEV) !== 0n &&
      answer.get('rax') < 0x100_0000n &&
      answer.get('rcx') < 0x400n;
    refused(altered({ ...events.CPUID!, which }, (answer) => answer.set('rax', answer.get('rax') & ~SEV)));
  });

  it('by function 8000_0000h', () => {
    const which = (answer: Answer): boolean => answer.get('rax') >= 0x8000_001fn && answer.get('rax') < 0x8000_0100n;
    refused(altered({ ...events.CPUID!, which }, (answer) => answer.set('rax', 0x8000_001en)));
  });
});

describe('a response of the MSR protocol', () => {
  /** Alters the first response with a code, or every one. */
  function answered(code: number, alter: (value: bigint) => bigint, every = false): Ended {
    const asked = begin('hello');
    const { vcpu } = asked.vm;
    let done = false;
    asked.meddle(() => {
      if ((done && !every) || vcpu.vmcb.exitCode !== BigInt(ExitCode.VMGEXIT) || (vcpu.ghcbMsr & 0xfffn) !== BigInt(code)) return;
      done = true;
      vcpu.ghcbMsr = alter(vcpu.ghcbMsr);
    });
    const ended = asked.end();
    expect(done).toBe(true);
    return ended;
  }
  const { CPUID_RESPONSE, CPUID_REQUEST, SEV_INFORMATION, SEV_INFORMATION_REQUEST } = GhcbInfo;
  const code = (value: bigint, info: number): bigint => (value & ~0xfffn) | BigInt(info);

  it('that nobody alters is taken', () => {
    for (const info of [CPUID_RESPONSE, SEV_INFORMATION])
      expect(answered(info, (value) => value)).toMatchObject({ outcome: { kind: 'ended', value: 0 } });
  });

  it.each<readonly [string, (value: bigint) => bigint]>([
    ['is for another register', (value) => value ^ (1n << 30n)],
    ['is for yet another register', (value) => value ^ (1n << 31n)],
    ...[12n, 13n, 20n, 28n, 29n].map((bit) => [`has the reserved bit ${bit} set`, (value: bigint) => value | (1n << bit)] as const),
    ['is the request', (value) => code(value, CPUID_REQUEST)],
    ['has another code', (value) => code(value, SEV_INFORMATION)],
    ['names a page', (value) => code(value, GhcbInfo.GPA)],
  ])('to CPUID that %s is refused', (_name, alter) => {
    expect(answered(CPUID_RESPONSE, alter)).toMatchObject({ ...distrusted, serial: '' });
  });

  it('to CPUID that hides SEV is refused', () => {
    const hidden = (value: bigint): bigint => (((value >> 30n) & 3n) === 0n ? value & ~(2n << 32n) : value); // in EAX
    expect(answered(CPUID_RESPONSE, hidden, true)).toMatchObject({ ...distrusted, serial: '' });
  });

  it.each<readonly [string, number, (value: bigint) => bigint]>([
    ['has another code', 0, (value) => code(value, CPUID_RESPONSE)],
    ['is the request', 0, (value) => code(value, SEV_INFORMATION_REQUEST)],
    ['says that the C-bit is another', 0, (value) => value ^ (1n << 24n)],
    ['speaks newer versions only', 1, (value) => (value & 0xffff_ffffn) | (9n << 48n) | (3n << 32n)],
    ['speaks no version', 1, (value) => value & 0xffff_ffffn],
  ])('to the request for SEV information that %s is refused', (_name, reason, alter) => {
    expect(answered(SEV_INFORMATION, alter)).toMatchObject({ outcome: { kind: 'terminated', set: 0, code: reason }, serial: '' });
  });
});
