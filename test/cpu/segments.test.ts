// Use of segments: APM vol. 2, 4.7 (types), 4.12 (limits); in 64-bit mode 4.5.3 and 5.3.1 (canonical addresses).

import { describe, expect, test } from 'vitest';
import { Cr4, SegmentAttribute as A } from '../../src/arch/registers.ts';
import { Segment } from '../../src/memory/state.ts';
import { At, descriptor, ModeBench, type SegmentSetup, type Setup } from './mode-bench.ts';

const bench = new ModeBench();
const DATA = A.P | A.S | A.WRITABLE | A.ACCESSED | A.DB;
const CODE = A.P | A.S | A.CODE | A.WRITABLE | A.ACCESSED | A.DB;
const ALL = 0xffff_ffff;
const { STACK } = At;
const TOP = STACK + 0x1000;
/** Every way to an operand in DS at EBX, ESI. */
// biome-ignore format: a table
const reads: readonly string[] = [
  'mov eax, [ebx]', 'add eax, [ebx]', 'cmp [ebx], eax', 'push dword [ebx]', 'lodsd', 'movsd', 'cmpsd', 'outsd', 'xlatb', 'lds eax, [ebx]', 'lgs eax, [ebx]', 'lss eax, [ebx]',
  'bound eax, [ebx]', 'lgdt [ebx]', 'lidt [ebx]', 'jmp [ebx]', 'call [ebx]', 'jmp far [ebx]', 'call far [ebx]', 'fld qword [ebx]', 'fldenv [ebx]', 'frstor [ebx]', 'fxrstor [ebx]',
  'bt [ebx], eax', 'lar eax, [ebx]', 'lldt [ebx]', 'mov ds, [ebx]', 'imul eax, [ebx]', 'div dword [ebx]', 'verr [ebx]', 'lmsw [ebx]',
];
// biome-ignore format: a table
const writes: readonly string[] = [
  'mov [ebx], eax', 'add [ebx], eax', 'xchg [ebx], eax', 'cmpxchg [ebx], ecx', 'cmpxchg8b [ebx]', 'pop dword [ebx]', 'inc byte [ebx]', 'bts [ebx], eax', 'sgdt [ebx]', 'sidt [ebx]',
  'fst dword [ebx]', 'fnstenv [ebx]', 'fnsave [ebx]', 'fxsave [ebx]', 'fnstcw [ebx]', 'mov [ebx], ds', 'setz [ebx]', 'sldt [ebx]', 'str [ebx]', 'smsw [ebx]', 'shl dword [ebx], 1',
  'mov [ebx], al', 'not dword [ebx]', 'xadd [ebx], eax', 'movnti [ebx], eax',
];
const stack: readonly string[] = ['push eax', 'pushad', 'pushf', 'call $+5', 'enter 0, 0', 'push ds', 'push 1'];
const unstack: readonly string[] = ['pop eax', 'popad', 'popf', 'ret', 'leave', 'pop ds', 'pop ss', 'retf', 'iret'];

const registers = { rbx: At.DATA, rsi: At.DATA, rdi: At.DATA, rbp: TOP };
const ds = (DS: SegmentSetup): Setup => ({ registers, segments: { DS } });

