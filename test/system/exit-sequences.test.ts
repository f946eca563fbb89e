// One CPUID, one RDMSR, one OUT, one MOV to CR4: the exact events from the instruction to the VMRUN that answers it, without and with
// SEV-ES, with the fields that the GHCB specification asks for.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Msr } from '../../src/arch/msr.ts';
import { Cr4 } from '../../src/arch/registers.ts';
import type { TraceEvent } from '../../src/cbit.ts';
import { brief, runKernel, sequence, technologies } from './runs.ts';

const throughGhcb = (name: string): string[] => [
  `vc ${name}`,
  'exception 29',
  'exit VMGEXIT',
  'ghcb from guest',
  'ghcb from hypervisor',
  'vmrun',
];

type Ghcb = Extract<TraceEvent, { kind: 'ghcb' }>;
type Exit = Extract<TraceEvent, { kind: 'exit' }>;

const messages = (events: readonly TraceEvent[]): readonly Ghcb[] => events.filter((event) => event.kind === 'ghcb');
const exits = (events: readonly TraceEvent[]): readonly Exit[] => events.filter((event) => event.kind === 'exit');

/** The first #VC with this code, once the guest has a GHCB. */
function firstVc(events: readonly TraceEvent[], code: number, skip = 0): TraceEvent[] {
  const ready = events.findIndex(({ kind }) => kind === 'ghcb');
  let seen = 0;
  return sequence(events.slice(ready), (event) => event.kind === 'vc' && event.exitCode === code && seen++ === skip);
}

describe('one CPUID', () => {
  it.each(['none', 'sev'] as const)('is one exit under %s', (technology) => {
    const { events } = runKernel('cpuid', { technology });
    expect(sequence(events, (event) => event.kind === 'exit' && event.exitCode === ExitCode.CPUID).map(brief)).toEqual([
      'exit CPUID',
      'vmrun',
    ]);
  });

  it('is #VC, GHCB, VMGEXIT under SEV-ES', () => {
    const { events } = runKernel('cpuid');
    const round = firstVc(events, ExitCode.CPUID);
    expect(round.map(brief)).toEqual(throughGhcb('CPUID'));
    const [asked, answered] = messages(round);
    expect(asked?.fields).toMatchObject({ swExitCode: 0x72n, swExitInfo1: 0n, swExitInfo2: 0n });
    expect(Object.keys(asked?.fields ?? {})).toEqual(expect.arrayContaining(['rax', 'rcx']));
    expect(Object.keys(answered?.fields ?? {})).toEqual(expect.arrayContaining(['rax', 'rbx', 'rcx', 'rdx']));
    expect(answered?.fields).toMatchObject({ swExitInfo1: 0n });
  });
});

describe('one RDMSR', () => {
  it.each(['none', 'sev'] as const)('is one exit with EXITINFO1 0 under %s', (technology) => {
    const { events } = runKernel('msr', { technology });
    const round = sequence(events, (event) => event.kind === 'exit' && event.exitCode === ExitCode.MSR && event.exitInfo1 === 0n);
    expect(round.map(brief)).toEqual(['exit MSR', 'vmrun']);
  });

  it('is #VC, GHCB, VMGEXIT under SEV-ES', () => {
    const { events } = runKernel('msr');
    const round = firstVc(events, ExitCode.MSR);
    expect(round.map(brief)).toEqual(throughGhcb('MSR'));
    const [asked, answered] = messages(round);
    expect(asked?.fields).toMatchObject({ swExitCode: 0x7cn, swExitInfo1: 0n });
    expect(Object.keys(asked?.fields ?? {})).toContain('rcx');
    expect(Object.keys(asked?.fields ?? {})).not.toContain('rax');
    expect(Object.keys(answered?.fields ?? {})).toEqual(expect.arrayContaining(['rax', 'rdx']));
  });

  it.each([Msr.GHCB, Msr.SEV_STATUS])('of %i is not intercepted under SEV-ES', (index) => {
    const { events } = runKernel('msr');
    expect(messages(events).filter(({ fields }) => fields['swExitCode'] === 0x7cn && fields['rcx'] === BigInt(index))).toEqual([]);
  });
});

