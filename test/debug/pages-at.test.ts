import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { describeMoment, ExitWatch, type Moment, parseMoment } from '../../src/debug/pages-at.ts';
import { UserError } from '../../src/util/errors.ts';

describe('a moment', () => {
  it.each<[string, Moment]>([
    ['0', { kind: 'instructions', count: 0 }],
    ['1_000_000', { kind: 'instructions', count: 1_000_000 }],
    ['2M', { kind: 'instructions', count: 2_000_000 }],
    ['VMGEXIT', { kind: 'exit', code: ExitCode.VMGEXIT, count: 1 }],
    ['vmgexit#3', { kind: 'exit', code: ExitCode.VMGEXIT, count: 3 }],
    ['VMEXIT_CPUID', { kind: 'exit', code: ExitCode.CPUID, count: 1 }],
    ['cr4_write_trap', { kind: 'exit', code: ExitCode.CR0_WRITE_TRAP + 4, count: 1 }],
  ])('is %s', (text, moment) => {
    expect(parseMoment(text)).toEqual(moment);
  });

  it.each(['', '-1', '1.5', 'cpuidd', 'cpuid#', 'cpuid#0', 'cpuid#-1', '#3', '99999999999999999999', '0x100'])('is not %s', (text) => {
    expect(() => parseMoment(text)).toThrow(UserError);
  });

  it('reads as people say it', () => {
    expect(['1M', 'cpuid', 'npf#2'].map((text) => describeMoment(parseMoment(text)))).toEqual([
      'after 1,000,000 instructions',
      'at CPUID',
      'at NPF, number 2',
    ]);
  });
});

describe('the watch', () => {
  it('counts exits and #VCs of its code and calls once', () => {
    const calls: number[] = [];
    const watch = new ExitWatch({ kind: 'exit', code: ExitCode.CPUID, count: 2 }, ({ at }) => calls.push(at));
    const vc = { kind: 'vc', rip: 0n, instruction: 'CPUID' } as const;
    watch.note({ at: 1, ...vc, exitCode: ExitCode.CPUID });
    watch.note({ at: 2, ...vc, exitCode: ExitCode.IOIO });
    watch.note({ at: 3, kind: 'exit', exitCode: ExitCode.CPUID, exitInfo1: 0n, exitInfo2: 0n });
    watch.note({ at: 4, ...vc, exitCode: ExitCode.CPUID });
    expect([calls, watch.seen]).toEqual([[3], 3]);
  });
});
