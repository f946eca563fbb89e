// Each judgement by a guest that earns it.

import { describe, expect, it } from 'vitest';
import { Msr } from '../../src/arch/msr.ts';
import type { Ran } from '../../src/conform/guest-run.ts';
import { judge as verdict, type Others } from '../../src/conform/judge.ts';
import { variants } from '../../src/conform/variants.ts';
import { ASK_TO_END, cellOf, COUNT, end, guest, type Habits, INCREASE, judged, optionsFor, send, SKIP_CPUID } from './guests.ts';

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
    ['undefined-100', 'correct'],
    ['undefined-10000', 'correct'],
    ['undefined-10001', 'correct'],
    ['gp', 'correct'],
    ['ud', 'correct'],
    ['raise-pf', 'correct'],
    ['raise-software', 'correct'],
    ['raise-nmi', 'correct'],
    ['raise-invalid', 'correct'],
    ['raise-reserved', 'correct'],
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
    ['early-vc-27', 'correct'],
    ['early-vc-6e', 'correct'],
    ['early-vc-89', 'correct'],
    ['early-vc-8a', 'correct'],
  ])('%s of CPUID: %s', (variant, result) => {
    expect(cellOf(all, CPUID, variant)).toMatchObject({ result });
  });

  it.each([
    ['unanswered', 'correct'],
    ['other-code', 'correct'],
    ['near-code', 'correct'],
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

  it.each(['cli\nhlt', 'jmp $', 'ud2'])('to wait for its end, or to ask for it again: %s', (then) => {
    expect(cellOf(judge({ refuses: `${ASK_TO_END}\n${then}` }), CPUID, 'missing-rbx')).toMatchObject({ result: 'correct' });
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

  it('to go on behind a request for termination, wherever it was made', () => {
    const all = judge({ refuses: `${ASK_TO_END}\n${SKIP_CPUID}` });
    expect(all.planned.plain.outcome.kind).toBe('ended'); // there is none in the plain run
    for (const id of ['malformed-input', 'undefined-3', 'raise-pf', 'missing-rbx'])
      expect(cellOf(all, CPUID, id)).toMatchObject({
        result: 'violated',
        reason: 'sanitizer: goes-on: after its request for termination: a #VC with code 0x7b',
      });
    expect(cellOf(all, CPUID, 'right').result).toBe('tolerated');
  });

  it.each([0x7ff, 0x3ff, 0x1ff, 0xff, 0x3f, 0xf])('to compare the code of a response by the bits %x only', (codeMask) => {
    expect(cellOf(judge({ codeMask }), VERSIONS, 'near-code')).toMatchObject({ result: 'violated' });
  });

  it('to take another response and to end by the halt that the plain run ends by, too', () => {
    const all = judged(optionsFor(guest({ codeMask: 0xff, finally: 'cli\nhlt' }), { haltOk: true }));
    expect(all.planned.plain.outcome.kind).toBe('halted');
    expect(cellOf(all, VERSIONS, 'near-code')).toMatchObject({ result: 'violated' });
  });

  it('to compare the code of a response loosely, where no figure of it is sent', () => {
    const features = (mask: number): string => `
      mov ecx, ${Msr.GHCB}
      mov eax, 0x80
      xor edx, edx
      wrmsr
      vmgexit
      rdmsr
      and eax, ${mask}
      cmp eax, 0x81
      jne refuse
      mov rax, r15
      xor edx, edx
      wrmsr`;
    const result = (mask: number) => cellOf(judge({ finally: features(mask) }), 'MSR: hypervisor features', 'near-code');
    expect(result(0xfff)).toMatchObject({ result: 'correct' });
    expect(result(0xff)).toMatchObject({ result: 'violated' });
    expect(result(0xff).reason).toContain('it was taken for another answer');
  });

  it.each([8, 16] as const)('to compare SW_EXITINFO1 in %d bits, where the exception changes nothing that is sent', (info1Bits) => {
    const all = judge({ info1Bits, raises: `mov ebx, 'Au'\n${SKIP_CPUID}` });
    expect(cellOf(all, CPUID, 'undefined-10001')).toMatchObject({ result: 'violated' });
    expect(cellOf(all, CPUID, 'undefined-10001').reason).toContain('it was taken for another answer: where nobody could, the guest asked');
    expect(cellOf(judge({ raises: `mov ebx, 'Au'\n${SKIP_CPUID}` }), CPUID, 'undefined-10001')).toMatchObject({ result: 'correct' });
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
    expect(cellOf(all, CPUID, 'inject-nmi').reason).toContain('at another time');
  });
});

describe('an output that is another and no violation', () => {
  const ran = (output: string): Ran => ({
    outcome: { kind: 'ended', value: 0 },
    ending: 'the guest ended itself with 0',
    status: 0,
    output,
    instructions: 100,
    findings: [],
    unsupported: false,
  });
  const none: Others = { again: () => ran('?'), atOtherTimes: () => [], uncompleted: false, withheld: () => null, control: () => null };
  const of = (id: string, plain: string, found: string, others: Partial<Others> = {}): string => {
    const variant = variants.find((one) => one.id === id);
    return variant === undefined ? 'no such variant' : verdict(variant, ran(plain), ran(found), { ...none, ...others }).result;
  };

  it('is that of a C-bit that was told, and is another figure', () => {
    expect(of('c-bit', 'C-bit 51, 73h, 0xb3\n', 'C-bit 50, 72h, 0x9\n')).toBe('tolerated');
    expect(of('c-bit', 'C-bit 51\n', 'no memory encryption\n')).toBe('violated');
    expect(of('missing-rbx', 'C-bit 51\n', 'C-bit 50\n')).toBe('violated');
  });

  it('is that of an NMI before there is a GHCB, behind which no other comes', () => {
    expect(of('inject-nmi', '3 NMIs', '1 NMIs', { uncompleted: true })).toBe('tolerated');
    expect(of('inject-nmi', '3 NMIs', '1 NMIs')).toBe('violated');
    expect(of('inject-nmi', '3 NMIs', 'no NMI', { uncompleted: true })).toBe('violated');
    expect(of('inject-interrupt', '3 NMIs', '1 NMIs', { uncompleted: true })).toBe('violated');
  });

  it('is that of a request that was not carried out, which nobody could know', () => {
    expect(of('malformed-event', '3 NMIs', '1 NMIs', { withheld: () => ran('1 NMIs') })).toBe('tolerated');
    expect(of('malformed-event', '3 NMIs', '2 NMIs', { withheld: () => ran('1 NMIs') })).toBe('violated');
    expect(of('malformed-event', '3 NMIs', '1 NMIs')).toBe('violated');
  });
});
