import { describe, expect, test } from 'vitest';
import { assemble, type AssembleOptions } from '../../src/asm/assemble.ts';
import { UserError } from '../../src/util/errors.ts';
import { all } from './disassemble.ts';

const hex = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
const code = (source: string, options?: AssembleOptions): string => hex(assemble(source, options).bytes);

describe('instructions', () => {
  test.each([
    ['mov rax, rbx', '48 89 d8'],
    ['mov eax, dword ptr [rbx+rcx*4-8]', '8b 44 8b f8'],
    ['mov eax, [rbx + 8 + 4*rcx - 16]', '8b 44 8b f8'],
    ['mov [rbp], al', '88 45 00'],
    ['mov [r13], al', '41 88 45 00'],
    ['mov cx, [r12]', '66 41 8b 0c 24'],
    ['mov rax, [5*rcx]', '48 8b 04 89'],
    ['mov rax, fs:[0x28]', '64 48 8b 04 25 28 00 00 00'],
    ['mov rax, [fs:0x28]', '64 48 8b 04 25 28 00 00 00'],
    ['mov rax, 0x1_0000_0000', '48 b8 00 00 00 00 01 00 00 00'],
    ['mov rax, -1', '48 c7 c0 ff ff ff ff'],
    ['mov byte [rax], 0ffh', 'c6 00 ff'],
    ['add rax, 5', '48 83 c0 05'],
    ['add rax, -128', '48 83 c0 80'],
    ['add qword ptr [rax], 128', '48 81 00 80 00 00 00'],
    ['shl edx, 1', 'd1 e2'],
    ['shr byte ptr [rax], cl', 'd2 28'],
    ['imul eax, 5', '6b c0 05'],
    ['xchg eax, eax', '87 c0'],
    ['nop', '90'],
    ['movzx eax, byte [rax]', '0f b6 00'],
    ['setz al', '0f 94 c0'],
    ['push 5', '6a 05'],
    ['push word 5', '66 6a 05'],
    ['push fs', '0f a0'],
    ['ret', 'c3'],
    ['retfq', '48 cb'],
    ['iretq', '48 cf'],
    ['pushf', '9c'],
    ['pushfw', '66 9c'],
    ['enter 16, 1', 'c8 10 00 01'],
    ['mov ds, ax', '8e d8'],
    ['mov cr4, rax', '0f 22 e0'],
    ['mov cr8, rax', '44 0f 22 c0'],
    ['mov rax, dr7', '0f 21 f8'],
    ['in al, dx', 'ec'],
    ['out 0xf4, al', 'e6 f4'],
    ['int 0x80', 'cd 80'],
    ['lgdt [rax]', '0f 01 10'],
    ['call far [rax]', 'ff 18'],
    ['syscall', '0f 05'],
    ['sysretq', '48 0f 07'],
    ['swapgs', '0f 01 f8'],
    ['fadd st3', 'd8 c3'],
    ['faddp', 'de c1'],
    ['fxch st(2)', 'd9 ca'],
    ['movdqu xmm1, [rax]', 'f3 0f 6f 08'],
    ['vpaddd ymm1, ymm2, ymm3', 'c5 ed fe cb'],
  ])('%s', (source, bytes) => expect(code(source)).toBe(bytes));

  test.each([
    ['rep movsb', 'f3 a4'],
    ['repne scasb', 'f2 ae'],
    ['repe cmpsq', 'f3 48 a7'],
    ['fs lodsb', '64 ac'],
    ['a32 rep stosd', '67 f3 ab'],
    ['lock inc dword ptr [rax]', 'f0 ff 00'],
    ['insb', '6c'],
    ['rep outsb', 'f3 6e'],
  ])('prefixes: %s', (source, bytes) => expect(code(source)).toBe(bytes));

  test.each([
    ['vmgexit', 'f3 0f 01 d9'],
    ['vmmcall', '0f 01 d9'],
    ['rep vmmcall', 'f3 0f 01 d9'],
    ['vmrun rax', '0f 01 d8'],
    ['vmload', '0f 01 da'],
    ['vmsave eax', '67 0f 01 db'],
    ['stgi', '0f 01 dc'],
    ['clgi', '0f 01 dd'],
    ['skinit', '0f 01 de'],
    ['invlpga', '0f 01 df'],
    ['pvalidate', 'f2 0f 01 ff'],
    ['psmash', 'f3 0f 01 ff'],
    ['rmpadjust', 'f3 0f 01 fe'],
    ['rmpupdate', 'f2 0f 01 fe'],
    ['rmpquery', 'f3 0f 01 fd'],
    ['invlpgb', '0f 01 fe'],
    ['tlbsync', '0f 01 ff'],
  ])('SVM and SNP: %s', (source, bytes) => expect(code(source)).toBe(bytes));

  test('16-bit and 32-bit code use prefixes for the other sizes', () => {
    expect(code('mov ax, bx\nmov eax, ebx\nmov al, [bx+si]\nmov al, [eax]', { bits: 16 })).toBe('89 d8 66 89 d8 8a 00 67 8a 00');
    expect(code('mov ax, bx\nmov eax, ebx\npush 0x12345678\njmp 8:0x1000', { bits: 32 })).toBe(
      '66 89 d8 89 d8 68 78 56 34 12 ea 00 10 00 00 08 00',
    );
    expect(code('bits 16\njmp dword 8:0x1000\nbits 32\nret\nbits 64\npush r8')).toBe('66 ea 00 10 00 00 08 00 c3 41 50');
  });
});

