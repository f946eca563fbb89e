// Real mode: APM vol. 2, 1.2.4 and 4.5; vol. 3 for the instructions that it does not have.

import { describe, expect, test } from 'vitest';
import { Segment } from '../../src/memory/state.ts';
import { At, descriptor, ModeBench, type Setup } from './mode-bench.ts';

const bench = new ModeBench();
const real = (source: string, setup: Setup = {}): string => bench.run('real', source, setup);

describe('segment registers', () => {
  test('a load sets the base to the selector times 16 and keeps limit and attributes', () => {
    const big = { limit: 0xffff_ffff, attributes: 0xc93 };
    expect(real('mov ds, ax', { registers: { rax: 0x2345 }, segments: { DS: big } })).toBe('done');
    expect(bench.segment(Segment.DS)).toEqual({ selector: 0x2345, base: 0x2_3450, ...big });
  });

  test('unreal mode reaches beyond 64 KiB with 32-bit addresses', () => {
    const setup = { registers: { rbx: 0x1_8000 }, memory: { [At.DATA + 0x1_8000]: '78 56 34 12' } };
    expect(real('mov eax, [ebx]', { ...setup, segments: { DS: { limit: 0xffff_ffff } } })).toBe('done');
    expect(bench.register('rax')).toBe(0x1234_5678n);
    expect(real('mov eax, [ebx]', setup)).toBe('#GP(0)');
  });

  test('unreal mode by a visit to protected mode', () => {
    const source = `lgdt [0x10]
mov eax, cr0
or al, 1
mov cr0, eax
mov bx, 8
mov ds, bx
and al, 0xfe
mov cr0, eax
xor bx, bx
mov ds, bx
mov ecx, [esi]`;
    const tables = { 8: descriptor(0xc93, 0x1234, 0xf_ffff) };
    const memory = { [At.DATA + 0x10]: '0f 00 00 00 04 00', [At.DATA + 0x1_8000]: '78 56 34 12' };
    expect(real(source, { registers: { rsi: At.DATA + 0x1_8000 }, tables, memory })).toBe('done');
    expect(bench.register('rcx')).toBe(0x1234_5678n);
    expect(bench.segment(Segment.DS)).toEqual({ selector: 0, attributes: 0xc93, limit: 0xffff_ffff, base: 0 });
  });

  test('a null selector is a selector like any other', () => {
    expect(real('mov ds, ax\nmov al, [0x10]', { memory: { 0x10: '77' } })).toBe('done');
    expect(bench.register('rax')).toBe(0x77n);
  });

  test('FFFFh:FFFFh is 10FFEFh: bit 20 of an address counts', () => {
    expect(real('mov ds, ax\nmov byte [0xffff], 0x5a', { registers: { rax: 0xffff } })).toBe('done');
    expect(bench.bytes(0x10_ffef, 1)).toBe('5a');
  });

  test('LES and LSS load base and offset', () => {
    expect(real('les bx, [0x10]', { memory: { [At.DATA + 0x10]: '34 12 00 20' } })).toBe('done');
    expect([bench.register('rbx'), bench.segment(Segment.ES).base]).toEqual([0x1234n, 0x2_0000]);
    expect(real('lss sp, [0x10]', { memory: { [At.DATA + 0x10]: '34 12 00 20' } })).toBe('done');
    expect([bench.register('rsp'), bench.segment(Segment.SS).base]).toEqual([0x1234n, 0x2_0000]);
  });

  test('CS may be written: real mode has no types', () => {
    expect(real('mov byte [cs:0x100], 0x12')).toBe('done');
    expect(bench.bytes(At.CODE + 0x100, 1)).toBe('12');
  });
});

