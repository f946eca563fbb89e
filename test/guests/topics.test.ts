// The kernels that each teach one topic, by what they print, how they end, and what their #VCs were.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type GuestOptions, type Run, run } from '../../src/cbit.ts';
import { elfPath, root } from '../../tools/guest-manifest.ts';

function runKernel(name: string, options: Partial<GuestOptions> = {}): Run {
  const bytes = new Uint8Array(readFileSync(join(root, elfPath(name))));
  return run({ image: { name, bytes }, maxInstructions: 20_000_000, ...options });
}

const passes = (result: Run): void => {
  expect(result.serial.split('\n').filter((line) => line.startsWith('FAIL'))).toEqual([]);
  expect(result).toMatchObject({ outcome: { kind: 'ended' }, status: 0 });
};

/** #VCs without those for printing and for the one CPUID or the two before the GHCB. */
const vcOf = (result: Run): Record<string, number> =>
  Object.fromEntries(Object.entries(result.vc).filter(([name]) => name !== 'IOIO' && name !== 'CPUID'));

describe('rdtsc', () => {
  it('is not intercepted by default, but RDPMC is', () => {
    const result = runKernel('rdtsc');
    passes(result);
    expect(result.serial).toContain('RDTSC: 1000 readings took 0 #VC');
    expect(vcOf(result)).toEqual({ MSR: 1, RDPMC: 2 });
  });

  it('is #VC 6Eh and 87h with --intercept, a #VC for each reading', () => {
    const result = runKernel('rdtsc', { intercepts: ['rdtsc', 'rdtscp'] });
    passes(result);
    expect(result.serial).toContain('RDTSC: 1000 readings took 1000 #VC');
    expect(result.serial).toContain('RDTSCP: 1000 readings took 1000 #VC');
    // Besides: readings of both kinds together, and one that looks at the upper halves.
    expect(vcOf(result)).toMatchObject({ RDTSC: 1003, RDTSCP: 1001, RDPMC: 2 });
  });

  it.each(['none', 'sev'] as const)('is an exit under %s', (technology) => {
    const result = runKernel('rdtsc', { technology, intercepts: ['rdtsc', 'rdtscp'] });
    passes(result);
    expect(result.exits).toMatchObject({ RDTSC: 1003, RDTSCP: 1001 });
  });
});

describe('dr7', () => {
  it('reads are #VCs without a VMGEXIT, writes with one', () => {
    const result = runKernel('dr7');
    passes(result);
    const { DR7_READ: reads = 0, DR7_WRITE: writes = 0, IOIO = 0, CPUID = 0, MSR = 0 } = result.vc;
    expect(reads).toBe(6);
    expect(writes).toBe(8); // that of bits 63:32 is #GP before the intercept
    // Negotiation, four registers of each CPUID before there is a GHCB.
    expect(result.exits.VMGEXIT).toBe(writes + IOIO + MSR + 1 + 4 * CPUID);
    expect(result.serial).toContain("no #DB: the processor's own DR7 is 0x400");
  });

  it('passes on a trap that the hypervisor intercepts', () => {
    const result = runKernel('dr7', { intercepts: ['exception_1'] });
    passes(result);
    expect(result.serial).toContain('it came as #VC 41h');
    expect(runKernel('dr7').serial).toContain('it came as #DB');
  });
});

describe('vmmcall and mwait', () => {
  it('are one #VC each', () => {
    const calls = runKernel('vmmcall');
    passes(calls);
    expect(calls.vc.VMMCALL).toBe(3);
    const waits = runKernel('mwait');
    passes(waits);
    // One of five MONITORs is #GP before the intercept; that of an unmapped address is a #VC that turns into #PF.
    expect(vcOf(waits)).toEqual({ MONITOR: 4, MWAIT: 1 });
  });
});

describe('mmio', () => {
  it('is #VC 400h for each access, and nothing else', () => {
    const result = runKernel('mmio');
    passes(result);
    expect(Object.keys(vcOf(result))).toEqual(['NPF']);
    expect(result.exits.NPF ?? 0).toBe(0);
  });

  it.each(['none', 'sev'] as const)('is a nested page fault under %s', (technology) => {
    const result = runKernel('mmio', { technology });
    passes(result);
    expect(result.exits.NPF).toBeGreaterThan(40);
  });
});

describe('string-io', () => {
  it.each(['none', 'sev', 'sev-es'] as const)('moves blocks under %s', (technology) => {
    const result = runKernel('string-io', { technology });
    passes(result);
    expect(result.serial).toContain('this line went out by REP OUTSB\n');
    if (technology === 'sev-es') expect(result.serial).toContain('PASS: which took 10 #VC');
  });
});

describe('nmi', () => {
  it.each(['naples', 'milan', 'genoa', 'turin'])('arrives inside a #VC, and one after the other, on %s', (cpu) => {
    const result = runKernel('nmi', { cpu });
    passes(result);
    expect(result.serial).toContain('55 NMIs\n');
  });

  it.each(['none', 'sev'] as const)('arrives under %s', (technology) => {
    for (const cpu of ['milan', 'genoa']) expect(runKernel('nmi', { technology, cpu }).serial).toContain('55 NMIs\n');
  });
});

describe('timer', () => {
  it.each(['none', 'sev', 'sev-es'] as const)('fires in time under %s', (technology) => {
    passes(runKernel('timer', { technology }));
    passes(runKernel('timer', { technology, cpu: 'milan,-x2apic' }));
  });

  it('HLT is no #VC', () => {
    const result = runKernel('timer');
    expect(result.exits.HLT).toBeGreaterThan(10);
    expect(vcOf(result)).not.toHaveProperty('HLT');
  });
});

describe('negotiate', () => {
  it('agrees on version 2', () => {
    const result = runKernel('negotiate');
    passes(result);
    expect(result.serial).toContain('PASS: we speak version 2\n');
  });

  it('agrees on version 1 with a hypervisor that knows no other', () => {
    const result = runKernel('negotiate', { ghcbVersion: 1 });
    passes(result);
    expect(result.serial).toContain('PASS: we speak version 1\n');
    expect(result.serial).toContain('PASS: version 1 has no hypervisor features\n');
  });

  it.each(['none', 'sev'] as const)('has nothing to agree on under %s', (technology) => {
    const result = runKernel('negotiate', { technology });
    passes(result);
    expect(result.serial).toContain('there is no GHCB');
  });
});

describe('terminate', () => {
  const ended = (append: string): Run => runKernel('terminate', { append });

  it.each([
    ['msr', 0, 0, 0n],
    ['own', 1, 0x42, 0n],
    ['protocol', 0, 1, 0n],
    ['page', 1, 0x42, 0x1122_3344_5566_7788n],
  ])('by %s is reason %i:%i', (way, set, code, info) => {
    expect(ended(way).outcome).toEqual({ kind: 'terminated', set, code, info });
  });

  it('by an unsupported event is the decision of the hypervisor', () => {
    const result = ended('unsupported');
    expect(result.outcome.kind).toBe('stopped');
    expect(result.serial).toContain('FAIL: #VC with exit code 0x76, which this guest does not serve');
  });

  it('by other ways needs no GHCB', () => {
    expect(ended('panic').value).toBe(1);
    expect(ended('device').value).toBe(7);
    expect(ended('halt').outcome.kind).toBe('halted');
    expect(ended('shutdown').outcome.kind).toBe('shutdown');
  });

  it('says without SEV-ES what it cannot show', () => {
    const result = runKernel('terminate', { technology: 'sev', append: 'page' });
    passes(result);
    expect(result.serial).toContain("'page' needs SEV-ES");
  });
});
