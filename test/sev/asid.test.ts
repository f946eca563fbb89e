// The host's choice of ASIDs: ranges as CPUID has them, none twice, none again before a flush, and what people are told when there is none.

import { beforeEach, describe, expect, it } from 'vitest';
import { processorModels } from '../../src/cpu/cpuid.ts';
import { AsidAllocator, type AsidAnswer } from '../../src/sev/asid.ts';

const limits = { lastEncrypted: 15, firstWithoutEs: 5, count: 32 };
let flushes: number;
let refusal: string | null;
let asids: AsidAllocator;

beforeEach(() => {
  flushes = 0;
  refusal = null;
  asids = new AsidAllocator('naples', limits, () => {
    flushes++;
    return refusal;
  });
});

const take = (technology: 'none' | 'sev' | 'sev-es', times = 1): AsidAnswer[] =>
  Array.from({ length: times }, () => asids.allocate(technology));
const numbers = (answers: readonly AsidAnswer[]): number[] => answers.map((answer) => ('asid' in answer ? answer.asid : 0));
const problem = (answer: AsidAnswer | undefined): string => (answer && 'problem' in answer ? answer.problem : '');

describe('ASIDs of guests', () => {
  it('with SEV-ES lie below Fn8000_001F EDX, those without from there to ECX, those without a key above', () => {
    expect(numbers(take('sev-es', 4))).toEqual([1, 2, 3, 4]);
    expect(numbers(take('sev', 11))).toEqual([5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    expect(numbers(take('none', 16))).toEqual([16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]);
    expect(numbers([...take('sev-es'), ...take('sev'), ...take('none')])).toEqual([0, 0, 0]);
    expect(flushes).toBe(0);
  });

  it.each(processorModels)('of $name are as many as CPUID says', ({ name, lastAsid, firstAsidWithoutEs }) => {
    const all = new AsidAllocator(name, { lastEncrypted: lastAsid, firstWithoutEs: firstAsidWithoutEs, count: 0x8000 }, () => null);
    const es = all.count('sev-es', 'free');
    expect([es, es + all.count('sev', 'free'), all.count('none', 'free')]).toEqual([firstAsidWithoutEs - 1, lastAsid, 0x7fff - lastAsid]);
  });

  it('are not handed out again while others are left, and then after one flush for all that came back', () => {
    take('sev-es', 4);
    take('sev', 1);
    for (const asid of [2, 3, 5]) asids.release(asid);
    expect([asids.use(1), asids.use(2), asids.use(6)]).toEqual(['in use', 'waiting for a flush', 'free']);
    expect(numbers(take('sev'))).toEqual([6]);
    expect(flushes).toBe(0);
    expect(numbers(take('sev-es'))).toEqual([2]);
    expect([flushes, asids.flushes]).toEqual([1, 1]);
    expect([asids.use(3), asids.use(5)]).toEqual(['free', 'free']);
    expect(numbers(take('sev-es'))).toEqual([3]);
    expect(flushes).toBe(1);
  });

  it('are never worth a flush that would give none back', () => {
    take('sev-es', 4);
    take('sev');
    asids.release(5);
    expect(problem(asids.allocate('sev-es'))).toContain('in use');
    expect(flushes).toBe(0);
  });

  it('wait on when the flush is refused, and come back with the next one that is not', () => {
    take('sev-es', 4);
    asids.release(1);
    refusal = 'WBINVD_REQUIRED';
    expect(problem(asids.allocate('sev-es'))).toContain('WBINVD_REQUIRED');
    expect([asids.use(1), asids.flushes]).toEqual(['waiting for a flush', 0]);
    refusal = null;
    expect(numbers(take('sev-es'))).toEqual([1]);
  });

  it('without a key are free at once: no line is tagged with them', () => {
    expect(numbers(take('none', 2))).toEqual([16, 17]);
    asids.release(16);
    expect(numbers(take('none'))).toEqual([16]);
    expect(flushes).toBe(0);
  });

  it.each([0, 1, 99, -1])('that nobody has cannot come back: %i', (asid) => {
    expect(() => asids.release(asid)).toThrow('an ASID comes back that nobody has');
  });
});

describe('the line that says why there is none names the processor, the range, the count and the mend', () => {
  it('when all are in use', () => {
    expect(problem(take('sev-es', 5)[4])).toBe(
      'all 4 ASIDs that naples has for SEV-ES guests (1 to 4) are in use: end one of those guests, or choose another processor with --cpu',
    );
    expect(problem(take('sev', 12)[11])).toContain('all 11 ASIDs that naples has for SEV guests without SEV-ES (5 to 15) are in use');
    expect(problem(take('none', 17)[16])).toContain('all 16 ASIDs that naples has for guests without encryption (16 to 31) are in use');
  });

  it('when the flush is refused', () => {
    take('sev-es', 4);
    asids.release(4);
    refusal = 'WBINVD_REQUIRED';
    expect(problem(asids.allocate('sev-es'))).toBe(
      'all 4 ASIDs that naples has for SEV-ES guests (1 to 4) are in use or wait for a DF_FLUSH, which the AMD-SP answers with WBINVD_REQUIRED: end all guests',
    );
  });

  it.each([
    [{ ...limits, firstWithoutEs: 1 }, 'sev-es', 'old has no ASID for SEV-ES guests: choose another processor with --cpu'],
    [
      { lastEncrypted: 0, firstWithoutEs: 0, count: 16 },
      'sev',
      'old has no ASID for SEV guests without SEV-ES: choose another processor with --cpu',
    ],
    [
      { lastEncrypted: 0, firstWithoutEs: 0, count: 16 },
      'sev-es',
      'old has no ASID for SEV-ES guests: choose another processor with --cpu',
    ],
  ] as const)('when the processor has none: %o, %s', (given, technology, text) => {
    expect(problem(new AsidAllocator('old', given, () => null).allocate(technology))).toBe(text);
  });

  it('when there was one', () => {
    const one = new AsidAllocator('old', { ...limits, firstWithoutEs: 2 }, () => null);
    one.allocate('sev-es');
    expect(problem(one.allocate('sev-es'))).toContain('the one ASID that old has for SEV-ES guests (1) is in use');
  });
});