describe('limits', () => {
  test.each([
    ['a word at FFFFh', 'mov ax, [0xffff]', '#GP(0)'],
    ['a byte at FFFFh', 'mov al, [0xffff]', 'done'],
    ['a word at FFFEh', 'mov ax, [0xfffe]', 'done'],
    ['a doubleword at FFFDh', 'mov eax, [0xfffd]', '#GP(0)'],
    ['a word at FFFFh of SS', 'mov bp, -1\nmov ax, [bp]', '#SS(0)'],
    ['a word at FFFFh of SS by override', 'mov ax, [ss:0xffff]', '#SS(0)'],
    ['a word at FFFFh off BP with DS', 'mov bp, -1\nmov ax, [ds:bp]', '#GP(0)'],
    ['a 16-bit address wraps', 'mov bx, -1\nmov ax, [bx+1]', 'done'],
    ['a 32-bit address does not', 'mov ebx, 0xffff\nmov ax, [ebx+1]', '#GP(0)'],
    ['a 32-bit address below 0 does', 'mov ebx, 1\nmov ax, [ebx-1]', 'done'],
    ['a string source at FFFFh', 'mov si, -1\nlodsw', '#GP(0)'],
    ['a string destination at FFFFh', 'mov di, -1\nstosw', '#GP(0)'],
    ['a string of bytes wraps', 'mov di, -1\nstosb', 'done'],
    ['OUTS at FFFFh', 'mov si, -1\noutsw', '#GP(0)'],
    ['INS at FFFFh', 'mov di, -1\ninsw', '#GP(0)'],
    ['XLAT wraps', 'mov bx, -1\nmov al, 2\nxlatb', 'done'],
    ['CMPXCHG8B at FFF9h', 'mov bx, 0xfff9\ncmpxchg8b [bx]', '#GP(0)'],
    ['FNSTENV that the limit cuts', 'mov bx, 0xfff3\nfnstenv [bx]', '#GP(0)'],
    ['SGDT that wraps after the limit', 'mov bx, 0xfffe\nsgdt [bx]', 'done'],
    ['SGDT at FFFFh', 'mov bx, 0xffff\nsgdt [bx]', '#GP(0)'],
  ])('%s', (_name, source, ending) => {
    expect(real(source)).toBe(ending);
  });

  test('the selector of a far pointer at FFFEh lies at 0', () => {
    const memory = { [At.DATA + 0xfffe]: '34 12', [At.DATA]: '78 56' };
    expect(real('mov bx, 0xfffe\nles ax, [bx]', { memory })).toBe('done');
    expect([bench.register('rax'), bench.segment(Segment.ES).selector]).toEqual([0x1234n, 0x5678]);
  });

  test('the upper bound of BOUND at FFFEh lies at 0', () => {
    const memory = { [At.DATA + 0xfffe]: '01 00', [At.DATA]: '05 00' };
    expect(real('mov bx, 0xfffe\nmov ax, 5\nbound ax, [bx]', { memory })).toBe('done');
    expect(real('mov bx, 0xfffe\nmov ax, 6\nbound ax, [bx]', { memory })).toBe('#BR');
  });

  test('LIDT at FFFEh takes the base from 0, 24 bits of it', () => {
    const memory = { [At.DATA + 0xfffe]: 'ff 03', [At.DATA]: '78 56 34 12' };
    expect(real('mov bx, 0xfffe\nlidt [bx]', { memory })).toBe('done');
    expect(bench.segment(Segment.IDTR)).toMatchObject({ limit: 0x3ff, base: 0x34_5678 });
    expect(real('mov bx, 0xfffe\ndb 0x66\nlidt [bx]', { memory })).toBe('done');
    expect(bench.segment(Segment.IDTR)).toMatchObject({ limit: 0x3ff, base: 0x1234_5678 });
  });
});

