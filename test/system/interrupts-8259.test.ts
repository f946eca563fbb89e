// Interrupts by way of the 8259A and the 8254, in programs of a few instructions: real mode from the reset vector, where nothing else
// is needed, and 64-bit mode under each technology. When they arrive, what wakes HLT, what holds them off. Data sheets of both chips;
// the local APIC passes INTR on at LINT0 (APM vol. 2, 16.4, external interrupts).

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Ghcb, type GhcbField, Ioio, validBit } from '../../src/arch/ghcb.ts';
import { assemble, defaults, type GuestOptions, launch, run, type TraceEvent } from '../../src/cbit.ts';
import { VirtualMachine } from '../../src/virtual-machine.ts';
import { withAddresses } from '../hypervisor/images/build-image.ts';
import { readMemory } from './runs.ts';
import { assembleGuest, MEMORY, type Served, SHARED } from './small-guest.ts';

const FREQUENCY = 1_193_182;
const NANOSECONDS = 16;
const ROM_SIZE = 0x1_0000;
const NOTES = 0x600;

const out = (port: number, value: number): string => `mov al, ${value}\n out ${port}, al`;
const outs = (port: number, ...values: number[]): string => values.map((value) => out(port, value)).join('\n');
/** Vectors 20h and 28h; everything but the cascade masked as `mask` says. */
const pic = (mask: number, slave = 0xff): string =>
  [outs(0x20, 0x11), outs(0x21, 0x20, 4, 1, mask), outs(0xa0, 0x11), outs(0xa1, 0x28, 2, 1, slave)].join('\n');
const pit = (control: number, count: number): string => `${outs(0x43, control)}\n ${outs(0x40, count & 0xff, count >>> 8)}`;
const EOI = out(0x20, 0x20);
const note = (byte: number): string => `mov bx, [${NOTES}]\n mov byte [bx + ${NOTES + 2}], ${byte}\n inc word [${NOTES}]`;

/** A ROM that starts at F000:0000 with interrupt handlers in the table at 0. */
function rom(code: string, handlers: Readonly<Record<number, string>> = {}): Uint8Array {
  const entries = Object.keys(handlers).map(
    (vector) => `mov word [${4 * Number(vector)}], h${vector}\n mov word [${4 * Number(vector) + 2}], cs`,
  );
  const { bytes } = assemble(
    `bits 16
     xor ax, ax
     mov ds, ax
     mov ss, ax
     mov sp, 0x7000
     ${entries.join('\n')}
     ${code}
     cli
     hlt
     ${Object.entries(handlers)
       .map(([vector, body]) => `h${vector}: push ax\n push bx\n ${body}\n pop bx\n pop ax\n iret`)
       .join('\n')}
     align 0x10
     times 0xfff0 - ($ - $$) db 0x90
     jmp 0xf000:0
     times 0x10000 - ($ - $$) db 0`,
    { bits: 16 },
  );
  return bytes.subarray(bytes.length - ROM_SIZE);
}

function play(options: GuestOptions, at = NOTES, width = 2) {
  const events: TraceEvent[] = [];
  const vm = launch({ technology: 'none', maxInstructions: 1_000_000, ...options, onEvent: (event) => events.push(event) });
  try {
    while (!vm.advance(1_000_000));
    const page = new Uint8Array(4096);
    readMemory(vm, at, page);
    const view = new DataView(page.buffer);
    const list = [...page.subarray(width, width + view.getUint16(0, true))];
    return { list, view, events, result: vm.result(), time: vm.machine.time };
  } finally {
    vm.dispose();
  }
}
const boot = (code: string, handlers: Readonly<Record<number, string>> = {}) => play({ bios: { name: 'rom', bytes: rom(code, handlers) } });

const halted = (interruptsEnabled: boolean) => ({ kind: 'halted', interruptsEnabled });
const isOut = (port: number) => (event: TraceEvent) =>
  event.kind === 'exit' && event.exitCode === ExitCode.IOIO && Number(event.exitInfo1 >> 16n) === port;

