// Interrupts from a guest's own local APIC, in programs of a few instructions: when they arrive, in which order, and what holds them off.
// APM vol. 2, chapter 16 (local APIC), 8.1.3 and 8.5 (masking, shadows), 15.20 and 15.21 (injection). Results are in the shared page.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Ghcb, GHCB_BUFFER, GhcbEvent, type GhcbField, validBit } from '../../src/arch/ghcb.ts';
import { type GuestOptions, launch, run, type TraceEvent } from '../../src/cbit.ts';
import { readMemory, settings, under } from './runs.ts';
import { assembleGuest, GHCB, MEMORY, type Served, SHARED } from './small-guest.ts';

const rdmsr: Served = { instruction: 'rdmsr', exitCode: ExitCode.MSR, sends: ['rcx'], takes: ['rax', 'rdx'] };
const served: readonly Served[] = [{ instruction: 'wrmsr', exitCode: ExitCode.MSR, info1: 1, sends: ['rax', 'rcx', 'rdx'], takes: [] }];

const wrmsr = (msr: number, value: number): string => `mov ecx, ${msr}\n mov eax, ${value}\n xor edx, edx\n wrmsr`;
/** x2APIC mode, software enable, spurious vector FFh. */
const START = `${wrmsr(0x1b, 0xfee0_0d00)}\n ${wrmsr(0x80f, 0x1ff)}`;
const selfIpi = (vector: number): string => wrmsr(0x83f, vector);
const EOI = wrmsr(0x80b, 0);
const LVT_TIMER = 0x832;
const INITIAL = 0x838;
const DIVIDE = 0x83e;
const BY_1 = 0xb;
/** Appends a byte to the list in the shared page, whose length is its first doubleword. */
const note = (byte: number): string => `mov r9d, [${SHARED}]\n mov byte [r9 + ${SHARED + 4}], ${byte}\n inc dword [${SHARED}]`;
const handler = (label: string, body: string): string =>
  `${label}: push rax\n push rcx\n push rdx\n ${body}\n pop rdx\n pop rcx\n pop rax\n iretq`;

function program(code: string, gates: Readonly<Record<number, string>>, handlers: readonly string[]): Uint8Array {
  return assembleGuest(`${code}\n jmp over\n ${handlers.join('\n')}\n over: cli`, served, gates).bytes;
}

/** Runs to the end; gives the list and what happened. */
function play(bytes: Uint8Array, options: Partial<GuestOptions>) {
  const events: TraceEvent[] = [];
  const vm = launch({
    image: { name: 'test', bytes },
    memory: MEMORY,
    maxInstructions: 1_000_000,
    ...options,
    onEvent: (event) => events.push(event),
  });
  try {
    while (!vm.advance(1_000_000));
    const page = new Uint8Array(4096);
    readMemory(vm, SHARED, page);
    const view = new DataView(page.buffer);
    const list = [...page.subarray(4, 4 + view.getUint32(0, true))];
    return { list, view, events, result: vm.result(), time: vm.machine.time };
  } finally {
    vm.dispose();
  }
}