describe('the stack', () => {
  const sp = (value: number): Setup => ({ registers: { rsp: value, rbp: 0xaaaa, rax: 0x1122_3344 } });

  test.each([
    ['PUSH at SP = 1', 'push ax', 1, '#SS(0)'],
    ['PUSH of 32 bits at SP = 2', 'push eax', 2, '#SS(0)'],
    ['POP at SP = FFFFh', 'pop ax', 0xffff, '#SS(0)'],
    ['POP of 32 bits at SP = FFFEh', 'pop eax', 0xfffe, '#SS(0)'],
    ['CALL at SP = 1', 'call $+3', 1, '#SS(0)'],
    ['RET at SP = FFFFh', 'ret', 0xffff, '#SS(0)'],
    ['PUSHF at SP = 1', 'pushf', 1, '#SS(0)'],
    ['POPF at SP = FFFFh', 'popf', 0xffff, '#SS(0)'],
    ['PUSHA at SP = 7', 'pusha', 7, '#SS(0)'],
    ['POPA at SP = FFFDh', 'popa', 0xfffd, '#SS(0)'],
    ['ENTER at SP = 1', 'enter 0, 0', 1, '#SS(0)'],
    ['POP DS at SP = FFFFh', 'pop ds', 0xffff, '#SS(0)'],
  ])('%s raises #SS and moves nothing', (_name, source, value, ending) => {
    expect(real(source, sp(value))).toBe(ending);
    expect(bench.register('rsp')).toBe(BigInt(value));
  });

  test('PUSH at SP = 0 wraps to FFFEh; the upper half of ESP stays', () => {
    expect(real('push ax', sp(0x5555_0000))).toBe('done');
    expect(bench.register('rsp')).toBe(0x5555_fffen);
    expect(bench.bytes(At.STACK + 0xfffe, 2)).toBe('44 33');
  });

  test('PUSHA at SP = 4 wraps between its slots', () => {
    expect(real('pusha', sp(4))).toBe('done');
    expect(bench.register('rsp')).toBe(0xfff4n);
    expect(bench.bytes(At.STACK, 4)).toBe('00 00 44 33');
  });

  test('POP at SP = FFFEh wraps to 0', () => {
    expect(real('pop bx', { ...sp(0xfffe), memory: { [At.STACK + 0xfffe]: '34 12' } })).toBe('done');
    expect([bench.register('rsp'), bench.register('rbx')]).toEqual([0n, 0x1234n]);
  });

  test('LEAVE takes SP from BP', () => {
    expect(real('leave', { registers: { rsp: 0x7777_0000, rbp: 0x1234_0100 }, memory: { [At.STACK + 0x100]: '78 56' } })).toBe('done');
    expect([bench.register('rsp'), bench.register('rbp')]).toEqual([0x7777_0102n, 0x1234_5678n]);
  });

  test('a 32-bit stack segment has ESP', () => {
    expect(real('push ax', { ...sp(0x1_0000), segments: { SS: { attributes: 0x493, limit: 0xffff_ffff } } })).toBe('done');
    expect(bench.register('rsp')).toBe(0xfffen);
  });

  test('MOV SS holds interrupts off for one instruction, LSS does not', () => {
    expect(real('mov ss, ax', { registers: { rax: 0x3000 } })).toBe('done');
    expect(bench.shadow).not.toBe(0);
    expect(real('pop ss', { memory: { [At.STACK + 0x1000]: '00 20' } })).toBe('done');
    expect(bench.shadow).not.toBe(0);
    expect(bench.register('rsp')).toBe(0x1002n);
    expect(real('lss sp, [0x10]')).toBe('done');
    expect(bench.shadow).toBe(0);
  });
});

