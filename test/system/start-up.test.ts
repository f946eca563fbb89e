// INIT and STARTUP: how virtual CPUs other than the first begin, stop and begin again. APM vol. 2, 14.1.3 and 16.5; for SEV-ES guests, whose
// registers nobody can write, GHCB specification 4.3.1. Programs of a few instructions; the boot processor writes results into the shared page.

import { describe, expect, it } from 'vitest';
import { Ghcb, GhcbEvent, GhcbInfo, validBit } from '../../src/arch/ghcb.ts';
import { Msr } from '../../src/arch/msr.ts';
import type { GuestOptions } from '../../src/cbit.ts';
import { COUNTERS, INIT, keep, NMI, placed, play, START, startup, until, wait, wrmsr } from './processors.ts';
import { SHARED } from './small-guest.ts';

describe.each(['none', 'sev'] as const)('under %s', (technology) => {
  const [FIRST, SECOND] = [0x2_0000, 0x2_1000];

  /** Real-mode code for pages 20h and 21h; both count at offset 100h unless they do something else. */
  const count = 'l: inc dword [cs:0x100]\n jmp l';
  function programs(first: string, second = count): string {
    return placed(first, FIRST) + placed(second, SECOND) + START;
  }
  const first = (offset: number): number => FIRST + COUNTERS + offset;
  const second = (offset: number): number => SECOND + COUNTERS + offset;
  const run = (source: string, options: Partial<GuestOptions> = {}) => play(source, { technology, ...options });

  it('a processor waits for STARTUP, and begins in real mode at the page that it names', () => {
    const code = `mov [cs:0x104], edx\n mov eax, cr0\n mov [cs:0x108], eax\n mov ax, cs\n mov [cs:0x10c], ax\n mov [cs:0x110], esi\n ${count}`;
    const before = keep(first(0));
    const show = [4, 8, 12, 16].map((offset) => keep(first(offset))).join('');
    const { list } = run(`${programs(code)} ${wait()} ${before} ${INIT} ${startup(0x20)} ${until(first(0))} ${show}`, {
      cpu: 'milan',
    });
    expect(list).toEqual([0, 0x00a0_0f11, 0x10, 0x2000, 0]);
  });

  it('a STARTUP message to one that runs, or that halts, is dropped', () => {
    const runs = run(`${programs(count)} ${startup(0x20)} ${until(first(0))} ${startup(0x21)} ${wait()} ${keep(second(0))}`);
    expect(runs.list).toEqual([0]);
    const halts = run(
      `${programs('inc dword [cs:0x100]\ncli\nhlt')} ${startup(0x20)} ${until(first(0))} ${wait()} ${startup(0x21)} ${wait()} ${keep(second(0))}`,
    );
    expect(halts.list).toEqual([0]);
  });

  it('INIT stops one, and the next STARTUP says anew where it begins', () => {
    const begin = `${programs(count)} ${startup(0x20)} ${until(first(0))}`;
    const { list } = run(
      `${begin} ${INIT} ${wait()} ${keep(first(0))} ${wait()} ${keep(first(0))} ${keep(second(0))} ${startup(0x21)} ${until(second(0))} ${keep(first(0))}`,
    );
    expect(list[0]).toBeGreaterThan(0);
    expect(list.slice(1)).toEqual([list[0], 0, list[0]]);
  });

  it('INIT and STARTUP right behind it start one that halts, however its turn comes', () => {
    const code = programs('inc dword [cs:0x100]\ncli\nhlt');
    const source = (): string =>
      `${code} ${startup(0x20)} ${until(first(0))} ${wait()} ${INIT} ${startup(0x21)} ${until(second(0))} ${keep(first(0))}`;
    for (const seed of ['1', '2', '3']) expect(run(source(), { schedule: 'random', quantum: 50, seed }).list).toEqual([1]);
    expect(run(source()).list).toEqual([1]);
  });

  it('of two STARTUP messages behind an INIT the first counts, if it has been served', () => {
    const { list } = run(`${programs(count)} ${INIT} ${startup(0x20)} ${until(first(0))} ${startup(0x21)} ${wait()} ${keep(second(0))}`);
    expect(list).toEqual([0]);
  });

  it('an NMI does not start one that waits for STARTUP', () => {
    const { list } = run(`${programs(count)} ${NMI} ${wait()} ${keep(first(0))}`);
    expect(list).toEqual([0]);
  });

  it('a guest all of whose processors halt or wait has halted', () => {
    expect(run('cli').outcome).toEqual({ kind: 'halted', interruptsEnabled: false });
  });
});

