// PUSH POP PUSHF POPF ENTER LEAVE PUSHA POPA. APM vol. 3.

import { Vector } from '../../src/arch/exception.ts';
import { type InstructionCase, Place } from './case.ts';

const { DATA, STACK } = Place;

// biome-ignore format: one case to a row
export const stack: readonly InstructionCase[] = [
  { name: 'PUSH of a register', source: 'push rax', in: { rax: 0x1122_3344_5566_7788n }, out: { rsp: STACK - 8 }, memoryOut: { [STACK - 8]: '88 77 66 55 44 33 22 11' } },
  { name: 'PUSH RSP pushes the old value', source: 'push rsp', out: { rsp: STACK - 8 }, memoryOut: { [STACK - 8]: '00 10 02 00 00 00 00 00' } },
  { name: 'PUSH of 16 bits', source: 'push ax', in: { rax: 0x1234 }, out: { rsp: STACK - 2 }, memoryOut: { [STACK - 2]: '34 12' } },
  { name: 'PUSH sign-extends an immediate', source: 'push -2', out: { rsp: STACK - 8 }, memoryOut: { [STACK - 8]: 'fe ff ff ff ff ff ff ff' } },
  { name: 'PUSH from memory', source: 'push qword [rbx]', in: { rbx: DATA }, memory: { [DATA]: '01 02 03 04 05 06 07 08' }, out: { rsp: STACK - 8 }, memoryOut: { [STACK - 8]: '01 02 03 04 05 06 07 08' } },
  { name: 'PUSH of a segment register zero-extends', source: 'push fs', out: { rsp: STACK - 8 }, memoryOut: { [STACK - 8]: '00 00 00 00 00 00 00 00' } },
  { name: 'POP of a register', source: 'pop rax', memory: { [STACK]: '01 02 03 04 05 06 07 08' }, out: { rax: 0x0807_0605_0403_0201n, rsp: STACK + 8 } },
  { name: 'POP RSP loads the value', source: 'pop rsp', memory: { [STACK]: '00 00 02 00 00 00 00 00' }, out: { rsp: DATA } },
  { name: 'POP to memory relative to RSP uses the new RSP', source: 'pop qword [rsp]', memory: { [STACK]: '01 02 03 04 05 06 07 08' }, out: { rsp: STACK + 8 }, memoryOut: { [STACK + 8]: '01 02 03 04 05 06 07 08' } },
  { name: 'POP of 16 bits', source: 'pop ax', in: { rax: -1n }, memory: { [STACK]: '34 12' }, out: { rax: 0xffff_ffff_ffff_1234n, rsp: STACK + 2 } },
  { name: 'PUSHFQ stores the flags without RF and VM', source: 'pushfq', flagsIn: 'CF ZF OF', out: { rsp: STACK - 8 }, memoryOut: { [STACK - 8]: '43 08 00 00 00 00 00 00' } },
  { name: 'POPFQ loads the flags', source: 'popfq', memory: { [STACK]: 'd7 0c 00 00 00 00 00 00' }, out: { rsp: STACK + 8 }, flags: 'CF PF AF ZF SF DF OF' },
  { name: 'POPF of 16 bits', source: 'popfw', memory: { [STACK]: '01 00' }, flagsIn: 'ZF', out: { rsp: STACK + 2 }, flags: 'CF' },
  { name: 'POPFQ above IOPL leaves IF alone', cpl: 3, source: 'popfq', memory: { [STACK]: '03 02 00 00 00 00 00 00' }, out: { rsp: STACK + 8 }, flags: 'CF' },
  { name: 'POPFQ at CPL 0 loads IF', source: 'popfq', memory: { [STACK]: '02 02 00 00 00 00 00 00' }, out: { rsp: STACK + 8 }, flags: 'IF' },
  { name: 'ENTER makes a frame', source: 'enter 16, 0', in: { rbp: 0x55 }, out: { rbp: STACK - 8, rsp: STACK - 24 }, memoryOut: { [STACK - 8]: '55 00 00 00 00 00 00 00' } },
  { name: 'ENTER with nesting level 1 pushes the frame pointer', source: 'enter 8, 1', in: { rbp: 0x55 }, out: { rbp: STACK - 8, rsp: STACK - 24 }, memoryOut: { [STACK - 16]: 'f8 0f 02 00 00 00 00 00 55 00 00 00 00 00 00 00' } },
  { name: 'LEAVE undoes a frame', source: 'leave', in: { rbp: STACK - 0x20 }, memory: { [STACK - 0x20]: '77 00 00 00 00 00 00 00' }, out: { rbp: 0x77, rsp: STACK - 0x18 } },
  { name: 'PUSH onto an absent page raises #PF and keeps RSP', source: 'push rax', in: { rsp: Place.ABSENT + 8 }, exception: { vector: Vector.PF, code: 2, address: Place.ABSENT } },
  { name: 'PUSH to a non-canonical address raises #SS(0)', source: 'push rax', in: { rsp: 0x8000_0000_1000n }, exception: { vector: Vector.SS, code: 0 } },
  { name: 'POP whose destination faults keeps RSP', source: 'pop qword [rbx]', in: { rbx: Place.READ_ONLY }, exception: { vector: Vector.PF, code: 3, address: Place.READ_ONLY } },
  { name: 'PUSHAD pushes the old ESP', mode: 32, source: 'pushad', in: { rax: 1, rcx: 2, rdx: 3, rbx: 4, rbp: 5, rsi: 6, rdi: 7 }, out: { rsp: STACK - 32 }, memoryOut: { [STACK - 32]: '07 00 00 00 06 00 00 00 05 00 00 00 00 10 02 00 04 00 00 00 03 00 00 00 02 00 00 00 01 00 00 00' } },
  { name: 'PUSH in 32-bit mode', mode: 32, source: 'push eax', in: { rax: 0x1234_5678 }, out: { rsp: STACK - 4 }, memoryOut: { [STACK - 4]: '78 56 34 12' } },
];
