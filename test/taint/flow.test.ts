// Labels through instructions, family by family: which bytes are private behind an instruction when some were before it.

import { describe, expect, it } from 'vitest';
import { State } from '../../src/memory/state.ts';
import { PRIVATE_BYTE } from '../../src/x86/label-table.ts';
import type { RegisterName } from '../instructions/case.ts';
import { LabelledBench, maskOf } from './labelled-bench.ts';

/** `rax=ff` before: all bytes of rax are private. Values are arbitrary, but fixed. */
type Masks = Partial<Record<RegisterName | 'flags' | 'xmm0' | 'xmm1' | 'data' | 'data8', number>>;
type Case = readonly [source: string, before: Masks, after: Masks];

const VALUE = 0x1122_3344_5566_7788n;
const bench = new LabelledBench();

function run(source: string, before: Masks): void {
  bench.load(source);
  for (const name of ['rax', 'rcx', 'rdx', 'rsi', 'rdi', 'r8'] as const) bench.setRegister(name, VALUE);
  const put = (labels: Uint16Array, mask: number): void => {
    for (let k = 0; k < labels.length; k++) labels[k] = (mask >> k) & 1 ? PRIVATE_BYTE : 0;
  };
  for (const [name, mask] of Object.entries(before) as [keyof Masks, number][]) put(place(name), mask);
  expect(bench.run().kind).toBe('limit'); // it halts
}

function place(name: keyof Masks): Uint16Array {
  if (name === 'flags') return bench.state(State.FLAG_RESULT, 16);
  if (name === 'xmm0' || name === 'xmm1') return bench.state(State.XMM + (name === 'xmm0' ? 0 : 16), 16);
  if (name === 'data') return bench.data(0, 8);
  if (name === 'data8') return bench.data(8, 8);
  const at = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8'].indexOf(name);
  return bench.state(8 * at, 8);
}

