// What the hypervisor does about a nested page fault outside of RAM, in whole runs: instructions with a second operand in memory under
// every kind of paging, and events whose delivery gets there. APM vol. 2, 15.25.6 and 15.7.2.

import { describe, expect, it } from 'vitest';
import { assemble, run } from '../../src/cbit.ts';
import { LOAD, withAddresses } from '../hypervisor/images/build-image.ts';
import { assembleGuest, MEMORY, smallGuest } from './small-guest.ts';

const APIC = 0xfee0_0000;
/** Version of the local APIC. */
const VERSION = 0x5_0014;
/** Where the guests see 4 MiB of their RAM besides. */
const RAM_AT = 0x4000_0000;
const RAM = 0x40_0000;
const TABLES = 0x30_0000;
const end = 'mov dx, 0xf4\nout dx, eax\nhlt';

const store = (at: number, value: number): string => `mov dword [${at}], ${value}`;
const on = (cr4: number): string =>
  `mov eax, ${TABLES}\nmov cr3, eax\nmov eax, ${cr4}\nmov cr4, eax\nmov eax, cr0\nor eax, 0x80000000\nmov cr0, eax`;
const PSE = 0x10;
const PAE = 0x20;
/** Directory entries: the first 4 MiB, RAM_AT and the local APIC. */
const directory = (low: number, ram: number, device: number): string =>
  [store(TABLES, low), store(TABLES + 0x400, ram), store(TABLES + 4 * 0x3fb, device)].join('\n');

const kinds: readonly (readonly [string, string, number])[] = [
  ['without paging', '', RAM],
  ['with pages of 4 MiB', `${directory(0x83, RAM | 0x83, 0xfec0_0083)}\n${on(PSE)}`, RAM_AT],
  [
    'with pages of 4 KiB',
    `${directory(TABLES + 0x1003, TABLES + 0x2003, TABLES + 0x3003)}
     xor ecx, ecx
     fill: mov edx, ecx
     shl edx, 12
     lea eax, [edx + 3]
     mov [${TABLES + 0x1000} + ecx * 4], eax
     lea eax, [edx + ${RAM + 3}]
     mov [${TABLES + 0x2000} + ecx * 4], eax
     lea eax, [edx + ${0xfec0_0003}]
     mov [${TABLES + 0x3000} + ecx * 4], eax
     inc ecx
     cmp ecx, 1024
     jne fill
     ${on(0)}`,
    RAM_AT,
  ],
  [
    'with PAE',
    `${[0, 1, 3].map((n) => store(TABLES + 8 * n, TABLES + 0x1001 + 0x1000 * n)).join('\n')}
     ${store(TABLES + 0x1000, 0x83)}\n${store(TABLES + 0x1008, 0x20_0083)}
     ${store(TABLES + 0x2000, RAM | 0x83)}
     ${store(TABLES + 0x4000 + 8 * 0x1f7, 0xfee0_0083)}
     ${on(PAE)}`,
    RAM_AT,
  ],
];

describe.each(kinds.flatMap(([name, ...rest]) => [[name, ...rest, false] as const, [`${name}, bare`, ...rest, true] as const]))(
  'in 32-bit mode %s',
  (_, paging, ram, bare) => {
    const value = (code: string): unknown => {
      const source = `cli\n${paging}\n${code}\n${end}`;
      const bytes = withAddresses(assemble(source, { origin: BigInt(LOAD + 32), bits: 32 }).bytes);
      const result = run({ image: { name: 'kernel', bytes }, technology: 'none', bare, memory: 16 << 20, maxInstructions: 100_000 });
      return result.value ?? result.outcome;
    };

    it('MOVS from a device goes to RAM', () => {
      expect(value(`mov esi, ${APIC + 0x30}\nmov edi, ${ram + 0x1010}\nmovsd\nmov eax, [${ram + 0x1010}]`)).toBe(VERSION);
    });

    it('MOVS to a device comes from RAM, also if both have the same place in their page', () => {
      const code = `mov esi, ${ram + 0x80}\nmov dword [esi], 0x70\nmov edi, ${APIC + 0x80}\nmovsd\nmov eax, [${APIC + 0x80}]`;
      expect(value(code)).toBe(0x70);
    });

    it('PUSH of a device register goes to the stack', () => {
      expect(value(`mov esp, ${ram + 0x2000}\npush dword [${APIC + 0x30}]\nmov eax, [${ram + 0x1ffc}]`)).toBe(VERSION);
    });

    it('REP CMPS compares a device register with RAM', () => {
      const code = `mov esi, ${APIC + 0x30}\nmov edi, ${ram + 0x3000}\nmov dword [edi], ${VERSION}\nmov ecx, 1\nrepe cmpsd\nsetz al\nmovzx eax, al`;
      expect(value(code)).toBe(1);
    });
  },
);

