// Each judgement by a guest that earns it.

import { describe, expect, it } from 'vitest';
import { cellOf, COUNT, end, guest, type Habits, INCREASE, judged, optionsFor, send, SKIP_CPUID } from './guests.ts';

const CPUID = 'CPUID 0h';
const OUT = 'OUT 3F8h';
const VERSIONS = 'MSR: SEV information';
const judge = (habits: Habits = {}) => judged(optionsFor(guest(habits)));

describe('a guest that checks everything', () => {
  const all = judge();

  it('is run to the end without any variant first', () => {
    expect(all.planned.plain).toMatchObject({ output: 'AAuZ', status: 0 });
    expect(all.planned.vmgexits).toBe(7);
  });

  it('violates nothing', () => {
    expect(all.cells.filter(({ result }) => result === 'violated').map(({ id, reason }) => `${id}: ${reason}`)).toEqual([]);
    expect(all.cells.length).toBeGreaterThan(250);
  });

  it('goes on with the right answer', () => {
    expect(all.cells.filter(({ variant }) => variant.id === 'right').map(({ result }) => result)).toEqual(
      Array<string>(7).fill('tolerated'),
    );
  });

  it.each([
    ['malformed-usage', 'correct'],
    ['malformed-own', 'correct'],
    ['undefined-3', 'correct'],
    ['undefined-ffffffff', 'correct'],
    ['gp', 'correct'],
    ['ud', 'correct'],
    ['raise-pf', 'correct'],
    ['raise-software', 'correct'],
    ['raise-nmi', 'correct'],
    ['raise-invalid', 'correct'],
    ['missing-info1', 'correct'],
    ['missing-info2', 'correct'],
    ['missing-rax', 'correct'],
    ['missing-rdx', 'correct'],
    ['missing-all', 'correct'],
    ['unanswered', 'correct'],
    ['repeated', 'correct'],
    ['stale-outputs', 'correct'],
    ['more-fields', 'tolerated'],
    ['scratch-address', 'tolerated'],
    ['shared-buffer', 'tolerated'],
    ['request-fields', 'tolerated'],
    ['usage', 'tolerated'],
    ['version', 'tolerated'],
    ['info1-high', 'tolerated'],
    ['wide', 'tolerated'],
    ['inject-vc-7c', 'correct'],
    ['inject-vc-72', 'correct'],
    ['inject-gp', 'correct'],
    ['inject-nmi', 'tolerated'],
    ['inject-80', 'correct'],
  ])('%s of CPUID: %s', (variant, result) => {
    expect(cellOf(all, CPUID, variant)).toMatchObject({ result });
  });

  it.each([
    ['unanswered', 'correct'],
    ['other-code', 'correct'],
    ['zero', 'correct'],
    ['versions-above', 'correct'],
    ['versions-below', 'correct'],
    ['versions-none', 'correct'],
    ['reserved', 'tolerated'],
  ])('%s of the version: %s', (variant, result) => {
    expect(cellOf(all, VERSIONS, variant)).toMatchObject({ result });
  });

  it('is told that it terminated', () => {
    expect(cellOf(all, CPUID, 'malformed-input').reason).toContain('termination');
  });
});

describe('correct is also', () => {
  it('to end with another status than 0', () => {
    expect(cellOf(judge({ refuses: end(3) }), CPUID, 'missing-rbx')).toMatchObject({
      result: 'correct',
      reason: 'the guest ended itself with 3',
    });
  });

  it('to send FAIL', () => {
    const fail = [...'FAIL'].map((letter) => send(`'${letter}'`)).join('');
    expect(cellOf(judge({ refuses: `${fail}${end(0)}` }), CPUID, 'missing-rbx')).toMatchObject({
      result: 'correct',
      reason: 'the guest sent FAIL',
    });
  });

  it('to halt for good', () => {
    expect(cellOf(judge({ refuses: 'cli\nhlt' }), CPUID, 'missing-rbx')).toMatchObject({ result: 'correct' });
  });

  it('to go on with the exception that was asked for', () => {
    // As if CPUID had raised it: the instruction is skipped, and another letter comes out.
    const all = judge({ raises: `mov ebx, 'xy'\n${SKIP_CPUID}` });
    expect(cellOf(all, CPUID, 'gp')).toMatchObject({ result: 'correct' });
    expect(cellOf(all, CPUID, 'gp').reason).toContain('exception');
    expect(cellOf(all, CPUID, 'raise-pf')).toMatchObject({ result: 'correct' });
  });
});