describe('labels', () => {
  test('a jump is short if its target allows', () => {
    expect(code('start: jmp start\njmp end\nend:')).toBe('eb fe eb 00');
    expect(assemble('jmp end\ntimes 127 nop\nend:').bytes.length).toBe(129);
    expect(assemble('jmp end\ntimes 128 nop\nend:').bytes.length).toBe(133);
    expect(code('jz near end\nend:')).toBe('0f 84 00 00 00 00');
  });

  test('one jump that grows can make another grow', () => {
    const { bytes, labels } = assemble('a: jmp c\ntimes 124 nop\njmp d\nc: times 200 nop\nd:');
    expect(all(bytes, 64, 0n)[0]).toBe(`jmp ${labels.get('c')?.toString(16).toUpperCase().padStart(16, '0')}h`);
  });

  test('local labels belong to the label before them', () => {
    const { labels } = assemble('one: nop\n.loop: jmp .loop\ntwo: nop\n.loop: jmp .loop\njmp one.loop', { origin: 0x100n });
    expect([...labels]).toEqual([
      ['one', 0x100n],
      ['one.loop', 0x101n],
      ['two', 0x103n],
      ['two.loop', 0x104n],
    ]);
  });

  test('RIP-relative references: [rel label], [rip+label], [rip+number], default rel', () => {
    const expected = '48 8b 05 00 00 00 00';
    expect(code('mov rax, [rel next]\nnext:')).toBe(expected);
    expect(code('mov rax, [rip+next]\nnext:', { origin: 0x1_0000_0000n })).toBe(expected);
    expect(code('mov rax, [rip+0]')).toBe(expected);
    expect(code('default rel\nmov rax, [next]\nnext:')).toBe(expected);
    expect(code('mov dword [rel next], 1\nnext:')).toBe('c7 05 00 00 00 00 01 00 00 00');
    expect(code('mov rax, [next]\nnext:')).toBe('48 8b 04 25 08 00 00 00');
  });

  test('labels in expressions', () => {
    expect(code('start: nop\nmov eax, end - start\ndd end, $ - $$, (end - start) * 2\nend:')).toBe(
      '90 b8 12 00 00 00 12 00 00 00 06 00 00 00 24 00 00 00'.replace('06', '0a'),
    );
  });
});