describe.each(settings)('under %s', (setting) => {
  it('a self IPI interrupts at once when interrupts are enabled', () => {
    const bytes = program(`${START}\n sti\n nop\n ${selfIpi(0x40)}\n ${note(2)}`, { 0x40: 'h40' }, [handler('h40', `${note(1)}\n ${EOI}`)]);
    const { list, result } = play(bytes, under(setting));
    expect(list).toEqual([1, 2]);
    expect(result.outcome).toEqual({ kind: 'halted', interruptsEnabled: false });
  });

  it('an interrupt waits for RFLAGS.IF, and behind STI for one instruction more', () => {
    const bytes = program(
      `${START}\n ${selfIpi(0x40)}\n ${note(1)}\n xor ebx, ebx\n sti\n inc ebx\n inc ebx\n ${note(3)}`,
      { 0x40: 'h40' },
      [handler('h40', `mov [${SHARED + 0x100}], ebx\n ${note(2)}\n ${EOI}`)],
    );
    const { list, view } = play(bytes, under(setting));
    expect(list).toEqual([1, 2, 3]);
    expect(view.getUint32(0x100, true)).toBe(1);
  });

  it('a higher priority class interrupts a handler, the same class waits for EOI', () => {
    const bytes = program(`${START}\n sti\n nop\n ${selfIpi(0x51)}\n ${note(9)}`, { 0x51: 'h51', 0x5f: 'h5f', 0x61: 'h61' }, [
      handler('h51', `${note(1)}\n sti\n ${selfIpi(0x5f)}\n ${note(2)}\n ${selfIpi(0x61)}\n ${note(3)}\n ${EOI}\n ${note(4)}`),
      handler('h5f', `${note(0x5f)}\n ${EOI}`),
      handler('h61', `${note(0x61)}\n ${EOI}`),
    ]);
    expect(play(bytes, under(setting)).list).toEqual([1, 2, 0x61, 3, 0x5f, 4, 9]);
  });

  it('of two that wait the higher vector comes first', () => {
    const bytes = program(`${START}\n ${selfIpi(0x41)}\n ${selfIpi(0x72)}\n sti\n nop\n nop\n ${note(9)}`, { 0x41: 'h41', 0x72: 'h72' }, [
      handler('h41', `${note(0x41)}\n ${EOI}`),
      handler('h72', `${note(0x72)}\n ${EOI}`),
    ]);
    expect(play(bytes, under(setting)).list).toEqual([0x72, 0x41, 9]);
  });

  it('CR8 holds off its class and those below, until it is lowered', () => {
    const bytes = program(
      `${START}\n sti\n mov eax, 5\n mov cr8, rax\n ${selfIpi(0x5f)}\n ${note(1)}\n ${selfIpi(0x60)}\n ${note(2)}\n mov eax, 4\n mov cr8, rax\n nop\n ${note(3)}`,
      { 0x5f: 'h5f', 0x60: 'h60' },
      [handler('h5f', `${note(0x5f)}\n ${EOI}`), handler('h60', `${note(0x60)}\n ${EOI}`)],
    );
    expect(play(bytes, under(setting)).list).toEqual([1, 0x60, 2, 0x5f, 3]);
  });

  const count = 16_000; // nanoseconds: 1000 instructions
  const timer = program(
    `${START}\n ${wrmsr(DIVIDE, BY_1)}\n ${wrmsr(LVT_TIMER, 0x41)}\n sti\n ${wrmsr(INITIAL, count)}\n xor ebx, ebx\n wait: inc rbx\n cmp dword [${SHARED}], 0\n je wait\n ${note(2)}`,
    { 0x41: 'h41' },
    [handler('h41', `mov [${SHARED + 0x100}], rbx\n ${note(1)}\n ${EOI}`)],
  );

  it('the timer interrupts at the very instruction at which its count is zero', () => {
    const { list, events } = play(timer, under(setting));
    expect(list).toEqual([1, 2]);
    if (setting === 'bare') return; // no exit tells when it was armed: bare.test.ts
    const injected = events.findIndex((event) => event.kind === 'inject' && event.eventInj === 0x8000_0041n);
    const armed = events
      .slice(0, injected)
      .filter((event) => event.kind === 'exit' && (event.exitCode === ExitCode.MSR || event.exitCode === ExitCode.VMGEXIT))
      .at(-1);
    expect((events[injected]?.at ?? 0) - (armed?.at ?? 0)).toBe(count / 16);
  });

  it('does so in every run alike, however it is cut into slices', () => {
    const options = { image: { name: 'test', bytes: timer }, ...under(setting), memory: MEMORY, maxInstructions: 100_000 };
    expect(run(options).traceHash).toBe(run(options).traceHash);
    const counted = (slice: number): number => {
      const vm = launch(options);
      try {
        while (!vm.advance(slice));
        const page = new Uint8Array(8);
        readMemory(vm, SHARED + 0x100, page);
        return new DataView(page.buffer).getUint32(0, true);
      } finally {
        vm.dispose();
      }
    };
    expect(new Set([1, 7, 100, 1_000_000].map(counted)).size).toBe(1);
  });

  it('a halted guest sleeps until the timer, and its time passes', () => {
    const bytes = program(
      `${START}\n ${wrmsr(DIVIDE, BY_1)}\n ${wrmsr(LVT_TIMER, 0x41)}\n ${wrmsr(INITIAL, 1_000_000_000)}\n sti\n hlt\n ${note(2)}`,
      { 0x41: 'h41' },
      [handler('h41', `${note(1)}\n ${EOI}`)],
    );
    const { list, result, time } = play(bytes, under(setting));
    expect(list).toEqual([1, 2]);
    expect(result.instructions).toBeLessThan(1000);
    expect(time).toBeGreaterThan(1e9 / 16);
  });

  it('a periodic timer wakes it again and again; masked, it halts for good', () => {
    const bytes = program(
      `${START}\n ${wrmsr(LVT_TIMER, 0x2_0041)}\n ${wrmsr(INITIAL, 1_000_000)}\n sti\n mov ebx, 5\n again: hlt\n dec ebx\n jnz again\n ${note(2)}\n ${wrmsr(LVT_TIMER, 0x3_0041)}\n hlt`,
      { 0x41: 'h41' },
      [handler('h41', `${note(1)}\n ${EOI}`)],
    );
    const { list, result } = play(bytes, under(setting));
    expect(list).toEqual([1, 1, 1, 1, 1, 2]);
    expect(result.outcome).toEqual({ kind: 'halted', interruptsEnabled: true });
  });

  it('interrupts disabled, a halted guest is halted for good, timer or not', () => {
    const bytes = program(`${START}\n ${wrmsr(LVT_TIMER, 0x41)}\n ${wrmsr(INITIAL, 1000)}\n cli\n hlt`, {}, []);
    expect(play(bytes, under(setting)).result.outcome).toEqual({ kind: 'halted', interruptsEnabled: false });
  });

  it('in TSC-deadline mode the timer interrupts when the time-stamp counter gets there', () => {
    const bytes = program(
      `${START}\n ${wrmsr(LVT_TIMER, 0x4_0041)}\n rdtsc\n add eax, 1000000\n mov ebx, eax\n mov ecx, 0x6e0\n wrmsr\n sti\n hlt\n rdtsc\n sub eax, ebx\n mov [${SHARED + 0x100}], eax`,
      { 0x41: 'h41' },
      [handler('h41', `${note(1)}\n ${EOI}`)],
    );
    const { list, view } = play(bytes, under(setting));
    expect(list).toEqual([1]);
    expect(view.getInt32(0x100, true)).toBeGreaterThanOrEqual(0);
    expect(view.getInt32(0x100, true)).toBeLessThan(32 * 200);
  });
});