describe('IRQ 0 in real mode', () => {
  it('comes behind the very instruction at which the count of mode 0 ends', () => {
    const count = 1000;
    const { events, list } = boot(`${pic(0xfe)}\n ${pit(0x30, count)}\n sti\n wait: cmp word [${NOTES}], 0\n je wait\n ${note(2)}`, {
      0x20: `${note(1)}\n ${EOI}`,
    });
    expect(list).toEqual([1, 2]);
    const written = events.filter(isOut(0x40)).at(-1)?.at ?? 0;
    const injected = events.find((event) => event.kind === 'inject' && event.eventInj === 0x8000_0020n)?.at;
    // The count is loaded at the next CLK; OUT rises N pulses later.
    const clocks = Math.floor((written * NANOSECONDS * FREQUENCY) / 1e9) + 1 + count;
    expect(injected).toBe(Math.ceil((clocks * 1e9) / FREQUENCY / NANOSECONDS));
  });

  it('wakes HLT, once a period of mode 2; time passes and nothing is retired', () => {
    const { list, result, time } = boot(`${pic(0xfe)}\n ${pit(0x34, 11_932)}\n sti\n mov cx, 100\n again: hlt\n loop again\n ${note(9)}`, {
      0x20: `inc word [0x500]\n ${EOI}`,
    });
    expect([list, result.outcome]).toEqual([[9], halted(false)]);
    expect(time * NANOSECONDS).toBeGreaterThan(1e9);
    expect(time * NANOSECONDS).toBeLessThan(1.001e9);
    expect(result.instructions).toBeLessThan(2000);
  });

  it('comes no more without EOI', () => {
    const { list, result } = boot(`${pic(0xfe)}\n ${pit(0x34, 1000)}\n sti\n again: hlt\n jmp again`, { 0x20: note(1) });
    expect([list, result.outcome]).toEqual([[1], halted(true)]);
  });

  it('masked it wakes nobody, and comes when it is unmasked', () => {
    const masked = `${pic(0xff)}\n ${pit(0x34, 40)}\n sti`;
    const handlers = { 0x20: `${note(1)}\n ${EOI}` };
    expect(boot(`${masked}\n hlt\n ${note(2)}`, handlers).result.outcome).toEqual(halted(true));
    const { list } = boot(`${masked}\n mov cx, 3000\n wait: loop wait\n ${note(2)}\n ${out(0x21, 0xfe)}\n ${note(3)}`, handlers);
    expect(list).toEqual([2, 1, 3]);
  });

  it('waits for RFLAGS.IF, and behind STI for one instruction more', () => {
    const { list, view } = boot(
      `${pic(0xfe)}\n ${pit(0x30, 20)}\n mov cx, 3000\n wait: loop wait\n ${note(1)}\n xor dx, dx\n sti\n inc dx\n inc dx\n ${note(3)}`,
      { 0x20: `mov [${NOTES + 0x80}], dx\n ${note(2)}\n ${EOI}` },
    );
    expect([list, view.getUint16(0x80, true)]).toEqual([[1, 2, 3], 1]);
  });

  it('comes in every run alike, however it is cut into slices', () => {
    const bytes = rom(
      `${pic(0xfe)}\n ${pit(0x36, 300)}\n sti\n mov cx, 0x8000\n wait: inc dx\n loop wait\n hlt\n cli\n mov [${NOTES}], bp`,
      { 0x20: `add bp, dx\n ${EOI}` },
    );
    const options = { bios: { name: 'rom', bytes }, technology: 'none' as const, maxInstructions: 200_000 };
    expect(run(options).traceHash).toBe(run(options).traceHash);
    const sum = (slice: number): number => {
      const vm = launch(options);
      try {
        while (!vm.advance(slice));
        const page = new Uint8Array(2);
        vm.vcpu.readMemory(BigInt(NOTES), page);
        return new DataView(page.buffer).getUint16(0, true);
      } finally {
        vm.dispose();
      }
    };
    const sums = new Set([13, 1000, 1_000_000].map(sum));
    expect([sums.size, sums.has(0)]).toEqual([1, false]);
  });
});

