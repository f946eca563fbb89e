// Processors that send each other messages without measure, or at moments when nobody would: INIT, STARTUP, NMI and fixed interrupts (APM vol. 2, 16.5). Nothing
// may get lost that counts, and nothing may hang. Plain and SEV guests, whose other processors begin in real mode; SEV-ES: smp-holds.test.ts.

import { describe, expect, it } from 'vitest';
import type { GuestOptions } from '../../src/cbit.ts';
import { COUNTERS, INIT, keep, NMI, placed, play, send, START, startup, until, wait, wrmsr } from './processors.ts';

const [FIRST, SECOND] = [0x2_0000, 0x2_1000];
const first = (offset = 0): number => FIRST + COUNTERS + offset;
const second = (offset = 0): number => SECOND + COUNTERS + offset;
const [SELF, ALL, OTHERS] = [1 << 18, 2 << 18, 3 << 18];
const STARTUP = 0x600;

let loops = 0;
/** `what` so many times; R12 counts. */
const times = (n: number, what: string): string => {
  const label = `times${loops++}`;
  return `mov r12d, ${n}\n ${label}:\n ${what}\n dec r12d\n jnz ${label}\n`;
};
/** Waits until a doubleword has a value. */
const untilIs = (at: number, value: number | string): string => {
  const label = `is${loops++}`;
  return `${label}: pause\n cmp dword [${at}], ${value}\n jne ${label}\n`;
};
/** Real mode: an entry of the interrupt vector table. */
const vector = (n: number, segment: number, offset = 0): string => `mov dword [${4 * n}], ${segment * 0x1_0000 + offset}\n`;
const count = 'inc dword [cs:0x100]\n l: jmp l';
const halt = 'inc dword [cs:0x100]\n cli\n l: hlt\n jmp l';

const schedules: readonly Partial<GuestOptions>[] = [{}, ...['1', '2'].map((seed) => ({ schedule: 'random' as const, quantum: 40, seed }))];