const families: Readonly<Record<string, readonly Case[]>> = {
  'moves copy labels, byte by byte': [
    ['mov rax, rcx', { rcx: 0b1010 }, { rax: 0b1010 }],
    ['mov eax, ecx', { rcx: 0xff, rax: 0xff }, { rax: 0x0f }],
    ['mov ax, cx', { rcx: 0xff }, { rax: 0x03 }],
    ['mov al, cl', { rcx: 0xff, rax: 0x80 }, { rax: 0x81 }],
    ['mov ah, cl', { rcx: 0x01 }, { rax: 0x02 }],
    ['mov al, ch', { rcx: 0x02 }, { rax: 0x01 }],
    ['mov eax, 5', { rax: 0xff }, { rax: 0 }],
    ['movzx eax, cl', { rcx: 0xff, rax: 0xff }, { rax: 0x01 }],
    ['movsx rax, cl', { rcx: 0x01 }, { rax: 0xff }],
    ['movsx rax, cl', { rcx: 0xfe }, { rax: 0 }],
    ['xchg rax, rcx', { rax: 0x0f, rcx: 0xf0 }, { rax: 0xf0, rcx: 0x0f }],
    ['bswap rax', { rax: 0x03 }, { rax: 0xc0 }],
  ],
  'memory holds labels, wherever an access begins': [
    ['mov [rbx], rax', { rax: 0b1001 }, { data: 0b1001 }],
    ['mov [rbx + 4], rax', { rax: 0x81 }, { data: 0x10, data8: 0x08 }],
    ['mov qword [rbx], 0', { data: 0xff }, { data: 0 }],
    ['mov eax, [rbx + 2]', { data: 0b0001_0100 }, { rax: 0b101 }],
    ['mov byte [rbx + 3], 1', { data: 0xff }, { data: 0xf7 }],
    ['mov [rbx + 4092], rax\nmov rcx, [rbx + 4092]', { rax: 0x99 }, { rcx: 0x99 }],
    ['add [rbx], al', { rax: 0x01 }, { data: 0x01 }],
  ],
  'an address that is private makes what it loads private': [
    ['movzx ecx, cl\nmov eax, [rbx + rcx]', { rcx: 0x01 }, { rax: 0x0f }],
    ['xor eax, eax\nmov eax, [rbx + rax]', { rax: 0xff }, { rax: 0 }],
  ],
  'arithmetic carries upwards, logic does not': [
    ['add rax, rcx', { rcx: 0b100 }, { rax: 0b1111_1100 }],
    ['sub eax, ecx', { rcx: 0b10 }, { rax: 0b1110 }],
    ['xor rax, rcx', { rcx: 0b100, rax: 0b1 }, { rax: 0b101 }],
    ['and eax, 0xff00', { rax: 0xff }, { rax: 0b10 }],
    ['and rax, rcx', { rax: 0x0f, rcx: 0xf0 }, { rax: 0xff }],
    ['or rax, rcx', { rax: 1 }, { rax: 1 }],
    ['not rax', { rax: 0b110 }, { rax: 0b110 }],
    ['imul eax, ecx', { rcx: 0b1000 }, { rax: 0b1000 }],
    ['mul rcx', { rcx: 0xff }, { rax: 0xff, rdx: 0xff }],
    ['xor edx, edx\ndiv rcx', { rcx: 0x01 }, { rax: 0xff, rdx: 0xff }],
    ['inc al', { rax: 0b1 }, { rax: 0b1 }],
  ],
  'what is the same twice is a constant': [
    ['xor rax, rax', { rax: 0xff }, { rax: 0, flags: 0 }],
    ['xor eax, eax', { rax: 0xff }, { rax: 0 }],
    ['sub rax, rax', { rax: 0xff }, { rax: 0 }],
    ['pxor xmm0, xmm0', { xmm0: 0xffff }, { xmm0: 0 }],
    ['xor rax, rcx', { rax: 0xff, rcx: 0xff }, { rax: 0xff }],
    ['psubd xmm0, xmm0', { xmm0: 0xffff }, { xmm0: 0 }],
    ['pcmpeqb xmm0, xmm0', { xmm0: 0xffff }, { xmm0: 0 }],
    ['paddd xmm0, xmm0', { xmm0: 0xffff }, { xmm0: 0xffff }],
    ['pminub xmm0, xmm0', { xmm0: 0xffff }, { xmm0: 0xffff }],
    ['subpd xmm0, xmm0', { xmm0: 0xffff }, { xmm0: 0xffff }],
  ],
  'shifts move labels': [
    ['shl rax, 8', { rax: 0b1 }, { rax: 0b10 }],
    ['shl rax, 4', { rax: 0b1 }, { rax: 0b11 }],
    ['shr rax, 16', { rax: 0b100 }, { rax: 0b1 }],
    ['sar eax, 24', { rax: 0b1000 }, { rax: 0x0f }],
    ['rol eax, 8', { rax: 0b1000 }, { rax: 0b1 }],
    ['shl rax, cl', { rcx: 0b1 }, { rax: 0xff }],
    ['mov cl, 8\nshl rax, cl', { rax: 0b1 }, { rax: 0b10 }],
  ],
  'LEA computes': [
    ['lea rax, [rcx + rdx*4]', { rdx: 0x80 }, { rax: 0x80 }],
    ['lea eax, [rcx + 8]', { rcx: 0xf0 }, { rax: 0 }],
  ],
  'the stack is memory': [
    ['push rax\npop rcx', { rax: 0b11 }, { rcx: 0b11 }],
    ['push 1\npop rax', { rax: 0xff }, { rax: 0 }],
    ['cmp rax, 5\npushfq\npop rcx', { rax: 0xff }, { rcx: 0b111 }],
  ],
  'strings move labels element by element': [
    ['lea rsi, [rbx]\nlea rdi, [rbx + 8]\nmov ecx, 8\nrep movsb', { data: 0b1010 }, { data8: 0b1010 }],
    ['lea rdi, [rbx]\nmov ecx, 2\nrep stosd', { rax: 0b1 }, { data: 0b0001_0001 }],
    ['lea rsi, [rbx]\nlodsw', { data: 0b10 }, { rax: 0b10 }],
  ],
  'flags have labels, and what is made of them': [
    ['cmp rax, rcx\nsetb dl', { rax: 0x80 }, { rdx: 0x01 }],
    ['cmp rax, rcx\ncmovb rdx, r8', { rax: 0x01 }, { rdx: 0xff }],
    ['cmp rdi, rsi\ncmove rdx, r8', { r8: 0b11 }, { rdx: 0b11 }],
    ['add rax, rcx\nadc rdx, 0', { rax: 0xff }, { rdx: 0xff }],
    ['cmp rax, rax\nmov eax, 0\nclc\nadc rax, rdx', { rdx: 1 }, { rax: 0xff }],
  ],
  exchanges: [
    ['cmpxchg [rbx], rcx', { rcx: 0xff }, { rax: 0 }],
    ['mov rax, [rbx]\ncmpxchg [rbx], rcx', { rcx: 0x0f }, { data: 0x0f }],
    ['xadd [rbx], rax', { rax: 0x80 }, { data: 0x80, rax: 0 }],
  ],
  'SSE: bytes, lanes, and everything': [
    ['movdqu xmm0, [rbx]', { data: 0b1, data8: 0x80 }, { xmm0: 0x8001 }],
    ['movdqu [rbx], xmm0', { xmm0: 0x8001 }, { data: 0b1, data8: 0x80 }],
    ['movq xmm0, rax', { rax: 0b101, xmm0: 0xffff }, { xmm0: 0b101 }],
    ['movq rax, xmm0', { xmm0: 0xff02 }, { rax: 0b10 }],
    ['pand xmm0, xmm1', { xmm1: 0b100 }, { xmm0: 0b100 }],
    ['paddd xmm0, xmm1', { xmm1: 0b1_0000 }, { xmm0: 0xf0 }],
    ['punpcklqdq xmm0, xmm1', { xmm1: 0x0001 }, { xmm0: 0x0100 }],
    ['mulpd xmm0, xmm1', { xmm1: 0x0001 }, { xmm0: 0x00ff }],
  ],
  'routines have rules': [
    ['cpuid', { rax: 0, rbx: 0xff }, { rbx: 0 }],
    ['rdtsc', { rax: 0xff, rdx: 0xff }, { rax: 0, rdx: 0 }],
    ['rdrand rax', {}, { rax: 0xff, flags: 0 }],
    ['rdrand eax', {}, { rax: 0x0f }],
    ['rdseed cx', {}, { rcx: 0x03 }],
    ['cmp rax, rcx\nmov edx, 0\nlsl rdx, r8', { rax: 0xff }, { rdx: 0 }],
    ['cmp rax, rcx\nverr r8w\nsete dl\nsetb dh', { rax: 0xff }, { rdx: 0b10 }],
    ['lar edx, ecx', { rcx: 0x01 }, { flags: 0xffff }],
    ['smsw rax\nstr rcx\nsldt rdx', { rax: 0xff, rcx: 0xff, rdx: 0xff }, { rax: 0, rcx: 0, rdx: 0 }],
    ['mov rax, cr0\nmov rcx, dr6', { rax: 0xff, rcx: 0xff }, { rax: 0, rcx: 0 }],
    ['sgdt [rbx]', { data: 0xff, data8: 0xff }, { data: 0, data8: 0xfc }],
    ['rdpid rax', { rax: 0xff }, { rax: 0 }],
    ['enter 16, 0\nmov rax, [rbp]\nmov rcx, rbp', { rbp: 0xff, rax: 0, rcx: 0xff }, { rax: 0xff, rcx: 0 }],
    ['mov rbp, rsp\npush rax\nleave', { rax: 0xff, rbp: 0xff }, { rsp: 0 }],
    ['comisd xmm0, xmm1\nsetb al', { xmm0: 0, xmm1: 0, flags: 0xffff, rax: 0xff }, { rax: 0xfe }],
    ['pcmpistri xmm0, xmm1, 0', { xmm0: 0, xmm1: 0xffff, rcx: 0 }, { xmm0: 0, rcx: 0x0f, flags: 0xffff }],
    ['fld1\nfld1\nfcomip st1\nsetb al', { flags: 0xffff, rax: 0xff }, { rax: 0xfe }],
    ['mov rdx, 1\nmov rcx, 0x10\ndiv rcx', { rdx: 0xff, rax: 0xff }, { rax: 0xff, rdx: 0xff }],
    ['fld qword [rbx]\nfstp qword [rbx + 8]', { data: 1 }, { data8: 0xff }],
  ],
};

describe.each(Object.entries(families))('%s', (_family, cases) => {
  it.each(cases)('%s', (source, before, after) => {
    run(source, before);
    const seen = Object.fromEntries(Object.keys(after).map((name) => [name, maskOf(place(name as keyof Masks)).toString(2)]));
    expect(seen).toEqual(Object.fromEntries(Object.entries(after).map(([name, mask]) => [name, mask.toString(2)])));
  });
});