// The IRET of an SEV-ES guest's #VC handler ends the blocking as any other does; without virtual NMIs only NMI complete (GHCB 4.1) does.
describe.each([
  ['none', 'milan', [1, 2, 1, 9]],
  ['sev', 'milan', [1, 2, 1, 9]],
  ['none', 'genoa', [1, 2, 1, 9]],
  ['sev-es', 'genoa', [1, 1, 2, 9]],
  ['sev-es', 'milan', [1, 2, 9]],
  ['bare', 'milan', [1, 2, 1, 9]],
] as const)('an NMI under %s on %s', (setting, cpu, order) => {
  const sendNmi = wrmsr(0x830, 0x400);
  it('comes whatever RFLAGS.IF says, and holds off the next until IRET', () => {
    const bytes = program(`${START}\n ${sendNmi}\n ${note(9)}`, { 2: 'nmi' }, [
      handler('nmi', `${note(1)}\n cmp dword [${SHARED}], 1\n jne second\n ${sendNmi}\n ${note(2)}\n second: nop`),
    ]);
    expect(play(bytes, { ...under(setting), cpu }).list).toEqual(order);
  });
});

describe.each(['none', 'sev', 'bare'] as const)('the page of registers under %s', (setting) => {
  const APIC = 0xfee0_0000;
  const store = (offset: number, value: number): string => `mov esi, ${APIC + offset}\n mov dword [rsi], ${value}`;

  it('is at FEE0_0000h', () => {
    const bytes = program(
      `mov esi, ${APIC + 0x30}\n mov eax, [rsi]\n mov [${SHARED + 0x100}], eax\n ${store(0xf0, 0x1ff)}\n sti\n ${store(0x300, 0x4_0044)}\n nop\n ${note(2)}`,
      { 0x44: 'h44' },
      [handler('h44', `${note(1)}\n ${store(0xb0, 0)}`)],
    );
    const { list, view } = play(bytes, under(setting));
    expect(list).toEqual([1, 2]);
    expect(view.getUint32(0x100, true)).toBe(0x5_0014);
  });

  it('goes where APIC_BASE says, and its old place reads all ones', () => {
    const bytes = program(
      `${wrmsr(0x1b, 0xfea0_0900)}\n mov esi, 0xfea00030\n mov eax, [rsi]\n mov [${SHARED + 0x100}], eax\n mov esi, ${APIC + 0x30}\n mov eax, [rsi]\n mov [${SHARED + 0x104}], eax`,
      {},
      [],
    );
    const { view } = play(bytes, under(setting));
    expect([view.getUint32(0x100, true), view.getUint32(0x104, true)]).toEqual([0x5_0014, 0xffff_ffff]);
  });

  it('a line of the I/O APIC comes as its redirection entry says, and a level again after EOI', () => {
    const io = (index: number, value: number): string =>
      `mov esi, 0xfec00000\n mov dword [rsi], ${index}\n mov dword [rsi + 0x10], ${value}`;
    const line = (level: number): string => `mov dx, 0x200e\n mov al, ${level}\n out dx, al`;
    const bytes = program(
      `${store(0xf0, 0x1ff)}\n ${io(0x10 + 2 * 14, 0x8045)}\n sti\n ${line(1)}\n nop\n ${note(9)}\n ${line(0)}`,
      { 0x45: 'h45' },
      [handler('h45', `${note(1)}\n cmp dword [${SHARED}], 3\n jne more\n ${line(0)}\n more: ${store(0xb0, 0)}`)],
    );
    expect(play(bytes, under(setting)).list).toEqual([1, 1, 1, 9]);
  });
});

