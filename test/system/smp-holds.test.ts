// AP reset holds as no kernel asks for them (GHCB specification 4.3.1): both kinds by turns, again and again, by the boot processor, with STARTUP messages by
// the dozen; and AP jump tables that lie nowhere. Programs of a few instructions in an SEV-ES guest.

import { describe, expect, it } from 'vitest';
import { Ghcb, GhcbEvent, type GhcbField, GhcbInfo, JumpTable, validBit } from '../../src/arch/ghcb.ts';
import { Msr } from '../../src/arch/msr.ts';
import type { GuestOptions } from '../../src/cbit.ts';
import { INIT, keep, NMI, play, send, START, startup, until, wait, wrmsr } from './processors.ts';
import { SHARED } from './small-guest.ts';

const PAGE = SHARED + 0x1000;
/** Private doublewords behind the image. */
const [HELD, BY_MSR, BY_PAGE, BOOT] = [0x18_0000, 0x18_0010, 0x18_0020, 0x18_0030];
const layout = Ghcb.layout;
const bitmap = (fields: readonly GhcbField[]): bigint => fields.reduce((sum, field) => sum | (1n << BigInt(validBit(field) - 64)), 0n);
const EVERY = bitmap(['swExitCode', 'swExitInfo1', 'swExitInfo2']);

let loops = 0;
const untilIs = (at: number, value: number): string => {
  const label = `held${loops++}`;
  return `${label}: pause\n cmp dword [${at}], ${value}\n jne ${label}\n`;
};

/** An event of the page at PAGE; its SW_EXITINFO2 comes back in RAX. */
const event = (code: number, info1: number, info2: bigint): string => `
  ${wrmsr(Msr.GHCB, PAGE)}
  mov r14, ${PAGE}
  xor eax, eax
  mov [r14 + ${layout.validBitmapLow.offset}], rax
  mov rax, ${EVERY}
  mov [r14 + ${layout.validBitmapHigh.offset}], rax
  mov eax, ${code >>> 0}
  mov [r14 + ${layout.swExitCode.offset}], rax
  mov qword [r14 + ${layout.swExitInfo1.offset}], ${info1}
  mov rax, ${info2}
  mov [r14 + ${layout.swExitInfo2.offset}], rax
  vmgexit
  mov rax, [r14 + ${layout.swExitInfo2.offset}]\n`;
const holdByPage = `inc dword [${HELD}]\n ${event(GhcbEvent.AP_RESET_HOLD, 0, 0n)} mov [${BY_PAGE}], rax\n`;
const holdByMsr = `inc dword [${HELD}]\n ${wrmsr(Msr.GHCB, GhcbInfo.AP_RESET_HOLD_REQUEST)} vmgexit\n mov ecx, ${Msr.GHCB}\n rdmsr\n mov [${BY_MSR}], eax\n`;
const clear = [HELD, BY_MSR, BY_PAGE, BOOT].map((at) => `mov qword [${at}], 0\n`).join('');

/** RSI is the number of the processor. */
const both = (boot: string, other: string): string =>
  `test esi, esi\n jnz other\n ${clear} ${START} ${startup(0)} ${boot} cli\n hlt\n other: ${other} cli\n`;
const run = (source: string, options: Partial<GuestOptions> = {}) => play(source, { technology: 'sev-es', ...options });
const schedules: readonly Partial<GuestOptions>[] = [
  {},
  ...['1', '2', '3'].map((seed) => ({ schedule: 'random' as const, quantum: 60, seed })),
];
const STARTED_BY_MSR = 0x1007;