describe('other lines in real mode', () => {
  const line = (n: number, level: number): string => `mov dx, ${0x2000 + n}\n mov al, ${level}\n out dx, al`;

  it('the slave comes through IR2 of the master', () => {
    const { list } = boot(`${pic(0xfb, 0xf7)}\n sti\n ${line(11, 1)}\n ${note(2)}`, { 0x2b: `${note(1)}\n ${out(0xa0, 0x20)}\n ${EOI}` });
    expect(list).toEqual([1, 2]);
  });

  it('a level comes again after EOI until the line is low', () => {
    const { list } = boot(`mov dx, 0x4d0\n mov al, 0x20\n out dx, al\n ${pic(0xdf)}\n sti\n ${line(5, 1)}\n nop\n ${note(2)}`, {
      0x25: `push dx\n ${note(1)}\n cmp word [${NOTES}], 3\n jb more\n ${line(5, 0)}\n more: ${EOI}\n pop dx`,
    });
    expect(list).toEqual([1, 1, 1, 2]);
  });

  it('of two that wait the higher priority comes first', () => {
    const { list } = boot(`${pic(0x5f)}\n ${line(7, 1)}\n ${line(5, 1)}\n sti\n nop\n nop\n ${note(9)}`, {
      0x25: `${note(5)}\n ${EOI}`,
      0x27: `${note(7)}\n ${EOI}`,
    });
    expect(list).toEqual([5, 7, 9]);
  });

  it('COM1 has IRQ 4', () => {
    const { list } = boot(
      `${pic(0xef)}\n sti\n mov dx, 0x3fc\n mov al, 8\n out dx, al\n mov dx, 0x3f9\n mov al, 2\n out dx, al\n ${note(2)}`,
      {
        0x24: `push dx\n mov dx, 0x3fa\n in al, dx\n pop dx\n ${note(1)}\n ${EOI}`,
      },
    );
    expect(list).toEqual([1, 2]);
  });

  it('COM1 has one for a byte that comes while the program waits for it', () => {
    const typed: number[] = [];
    const code = `${pic(0xef)}\n sti\n mov dx, 0x3fc\n mov al, 8\n out dx, al\n mov dx, 0x3f9\n mov al, 1\n out dx, al\n here: jmp here`;
    const handler = `push dx\n mov dx, 0x3f8\n in al, dx\n mov [${NOTES}], al\n pop dx\n ${EOI}`;
    const vm = new VirtualMachine({
      ...defaults,
      technology: 'none',
      trace: null,
      bios: { name: 'rom', bytes: rom(code, { 0x24: handler }) },
      serial: { transmit: () => undefined, next: () => typed.shift() },
    });
    try {
      const noted = (): number => {
        vm.advance(10_000);
        const byte = new Uint8Array(1);
        readMemory(vm, NOTES, byte);
        return byte[0]!;
      };
      expect(noted()).toBe(0);
      typed.push(0x41);
      expect(noted()).toBe(0);
      vm.received();
      expect(noted()).toBe(0x41);
    } finally {
      vm.dispose();
    }
  });

  it('uninitialised, nothing comes; bit 0 of port 92h starts again at the reset vector', () => {
    expect(boot(`${outs(0x21, 0)}\n ${pit(0x34, 1000)}\n sti\n hlt`).result.outcome).toEqual(halted(true));
    const { list } = boot(`${note(1)}\n cmp word [${NOTES}], 3\n jae over\n in al, 0x92\n or al, 1\n out 0x92, al\n ${note(8)}\n over:`);
    expect(list).toEqual([1, 1, 1]);
  });
});

// --- 64-bit mode ---------------------------------------------------------------------------------------------------------------

const served: readonly Served[] = [{ instruction: 'wrmsr', exitCode: ExitCode.MSR, info1: 1, sends: ['rax', 'rcx', 'rdx'], takes: [] }];
const wrmsr = (msr: number, value: number): string => `mov ecx, ${msr}\n mov eax, ${value}\n xor edx, edx\n wrmsr`;

const fields = ['rax', 'swExitCode', 'swExitInfo1', 'swExitInfo2'] as const;
const valid = fields.reduce((bits, field) => bits | (1n << BigInt(validBit(field))), 0n);
const set = (field: GhcbField | 'validBitmapLow' | 'validBitmapHigh', value: bigint): string =>
  `mov rax, ${value}\n mov [r15 + ${Ghcb.layout[field].offset}], rax`;