// An SEV-ES guest asks for it by GHCB events, as its #VC handler would (GHCB 4.1, MMIO read and write).
describe('the page of registers under sev-es', () => {
  const APIC = 0xfee0_0000;
  const BUFFER = GHCB + GHCB_BUFFER.start;
  const fields = ['swExitCode', 'swExitInfo1', 'swExitInfo2', 'swScratch'] as const;
  const valid = fields.reduce((bits, field) => bits | (1n << BigInt(validBit(field))), 0n);
  const set = (field: GhcbField | 'validBitmapLow' | 'validBitmapHigh', value: bigint): string =>
    `mov rax, ${value}\n mov [r15 + ${Ghcb.layout[field].offset}], rax`;
  const event = (code: number, offset: number): string =>
    `${set('validBitmapLow', BigInt.asUintN(64, valid))}\n ${set('validBitmapHigh', valid >> 64n)}\n ${set('swExitCode', BigInt(code))}
     ${set('swExitInfo1', BigInt(APIC + offset))}\n ${set('swExitInfo2', 4n)}\n ${set('swScratch', BigInt(BUFFER))}\n vmgexit`;
  const load = (offset: number): string => `${event(GhcbEvent.MMIO_READ, offset)}\n mov eax, [${BUFFER}]`;
  const store = (offset: number, value: number): string => `mov dword [${BUFFER}], ${value}\n ${event(GhcbEvent.MMIO_WRITE, offset)}`;

  it('reads its version, takes its spurious-interrupt register, sends interrupts and takes their end', () => {
    const bytes = program(
      `${load(0x30)}\n mov [${SHARED + 0x100}], eax\n ${store(0xf0, 0x1ff)}\n ${load(0xf0)}\n mov [${SHARED + 0x104}], eax
       sti\n ${store(0x300, 0x4_0044)}\n nop\n ${note(2)}\n ${store(0x300, 0x4_0044)}\n nop\n ${note(3)}`,
      { 0x44: 'h44' },
      [handler('h44', `${note(1)}\n ${store(0xb0, 0)}`)],
    );
    const { list, view } = play(bytes, { technology: 'sev-es' });
    expect([view.getUint32(0x100, true), view.getUint32(0x104, true)]).toEqual([0x5_0014, 0x1ff]);
    expect(list).toEqual([1, 2, 1, 3]);
  });

  it('is closed in x2APIC mode: it reads all ones', () => {
    const { view } = play(program(`${START}\n ${load(0x30)}\n mov [${SHARED + 0x100}], eax`, {}, []), { technology: 'sev-es' });
    expect(view.getUint32(0x100, true)).toBe(0xffff_ffff);
  });
});