describe('under sev-es', () => {
  const run = (source: string, options: Partial<GuestOptions> = {}) => play(source, { technology: 'sev-es', ...options });
  /** Private doublewords behind the image. */
  const [ARRIVED, COUNTED, ANSWER] = [0x18_0000, 0x18_0004, 0x18_0008];
  const clear = `xor eax, eax\n mov [${ARRIVED}], eax\n mov [${COUNTED}], eax\n mov [${ANSWER}], rax\n`;
  /** RSI is the number. The prologue of the guest runs on each. */
  const both = (boot: string, other: string): string =>
    `test esi, esi\n jnz other\n ${clear} ${START} ${boot} cli\n hlt\n other: mov r12d, esi\n add [${ARRIVED}], r12d\n ${other}\n stop: cli`;
  const count = `l: inc dword [${COUNTED}]\n jmp l`;

  it('the first STARTUP lets a processor run from where it was measured, whatever it names, with or without INIT', () => {
    for (const messages of [startup(0x20), `${INIT} ${startup(0x99)}`]) {
      const { list, warnings } = run(both(`${wait()} ${keep(ARRIVED)} ${messages} ${until(COUNTED)} ${keep(ARRIVED)}`, count));
      expect(list).toEqual([0, 1]);
      expect(warnings).toEqual([]);
    }
  });

  it('a later one is dropped, and INIT, too: nobody can set its registers', () => {
    const { list, warnings } = run(
      both(
        `${startup(0)} ${until(COUNTED)} ${INIT} ${startup(0x20)} ${wait()} ${keep(ARRIVED)} ${keep(COUNTED)} ${wait()} ${keep(COUNTED)}`,
        count,
      ),
    );
    expect(list[0]).toBe(1);
    expect(list[2]).toBeGreaterThan(list[1] ?? 0);
    expect(warnings.join()).toMatch(/INIT dropped/);
  });

  const holdByMsr = `
    mov dword [${COUNTED}], 1
    ${wrmsr(Msr.GHCB, GhcbInfo.AP_RESET_HOLD_REQUEST)}
    vmgexit
    mov ecx, ${Msr.GHCB}
    rdmsr
    mov [${ANSWER}], eax
    mov [${ANSWER + 4}], edx`;
  const page = SHARED + 0x1000;
  const { swExitCode, swExitInfo1, swExitInfo2, validBitmapLow, validBitmapHigh } = Ghcb.layout;
  const bits = (['swExitCode', 'swExitInfo1', 'swExitInfo2'] as const).reduce(
    (sum, field) => sum | (1n << BigInt(validBit(field) - 64)),
    0n,
  );
  const holdByPage = `
    mov dword [${COUNTED}], 1
    ${wrmsr(Msr.GHCB, page)}
    mov r14, ${page}
    xor eax, eax
    mov [r14 + ${validBitmapLow.offset}], rax
    mov rax, ${bits}
    mov [r14 + ${validBitmapHigh.offset}], rax
    mov eax, ${GhcbEvent.AP_RESET_HOLD >>> 0}
    mov [r14 + ${swExitCode.offset}], rax
    mov qword [r14 + ${swExitInfo1.offset}], 0
    mov qword [r14 + ${swExitInfo2.offset}], 0
    vmgexit
    mov rax, [r14 + ${swExitInfo2.offset}]
    mov [${ANSWER}], rax`;

  describe.each([
    ['the MSR protocol', holdByMsr, 0x1007],
    ['the GHCB page', holdByPage, 1],
  ] as const)('AP reset hold by %s', (_name, hold, answer) => {
    const begin = `${startup(0)} ${until(COUNTED)} ${wait()}`;

    it('parks the processor until a STARTUP message, which is the answer', () => {
      const { list } = run(both(`${begin} ${keep(ANSWER)} ${startup(0x20)} ${until(ANSWER)} ${keep(ANSWER)} ${keep(ARRIVED)}`, hold));
      expect(list).toEqual([0, answer, 1]);
    });

    it('is ended neither by INIT nor by an NMI', () => {
      const { list } = run(both(`${begin} ${INIT} ${NMI} ${wait()} ${keep(ANSWER)}`, hold));
      expect(list).toEqual([0]);
    });

    it('is ended by INIT and STARTUP, in that order', () => {
      const { list } = run(both(`${begin} ${INIT} ${startup(0x20)} ${until(ANSWER)} ${keep(ANSWER)}`, hold));
      expect(list).toEqual([answer]);
    });

    it('can be asked for again', () => {
      const again = `${hold}\n inc dword [${COUNTED}]\n mov dword [${ANSWER}], 0\n ${hold.replace(`mov dword [${COUNTED}], 1`, '')}`;
      const wake = `${startup(0)} ${until(ANSWER)} ${wait()}`;
      expect(run(both(`${begin} ${startup(0)} ${wait()} ${keep(COUNTED)} ${keep(ANSWER)} ${wake} ${keep(ANSWER)}`, again)).list).toEqual([
        2,
        0,
        answer,
      ]);
    });

    it('of all that do not halt ends the run', () => {
      expect(run(both(begin, hold)).outcome).toEqual({ kind: 'halted', interruptsEnabled: false });
    });
  });
});