/** An OUT as each technology has it: an SEV-ES guest asks for it by a GHCB event. */
const writer = (technology: string) => (port: number, value: number) =>
  technology !== 'sev-es'
    ? `mov edx, ${port}\n mov al, ${value}\n out dx, al`
    : `${set('validBitmapLow', BigInt.asUintN(64, valid))}\n ${set('validBitmapHigh', valid >> 64n)}\n ${set('rax', BigInt(value))}
       ${set('swExitCode', BigInt(ExitCode.IOIO))}\n ${set('swExitInfo1', BigInt(port * 0x1_0000 + Ioio.SIZE_8))}\n ${set('swExitInfo2', 0n)}\n vmgexit`;

describe.each(['none', 'sev', 'sev-es'] as const)('64-bit mode under %s', (technology) => {
  const write = writer(technology);
  const writes = (...pairs: readonly (readonly [number, number])[]): string => pairs.map(([port, value]) => write(port, value)).join('\n');
  const PIC = writes([0x20, 0x11], [0x21, 0x20], [0x21, 4], [0x21, 1], [0x21, 0xfe]);
  const PIT = writes([0x43, 0x34], [0x40, 0], [0x40, 8]);
  const note64 = (byte: number): string => `mov r9d, [${SHARED}]\n mov byte [r9 + ${SHARED + 4}], ${byte}\n inc dword [${SHARED}]`;
  const handler = (label: string, body: string): string =>
    `${label}: push rax\n push rcx\n push rdx\n ${body}\n pop rdx\n pop rcx\n pop rax\n iretq`;
  const h20 = handler('h20', `${note64(1)}\n ${write(0x20, 0x20)}`);
  const start = (code: string, gates: Readonly<Record<number, string>>, handlers: readonly string[]) =>
    play(
      {
        image: { name: 'test', bytes: assembleGuest(`${code}\n jmp over\n ${handlers.join('\n')}\n over: cli`, served, gates).bytes },
        memory: MEMORY,
        technology,
      },
      SHARED,
      4,
    );
  const x2apic = `${wrmsr(0x1b, 0xfee0_0d00)}\n ${wrmsr(0x80f, 0x1ff)}`;

  it('before software enables the local APIC, INTR reaches the processor and wakes HLT', () => {
    const { list, result } = start(`${PIC}\n ${PIT}\n sti\n hlt\n hlt\n ${note64(9)}`, { 0x20: 'h20' }, [h20]);
    expect([list, result.outcome]).toEqual([[1, 1, 9], halted(false)]);
  });

  it('waits for RFLAGS.IF in an interrupt window', () => {
    const { list, result } = start(
      `${PIC}\n ${PIT}\n mov ecx, 100000\n wait: dec ecx\n jnz wait\n ${note64(2)}\n sti\n nop\n nop\n ${note64(3)}`,
      { 0x20: 'h20' },
      [h20],
    );
    expect(list.slice(0, 3)).toEqual([2, 1, 3]);
    expect(result.exits['VINTR']).toBeGreaterThan(0);
  });

  it('once the APIC is enabled LINT0 must say external interrupts; CR8 does not hold them off', () => {
    const masked = start(`${x2apic}\n ${PIC}\n ${PIT}\n sti\n hlt\n ${note64(9)}`, { 0x20: 'h20' }, [h20]);
    expect(masked.result.outcome).toEqual(halted(true));
    const open = start(
      `${x2apic}\n ${wrmsr(0x835, 0x700)}\n mov eax, 15\n mov cr8, rax\n ${PIC}\n ${PIT}\n sti\n hlt\n ${note64(9)}`,
      { 0x20: 'h20' },
      [h20],
    );
    expect(open.list).toEqual([1, 9]);
  });

  it('comes before a vector of the APIC that waits as well, and needs no EOI there', () => {
    const { list } = start(
      `${x2apic}\n ${wrmsr(0x835, 0x700)}\n ${PIC}\n ${PIT}\n mov ecx, 100000\n wait: dec ecx\n jnz wait\n ${write(0x21, 0xff)}\n ${wrmsr(0x83f, 0x50)}\n ${write(0x21, 0xfe)}\n sti\n nop\n nop\n ${write(0x21, 0xff)}\n ${note64(9)}`,
      { 0x20: 'h20', 0x50: 'h50' },
      [h20, handler('h50', `${note64(5)}\n ${wrmsr(0x80b, 0)}`)],
    );
    expect(list).toEqual([1, 5, 9]);
  });

  it('LINT0 with a vector of its own sends that at each rise of INTR', () => {
    const { list } = start(
      `${x2apic}\n ${wrmsr(0x835, 0x41)}\n ${PIC}\n ${PIT}\n sti\n mov ecx, 100000\n wait: dec ecx\n jnz wait\n ${note64(9)}`,
      { 0x41: 'h41' },
      [handler('h41', `${note64(4)}\n ${wrmsr(0x80b, 0)}`)],
    );
    expect(list).toEqual([4, 9]);
  });
});