describe('one OUT', () => {
  const COM1 = 0x3f8n;
  const isOut8 = (info: bigint): boolean => info >> 16n === COM1 && (info & 1n) === 0n && (info & 0x10n) !== 0n;

  it.each(['none', 'sev'] as const)('is one exit with its port in EXITINFO1 under %s', (technology) => {
    const { events } = runKernel('hello', { technology });
    const round = sequence(events, (event) => event.kind === 'exit' && event.exitCode === ExitCode.IOIO && isOut8(event.exitInfo1));
    expect(round.map(brief)).toEqual(['exit IOIO', 'vmrun']);
  });

  it('is #VC, GHCB, VMGEXIT under SEV-ES, and needs RAX', () => {
    const { events } = runKernel('hello');
    const out = events.findIndex((event) => event.kind === 'ghcb' && event.from === 'guest' && isOut8(event.fields['swExitInfo1'] ?? 0n));
    const round = sequence(events.slice(out - 3), () => true);
    expect(round.map(brief)).toEqual(throughGhcb('IOIO'));
    expect(messages(round)[0]?.fields).toMatchObject({ swExitCode: 0x7bn, rax: expect.any(BigInt) });
  });
});

describe('one MOV to CR4', () => {
  it.each(['none', 'sev'] as const)('is no exit under %s', (technology) => {
    const { events } = runKernel('cr-trap', { technology });
    expect(exits(events).filter(({ exitCode }) => exitCode === ExitCode.CR0_WRITE + 4 || exitCode === ExitCode.CR0_WRITE_TRAP + 4)).toEqual(
      [],
    );
  });

  it('is one exit before the fact with --intercept cr', () => {
    const { events } = runKernel('cr-vc', { technology: 'none', intercepts: ['cr'] });
    const round = sequence(events, (event) => event.kind === 'exit' && event.exitCode === ExitCode.CR0_WRITE + 4);
    expect(round.map(brief)).toEqual(['exit CR4_WRITE', 'vmrun']);
  });

  it('is trapped after the fact under SEV-ES, with the new value', () => {
    const { events } = runKernel('cr-trap');
    const round = sequence(events, (event) => event.kind === 'exit' && event.exitCode === ExitCode.CR0_WRITE_TRAP + 4);
    expect(round.map(brief)).toEqual(['exit CR4_WRITE_TRAP', 'vmrun']);
    expect(exits(round)[0]?.exitInfo1).toSatisfy((value: bigint) => (value & BigInt(Cr4.PAE)) !== 0n);
  });

  it('is #VC 14h under SEV-ES with --intercept cr, and is trapped when the handler repeats it', () => {
    const { events } = runKernel('cr-vc', { intercepts: ['cr'] });
    const round = firstVc(events, ExitCode.CR0_WRITE + 4);
    expect(round.map(brief)).toEqual(throughGhcb('CR4_WRITE'));
    const after = events.slice(events.indexOf(round.at(-1) as TraceEvent) + 1);
    expect(after.slice(0, 2).map(brief)).toEqual(['exit CR4_WRITE_TRAP', 'vmrun']);
    expect(exits(after)[0]?.exitInfo1).toBe(messages(round)[0]?.fields['rax']);
  });
});

describe('every exit', () => {
  it.each(technologies)('is answered by one VMRUN under %s, but the last', (technology) => {
    const { events } = runKernel('hello', { technology });
    const count = (kind: TraceEvent['kind']): number => events.filter((event) => event.kind === kind).length;
    expect(count('vmrun')).toBe(count('exit'));
    expect(events.at(-1)).toMatchObject({ kind: 'end', outcome: 'ended' });
  });
});
