// MUL IMUL DIV IDIV MULX. APM vol. 3.

import { Vector } from '../../src/arch/exception.ts';
import { type InstructionCase, Place } from './case.ts';

const { DATA } = Place;
const MAX = 0xffff_ffff_ffff_ffffn;
const MIN = 0x8000_0000_0000_0000n;
const UNDEFINED = 'SF ZF AF PF';
const ALL = 'CF PF AF ZF SF OF';
const de = { vector: Vector.DE } as const;

// biome-ignore format: one case to a row
export const muldiv: readonly InstructionCase[] = [
  { name: 'MUL of bytes gives AX', source: 'mul bl', in: { rax: 0x1_ff, rbx: 0xff }, out: { rax: 0xfe01 }, flags: 'CF OF', undefined: UNDEFINED },
  { name: 'MUL of words gives DX:AX', source: 'mul bx', in: { rax: 0x1234, rbx: 2, rdx: 0x1_ffff }, out: { rax: 0x2468, rdx: 0x1_0000 }, flags: '', undefined: UNDEFINED },
  { name: 'MUL of 32 bits gives EDX:EAX', source: 'mul ebx', in: { rax: 0xffff_ffff, rbx: 0xffff_ffff }, out: { rax: 1, rdx: 0xffff_fffe }, flags: 'CF OF', undefined: UNDEFINED },
  { name: 'MUL of 64 bits gives RDX:RAX', source: 'mul qword [rbx]', in: { rax: MAX, rbx: DATA }, memory: { [DATA]: 'ff ff ff ff ff ff ff ff' }, out: { rax: 1, rdx: MAX - 1n }, flags: 'CF OF', undefined: UNDEFINED },
  { name: 'IMUL of one operand extends the sign', source: 'imul rbx', in: { rax: -2n, rbx: 3 }, out: { rax: -6n, rdx: -1n }, flags: '', undefined: UNDEFINED },
  { name: 'IMUL of the smallest values overflows', source: 'imul rbx', in: { rax: MIN, rbx: MIN }, out: { rax: 0, rdx: 0x4000_0000_0000_0000n }, flags: 'CF OF', undefined: UNDEFINED },
  { name: 'IMUL of bytes', source: 'imul bl', in: { rax: 0x80, rbx: 0xff }, out: { rax: 0x0080 }, flags: 'CF OF', undefined: UNDEFINED },
  { name: 'IMUL r, rm', source: 'imul eax, ebx', in: { rax: 0x1_0000, rbx: 0x1_0000 }, out: { rax: 0 }, flags: 'CF OF', undefined: UNDEFINED },
  { name: 'IMUL r, rm, immediate', source: 'imul rax, rbx, -3', in: { rbx: 5 }, out: { rax: -15n }, flags: '', undefined: UNDEFINED },
  { name: 'IMUL of 16 bits with overflow', source: 'imul ax, bx, 0x4000', in: { rax: 0, rbx: 4 }, out: { rax: 0 }, flags: 'CF OF', undefined: UNDEFINED },
  { name: 'DIV of AX by a byte: AL quotient, AH remainder', source: 'div bl', in: { rax: 0x0105, rbx: 0x10 }, out: { rax: 0x0510 }, undefined: ALL },
  { name: 'DIV of DX:AX', source: 'div bx', in: { rax: 5, rdx: 1, rbx: 0x10 }, out: { rax: 0x1000, rdx: 5 }, undefined: ALL },
  { name: 'DIV of EDX:EAX clears both upper halves', source: 'div ebx', in: { rax: 0x1_0000_0007n, rdx: 0x1_0000_0000n, rbx: 2 }, out: { rax: 3, rdx: 1 }, undefined: ALL },
  { name: 'DIV of RDX:RAX with 128 bits', source: 'div rbx', in: { rax: 3, rdx: 1, rbx: 2 }, out: { rax: MIN + 1n, rdx: 1 }, undefined: ALL },
  { name: 'DIV by a large divisor', source: 'div rbx', in: { rax: 0, rdx: MAX - 1n, rbx: MAX }, out: { rax: MAX - 1n, rdx: MAX - 1n }, undefined: ALL },
  { name: 'DIV by 0 raises #DE', source: 'div ebx', in: { rax: 1, rbx: 0 }, exception: de },
  { name: 'DIV whose quotient does not fit raises #DE', source: 'div rbx', in: { rdx: 2, rbx: 2 }, exception: de },
  { name: 'DIV of bytes whose quotient does not fit raises #DE', source: 'div bl', in: { rax: 0x200, rbx: 2 }, exception: de },
  { name: 'IDIV truncates toward zero', source: 'idiv rbx', in: { rax: -7n, rdx: -1n, rbx: 2 }, out: { rax: -3n, rdx: -1n }, undefined: ALL },
  { name: 'IDIV with a negative divisor', source: 'idiv ebx', in: { rax: 7, rdx: 0, rbx: 0xffff_fffe }, out: { rax: 0xffff_fffd, rdx: 1 }, undefined: ALL },
  { name: 'IDIV of 128 bits', source: 'idiv rbx', in: { rax: 0, rdx: -1n, rbx: 4 }, out: { rax: -0x4000_0000_0000_0000n, rdx: 0 }, undefined: ALL },
  { name: 'IDIV of the smallest value by -1 raises #DE', source: 'idiv rbx', in: { rax: MIN, rdx: -1n, rbx: -1n }, exception: de },
  { name: 'IDIV of bytes: 80h by -1 raises #DE', source: 'idiv bl', in: { rax: 0xff80, rbx: 0xff }, exception: de },
  { name: 'IDIV of bytes', source: 'idiv bl', in: { rax: 0xfff9, rbx: 2 }, out: { rax: 0xfffd }, undefined: ALL },
  { name: 'MULX writes two registers and no flag', source: 'mulx rax, rbx, rcx', in: { rdx: MAX, rcx: 2 }, flagsIn: 'CF', out: { rax: 1, rbx: MAX - 1n } },
  { name: 'MULX with one destination keeps the high half', source: 'mulx eax, eax, ecx', in: { rdx: 0xffff_ffff, rcx: 0x10 }, out: { rax: 0xf } },
];