describe('in long mode', () => {
  const result = (code: string, technology: 'none' | 'sev') =>
    run({ image: { name: 'kernel', bytes: smallGuest(`${code}\n${end}`) }, technology, memory: MEMORY, maxInstructions: 10_000 });
  const move = (offset: number): string =>
    `mov esi, 0x202000\nadd esi, ${offset}\nmov dword [rsi], 0x70\nmov edi, ${APIC + 0x80}\nmovsd\nmov eax, [${APIC + 0x80}]`;

  it('MOVS to a device comes from RAM', () => {
    for (const offset of [0x80, 0x90]) expect(result(move(offset), 'none').value).toBe(0x70);
  });

  it.each([
    ['written', 'rdi', `mov esi, ${APIC + 0x30}\n mov rdi, 0x7f0000000030`, 2],
    ['read', 'rsi', `mov rsi, 0x7f0000000130\n mov edi, ${APIC + 0x80}`, 0],
  ])('an operand that is not mapped and to be %s is a page fault at the instruction', (_, operand, addresses, errorCode) => {
    const code = `${addresses}\n movsd\n hlt\n h: pop rax\n mov rbx, cr2\n cmp rbx, ${operand}\n jne other\n ${end}\n other: hlt`;
    const { bytes } = assembleGuest(code, [], { 14: 'h' });
    const { value } = run({ image: { name: 'kernel', bytes }, technology: 'none', memory: MEMORY, maxInstructions: 10_000 });
    expect(value).toBe(errorCode);
  });

  it('the tables of an SEV guest are closed to the hypervisor: the run ends and says at which instruction', () => {
    for (const offset of [0x80, 0x90])
      expect(result(move(offset), 'sev').outcome).toEqual({
        kind: 'stopped',
        reason: expect.stringMatching(
          /^an instruction that cannot be emulated \(a5.*\) accesses memory at guest physical address 0xfee00080/,
        ),
      });
  });
});

// No instruction stands for these accesses: the one at RIP is not executed in the guest's stead, and delivering the event anew would not
// get any further.
describe('an event whose frame goes outside of RAM ends the run', () => {
  const STACK = 0xfea0_0800;
  const gates = { 3: 'h', 6: 'h', 13: 'h', 0x41: 'h' };
  const reason = (code: string, technology: 'none' | 'sev' = 'none'): string => {
    const { bytes } = assembleGuest(`mov esp, ${STACK}\n ${code}\n hlt\n h: hlt`, [], gates);
    const { outcome } = run({ image: { name: 'kernel', bytes }, technology, memory: MEMORY, maxInstructions: 10_000 });
    return outcome.kind === 'stopped' ? outcome.reason : outcome.kind;
  };
  const wrmsr = (msr: number, value: number): string => `mov ecx, ${msr}\n mov eax, ${value}\n xor edx, edx\n wrmsr`;
  const interrupt = `${wrmsr(0x1b, 0xfee0_0d00)}\n ${wrmsr(0x80f, 0x1ff)}\n sti\n nop\n ${wrmsr(0x83f, 0x41)}\n nop`;

  it.each([
    ['#UD', 'ud2', 'the delivery of #UD accesses memory at guest physical address 0xfea007d8, outside'],
    ['#GP', 'mov ds, esp', 'the delivery of #GP accesses memory'],
    ['INT3', 'int3', 'the delivery of #BP accesses memory'],
    ['INT n', 'int 0x41', 'the delivery of INT 65 accesses memory'],
    ['an interrupt', interrupt, 'the delivery of interrupt 65 accesses memory'],
  ])('%s', (_, code, text) => {
    for (const technology of ['none', 'sev'] as const) expect(reason(code, technology)).toContain(text);
  });

  it('an interrupt descriptor table outside of RAM as well', () => {
    expect(reason('mov esp, 0x203000\n mov word [rsp], 0xfff\n mov eax, 0xfea00000\n mov [rsp + 2], rax\n lidt [rsp]\n ud2')).toContain(
      'the delivery of #UD accesses memory at guest physical address 0xfea00060',
    );
  });

  it('though a PUSH there is lost and reads all ones', () => {
    expect(reason('push 5\n pop rax\n inc rax\n jnz h')).toBe('halted');
  });
});
