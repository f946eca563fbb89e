// What is judged, and that a cell is the same by itself as in the table.

import { describe, expect, it } from 'vitest';
import type { TraceEvent } from '../../src/util/trace.ts';
import { variants } from '../../src/conform/variants.ts';
import { again, ASK_TO_END, cellOf, everything, finish, guest, INCREASE, judged, kernelOptions, optionsFor, SKIP_CPUID } from './guests.ts';
import { plan } from '../../src/conform/campaign.ts';

const options = optionsFor(guest());

describe('a plan', () => {
  const whole = finish(plan(options, everything, null));

  it('has the VMGEXITs of the plain run by name, with the instruction that each was for', () => {
    expect(whole.chosen.map(({ event }) => [event.number, event.name, event.occurrence, event.occurrences])).toEqual([
      [1, 'MSR: SEV information', 1, 1],
      [2, 'OUT 3F8h', 1, 1],
      [3, 'CPUID 0h', 1, 1],
      [4, 'OUT 3F8h', 1, 1],
      [5, 'OUT 3F8h', 1, 1],
      [6, 'OUT 3F8h', 1, 1],
      [7, 'OUT F4h', 1, 1],
    ]);
    const places = whole.chosen.map(({ event }) => event.rip);
    expect(new Set(places).size).toBe(7);
  });

  it('takes equal requests from one place only so often', () => {
    const loop = optionsFor(
      guest({ finally: 'mov r10d, 5\nmore: mov al, 0x2e\nmov edx, 0x3f8\npush r10\nout dx, al\npop r10\ndec r10d\njnz more' }),
    );
    const chosen = (occurrences: number | null): number[] =>
      finish(plan(loop, { ...everything, occurrences }, null)).chosen.flatMap(({ event }) =>
        event.occurrences === 5 ? [event.occurrence] : [],
      );
    expect(chosen(2)).toEqual([1, 2]);
    expect(chosen(null)).toEqual([1, 2, 3, 4, 5]);
    expect(finish(plan(loop, { ...everything, occurrences: 2 }, null)).leftOut).toBe(3);
  });

  it('is narrowed to events and variants', () => {
    const { chosen, cells } = finish(
      plan(options, { occurrences: null, event: ({ code }) => code === 0x72, variant: ({ group }) => group === 'missing' }, null),
    );
    expect(chosen.map(({ event }) => event.name)).toEqual(['CPUID 0h']);
    expect(chosen[0]?.variants.map(({ id }) => id)).toEqual([
      'missing-info1',
      'missing-info2',
      'missing-rax',
      'missing-rbx',
      'missing-rcx',
      'missing-rdx',
      'missing-all',
    ]);
    expect(cells).toBe(7);
  });

  it('leaves out what no guest could see: a byte that came in is as good as another', () => {
    const kernel = finish(
      plan(kernelOptions('guests/hello/hello.elf'), { ...everything, event: ({ name }) => name.startsWith('IN ') }, null),
    );
    const groupsOf = new Set(
      kernel.chosen.flatMap(({ variants: own }) => own.filter(({ group }) => group === 'wrong').map(({ id }) => id)),
    );
    expect([...groupsOf]).toEqual(['wide']);
  });

  it('does not begin with a guest that never ends', () => {
    const endless = optionsFor(guest({ finally: 'jmp $' }));
    expect(() => finish(plan(endless, everything, 100_000))).toThrow(
      /100000 instructions was reached, so there is nothing to compare with: give a higher/,
    );
  });
});

describe('variants', () => {
  it('have names of their own within an event', () => {
    const { chosen } = finish(plan(options, everything, null));
    for (const { variants: own } of chosen) expect(new Set(own.map(({ id }) => id)).size).toBe(own.length);
  });

  it('have names that a cell can be called by', () => {
    for (const { id } of variants) expect(id).toMatch(/^[a-z0-9-]+$/);
  });
});

describe('a cell alone', () => {
  const everybody = judged(options);

  it('is the same from the start of the guest as from a snapshot', () => {
    for (const cell of everybody.cells.filter((_, n) => n % 5 === 0)) {
      const { output, ...alone } = again(options, everybody, cell);
      expect(alone).toEqual(cell);
      expect(typeof output).toBe('string');
    }
  });

  it('is the same for a guest that leaves much out', () => {
    const careless = optionsFor(guest({ without: ['info1', 'valid', 'opcode'], nmi: INCREASE }));
    const all = judged(careless, { event: ({ code }) => code === 0x72 });
    for (const cell of all.cells) {
      const { output: _, ...alone } = again(careless, all, cell);
      expect(alone).toEqual(cell);
    }
  });

  it('has a trace', () => {
    const events: TraceEvent[] = [];
    const cell = again(options, everybody, cellOf(everybody, 'CPUID 0h', 'malformed-input'), [{ note: (event) => events.push(event) }]);
    expect(cell.output).toBe('A');
    expect(events.at(-1)).toMatchObject({ kind: 'end', outcome: 'terminated' });
  });
});

describe('a request for termination that the variant has provoked', () => {
  it('is not followed, and the cell is the same from the start of the guest', () => {
    const goesOn = optionsFor(guest({ refuses: `${ASK_TO_END}\n${SKIP_CPUID}` }));
    const all = judged(goesOn, { event: ({ code }) => code === 0x72, variant: ({ group }) => group === 'missing' });
    for (const cell of all.cells) {
      const { output, ...alone } = again(goesOn, all, cell);
      expect(alone).toEqual(cell);
      expect(cell).toMatchObject({ result: 'violated', findings: [{ rule: 'goes-on', side: 'guest' }] });
      expect(output).toBe('A');
    }
  });
});

describe('answers that end the run', () => {
  it('are tried once more', () => {
    const all = judged(optionsFor(guest({ finally: 'jmp refuse' })));
    const cell = all.cells.find(({ variant }) => variant.id === 'entered-again');
    expect(cell).toMatchObject({ result: 'tolerated', event: { name: 'MSR: termination' } });
  });

  it('must not be gone on from', () => {
    const all = judged(
      optionsFor(guest({ finally: 'jmp refuse', refuses: 'mov ecx, 0xc0010130\nmov eax, 0x100\nxor edx, edx\nwrmsr\nvmgexit\nud2' })),
    );
    expect(all.cells.find(({ variant }) => variant.id === 'entered-again')?.event.name).toBe('MSR: termination');
  });
});