describe.each(['none', 'sev'] as const)('under %s', (technology) => {
  const each = (
    source: () => string,
    check: (list: number[], options: Partial<GuestOptions>) => void,
    more: Partial<GuestOptions> = {},
  ): void => {
    for (const options of schedules) {
      const { list, outcome } = play(`${source()} ${send(OTHERS | 0x500)} cli`, { technology, ...options, ...more });
      expect(outcome).toEqual({ kind: 'halted', interruptsEnabled: false });
      check(list, options);
    }
  };

  it.each([
    ['that run', count],
    ['that halt', halt],
  ])('INIT and STARTUP by the hundred start one as often as it had the time to, those %s', (_name, code) => {
    each(
      () =>
        `${placed(code, FIRST)} ${START} ${times(300, `${INIT} ${startup(0x20)}`)} ${wait()} ${keep(first())} ${INIT} ${startup(0x20)} ${wait()} ${keep(first())}`,
      ([before = 0, after]) => {
        expect(before).toBeGreaterThan(0);
        expect(before).toBeLessThanOrEqual(300);
        expect(after).toBe(before + 1);
      },
    );
  });

  it('INIT after INIT leaves it waiting, with nothing of an earlier STARTUP', () => {
    each(
      () =>
        `${placed(count, FIRST)} ${START} ${startup(0x20)} ${times(50, INIT)} ${wait()} ${keep(first())} ${startup(0x20)} ${untilIs(first(), 1)} ${keep(first())}`,
      (list) => expect(list[1]).toBe(1),
    );
  });

  it('STARTUP by the hundred to one that runs leaves it alone', () => {
    each(
      () =>
        `${placed(count, FIRST)} ${placed(count, SECOND)} ${START} ${startup(0x20)} ${until(first())} ${times(300, startup(0x21))} ${wait()} ${keep(first())} ${keep(second())}`,
      (list) => expect(list).toEqual([1, 0]),
    );
  });

  it('one that sends INIT to itself waits for STARTUP', () => {
    const code = `${START}\n inc dword [cs:0x100]\n ${wrmsr(0x830, SELF | 0x4500)}\n inc dword [cs:0x104]\n l: jmp l`;
    each(
      () =>
        `${placed(code, FIRST)} ${START} ${startup(0x20)} ${until(first())} ${wait()} ${startup(0x20)} ${untilIs(first(), 2)} ${wait()} ${keep(first())} ${keep(first(4))}`,
      (list) => expect(list).toEqual([2, 0]),
    );
  });

  it('the boot processor that sends INIT to itself begins at the reset vector, where nothing is', () => {
    for (const message of [SELF | 0x4500, ALL | 0x4500]) {
      const { outcome, list } = play(
        `${START} ${placed(count, FIRST)} ${wrmsr(0x830, message)} ${wait()} mov dword [${first()}], 7\n ${keep(first())}`,
        { technology },
      );
      expect(outcome.kind).toBeOneOf(['stopped', 'shutdown', 'limit', 'halted']);
      expect(list).toEqual([0]);
    }
  });

  it('shorthands: all others begin, stop and begin again', () => {
    const code = 'lock inc dword [cs:0x100]\n l: jmp l';
    each(
      () =>
        `${placed(code, FIRST)} ${START} ${send(OTHERS | STARTUP | 0x20)} ${untilIs(first(), 4)} ${send(OTHERS | 0x500)} ${send(OTHERS | STARTUP | 0x20)} ${untilIs(first(), 8)} ${keep(first())}`,
      (list) => expect(list).toEqual([8]),
      { vcpus: 5 },
    );
  });

  describe.each(['milan', 'genoa'])('NMIs on %s', (cpu) => {
    /** Second page: the handler of NMIs. */
    const program = (handler: string): string =>
      `${vector(2, SECOND >> 4)} ${placed(count, FIRST)} ${placed(handler, SECOND)} ${START} ${startup(0x20)} ${until(first())}`;

    it('by the hundred: of those that come while one is served one is kept', () => {
      each(
        () =>
          `${program('inc dword [cs:0x100]\n iret')} ${times(300, NMI)} ${wait()} ${wait()} ${keep(second())} ${NMI} ${wait()} ${keep(second())}`,
        ([before = 0, after]) => {
          expect(before).toBeGreaterThan(0);
          expect(before).toBeLessThanOrEqual(300);
          expect(after).toBe(before + 1);
        },
        { cpu },
      );
    });

    it('do not come while one is served, however many wait', () => {
      each(
        () => `${program('inc dword [cs:0x100]\n l: jmp l')} ${times(20, NMI)} ${wait()} ${keep(second())}`,
        (list) => expect(list).toEqual([1]),
        { cpu },
      );
    });

    it('come again after INIT, though nobody executed IRET', () => {
      each(
        () =>
          `${program('inc dword [cs:0x100]\n l: jmp l')} ${NMI} ${until(second())} ${NMI} ${wait()} ${INIT} ${startup(0x20)} ${untilIs(first(), 2)} ${keep(second())} ${NMI} ${untilIs(second(), 2)} ${keep(second())}`,
        (list) => expect(list).toEqual([1, 2]),
        { cpu },
      );
    });

    it('wake one that halts with interrupts disabled', () => {
      each(
        () =>
          `${vector(2, SECOND >> 4)} ${placed(halt, FIRST)} ${placed('inc dword [cs:0x100]\n iret', SECOND)} ${START} ${startup(0x20)} ${until(first())} ${wait()} ${NMI} ${untilIs(second(), 1)} ${keep(second())}`,
        (list) => expect(list).toEqual([1]),
        { cpu },
      );
    });
  });

  it('two that halt wake each other a thousand times, and none of the interrupts is lost', () => {
    const EOI = wrmsr(0x80b, 0);
    const PINGS = SECOND + 0x200;
    // The other: in real mode, at vector 40h it answers with vector 41h.
    const other = `${START}\n inc dword [cs:0x100]\n l: sti\n hlt\n jmp l`;
    const pong = `inc dword [cs:0x100]\n ${wrmsr(0x830, 0x4041, 0)} ${EOI} iret`;
    const ping = send(0x40);
    const source = () => `
      ${vector(0x40, SECOND >> 4)} ${placed(other, FIRST)} ${placed(pong, SECOND)} mov dword [${PINGS}], 0
      ${START} ${startup(0x20)} ${until(first())}
      ${ping}
      again: cli
      cmp dword [${PINGS}], 1000
      jae over
      sti
      hlt
      jmp again
      h41: push rax
      push rcx
      push rdx
      inc dword [${PINGS}]
      ${ping} ${EOI}
      pop rdx
      pop rcx
      pop rax
      iretq
      over: ${keep(PINGS)}`;
    for (const options of schedules) {
      const { list, outcome } = play(source(), { technology, ...options, maxInstructions: 5_000_000 }, { 0x41: 'h41' });
      expect(list).toEqual([1000]);
      expect(outcome.kind).toBe('halted');
    }
  });

  it('all that halt with nothing to come have halted, interrupts enabled or not', () => {
    for (const [code, interruptsEnabled] of [
      ['sti\n hlt', true],
      ['cli', false],
    ] as const)
      expect(play(`${placed(halt, FIRST)} ${START} ${startup(0x20)} ${until(first())} ${code}`, { technology }).outcome).toEqual({
        kind: 'halted',
        interruptsEnabled,
      });
  });
});
