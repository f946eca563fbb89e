// What holds for every exit of the committed kernels; exits.test.ts has the exact sequences of single instructions.

import { describe, expect, it } from 'vitest';
import { Msr } from '../../src/arch/msr.ts';
import type { TraceEvent } from '../../src/cbit.ts';
import { runKernel, technologies } from './runs.ts';

describe('one RDMSR', () => {
  it.each([Msr.GHCB, Msr.SEV_STATUS])('of %i is not intercepted under SEV-ES', (index) => {
    const { events } = runKernel('msr');
    const asked = events.filter(({ kind }) => kind === 'ghcb') as Extract<TraceEvent, { kind: 'ghcb' }>[];
    expect(asked.filter(({ fields }) => fields['swExitCode'] === 0x7cn && fields['rcx'] === BigInt(index))).toEqual([]);
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