it('counter 0 is pin 2 of the I/O APIC', () => {
  const APIC = 0xfee0_0000;
  const store = (address: number, value: number): string => `mov esi, ${address}\n mov dword [rsi], ${value}`;
  const { bytes } = assembleGuest(
    `${store(APIC + 0xf0, 0x1ff)}\n ${store(0xfec0_0000, 0x14)}\n mov dword [rsi + 0x10], 0x45
     ${pit(0x34, 1000)}\n sti\n hlt\n hlt\n jmp over\n h45: inc dword [${SHARED}]\n ${store(APIC + 0xb0, 0)}\n iretq\n over: cli`,
    [],
    { 0x45: 'h45' },
  );
  const { view, result } = play({ image: { name: 'test', bytes }, memory: MEMORY }, SHARED, 4);
  expect([view.getUint32(0, true), result.outcome]).toEqual([2, halted(false)]);
});

it('and held off by the task priority it does not keep the APIC’s own timer from waking, however much later', () => {
  const APIC = 0xfee0_0000;
  const store = (address: number, value: number): string => `mov esi, ${address}\n mov dword [rsi], ${value}`;
  const timer = `${store(APIC + 0x3e0, 0xb)}\n ${store(APIC + 0x320, 0x60)}\n ${store(APIC + 0x380, 200_000_000)}`;
  const { bytes } = assembleGuest(
    `${store(APIC + 0xf0, 0x1ff)}\n ${store(0xfec0_0000, 0x14)}\n mov dword [rsi + 0x10], 0x45\n mov eax, 5\n mov cr8, rax
     ${pit(0x34, 1000)}\n ${timer}\n sti\n hlt\n jmp over\n h45: inc dword [${SHARED}]\n iretq\n h60: add dword [${SHARED}], 100\n iretq\n over: cli`,
    [],
    { 0x45: 'h45', 0x60: 'h60' },
  );
  for (const bare of [false, true]) {
    const { view } = play({ image: { name: 'test', bytes }, memory: MEMORY, bare }, SHARED, 4);
    expect(view.getUint32(0, true)).toBe(100);
  }
});

it('a Multiboot kernel finds the 8259A as firmware leaves it: initialised, nothing masked', () => {
  const poll = (port: number): string => `mov al, 0x0c\n out ${port}, al\n in al, ${port}`;
  const { bytes } = assemble(
    `bits 32\n mov dx, 0x200b\n mov al, 1\n out dx, al\n xor eax, eax\n in al, 0x21\n shl eax, 8\n ${poll(0x20)}\n shl eax, 8\n ${poll(0xa0)}\n mov dx, 0xf4\n out dx, eax`,
    { bits: 32 },
  );
  const image = { name: 'kernel', bytes: withAddresses(bytes) };
  expect(run({ image, technology: 'none', maxInstructions: 1000 }).value).toBe(0x00_82_83);
  expect(run({ image: { name: 'flat', bytes }, mode: 32, technology: 'none', maxInstructions: 1000 }).value).toBe(0xff_00_00);
});
