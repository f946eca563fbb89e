// Instructions that 64-bit mode does not have, and far pointers. APM vol. 3.

import { Vector } from '../../src/arch/exception.ts';
import { SegmentAttribute as A } from '../../src/arch/registers.ts';
import { Segment, segmentAt } from '../../src/memory/state.ts';
import { type InstructionCase, Place } from './case.ts';

const { DATA, STACK, ABSENT, READ_ONLY } = Place;
const gp = { vector: Vector.GP, code: 0 } as const;
const ss = { vector: Vector.SS, code: 0 } as const;

/** A segment register as the state keeps it, without its base: selector, attributes, limit. */
const segment = (selector: number, attributes: number, limit: number): bigint =>
  BigInt(selector) | (BigInt(attributes) << 16n) | (BigInt(limit) << 32n);
const DATA_32 = A.P | A.S | A.WRITABLE | A.ACCESSED | A.DB;
const CODE_32 = A.P | A.S | A.CODE | A.WRITABLE | A.ACCESSED | A.DB | A.G;
const ds = (attributes: number, limit: number): Readonly<Record<number, bigint>> => ({
  [segmentAt(Segment.DS)]: segment(0x10, attributes, limit),
});
const cs = (attributes: number, limit: number): Readonly<Record<number, bigint>> => ({
  [segmentAt(Segment.CS)]: segment(0x08, attributes, limit),
});
const stack = (attributes: number, limit: number): Readonly<Record<number, bigint>> => ({
  [segmentAt(Segment.SS)]: segment(0x10, attributes, limit),
});