describe('the instruction pointer', () => {
  test('IP that runs beyond FFFFh raises #GP', () => {
    expect(real('nop\nnop', { origin: 0xfffe, steps: 3 })).toBe('done');
    expect(bench.rip).toBe(0x1_0000);
    expect(real('nop\nnop\nnop', { origin: 0xfffe })).toBe('#GP(0)');
    expect(bench.rip).toBe(0x1_0000);
  });

  test.each([0, 0x10, 0x123])('an instruction across FFFFh raises #GP where it begins (segment base + %i)', (offset) => {
    const setup = { segments: { CS: { base: At.CODE + offset } }, memory: { [At.CODE + offset + 0xfffe]: 'b8 34 12' } };
    expect(real('nop\nnop\nnop', { ...setup, origin: 0xfffe })).toBe('#GP(0)');
    expect(bench.rip).toBe(0xfffe);
  });

  test('bytes behind the limit are not looked at', () => {
    expect(real('db 0x0f, 0x0b', { origin: 0xffff })).toBe('#GP(0)');
  });

  test('a near jump wraps at 16 bits, a 32-bit one does not', () => {
    expect(real('jmp 0xfff0', { steps: 1 })).toBe('elsewhere');
    expect(bench.rip).toBe(0xfff0);
    expect(real('db 0xe9, 0xed, 0xff', { steps: 1 })).toBe('elsewhere');
    expect(bench.rip).toBe(0xfff0);
    expect(real('db 0x66, 0xe9, 0xea, 0xff, 0xff, 0xff')).toBe('#GP(0)');
    expect(bench.rip).toBe(0);
  });

  test('a jump whose target wraps within the page goes to the top of the segment', () => {
    // At linear 1_0150h: offset 150h goes to F0h; offset 50h of a segment 100h further on goes to FFF0h.
    const memory = { [At.CODE + 0x150]: 'eb 9e', [At.CODE + 0xf0]: 'ea 50 00 10 10' };
    expect(real('jmp far 0x1000:0x150', { memory, steps: 4 })).toBe('elsewhere');
    expect([bench.rip, bench.segment(Segment.CS).selector]).toEqual([0xfff0, 0x1010]);
  });

  test('a near CALL pushes nothing if its target is beyond the limit', () => {
    expect(real('db 0x66, 0xe8, 0, 0, 1, 0')).toBe('#GP(0)');
    expect([bench.rip, bench.register('rsp')]).toEqual([0, 0x1000n]);
    expect(real('call ebx', { registers: { rbx: 0x1_0000 } })).toBe('#GP(0)');
    expect(bench.register('rsp')).toBe(0x1000n);
  });

  test('RET of 32 bits beyond the limit pops nothing', () => {
    expect(real('db 0x66\nret', { memory: { [At.STACK + 0x1000]: '00 00 01 00' } })).toBe('#GP(0)');
    expect(bench.register('rsp')).toBe(0x1000n);
  });

  test('LOOP and JCXZ count in CX, or in ECX by prefix', () => {
    expect(real('db 0xe2, 0x10', { registers: { rcx: 0x1_0001 } })).toBe('done');
    expect(bench.register('rcx')).toBe(0x1_0000n);
    expect(real('db 0xe3, 0x10', { registers: { rcx: 0x1_0000 }, steps: 1 })).toBe('elsewhere');
    expect(real('db 0x67, 0xe3, 0x10', { registers: { rcx: 0x1_0000 } })).toBe('done');
    expect(real('db 0x67, 0xe2, 0x10', { registers: { rcx: 0x1_0001 }, steps: 1 })).toBe('elsewhere');
    expect(bench.register('rcx')).toBe(0x1_0000n);
  });

  test('linear addresses wrap at 4 GiB', () => {
    const segments = { CS: { selector: 0xf000, base: 0xffff_8000 }, DS: { base: 0xffff_ffff } };
    const memory = { 0x3000: 'a1 01 00 90', 0: '34 12' };
    expect(real('times 4 nop', { origin: 0xb000, segments, memory })).toBe('done');
    expect(bench.register('rax')).toBe(0x1234n);
  });
});

test.each(['lar ax, bx', 'lsl ax, bx', 'verr bx', 'verw bx', 'arpl ax, bx', 'lldt ax', 'ltr ax', 'sldt ax', 'str ax'])(
  '%s does not exist',
  (source) => {
    expect(real(source)).toBe('#UD');
    expect(bench.rip).toBe(0);
  },
);

test('CLI, STI, POPF, IN and OUT need no IOPL', () => {
  expect(real('sti\ncli\nsti\nin al, 0x60\nout 0x60, al\npushf\npopf')).toBe('done');
  expect(bench.rflags & 0x200).toBe(0x200);
});

test('POPF writes IOPL and NT, POPFD also AC and ID, none VM, VIF, VIP and RF', () => {
  expect(real('popf', { memory: { [At.STACK + 0x1000]: 'ff ff' } })).toBe('done');
  expect(bench.rflags).toBe(0x7fd7);
  expect(real('db 0x66\npopf', { memory: { [At.STACK + 0x1000]: 'd7 7e ff ff' } })).toBe('done');
  expect(bench.rflags).toBe(0x24_7ed7);
});

test('SMSW and LMSW work; LGDT loads', () => {
  expect(real('smsw ax\nlgdt [0x10]', { memory: { [At.DATA + 0x10]: '7f 00 00 10 20 30' } })).toBe('done');
  expect(bench.segment(Segment.GDTR)).toMatchObject({ limit: 0x7f, base: 0x20_1000 });
});