describe('AP reset hold', () => {
  const PARKED = `${untilIs(HELD, 1)} ${wait()}`;

  it('by turns of both kinds is answered each in its own place', () => {
    const next = (n: number): string => `${startup(0)} ${untilIs(HELD, n)} ${wait()} ${keep(BY_PAGE)} ${keep(BY_MSR)}`;
    for (const options of schedules) {
      const forget = `mov dword [${BY_PAGE}], 0\n mov dword [${BY_MSR}], 0\n`;
      const boot = `${untilIs(HELD, 1)} ${wait()} ${next(2)} ${forget} ${next(3)} ${forget} ${next(4)} ${forget} ${startup(0)} ${until(BY_MSR)} ${keep(BY_PAGE)}`;
      const { list, outcome } = run(both(boot, [holdByPage, holdByMsr, holdByPage, holdByMsr].join('')), options);
      expect(list).toEqual([1, 0, 0, STARTED_BY_MSR, 1, 0, 0]);
      expect(outcome).toEqual({ kind: 'halted', interruptsEnabled: false });
    }
  });

  it('a hold by the MSR leaves the page of an earlier one alone', () => {
    const marked = `mov dword [${PAGE + layout.swExitInfo2.offset}], 0x5a5a\n`;
    const boot = `${PARKED} ${startup(0)} ${untilIs(HELD, 2)} ${wait()} ${marked} ${startup(0)} ${until(BY_MSR)} ${keep(PAGE + layout.swExitInfo2.offset)}`;
    expect(run(both(boot, `${holdByPage} ${holdByMsr}`)).list).toEqual([0x5a5a]);
  });

  it('ends once for each STARTUP, however many come', () => {
    const again = `\n again:\n ${holdByMsr} jmp again\n`;
    for (const options of schedules) {
      const storm = Array.from({ length: 40 }, (_, n) => `${startup(n)} ${untilIs(HELD, n + 2)} ${wait()}`).join('');
      expect(run(both(`${PARKED} ${storm} ${keep(HELD)}`, again), { ...options, maxInstructions: 5_000_000 }).list).toEqual([41]);
    }
  });

  it('is not ended beforehand: a STARTUP to one that runs is gone', () => {
    const spin = `inc dword [${BOOT}]\n mov ecx, 60000\n spin: dec ecx\n jnz spin\n`;
    const boot = `${PARKED} ${startup(0)} ${until(BOOT)} ${startup(0)} ${startup(1)} ${untilIs(HELD, 2)} ${wait()} ${wait()} ${keep(BY_MSR)}`;
    expect(run(both(boot, `${holdByPage} ${spin} ${holdByMsr}`)).list).toEqual([0]);
  });

  it('is ended by no storm of INIT and NMI', () => {
    const storm = Array.from({ length: 30 }, () => INIT + NMI).join('');
    const { list, warnings } = run(both(`${PARKED} ${storm} ${wait()} ${keep(BY_PAGE)} ${keep(HELD)}`, holdByPage));
    expect(list).toEqual([0, 1]);
    expect(warnings.length).toBeLessThan(5);
  });

  it('the boot processor can ask for it, too, and the other lets it go', () => {
    const other = `${START} other1: pause\n cmp dword [${BOOT}], 1\n jne other1\n ${wait()} ${send(0x600, 0)}`;
    for (const options of schedules) {
      const boot = `${holdByMsr.replaceAll(`[${HELD}]`, `[${BOOT}]`)} ${keep(BY_MSR)}`;
      expect(run(both(boot, other), options)).toMatchObject({ list: [STARTED_BY_MSR], outcome: { kind: 'halted' } });
    }
  });

  it('of all of them is the end of the run', () => {
    expect(run(both(`${PARKED} ${holdByMsr}`, holdByPage))).toMatchObject({ outcome: { kind: 'halted', interruptsEnabled: false } });
  });

  it('with a page that is no memory is ignored: the processor goes on', () => {
    const nowhere = holdByPage.replace(wrmsr(Msr.GHCB, PAGE), wrmsr(Msr.GHCB, 0x7fff_f000, 1));
    const { list, warnings } = run(both(`${until(BOOT)} ${keep(HELD)} ${keep(BOOT)}`, `${nowhere} mov dword [${BOOT}], 1\n`));
    expect(list).toEqual([1, 1]);
    expect(warnings.join()).toMatch(/not a page of the guest’s memory|not a page of the guest's memory/);
  });
});

describe('the AP jump table', () => {
  it.each([
    ['unaligned', 0x1_2345n],
    ['in no memory', 0xffff_f000n],
    ['beyond all addresses', 0xffff_ffff_ffff_ffffn],
    ['the GHCB page', BigInt(PAGE)],
    ['nowhere', 0n],
  ])('is kept as the guest says it, nobody looks there: %s', (_name, address) => {
    const set = event(GhcbEvent.AP_JUMP_TABLE, JumpTable.SET, address);
    const get = event(GhcbEvent.AP_JUMP_TABLE, JumpTable.GET, 0n);
    const { list, outcome } = run(
      `test esi, esi\n jnz stop\n ${set} ${get} mov [${BOOT}], rax\n ${keep(BOOT)} ${keep(BOOT + 4)} stop: cli`,
    );
    expect(BigInt(list[0]!) | (BigInt(list[1]!) << 32n)).toBe(address);
    expect(outcome.kind).toBe('halted');
  });
});
