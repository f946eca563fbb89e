// ADD ADC SUB SBB CMP AND OR XOR TEST INC DEC NEG NOT XADD CMPXCHG CMPXCHG8B CMPXCHG16B ADCX ADOX. APM vol. 3.

import { type InstructionCase, Place } from './case.ts';

const { DATA } = Place;
const MAX = 0xffff_ffff_ffff_ffffn;
const MIN = 0x8000_0000_0000_0000n;

// biome-ignore format: one case to a row
export const alu: readonly InstructionCase[] = [
  { name: 'ADD sets no flag for 1 + 1', source: 'add rax, rbx', in: { rax: 1, rbx: 1 }, out: { rax: 2 }, flags: '' },
  { name: 'ADD carries out of bit 63 and gives zero', source: 'add rax, rbx', in: { rax: MAX, rbx: 1 }, out: { rax: 0 }, flags: 'CF PF AF ZF' },
  { name: 'ADD of the largest signed value and 1 overflows', source: 'add rax, rbx', in: { rax: MIN - 1n, rbx: 1 }, out: { rax: MIN }, flags: 'PF AF SF OF' },
  { name: 'ADD of two smallest values carries and overflows', source: 'add rax, rax', in: { rax: MIN }, out: { rax: 0 }, flags: 'CF PF ZF OF' },
  { name: 'ADD of 32 bits clears the upper half', source: 'add eax, ebx', in: { rax: MAX, rbx: 2 }, out: { rax: 1 }, flags: 'CF AF' },
  { name: 'ADD of 16 bits keeps the upper bits', source: 'add ax, bx', in: { rax: 0x1111_2222_3333_ffffn, rbx: 1 }, out: { rax: 0x1111_2222_3333_0000n }, flags: 'CF PF AF ZF' },
  { name: 'ADD of 8 bits keeps the upper bits', source: 'add al, bl', in: { rax: 0x1_7f, rbx: 1 }, out: { rax: 0x1_80 }, flags: 'AF SF OF' },
  { name: 'ADD to AH', source: 'add ah, bl', in: { rax: 0x1234, rbx: 0x10 }, out: { rax: 0x2234 }, flags: 'PF' },
  { name: 'ADD AL, immediate', source: 'add al, 0xff', in: { rax: 1 }, out: { rax: 0 }, flags: 'CF PF AF ZF' },
  { name: 'ADD sign-extends an 8-bit immediate', source: 'add rax, -1', in: { rax: 5 }, out: { rax: 4 }, flags: 'CF AF' },
  { name: 'ADD to memory', source: 'add dword [rbx], 0x11', in: { rbx: DATA }, memory: { [DATA]: 'f0 ff ff ff' }, memoryOut: { [DATA]: '01 00 00 00' }, flags: 'CF' },
  { name: 'ADD from memory', source: 'add rax, [rbx+rcx*8+8]', in: { rax: 1, rbx: DATA, rcx: 2 }, memory: { [DATA + 24]: '02 00 00 00 00 00 00 00' }, out: { rax: 3 }, flags: 'PF' },
  { name: 'ADD to memory across a page', source: 'add qword [rbx], 1', in: { rbx: DATA + 0xffc }, memory: { [DATA + 0xffc]: 'ff ff ff ff 00 00 00 00' }, memoryOut: { [DATA + 0xffc]: '00 00 00 00 01 00 00 00' }, flags: 'PF AF' },
  { name: 'ADC adds CF', source: 'adc rax, rbx', in: { rax: 1, rbx: 1 }, flagsIn: 'CF', out: { rax: 3 }, flags: 'PF' },
  { name: 'ADC of all ones with CF carries and keeps the operand', source: 'adc rax, rbx', in: { rax: 5, rbx: MAX }, flagsIn: 'CF', out: { rax: 5 }, flags: 'CF PF AF' },
  { name: 'ADC of bytes with CF overflows', source: 'adc al, bl', in: { rax: 0x7f, rbx: 0 }, flagsIn: 'CF', out: { rax: 0x80 }, flags: 'AF SF OF' },
  { name: 'SUB of equal values gives zero', source: 'sub rax, rbx', in: { rax: 7, rbx: 7 }, out: { rax: 0 }, flags: 'PF ZF' },
  { name: 'SUB borrows', source: 'sub eax, ebx', in: { rax: 0, rbx: 1 }, out: { rax: 0xffff_ffff }, flags: 'CF PF AF SF' },
  { name: 'SUB overflows from the smallest value', source: 'sub rax, rbx', in: { rax: MIN, rbx: 1 }, out: { rax: MIN - 1n }, flags: 'PF AF OF' },
  { name: 'SUB of bytes in memory', source: 'sub byte [rbx], 3', in: { rbx: DATA }, memory: { [DATA]: '02 77' }, memoryOut: { [DATA]: 'ff 77' }, flags: 'CF PF AF SF' },
  { name: 'SBB subtracts CF', source: 'sbb rax, rbx', in: { rax: 5, rbx: 3 }, flagsIn: 'CF', out: { rax: 1 }, flags: '' },
  { name: 'SBB of a register from itself spreads CF', source: 'sbb eax, eax', in: { rax: 5 }, flagsIn: 'CF', out: { rax: 0xffff_ffff }, flags: 'CF PF AF SF' },
  { name: 'CMP writes no operand', source: 'cmp rax, rbx', in: { rax: 1, rbx: 2 }, flags: 'CF PF AF SF' },
  { name: 'CMP memory, immediate reads only', source: 'cmp dword [rbx], 5', in: { rbx: Place.READ_ONLY }, flags: 'CF AF SF' },
  { name: 'AND clears CF and OF', source: 'and eax, ebx', in: { rax: 0xf0, rbx: 0x0f }, flagsIn: 'CF OF AF', out: { rax: 0 }, flags: 'PF ZF', undefined: 'AF' },
  { name: 'OR sets SF from the top bit', source: 'or ax, bx', in: { rax: 0x8000, rbx: 1 }, flagsIn: 'CF', out: { rax: 0x8001 }, flags: 'SF', undefined: 'AF' },
  { name: 'XOR of a register with itself is zero', source: 'xor eax, eax', in: { rax: MAX }, out: { rax: 0 }, flags: 'PF ZF', undefined: 'AF' },
  { name: 'TEST writes no operand', source: 'test al, 0x80', in: { rax: 0x80 }, flags: 'SF', undefined: 'AF' },
  { name: 'TEST rm64, imm32 sign-extends the immediate', source: 'test rax, -0x80000000', in: { rax: MIN }, flags: 'PF SF', undefined: 'AF' },
  { name: 'INC keeps CF', source: 'inc eax', in: { rax: 0xffff_ffff }, flagsIn: 'CF', out: { rax: 0 }, flags: 'CF PF AF ZF' },
  { name: 'INC overflows and leaves CF clear', source: 'inc rax', in: { rax: MIN - 1n }, out: { rax: MIN }, flags: 'PF AF SF OF' },
  { name: 'DEC keeps CF', source: 'dec byte [rbx]', in: { rbx: DATA }, flagsIn: 'CF', memory: { [DATA]: '00' }, memoryOut: { [DATA]: 'ff' }, flags: 'CF PF AF SF' },
  { name: 'DEC of the smallest value overflows', source: 'dec rax', in: { rax: MIN }, out: { rax: MIN - 1n }, flags: 'PF AF OF' },
  { name: 'NEG of zero clears CF', source: 'neg rax', in: { rax: 0 }, out: { rax: 0 }, flags: 'PF ZF' },
  { name: 'NEG of the smallest value overflows', source: 'neg rax', in: { rax: MIN }, out: { rax: MIN }, flags: 'CF PF SF OF' },
  { name: 'NEG of 1', source: 'neg bl', in: { rbx: 1 }, out: { rbx: 0xff }, flags: 'CF PF AF SF' },
  { name: 'NOT changes no flag', source: 'not eax', in: { rax: 0x0f }, flagsIn: 'CF ZF', out: { rax: 0xffff_fff0 } },
  { name: 'XADD exchanges and adds', source: 'xadd rax, rbx', in: { rax: 3, rbx: 4 }, out: { rax: 7, rbx: 3 }, flags: '' },
  { name: 'XADD of a register with itself doubles it', source: 'xadd rax, rax', in: { rax: 4 }, out: { rax: 8 }, flags: '' },
  { name: 'XADD to memory', source: 'lock xadd [rbx], ax', in: { rax: 1, rbx: DATA }, memory: { [DATA]: 'ff ff' }, memoryOut: { [DATA]: '00 00' }, out: { rax: 0xffff }, flags: 'CF PF AF ZF' },
  { name: 'CMPXCHG writes the source if the accumulator is equal', source: 'cmpxchg rbx, rcx', in: { rax: 5, rbx: 5, rcx: 9 }, out: { rbx: 9 }, flags: 'PF ZF' },
  { name: 'CMPXCHG loads the accumulator if it differs', source: 'cmpxchg rbx, rcx', in: { rax: 4, rbx: 5, rcx: 9 }, out: { rax: 5 }, flags: 'CF PF AF SF' },
  { name: 'CMPXCHG in memory, equal', source: 'lock cmpxchg [rsi], ecx', in: { rax: 5, rsi: DATA, rcx: 9 }, memory: { [DATA]: '05 00 00 00' }, memoryOut: { [DATA]: '09 00 00 00' }, flags: 'PF ZF' },
  { name: 'CMPXCHG of 32 bits, different: EAX is loaded, its upper half cleared', source: 'cmpxchg [rsi], ecx', in: { rax: MAX, rsi: DATA }, memory: { [DATA]: '05 00 00 00' }, out: { rax: 5 }, flags: 'PF SF' },
  {
    name: 'CMPXCHG8B compares EDX:EAX', source: 'lock cmpxchg8b [rsi]', in: { rax: 1, rdx: 2, rbx: 3, rcx: 4, rsi: DATA },
    memory: { [DATA]: '01 00 00 00 02 00 00 00' }, memoryOut: { [DATA]: '03 00 00 00 04 00 00 00' }, flagsIn: 'CF', flags: 'CF ZF',
  },
  {
    name: 'CMPXCHG16B loads RDX:RAX if different', source: 'lock cmpxchg16b [rsi]', in: { rax: 1, rdx: 2, rbx: 3, rcx: 4, rsi: DATA }, flagsIn: 'ZF',
    memory: { [DATA]: '05 00 00 00 00 00 00 00 06 00 00 00 00 00 00 00' }, out: { rax: 5, rdx: 6 }, flags: '',
  },
  { name: 'ADCX adds and sets CF alone', source: 'adcx rax, rbx', in: { rax: MAX, rbx: 1 }, flagsIn: 'OF ZF', out: { rax: 0 }, flags: 'CF OF ZF' },
  { name: 'ADOX adds and sets OF alone', source: 'adox eax, ebx', in: { rax: 1, rbx: 1 }, flagsIn: 'OF CF', out: { rax: 3 }, flags: 'CF' },
];
