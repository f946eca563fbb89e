// MOVS STOS LODS SCAS CMPS with and without repeat prefixes. APM vol. 3.

import { Vector } from '../../src/arch/exception.ts';
import { type InstructionCase, Place } from './case.ts';

const { DATA } = Place;
const ABC = '61 62 63 64 65 66 67 68';

// biome-ignore format: one case to a row
export const strings: readonly InstructionCase[] = [
  { name: 'MOVSB copies and moves both pointers up', source: 'movsb', in: { rsi: DATA, rdi: DATA + 16 }, memory: { [DATA]: ABC }, memoryOut: { [DATA + 16]: '61' }, out: { rsi: DATA + 1, rdi: DATA + 17 } },
  { name: 'MOVSQ with DF moves both pointers down', source: 'movsq', in: { rsi: DATA, rdi: DATA + 16 }, flagsIn: 'DF', memory: { [DATA]: ABC }, memoryOut: { [DATA + 16]: ABC }, out: { rsi: DATA - 8, rdi: DATA + 8 } },
  { name: 'REP MOVSB copies RCX bytes', source: 'rep movsb', in: { rcx: 5, rsi: DATA, rdi: DATA + 16 }, memory: { [DATA]: ABC }, memoryOut: { [DATA + 16]: '61 62 63 64 65' }, out: { rcx: 0, rsi: DATA + 5, rdi: DATA + 21 } },
  { name: 'REP with RCX = 0 does nothing', source: 'rep movsb', in: { rcx: 0, rsi: 1, rdi: 2 } },
  { name: 'REP MOVSB forward over itself repeats the first bytes', source: 'rep movsb', in: { rcx: 7, rsi: DATA, rdi: DATA + 1 }, memory: { [DATA]: ABC }, memoryOut: { [DATA]: '61 61 61 61 61 61 61 61' }, out: { rcx: 0, rsi: DATA + 7, rdi: DATA + 8 } },
  { name: 'REP MOVSB backward', source: 'rep movsb', in: { rcx: 4, rsi: DATA + 3, rdi: DATA + 5 }, flagsIn: 'DF', memory: { [DATA]: ABC }, memoryOut: { [DATA]: '61 62 61 62 63 64 67 68' }, out: { rcx: 0, rsi: DATA - 1, rdi: DATA + 1 } },
  { name: 'REP MOVSD across a page', source: 'rep movsd', in: { rcx: 4, rsi: DATA, rdi: DATA + 0xff6 }, memory: { [DATA]: `${ABC} ${ABC}` }, memoryOut: { [DATA + 0xff6]: `${ABC} ${ABC}` }, out: { rcx: 0, rsi: DATA + 16, rdi: DATA + 0x1006 } },
  { name: 'A32 REP STOSB counts ECX and clears the upper halves', source: 'a32 rep stosb', in: { rax: 7, rcx: 0x1_0000_0002n, rdi: DATA }, memoryOut: { [DATA]: '07 07' }, out: { rcx: 0, rdi: DATA + 2 } },
  { name: 'STOSD', source: 'stosd', in: { rax: 0x1234_5678, rdi: DATA }, memoryOut: { [DATA]: '78 56 34 12' }, out: { rdi: DATA + 4 } },
  { name: 'REP STOSQ', source: 'rep stosq', in: { rax: -1n, rcx: 2, rdi: DATA }, memoryOut: { [DATA]: 'ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff' }, out: { rcx: 0, rdi: DATA + 16 } },
  { name: 'LODSB keeps the upper bits of RAX', source: 'lodsb', in: { rax: 0x1100, rsi: DATA }, memory: { [DATA]: '42' }, out: { rax: 0x1142, rsi: DATA + 1 } },
  { name: 'LODSD clears the upper half of RAX', source: 'lodsd', in: { rax: -1n, rsi: DATA }, memory: { [DATA]: '01 00 00 00' }, out: { rax: 1, rsi: DATA + 4 } },
  { name: 'LODSB with an FS override', source: 'fs lodsb', in: { rax: 0, rsi: 4 }, memory: { [DATA + 4]: '42' }, out: { rax: 0x42, rsi: 5 } },
  { name: 'SCASB compares AL with ES:[RDI]', source: 'scasb', in: { rax: 0x61, rdi: DATA }, memory: { [DATA]: ABC }, out: { rdi: DATA + 1 }, flags: 'PF ZF' },
  { name: 'REPNE SCASB finds a byte', source: 'repne scasb', in: { rax: 0x63, rcx: -1n, rdi: DATA }, memory: { [DATA]: ABC }, out: { rcx: -4n, rdi: DATA + 3 }, flags: 'PF ZF' },
  { name: 'REPE CMPSB stops behind the first difference', source: 'repe cmpsb', in: { rcx: 8, rsi: DATA, rdi: DATA + 8 }, memory: { [DATA]: `${ABC} 61 62 63 74 65 66 67 68` }, out: { rcx: 4, rsi: DATA + 4, rdi: DATA + 12 }, flags: 'CF PF SF' },
  { name: 'REPE CMPSW to the end keeps ZF', source: 'repe cmpsw', in: { rcx: 4, rsi: DATA, rdi: DATA + 8 }, memory: { [DATA]: `${ABC} ${ABC}` }, out: { rcx: 0, rsi: DATA + 8, rdi: DATA + 16 }, flags: 'PF ZF' },
  { name: 'REPE CMPSB with RCX = 0 changes no flag', source: 'repe cmpsb', in: { rcx: 0 }, flagsIn: 'CF' },
  {
    name: 'REP MOVSB that faults in the middle shows how far it came', source: 'rep movsb', in: { rcx: 8, rsi: DATA, rdi: Place.READ_ONLY - 3 }, memory: { [DATA]: ABC }, memoryOut: { [Place.READ_ONLY - 3]: '61 62 63' },
    out: { rcx: 5, rsi: DATA + 3, rdi: Place.READ_ONLY }, exception: { vector: Vector.PF, code: 3, address: Place.READ_ONLY },
  },
  { name: 'REP STOSB to an absent page', source: 'rep stosb', in: { rcx: 1, rdi: Place.ABSENT }, exception: { vector: Vector.PF, code: 2, address: Place.ABSENT } },
];