describe('directives', () => {
  test('data of every width, strings, equ and reservations', () => {
    expect(code("count equ 1 + 2 * 3\ndb 'ab', 0, count, -1\ndw 0x1234, 'a'\ndd 1\ndq -2\nresb 2")).toBe(
      '61 62 00 07 ff 34 12 61 00 01 00 00 00 fe ff ff ff ff ff ff ff 00 00',
    );
  });
  test('times repeats, with $ moving', () => {
    expect(code('times 3 db 7\ntimes 2 dw $')).toBe('07 07 07 03 00 05 00');
    expect(code('db 1\ntimes 8-($-$$) db 0xcc')).toBe('01 cc cc cc cc cc cc cc');
  });
  test('align pads with NOP or what is asked for', () => {
    expect(code('db 1\nalign 4\ndb 2\n.align 4, 0\ndb 3')).toBe('01 90 90 90 02 00 00 00 03');
  });
  test('org sets the address of the first byte, later it pads', () => {
    const { bytes, labels } = assemble('org 0x7c00\nstart: nop\n.org 0x7c04\nend: nop');
    expect(hex(bytes)).toBe('90 00 00 00 90');
    expect(labels.get('end')).toBe(0x7c04n);
  });
  test('comments and blank lines', () => expect(code('; nothing\n\n  nop ; one\n# two\n')).toBe('90'));
});

describe('mistakes are one line with the number of the line', () => {
  test.each([
    ['nop\nfrob eax', 'line 2: unknown instruction frob'],
    ['mov eax, rbx', 'line 1: mov does not take the operands (eax, rbx)'],
    ['inc [rax]', 'line 1: the size of the memory operand of inc is unknown: write byte, word, dword or qword before it'],
    ['jmp nowhere', 'line 1: nowhere is not defined'],
    ['a: nop\na: nop', 'line 2: a is defined twice'],
    ['mov al, 256', 'line 1: mov does not take the operands (al, 256)'],
    ['db 256', 'line 1: 256 does not fit in a byte'],
    ['mov eax, [rax+rbx+rcx]', 'line 1: an address has at most two registers'],
    ['mov eax, [rsp*2]', 'line 1: rsp cannot be an index'],
    ['mov eax, [rax+ebx]', 'line 1: the registers of an address differ in width'],
    ['mov eax, rax+1', 'line 1: arithmetic on registers needs [ ] around it'],
    ['mov eax, [rax', 'line 1: ] expected at the end of the line'],
    ['mov eax 5', 'line 1: end of line expected before 5'],
    ['mov eax, 5 6', 'line 1: end of line expected before 6'],
    ['mov ah, r8b', 'line 1: mov cannot be encoded'],
    ['db 12z', 'line 1: 12z is not a number'],
    ['db 1/0', 'line 1: division by zero'],
    ['align 3', 'line 1: 3 is not a power of two to align to'],
    ['nop\norg 0', 'line 2: org cannot go back from 0x1 to 0x0'],
    ['bits 8', 'line 1: bits takes 16, 32 or 64'],
    ['jrcxz far_away\ntimes 200 nop\nfar_away:', 'line 1: jrcxz cannot be encoded: the target is too far away'],
    ['times -1 nop', 'line 1: -1 is not a number of times'],
    ['resb 1 << 40', 'line 1: 1099511627776 times is more than the limit of 67108864'],
    ['db @', 'line 1: @ is not defined'],
    ['nop !', 'line 1: unexpected character !'],
    [`db ${'('.repeat(100)}1`, 'line 1: an expression nests too deeply'],
    ['rax: nop', 'line 1: rax is a register and cannot be a label'],
  ])('%j', (source, message) => {
    const attempt = () => assemble(source);
    expect(attempt).toThrow(UserError);
    expect(attempt).toThrow(message);
  });

  test('addresses that never settle are reported', () => {
    expect(() => assemble('times (end & 1) ^ 1 db 0\nend:')).toThrow('do not settle');
  });
});

test('no source throws anything but a UserError', () => {
  const words =
    "mov add jmp call push lock rep a32 o16 times align org db dq equ bits 16 64 rax ax st xmm0 cr0 fs label .x [ ] ( ) + - * / , : $ $$ rel byte far short 0x10 5 -1 'a' 1<<63 near".split(
      ' ',
    );
  let state = 1;
  const next = (limit: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 0x1_0000_0000) * limit);
  };
  for (let n = 0; n < 5000; n++) {
    const source = Array.from({ length: 1 + next(12) }, () => words[next(words.length)] + (next(6) === 0 ? '\n' : ' ')).join('');
    try {
      assemble(source);
    } catch (error) {
      if (!(error instanceof UserError)) throw new Error(`${JSON.stringify(source)}: ${String(error)}`, { cause: error });
    }
  }
});