describe.each(['protected32', 'compatibility'] as const)('%s', (mode) => {
  test.each([...reads, ...writes])('a null DS refuses %s', (source) => {
    expect(bench.run(mode, source, ds({ selector: 0, attributes: 0, limit: 0 }))).toBe('#GP(0)');
    expect(bench.rip).toBe(At.CODE);
  });

  test.each([...reads, ...writes])('a limit before the operand refuses %s', (source) => {
    expect(bench.run(mode, source, ds({ attributes: DATA, limit: At.DATA - 1 }))).toBe('#GP(0)');
  });

  test.each([...reads, ...writes])('a limit within the operand refuses %s', (source) => {
    const narrow = /xlatb|byte|setz|, al$/.test(source);
    expect(bench.run(mode, source, ds({ attributes: DATA, limit: At.DATA }))).toBe(narrow ? 'done' : '#GP(0)');
  });

  test.each(writes)('a read-only DS refuses %s', (source) => {
    expect(bench.run(mode, source, ds({ attributes: DATA & ~A.WRITABLE, limit: ALL }))).toBe('#GP(0)');
  });

  test.each(writes)('a code segment refuses %s', (source) => {
    expect(bench.run(mode, source, ds({ attributes: CODE, limit: ALL }))).toBe('#GP(0)');
  });

  test.each(reads)('an execute-only code segment refuses %s', (source) => {
    expect(bench.run(mode, source, ds({ attributes: CODE & ~A.WRITABLE, limit: ALL }))).toBe('#GP(0)');
  });

  test.each([...reads, ...writes])('an expand-down segment refuses what lies up to its limit: %s', (source) => {
    expect(bench.run(mode, source, ds({ attributes: DATA | A.CONFORMING, limit: At.DATA }))).toBe('#GP(0)');
  });

  test.each(stack)('SS refuses %s by its limit', (source) => {
    expect(bench.run(mode, source, { registers, segments: { SS: { attributes: DATA, limit: TOP - 5 } } })).toBe('#SS(0)');
    expect(bench.register('rsp')).toBe(BigInt(TOP));
  });

  test.each(stack)('an expand-down SS refuses %s at its limit', (source) => {
    expect(bench.run(mode, source, { registers, segments: { SS: { attributes: DATA | A.CONFORMING, limit: TOP - 4 } } })).toBe('#SS(0)');
  });

  test.each(unstack)('SS refuses %s by its limit', (source) => {
    expect(bench.run(mode, source, { registers, segments: { SS: { attributes: DATA, limit: TOP } } })).toBe('#SS(0)');
    expect(bench.register('rsp')).toBe(BigInt(TOP));
  });

  test.each(['mov eax, [ebp]', 'mov [esp], eax', 'mov eax, [ss:ebx]', 'fxsave [esp]', 'cmpxchg8b [ebp]', 'lgdt [esp]', 'les eax, [ebp]'])(
    'an operand in SS raises #SS(0): %s',
    (source) => {
      expect(bench.run(mode, source, { registers, segments: { SS: { attributes: DATA, limit: At.DATA - 1 } } })).toBe('#SS(0)');
    },
  );

  test.each(['insd', 'stosd', 'movsd'])('%s needs a writable ES', (source) => {
    expect(bench.run(mode, source, { registers, segments: { ES: { attributes: DATA & ~A.WRITABLE, limit: ALL } } })).toBe('#GP(0)');
  });

  test('an expand-down segment without B ends at FFFFh', () => {
    const DS = { attributes: (DATA | A.CONFORMING) & ~A.DB, limit: 0xfff };
    expect(bench.run(mode, 'mov eax, [0x1000]', { segments: { DS } })).toBe('done');
    expect(bench.run(mode, 'mov eax, [0xffff]', { segments: { DS } })).toBe('#GP(0)');
    expect(bench.run(mode, 'mov eax, [0xfff]', { segments: { DS } })).toBe('#GP(0)');
  });

  test('an expand-down segment of limit 0 begins at 1', () => {
    const DS = { attributes: DATA | A.CONFORMING, limit: 0 };
    expect(bench.run(mode, 'mov al, [1]', { segments: { DS } })).toBe('done');
    expect(bench.run(mode, 'mov al, [0]', { segments: { DS } })).toBe('#GP(0)');
  });

  test('conforming code is read up to its limit', () => {
    expect(bench.run(mode, 'mov eax, [ebx]', ds({ attributes: CODE | A.CONFORMING, limit: At.DATA + 3 }))).toBe('done');
  });

  test('a segment with a base wraps at 4 GiB', () => {
    const memory = { [At.DATA]: '78 56 34 12' };
    expect(
      bench.run(mode, 'mov eax, [ebx]', { registers: { rbx: 0xffff_0000 }, segments: { DS: { base: At.DATA + 0x1_0000 } }, memory }),
    ).toBe('done');
    expect(bench.register('rax')).toBe(0x1234_5678n);
  });

  test('a 16-bit stack wraps in a 32-bit program', () => {
    const SS = { attributes: DATA & ~A.DB, base: STACK, limit: 0xffff };
    expect(bench.run(mode, 'push eax', { registers: { rsp: 0x7777_0000, rax: 0x55 }, segments: { SS } })).toBe('done');
    expect([bench.register('rsp'), bench.bytes(STACK + 0xfffc, 1)]).toEqual([0x7777_fffcn, '55']);
    expect(bench.run(mode, 'push eax', { registers: { rsp: 2 }, segments: { SS } })).toBe('#SS(0)');
    expect(
      bench.run(mode, 'leave', {
        registers: { rsp: 0x7777_0000, rbp: 0x6666_0010 },
        segments: { SS },
        memory: { [STACK + 0x10]: '01 02 03 04' },
      }),
    ).toBe('done');
    expect([bench.register('rsp'), bench.register('rbp')]).toEqual([0x7777_0014n, 0x0403_0201n]);
    expect(bench.run(mode, 'enter 4, 1', { registers: { rsp: 0x7777_0020, rbp: 0x1234_5678 }, segments: { SS } })).toBe('done');
    expect([bench.register('rsp'), bench.register('rbp')]).toEqual([0x7777_0014n, 0x7777_001cn]);
  });

  test('POP SS moves the stack pointer of the stack that it pops from', () => {
    const SS = { attributes: DATA & ~A.DB, base: STACK, limit: 0xffff };
    const tables = { 0x20: descriptor(DATA | A.G, 0, 0xf_ffff) };
    expect(
      bench.run(mode, 'pop ss', { registers: { rsp: 0x7777_fffc }, segments: { SS }, tables, memory: { [STACK + 0xfffc]: '20 00' } }),
    ).toBe('done');
    expect(bench.register('rsp')).toBe(0x7777_0000n);
    expect(bench.shadow).not.toBe(0);
  });

  test('CS cuts code, near targets and what is pushed before them', () => {
    const CS = { attributes: CODE, limit: At.CODE + 0x20 };
    expect(bench.run(mode, 'jmp $+0x30', { segments: { CS } })).toBe('#GP(0)');
    expect(bench.run(mode, 'call $+0x30', { segments: { CS } })).toBe('#GP(0)');
    expect(bench.register('rsp')).toBe(BigInt(TOP));
    expect(bench.run(mode, 'jz $+0x30', { segments: { CS } })).toBe('done');
    expect(bench.run(mode, 'loop $+0x30', { segments: { CS } })).toBe('#GP(0)');
    expect(bench.register('rcx')).toBe(0n);
    expect(bench.run(mode, 'jecxz $+0x30', { segments: { CS } })).toBe('#GP(0)');
    expect(bench.run(mode, 'ret', { segments: { CS }, memory: { [TOP]: '30 00 01 00' } })).toBe('#GP(0)');
    expect(bench.register('rsp')).toBe(BigInt(TOP));
    expect(bench.run(mode, 'call eax', { segments: { CS }, registers: { rax: At.CODE + 0x21 } })).toBe('#GP(0)');
    expect([bench.rip, bench.register('rsp')]).toEqual([At.CODE, BigInt(TOP)]);
  });

  test('a 16-bit operand cuts EIP', () => {
    expect(bench.run(mode, 'db 0x66, 0xe9, 0x10, 0', { steps: 1 })).toBe('elsewhere');
    expect(bench.rip).toBe((At.CODE + 4 + 0x10) & 0xffff);
    expect(bench.run(mode, 'db 0x66, 0xeb, 0x10', { steps: 1 })).toBe('elsewhere');
    expect(bench.rip).toBe((At.CODE + 3 + 0x10) & 0xffff);
    expect(bench.run(mode, 'db 0x66, 0xff, 0xd0', { registers: { rax: 0x1234_5678 }, steps: 1 })).toBe('elsewhere');
    expect([bench.rip, bench.register('rsp'), bench.bytes(TOP - 2, 2)]).toEqual([0x5678, BigInt(TOP - 2), '03 00']);
    expect(bench.run(mode, 'db 0x66\nret', { memory: { [TOP]: '34 12 ff ff' }, steps: 1 })).toBe('elsewhere');
    expect([bench.rip, bench.register('rsp')]).toEqual([0x1234, BigInt(TOP + 2)]);
  });

  test('16-bit addresses by prefix', () => {
    expect(
      bench.run(mode, 'db 0x67, 0x8b, 0x07', {
        registers: { rbx: 0x7777_0010 },
        segments: { DS: { base: At.DATA } },
        memory: { [At.DATA + 0x10]: '44 33 22 11' },
      }),
    ).toBe('done');
    expect(bench.register('rax')).toBe(0x1122_3344n);
    expect(
      bench.run(mode, 'db 0x67, 0xa4', {
        registers: { rsi: 0x7777_ffff, rdi: 0x8888_0010 },
        segments: { DS: { base: At.DATA }, ES: { base: At.DATA } },
      }),
    ).toBe('done');
    expect([bench.register('rsi'), bench.register('rdi')]).toEqual([0x7777_0000n, 0x8888_0011n]);
  });
});