describe('violated is', () => {
  it('to take what an answer that asks for an exception holds', () => {
    const all = judge({ without: ['info1'] });
    expect(cellOf(all, CPUID, 'gp')).toMatchObject({ result: 'violated' });
    expect(cellOf(all, CPUID, 'gp').reason).toContain('instead of "AuZ"');
    expect(cellOf(all, CPUID, 'malformed-input')).toMatchObject({ result: 'violated' });
    expect(cellOf(all, OUT, 'malformed-input')).toMatchObject({ result: 'violated' }); // the letter is missing
  });

  it('to take registers that are not marked valid', () => {
    const all = judge({ without: ['valid'] });
    expect(cellOf(all, CPUID, 'missing-rbx')).toMatchObject({ result: 'violated' });
    expect(cellOf(all, CPUID, 'missing-all')).toMatchObject({ result: 'violated' });
  });

  it('to raise what nobody may ask for', () => {
    const all = judge({ without: ['type'], raises: `mov ebx, 'xy'\n${SKIP_CPUID}` });
    expect(cellOf(all, CPUID, 'raise-software')).toMatchObject({ result: 'violated' });
    expect(cellOf(all, CPUID, 'gp')).toMatchObject({ result: 'correct' });
  });

  it('to serve a #VC that no instruction raised', () => {
    // It counts two CPUIDs where there is one.
    const all = judge({ without: ['opcode'], afterwards: INCREASE, finally: COUNT });
    expect(cellOf(all, CPUID, 'inject-vc-72')).toMatchObject({ result: 'violated' });
  });

  it('to do what the sanitizer finds, and has not found in the plain run', () => {
    const all = judge({ without: ['valid'] });
    const before = new Set(all.planned.plain.findings.map(({ rule, rip }) => `${rule} ${rip}`));
    const cell = cellOf(all, CPUID, 'missing-rbx');
    expect(cell.result).toBe('violated');
    expect(cell.reason).toMatch(/^sanitizer: field-not-valid: /);
    expect(cell.findings.length).toBeGreaterThan(0);
    for (const { rule, rip } of cell.findings) expect(before).not.toContain(`${rule} ${rip}`);
  });

  it('to shut down', () => {
    const all = judge({ refuses: 'lidt [rel none]\nud2\nnone: dw 0\ndq 0' });
    expect(cellOf(all, CPUID, 'missing-rbx')).toMatchObject({ result: 'violated', reason: 'the guest shut down: triple fault' });
  });

  it('never to end', () => {
    const cell = cellOf(judge({ refuses: 'jmp refuse' }), CPUID, 'missing-rbx');
    expect(cell).toMatchObject({ result: 'violated', reason: 'no end within 1000000 instructions' });
  });

  it('to wait for what never comes', () => {
    expect(cellOf(judge({ refuses: 'sti\nhlt' }), CPUID, 'missing-rbx')).toMatchObject({ result: 'violated' });
  });
});

describe('an NMI that is counted', () => {
  it('makes an output that a run with an earlier NMI makes, too', () => {
    const all = judge({ nmi: INCREASE, finally: COUNT });
    expect(all.planned.plain.output).toBe('AAu0Z');
    expect(cellOf(all, CPUID, 'inject-nmi')).toMatchObject({ result: 'tolerated' });
    expect(cellOf(all, CPUID, 'inject-nmi').reason).toContain('earlier');
  });
});
