// Exceptions of ordinary instructions: page faults with their error codes, #GP, #UD, #AC, traps. APM vol. 2, chapter 8.

import { Vector } from '../../src/arch/exception.ts';
import { Cr0, Rflags } from '../../src/arch/registers.ts';
import { Segment, SegmentPart, State, segmentAt } from '../../src/memory/state.ts';
import { type InstructionCase, Place } from './case.ts';

const { ABSENT, DATA, READ_ONLY } = Place;
const ud = { vector: Vector.UD } as const;
const gp = { vector: Vector.GP, code: 0 } as const;

// biome-ignore format: one case to a row
export const faults: readonly InstructionCase[] = [
  { name: 'Read of an absent page: #PF with error code 0', source: 'mov eax, [rbx]', in: { rbx: ABSENT + 5 }, exception: { vector: Vector.PF, code: 0, address: ABSENT + 5 } },
  { name: 'Write to an absent page: #PF with W', source: 'mov [rbx], eax', in: { rbx: ABSENT }, exception: { vector: Vector.PF, code: 2, address: ABSENT } },
  { name: 'Write to a read-only page with WP: #PF with P and W', source: 'mov byte [rbx], 1', in: { rbx: READ_ONLY }, exception: { vector: Vector.PF, code: 3, address: READ_ONLY } },
  { name: 'Read-modify-write of a read-only page faults as a write', source: 'inc dword [rbx]', in: { rbx: READ_ONLY }, exception: { vector: Vector.PF, code: 3, address: READ_ONLY } },
  { name: 'CMPXCHG that does not match still needs write access', source: 'cmpxchg [rbx], ecx', in: { rax: 99, rbx: READ_ONLY }, exception: { vector: Vector.PF, code: 3, address: READ_ONLY } },
  { name: 'User read of an absent page: #PF with U', cpl: 3, source: 'mov eax, [rbx]', in: { rbx: ABSENT }, exception: { vector: Vector.PF, code: 4, address: ABSENT } },
  { name: 'User access to a supervisor page: #PF with P and U', cpl: 3, source: 'mov eax, [rbx]', in: { rbx: Place.TABLES }, exception: { vector: Vector.PF, code: 5, address: Place.TABLES } },
  { name: 'An access across pages faults at the page that is absent', source: 'mov rax, [rbx]', in: { rbx: ABSENT - 4 }, exception: { vector: Vector.PF, code: 0, address: ABSENT } },
  { name: 'A write across pages that faults writes nothing', source: 'mov [rbx], rax', in: { rax: -1n, rbx: READ_ONLY - 4 }, exception: { vector: Vector.PF, code: 3, address: READ_ONLY } },
  { name: 'Fetch from a no-execute page: #PF with I/D', source: 'jmp rax', in: { rax: DATA }, out: { rip: DATA }, exception: { vector: Vector.PF, code: 0x11, address: DATA } },
  { name: 'A non-canonical address raises #GP(0)', source: 'mov eax, [rbx]', in: { rbx: 0x8000_0000_0000n }, exception: gp },
  { name: 'A non-canonical address off RSP raises #SS(0)', source: 'mov eax, [rsp]', in: { rsp: 0x8000_0000_0000n }, exception: { vector: Vector.SS, code: 0 } },
  { name: 'A non-canonical address off RBP raises #SS(0)', source: 'mov [rbp+8], eax', in: { rbp: 0x7fff_ffff_ffffn }, exception: { vector: Vector.SS, code: 0 } },
  { name: 'UD2', source: 'ud2', exception: ud },
  { name: 'LOCK before an instruction that does not take it', source: 'db 0xf0\nmov [rbx], eax', in: { rbx: DATA }, exception: ud },
  { name: 'LOCK with a register destination', source: 'db 0xf0\nadd ebx, eax', exception: ud },
  { name: 'Opcodes that 64-bit mode does not have', source: 'db 0x06, 0x90', exception: ud },
  { name: 'MOV to CS', source: 'db 0x8e, 0xc8', in: { rax: 8 }, exception: ud },
  { name: 'Misaligned access with AC and CR0.AM at CPL 3: #AC(0)', cpl: 3, source: 'mov eax, [rbx]', in: { rbx: DATA + 1 }, flagsIn: 'AC', exception: { vector: Vector.AC, code: 0 } },
  { name: 'Misaligned access at CPL 0 is allowed', source: 'mov eax, [rbx]', in: { rbx: DATA + 1 }, memory: { [DATA + 1]: '01 00 00 00' }, flagsIn: 'AC', out: { rax: 1 } },
  { name: 'Misaligned MOVUPS with alignment checks: #AC(0)', cpl: 3, source: 'movups xmm0, [rbx]', in: { rbx: DATA + 8 }, flagsIn: 'AC', exception: { vector: Vector.AC, code: 0 } },
  { name: 'Misaligned PUSH with alignment checks: #AC(0)', cpl: 3, source: 'push rax', in: { rsp: Place.STACK + 4 }, flagsIn: 'AC', exception: { vector: Vector.AC, code: 0 } },
  { name: 'A far pointer is aligned to its offset', cpl: 3, source: 'lfs eax, [rbx]', in: { rbx: DATA + 4 }, flagsIn: 'AC', out: { rax: 0 } },
  { name: 'MOVSXD of 16 bits reads 32', source: 'db 0x66, 0x63, 0x03', in: { rbx: ABSENT - 2 }, exception: { vector: Vector.PF, code: 0, address: ABSENT } },
  { name: 'Alignment checks need CR0.AM', cpl: 3, source: 'mov eax, [rbx]', in: { rbx: DATA + 1 }, flagsIn: 'AC', state: { [State.CR0]: BigInt(Cr0.PG + Cr0.PE + Cr0.NE + Cr0.ET) }, out: { rax: 0 } },
  { name: 'A non-canonical offset raises #GP(0) though the base of FS mends it', source: 'mov eax, [fs:rbx]', in: { rbx: 0x8000_0000_0000n }, state: { [segmentAt(Segment.FS) + SegmentPart.BASE]: 0xffff_8000_0002_0000n }, exception: gp },
  { name: 'An offset that ends beyond the canonical half raises #GP(0)', source: 'mov rax, [fs:rbx]', in: { rbx: 0x7fff_ffff_fffcn }, state: { [segmentAt(Segment.FS) + SegmentPart.BASE]: 0xffff_8000_0002_0000n }, exception: gp },
  { name: 'Overrides other than FS and GS mean nothing in 64-bit mode', source: 'db 0x36\nmov eax, [rbx]', in: { rbx: 0x8000_0000_0000n }, exception: gp },
  { name: 'A near JMP to a non-canonical address raises #GP(0) at the branch', source: 'jmp rax', in: { rax: 0x8000_0000_0000n }, exception: gp },
  { name: 'A near CALL to a non-canonical address pushes nothing', source: 'call rax', in: { rax: 0x8000_0000_0000n }, exception: gp },
  { name: 'RET to a non-canonical address pops nothing', source: 'ret', memory: { [Place.STACK]: '00 00 00 00 00 80 00 00' }, exception: gp },
  { name: '15 bytes are an instruction', source: 'db 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90' },
  { name: '16 bytes raise #GP(0)', source: 'db 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90', exception: gp },
  { name: 'Too long by its displacement: #GP(0)', source: 'db 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x48, 0x8b, 0x04, 0x25, 0, 0, 2, 0', exception: gp },
  { name: 'Without a meaning within 15 bytes: #UD', source: 'db 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x0f, 0x04', exception: ud },
  { name: 'CLZERO with a repeat prefix raises #UD', source: 'db 0xf3, 0x0f, 0x01, 0xfc', in: { rax: DATA }, exception: ud },
  { name: 'F3 90h with REX.B is XCHG', source: 'db 0xf3, 0x49, 0x90', in: { rax: 1, r8: 2 }, out: { rax: 2, r8: 1 } },
  { name: 'CMPXCHG16B of a misaligned operand raises #GP(0)', source: 'cmpxchg16b [rbx]', in: { rbx: DATA + 8 }, exception: gp },
  { name: 'HLT at CPL 3 raises #GP(0)', cpl: 3, source: 'hlt', exception: gp },
  { name: 'Supervisor writes pass read-only pages with WP clear', source: 'mov byte [rbx], 0x77', in: { rbx: READ_ONLY }, state: { [State.CR0]: BigInt(Cr0.PG + Cr0.PE + Cr0.NE + Cr0.ET) }, memoryOut: { [READ_ONLY]: '77' } },
  { name: 'INT3 that is intercepted stays where it is', source: 'int3', exception: { vector: Vector.BP } },
  { name: 'RF holds for one instruction', source: 'nop', state: { [State.RFLAGS]: BigInt(Rflags.RF | Rflags.ALWAYS_1) } },
];