describe('EIP', () => {
  test('code runs on from 4 GiB - 1 to 0', () => {
    // The segment begins a byte behind the page, so that offset FFFF_FFFFh is linear 1_0000h.
    const CS = { base: At.CODE + 1, limit: ALL };
    const setup = { origin: ALL, segments: { CS }, memory: { [At.CODE]: '90 90 90' } };
    expect(bench.run('protected32', 'nop', { ...setup, steps: 2 })).toBe('elsewhere');
    expect(bench.rip).toBe(1);
  });
});

describe('long', () => {
  const far = 0x8000_0000_1000n;
  test.each([
    ['mov eax, [rbx]', '#GP(0)'],
    ['mov eax, [rsp]', '#SS(0)'],
    ['mov [rbp+8], eax', '#SS(0)'],
    ['mov eax, [rbx+rbp]', '#GP(0)'],
    ['mov eax, [rsp+rbx]', '#SS(0)'],
    ['push rax', '#SS(0)'],
    ['pop rax', '#SS(0)'],
    ['call $+5', '#SS(0)'],
    ['ret', '#SS(0)'],
    ['pushf', '#SS(0)'],
    ['popf', '#SS(0)'],
    ['enter 0, 0', '#SS(0)'],
    ['leave', '#SS(0)'],
    ['iretq', '#SS(0)'],
    ['retf', '#SS(0)'],
    ['fxsave [rsp]', '#SS(0)'],
    ['fxsave [rbx]', '#GP(0)'],
    ['fnstenv [rbp]', '#SS(0)'],
    ['cmpxchg8b [rsp]', '#SS(0)'],
    ['cmpxchg16b [rsp]', '#SS(0)'],
    ['sgdt [rsp]', '#SS(0)'],
    ['lgdt [rsp]', '#SS(0)'],
    ['lgdt [rbx]', '#GP(0)'],
    ['jmp far [rsp]', '#SS(0)'],
    ['lss eax, [rsp]', '#SS(0)'],
    ['movaps xmm0, [rsp]', '#SS(0)'],
    ['lodsb', '#GP(0)'],
    ['stosb', '#GP(0)'],
    ['movsb', '#GP(0)'],
    ['xlatb', '#GP(0)'],
    ['push qword [rbx]', '#GP(0)'],
    ['ltr [rsp]', '#SS(0)'],
    ['mov ds, [rsp]', '#SS(0)'],
    ['db 0x36\nmov eax, [rbx]', '#GP(0)'],
    ['db 0x36\nstosb', '#GP(0)'],
    ['db 0x36\nscasb', '#GP(0)'],
    ['db 0x36\nlodsb', '#GP(0)'],
  ])('a non-canonical %s raises %s', (source, ending) => {
    expect(bench.run('long', source, { cr4: Cr4.OSFXSR, registers: { rbx: far, rsp: far, rbp: far, rsi: far, rdi: far } })).toBe(ending);
  });

  test('limits, types and null segments do not count', () => {
    const none = { selector: 0, attributes: 0, limit: 0, base: 0x1234_5000 };
    const segments = { DS: none, ES: none, SS: none };
    expect(bench.run('long', 'mov eax, [rbx]\nmov [rbx], eax\npush rax\nstosd\nmovsd', { registers, segments })).toBe('done');
  });

  test('FS and GS have a base and no limit', () => {
    const FS = { selector: 0, attributes: 0, limit: 0, base: At.DATA };
    expect(bench.run('long', 'mov al, [fs:rbx]', { registers: { rbx: 0x10 }, segments: { FS }, memory: { [At.DATA + 0x10]: '66' } })).toBe(
      'done',
    );
    expect(bench.register('rax')).toBe(0x66n);
  });

  test('32-bit addresses by prefix wrap at 4 GiB', () => {
    expect(
      bench.run('long', 'mov al, [ebx+esi]', {
        registers: { rbx: 0x1_0002_0000n, rsi: 0x5_0000_0010n },
        memory: { [At.DATA + 0x10]: '66' },
      }),
    ).toBe('done');
    expect(bench.register('rax')).toBe(0x66n);
  });
});