// biome-ignore format: one case to a row
export const legacy: readonly InstructionCase[] = [
  { name: 'AAA adds 6 to a digit beyond 9 and carries into AH', mode: 32, source: 'aaa', in: { rax: 0x000b }, out: { rax: 0x0101 }, flags: 'AF CF', undefined: 'OF SF ZF PF' },
  { name: 'AAA with AF set', mode: 32, source: 'aaa', in: { rax: 0x0002 }, flagsIn: 'AF', out: { rax: 0x0108 }, flags: 'AF CF', undefined: 'OF SF ZF PF' },
  { name: 'AAA of a digit clears the upper half of AL', mode: 32, source: 'aaa', in: { rax: 0x0235 }, flagsIn: 'CF', out: { rax: 0x0205 }, flags: '', undefined: 'OF SF ZF PF' },
  { name: 'AAS borrows from AH', mode: 32, source: 'aas', in: { rax: 0x020f }, out: { rax: 0x0109 }, flags: 'AF CF', undefined: 'OF SF ZF PF' },
  { name: 'DAA: 79h + 35h', mode: 32, source: 'add al, bl\ndaa', in: { rax: 0x79, rbx: 0x35 }, out: { rax: 0x14 }, flags: 'AF CF PF', undefined: 'OF' },
  { name: 'DAA of what needs nothing', mode: 32, source: 'daa', in: { rax: 0x42 }, out: { rax: 0x42 }, flags: 'PF', undefined: 'OF' },
  { name: 'DAS: 35h - 47h', mode: 32, source: 'sub al, bl\ndas', in: { rax: 0x35, rbx: 0x47 }, out: { rax: 0x88 }, flags: 'AF CF SF PF', undefined: 'OF' },
  { name: 'AAM divides AL by its immediate', mode: 32, source: 'aam 10', in: { rax: 0xff53 }, out: { rax: 0x0803 }, flags: 'PF', undefined: 'OF AF CF' },
  { name: 'AAM by 0 raises #DE', mode: 32, source: 'aam 0', exception: { vector: Vector.DE } },
  { name: 'AAD multiplies AH by its immediate', mode: 32, source: 'aad 10', in: { rax: 0x0704 }, out: { rax: 0x004a }, flags: '', undefined: 'OF AF CF' },
  { name: 'SALC spreads CF over AL', mode: 32, source: 'db 0xd6', in: { rax: 0x1234 }, flagsIn: 'CF', out: { rax: 0x12ff } },
  { name: 'ARPL raises the RPL', mode: 32, source: 'arpl ax, bx', in: { rax: 0x10, rbx: 0x3 }, out: { rax: 0x13 }, flags: 'ZF' },
  { name: 'ARPL leaves a higher RPL', mode: 32, source: 'arpl ax, bx', in: { rax: 0x13, rbx: 0x2 }, flagsIn: 'ZF CF', flags: 'CF' },
  { name: 'ARPL does not write memory that it leaves', mode: 32, source: 'arpl [ebx], ax', in: { rax: 0, rbx: READ_ONLY }, flags: '' },
  { name: 'BOUND inside', mode: 32, source: 'bound eax, [ebx]', in: { rax: 0xffff_ffff, rbx: DATA }, memory: { [DATA]: 'fe ff ff ff 05 00 00 00' } },
  { name: 'BOUND below the signed lower bound raises #BR', mode: 32, source: 'bound eax, [ebx]', in: { rax: 0xffff_fff0, rbx: DATA }, memory: { [DATA]: 'fe ff ff ff 05 00 00 00' }, exception: { vector: Vector.BR } },
  { name: 'BOUND of 16 bits above the upper bound raises #BR', mode: 32, source: 'bound ax, [ebx]', in: { rax: 0x1_0006, rbx: DATA }, memory: { [DATA]: 'fe ff 05 00' }, exception: { vector: Vector.BR } },
  { name: 'INTO without OF goes on', mode: 32, source: 'into' },
  { name: 'INTO with OF is #OF', mode: 32, source: 'into', flagsIn: 'OF', exception: { vector: Vector.OF } },
  { name: 'PUSHAD pushes the stack pointer as it was', mode: 32, source: 'pushad', in: { rax: 1, rcx: 2, rdx: 3, rbx: 4, rbp: 5, rsi: 6, rdi: 7 }, out: { rsp: STACK - 32 }, memoryOut: { [STACK - 32]: '07 00 00 00 06 00 00 00 05 00 00 00 00 10 02 00 04 00 00 00 03 00 00 00 02 00 00 00 01 00 00 00' } },
  { name: 'POPAD skips the stack pointer', mode: 32, source: 'popad', memory: { [STACK]: '07 00 00 00 06 00 00 00 05 00 00 00 ff ff ff ff 04 00 00 00 03 00 00 00 02 00 00 00 01 00 00 00' }, out: { rax: 1, rcx: 2, rdx: 3, rbx: 4, rsp: STACK + 32, rbp: 5, rsi: 6, rdi: 7 } },
  { name: 'PUSHAD that faults keeps what it has pushed, not the stack pointer', mode: 32, source: 'pushad', in: { rax: 0x11, rcx: 0x22, rsp: DATA + 8 }, memoryOut: { [DATA]: '22 00 00 00 11' }, exception: { vector: Vector.PF, code: 2, address: DATA - 4 } },
  { name: 'POPAD that faults keeps what it has popped, not the stack pointer', mode: 32, source: 'popad', in: { rsp: ABSENT - 4 }, memory: {}, out: { rdi: 0 }, exception: { vector: Vector.PF, code: 0, address: ABSENT } },
  { name: 'LFS of a null selector', mode: 64, source: 'lfs eax, [rbx]', in: { rbx: DATA }, memory: { [DATA]: '78 56 34 12 00 00' }, out: { rax: 0x1234_5678 } },
  { name: 'LFS with REX.W reads 32 bits of offset, as AMD processors do', mode: 64, source: 'db 0x48, 0x0f, 0xb4, 0x03', in: { rbx: DATA }, memory: { [DATA]: '78 56 34 82 00 00' }, out: { rax: 0x8234_5678n } },
  { name: 'LES of a selector beyond the table leaves the destination', mode: 32, source: 'les eax, [ebx]', in: { rbx: DATA }, memory: { [DATA]: '78 56 34 12 88 00' }, exception: { vector: Vector.GP, code: 0x88 } },

  { name: 'A read beyond the limit raises #GP(0)', mode: 32, source: 'mov eax, [ebx]', in: { rbx: DATA + 0xffd }, state: ds(DATA_32, DATA + 0xfff), exception: gp },
  { name: 'A read up to the limit', mode: 32, source: 'mov eax, [ebx]', in: { rbx: DATA + 0xffc }, state: ds(DATA_32, DATA + 0xfff), out: { rax: 0 } },
  { name: 'A write to a read-only segment raises #GP(0)', mode: 32, source: 'mov [ebx], eax', in: { rbx: DATA }, state: ds(DATA_32 & ~A.WRITABLE, 0xffff_ffff), exception: gp },
  { name: 'A read of a read-only segment', mode: 32, source: 'mov eax, [ebx]', in: { rbx: DATA }, state: ds(DATA_32 & ~A.WRITABLE, 0xffff_ffff), out: { rax: 0 } },
  { name: 'An access through a null segment raises #GP(0)', mode: 32, source: 'mov eax, [ebx]', in: { rbx: DATA }, state: ds(0, 0), exception: gp },
  { name: 'A write through CS raises #GP(0)', mode: 32, source: 'mov [cs:ebx], eax', in: { rbx: DATA }, exception: gp },
  { name: 'A read-modify-write through CS raises #GP(0)', mode: 32, source: 'inc dword [cs:ebx]', in: { rbx: DATA }, exception: gp },
  { name: 'A comparison through CS only reads', mode: 32, source: 'cmp [cs:ebx], eax', in: { rax: 0, rbx: DATA }, flags: 'ZF PF' },
  { name: 'A read through an execute-only CS raises #GP(0)', mode: 32, source: 'mov eax, [cs:ebx]', in: { rbx: DATA }, state: cs(CODE_32 & ~A.WRITABLE, 0xffff_ffff), exception: gp },
  { name: 'An expand-down segment begins above its limit', mode: 32, source: 'mov eax, [ebx]', in: { rbx: DATA }, state: ds(DATA_32 | A.CONFORMING, DATA - 1), out: { rax: 0 } },
  { name: 'An expand-down segment excludes its limit', mode: 32, source: 'mov eax, [ebx]', in: { rbx: DATA }, state: ds(DATA_32 | A.CONFORMING, DATA), exception: gp },
  { name: 'An expand-down segment without B ends at FFFFh', mode: 32, source: 'mov eax, [ebx]', in: { rbx: 0xfffe }, state: ds((DATA_32 | A.CONFORMING) & ~A.DB, 0x100), exception: gp },
  { name: 'PUSH beyond the limit of SS raises #SS(0)', mode: 32, source: 'push eax', state: stack(DATA_32, STACK - 5), exception: ss },
  { name: 'An operand off ESP beyond the limit of SS raises #SS(0)', mode: 32, source: 'mov eax, [esp]', state: stack(DATA_32, STACK - 1), exception: ss },
  { name: 'ENTER beyond the limit of SS raises #SS(0)', mode: 32, source: 'enter 8, 0', state: stack(DATA_32, STACK - 5), exception: ss },
  { name: 'A far pointer that the limit cuts raises #GP(0)', mode: 32, source: 'les eax, [ebx]', in: { rbx: DATA }, state: ds(DATA_32, DATA + 4), exception: gp },
  { name: 'STOS writes through ES', mode: 32, source: 'stosd', in: { rdi: DATA }, state: { [segmentAt(Segment.ES)]: segment(0x10, DATA_32 & ~A.WRITABLE, 0xffff_ffff) }, exception: gp },
  { name: 'SCAS only reads ES', mode: 32, source: 'scasd', in: { rax: 0, rdi: DATA }, state: { [segmentAt(Segment.ES)]: segment(0x10, DATA_32 & ~A.WRITABLE, 0xffff_ffff) }, out: { rdi: DATA + 4 }, flags: 'ZF PF' },

  { name: 'LGDT with a 16-bit operand takes 24 bits of base', mode: 32, source: 'db 0x66\nlgdt [ebx]\nsgdt [ecx]', in: { rbx: DATA, rcx: DATA + 8 }, memory: { [DATA]: '7f 00 44 33 22 11' }, memoryOut: { [DATA + 8]: '7f 00 44 33 22 00' } },

  { name: 'A near JMP beyond the limit of CS raises #GP(0) at the branch', mode: 32, source: 'jmp 0x12000', state: cs(CODE_32, 0x11fff), exception: gp },
  { name: 'A near CALL beyond the limit of CS pushes nothing', mode: 32, source: 'call 0x12000', state: cs(CODE_32, 0x11fff), exception: gp },
  { name: 'LOOP beyond the limit of CS leaves ECX', mode: 32, source: 'loop $+0x40', in: { rcx: 5 }, state: cs(CODE_32, Place.CODE + 0x20), exception: gp },
  { name: 'An instruction that the limit of CS cuts raises #GP(0)', mode: 32, source: 'nop\nmov eax, 1', state: cs(CODE_32, Place.CODE + 3), out: { rip: Place.CODE + 1 }, exception: gp },
  { name: 'An instruction up to the limit of CS', mode: 32, source: 'nop\nmov eax, 1', state: cs(CODE_32, Place.CODE + 5), out: { rax: 1 } },
];