describe('INIT to itself', () => {
  const bytes = program(`${START}\n ${wrmsr(0x830, 0x4_4500)}\n ${note(1)}`, {}, []);

  it('takes a plain guest to the reset vector, where without a ROM image nothing is', () => {
    const { list, result } = play(bytes, { technology: 'none' });
    expect(list).toEqual([]);
    expect(result.outcome).toMatchObject({ kind: 'stopped', reason: expect.stringContaining('0xfffffff0') });
  });

  it('is dropped under SEV-ES', () => {
    const { list, result } = play(bytes, { technology: 'sev-es' });
    expect(list).toEqual([1]);
    expect(result.warnings).toHaveLength(1);
  });
});

it('reading an x2APIC register outside of x2APIC mode is #GP', () => {
  const bytes = assembleGuest(`mov ecx, 0x802\n rdmsr\n gp: ${note(1)}`, [rdmsr], { 13: 'gp' }).bytes;
  expect(play(bytes, { technology: 'none' }).list).toEqual([1]);
});

describe.each(['none', 'bare'] as const)('under %s an instruction that a hypervisor would execute', (setting) => {
  /** Notes where each single-step trap strikes, and the address behind the instruction. */
  const stepped = (instruction: string): Uint8Array =>
    program(
      `lea rax, [rel behind]\n mov [${SHARED + 0x80}], rax\n xor r10d, r10d\n xor eax, eax\n mov ecx, 0x1b\n pushfq\n or dword [rsp], 0x100\n popfq\n ${instruction}\n behind: nop\n nop`,
      { 1: 'trap' },
      [
        handler(
          'trap',
          `mov rax, [rsp + 24]\n mov [${SHARED + 0x100} + r10 * 8], rax\n inc r10d\n cmp r10d, 2\n jb more\n and dword [rsp + 40], ~0x100\n more:`,
        ),
      ],
    );

  it.each(['cpuid', 'in al, 0xe0', 'rdmsr', 'hlt', ...(setting === 'bare' ? [] : ['vmmcall'])])(
    'is followed by the single-step trap: %s',
    (instruction) => {
      const { view, result } = play(stepped(instruction), under(setting));
      const behind = view.getUint32(0x80, true);
      expect([view.getUint32(0x100, true), view.getUint32(0x108, true)]).toEqual([behind, behind + 1]);
      expect(result.outcome).toEqual({ kind: 'halted', interruptsEnabled: false });
    },
  );
});
