// Exceptions of ordinary instructions: page faults with their error codes, #GP, #UD, #AC, traps. APM vol. 2, chapter 8.

import { Vector } from '../../src/arch/exception.ts';
import { Cr0, Rflags } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
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
  { name: 'CMPXCHG16B of a misaligned operand raises #GP(0)', source: 'cmpxchg16b [rbx]', in: { rbx: DATA + 8 }, exception: gp },
  { name: 'HLT at CPL 3 raises #GP(0)', cpl: 3, source: 'hlt', exception: gp },
  { name: 'Supervisor writes pass read-only pages with WP clear', source: 'mov byte [rbx], 0x77', in: { rbx: READ_ONLY }, state: { [State.CR0]: BigInt(Cr0.PG + Cr0.PE + Cr0.NE + Cr0.ET) }, memoryOut: { [READ_ONLY]: '77' } },
  { name: 'INT3 that is intercepted stays where it is', source: 'int3', exception: { vector: Vector.BP } },
  { name: 'RF holds for one instruction', source: 'nop', state: { [State.RFLAGS]: BigInt(Rflags.RF | Rflags.ALWAYS_1) } },
];