describe('moves of segment registers', () => {
  test('MOV of a segment register fills a register, but only 16 bits of memory', () => {
    expect(
      bench.run('long', 'mov rax, ds\nmov ebx, ds\nmov cx, ds\nmov [rdi], ds', {
        registers: { rax: -1n, rbx: -1n, rcx: -1n, rdi: At.DATA },
        segments: { DS: { selector: 0x13 } },
        memory: { [At.DATA]: 'ff ff ff' },
      }),
    ).toBe('done');
    expect([bench.register('rax'), bench.register('rbx'), BigInt.asUintN(64, bench.register('rcx')), bench.bytes(At.DATA, 3)]).toEqual([
      0x13n,
      0x13n,
      0xffff_ffff_ffff_0013n,
      '13 00 ff',
    ]);
  });

  test('PUSH and POP of segment registers take a slot of the operand size', () => {
    const memory = { [TOP]: '00 00 77 77 77 77' };
    expect(bench.run('protected32', 'pop ds', { memory })).toBe('done');
    expect(bench.register('rsp')).toBe(BigInt(TOP + 4));
    expect(bench.run('protected32', 'db 0x66\npop ds', { memory })).toBe('done');
    expect(bench.register('rsp')).toBe(BigInt(TOP + 2));
    expect(bench.run('long', 'pop fs', { memory: { [TOP]: '00 00' } })).toBe('done');
    expect(bench.register('rsp')).toBe(BigInt(TOP + 8));
    expect(bench.run('long', 'push fs', { segments: { FS: { selector: 0x2b } } })).toBe('done');
    expect([bench.register('rsp'), bench.bytes(TOP - 8, 8)]).toEqual([BigInt(TOP - 8), '2b 00 00 00 00 00 00 00']);
  });

  test.each(['real', 'virtual8086', 'protected16', 'protected32', 'compatibility', 'long'] as const)('MOV to CS raises #UD: %s', (mode) => {
    expect(bench.run(mode, 'db 0x8e, 0xc8')).toBe('#UD');
    expect(bench.run(mode, 'db 0x8e, 0xf0')).toBe('#UD');
  });

  test('a null selector loads, and its use faults', () => {
    expect(bench.run('protected32', 'mov fs, ax\nmov eax, [fs:ebx]', { registers })).toBe('#GP(0)');
    expect(bench.segment(Segment.FS).selector).toBe(0);
    expect(bench.run('protected32', 'mov ss, ax')).toBe('#GP(0)');
    expect(bench.run('compatibility', 'mov ss, ax')).toBe('#GP(0)');
    expect(bench.run('long', 'mov ss, ax')).toBe('done');
  });
});
