// SHL SHR SAR ROL ROR RCL RCR SHLD SHRD SHLX SHRX SARX RORX. APM vol. 3.

import { type InstructionCase, Place } from './case.ts';

const { DATA } = Place;

// biome-ignore format: one case to a row
export const shifts: readonly InstructionCase[] = [
  { name: 'SHL by 1 puts the top bit into CF', source: 'shl al, 1', in: { rax: 0x81 }, out: { rax: 2 }, flags: 'CF OF', undefined: 'AF' },
  { name: 'SHL by 1: OF is the new top bit xor CF', source: 'shl al, 1', in: { rax: 0xc0 }, out: { rax: 0x80 }, flags: 'CF SF', undefined: 'AF' },
  { name: 'SHL by CL masks the count to 5 bits', source: 'shl eax, cl', in: { rax: 1, rcx: 0x21 }, out: { rax: 2 }, flags: '', undefined: 'AF OF' },
  { name: 'SHL of 64 bits masks the count to 6 bits', source: 'shl rax, cl', in: { rax: 1, rcx: 0x43 }, out: { rax: 8 }, flags: '', undefined: 'AF OF' },
  { name: 'A masked count of 0 changes no flag', source: 'shl rax, cl', in: { rax: 5, rcx: 0x40 }, flagsIn: 'CF ZF SF OF', out: { rax: 5 } },
  { name: 'A count of 0 still clears the upper half of a 32-bit register', source: 'shl eax, cl', in: { rax: 0x1_0000_0005n, rcx: 0 }, flagsIn: 'CF', out: { rax: 5 } },
  { name: 'SHL of a byte by 9 shifts everything out', source: 'shl al, 9', in: { rax: 0xff }, out: { rax: 0 }, flags: 'PF ZF', undefined: 'AF OF CF' },
  { name: 'SHR by 1: OF is the old top bit', source: 'shr eax, 1', in: { rax: 0x8000_0001 }, out: { rax: 0x4000_0000 }, flags: 'CF PF OF', undefined: 'AF' },
  { name: 'SHR of memory', source: 'shr word [rbx], 4', in: { rbx: DATA }, memory: { [DATA]: '18 80' }, memoryOut: { [DATA]: '01 08' }, flags: 'CF', undefined: 'AF OF' },
  { name: 'SAR keeps the sign', source: 'sar rax, 63', in: { rax: 0x8000_0000_0000_0000n }, out: { rax: -1n }, flags: 'PF SF', undefined: 'AF OF' },
  { name: 'SAR by 1 clears OF', source: 'sar al, 1', in: { rax: 0x83 }, flagsIn: 'OF', out: { rax: 0xc1 }, flags: 'CF SF', undefined: 'AF' },
  { name: 'ROL sets CF to the new low bit and no other but OF', source: 'rol al, 1', in: { rax: 0x81 }, flagsIn: 'ZF SF PF AF', out: { rax: 3 }, flags: 'CF OF ZF SF PF AF' },
  { name: 'ROL of a byte by 8 leaves it and sets CF', source: 'rol al, 8', in: { rax: 0x81 }, out: { rax: 0x81 }, flags: 'CF', undefined: 'OF' },
  { name: 'ROR sets CF to the new top bit', source: 'ror eax, 4', in: { rax: 0x1234_567f }, out: { rax: 0xf123_4567 }, flags: 'CF', undefined: 'OF' },
  { name: 'ROR by 1: OF is the xor of the two top bits', source: 'ror rax, 1', in: { rax: 1 }, out: { rax: 0x8000_0000_0000_0000n }, flags: 'CF OF' },
  { name: 'RCL rotates through CF', source: 'rcl al, 1', in: { rax: 0x80 }, flagsIn: 'CF', out: { rax: 1 }, flags: 'CF OF' },
  { name: 'RCL of a byte by 9 is a full turn', source: 'rcl al, 9', in: { rax: 0xa5 }, flagsIn: 'CF', out: { rax: 0xa5 }, flags: 'CF', undefined: 'OF' },
  { name: 'RCR rotates through CF', source: 'rcr rax, 1', in: { rax: 2 }, flagsIn: 'CF', out: { rax: 0x8000_0000_0000_0001n }, flags: 'OF' },
  { name: 'RCR of memory', source: 'rcr dword [rbx], 4', in: { rbx: DATA }, memory: { [DATA]: '0f 00 00 00' }, memoryOut: { [DATA]: '00 00 00 e0' }, flags: 'CF', undefined: 'OF' },
  { name: 'SHLD shifts bits in from the source', source: 'shld eax, ebx, 8', in: { rax: 0x1122_3344, rbx: 0x5566_7788 }, out: { rax: 0x2233_4455 }, flags: 'CF PF', undefined: 'AF OF' },
  { name: 'SHRD shifts bits in from the source', source: 'shrd rax, rbx, cl', in: { rax: 0x10, rbx: 3, rcx: 4 }, out: { rax: 0x3000_0000_0000_0001n }, flags: '', undefined: 'AF OF' },
  { name: 'SHRD with a count of 0 changes no flag', source: 'shrd eax, ebx, 32', in: { rax: 1, rbx: 2 }, flagsIn: 'CF ZF', out: { rax: 1 } },
  { name: 'SHLX changes no flag', source: 'shlx rax, rbx, rcx', in: { rbx: 1, rcx: 0x41 }, flagsIn: 'CF ZF', out: { rax: 2 } },
  { name: 'SARX of memory', source: 'sarx eax, [rbx], ecx', in: { rbx: DATA, rcx: 4 }, memory: { [DATA]: '00 00 00 80' }, out: { rax: 0xf800_0000 } },
  { name: 'RORX rotates by an immediate', source: 'rorx eax, ebx, 4', in: { rbx: 0x1f }, out: { rax: 0xf000_0001 } },
];
