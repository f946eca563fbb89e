// BT BTS BTR BTC BSF BSR LZCNT TZCNT POPCNT ANDN BLSI BLSMSK BLSR BEXTR BZHI PDEP PEXT. APM vol. 3.

import { type InstructionCase, Place } from './case.ts';

const { DATA } = Place;
const OTHERS = 'OF SF AF PF ZF';

// biome-ignore format: one case to a row
export const bits: readonly InstructionCase[] = [
  { name: 'BT copies a bit to CF', source: 'bt eax, 3', in: { rax: 8 }, flags: 'CF', undefined: 'OF SF AF PF' },
  { name: 'BT keeps ZF', source: 'bt eax, 2', in: { rax: 8 }, flagsIn: 'ZF CF', flags: 'ZF', undefined: 'OF SF AF PF' },
  { name: 'BT of a register takes the offset modulo its width', source: 'bt eax, ebx', in: { rax: 2, rbx: 33 }, flags: 'CF', undefined: OTHERS },
  { name: 'BTS in memory reaches beyond the operand', source: 'bts [rbx], eax', in: { rax: 100, rbx: DATA }, memoryOut: { [DATA + 12]: '10' }, flags: '', undefined: OTHERS },
  { name: 'BTR in memory with a negative offset', source: 'btr [rbx], rax', in: { rax: -1n, rbx: DATA + 8 }, memory: { [DATA + 7]: '80' }, memoryOut: { [DATA + 7]: '00' }, flags: 'CF', undefined: OTHERS },
  { name: 'BTS with an immediate stays inside the operand', source: 'bts word [rbx], 17', in: { rbx: DATA }, memoryOut: { [DATA]: '02 00' }, flags: '', undefined: OTHERS },
  { name: 'BTC complements', source: 'btc rax, 63', in: { rax: -1n }, out: { rax: 0x7fff_ffff_ffff_ffffn }, flags: 'CF', undefined: OTHERS },
  { name: 'BSF finds the lowest bit', source: 'bsf rax, rbx', in: { rbx: 0x50 }, out: { rax: 4 }, flags: '', undefined: 'CF OF SF AF PF' },
  { name: 'BSF of 0 sets ZF and leaves the destination', source: 'bsf rax, rbx', in: { rax: 77, rbx: 0 }, out: { rax: 77 }, flags: 'ZF', undefined: 'CF OF SF AF PF' },
  { name: 'BSR finds the highest bit', source: 'bsr eax, [rbx]', in: { rbx: DATA }, memory: { [DATA]: '00 00 01 00' }, out: { rax: 16 }, flags: '', undefined: 'CF OF SF AF PF' },
  { name: 'BSR of 16 bits', source: 'bsr ax, bx', in: { rax: 0xffff_0000, rbx: 0x8000 }, out: { rax: 0xffff_000f }, flags: '', undefined: 'CF OF SF AF PF' },
  { name: 'LZCNT counts from the top', source: 'lzcnt eax, ebx', in: { rbx: 1 }, out: { rax: 31 }, flags: '', undefined: 'OF SF AF PF' },
  { name: 'LZCNT of 0 is the width, with CF', source: 'lzcnt ax, bx', in: { rax: 0, rbx: 0x1_0000 }, out: { rax: 16 }, flags: 'CF', undefined: 'OF SF AF PF' },
  { name: 'LZCNT of the top bit is 0, with ZF', source: 'lzcnt rax, rbx', in: { rbx: -1n }, out: { rax: 0 }, flags: 'ZF', undefined: 'OF SF AF PF' },
  { name: 'TZCNT counts from the bottom', source: 'tzcnt rax, rbx', in: { rbx: 0x8000_0000_0000_0000n }, out: { rax: 63 }, flags: '', undefined: 'OF SF AF PF' },
  { name: 'TZCNT of 0 is the width, with CF', source: 'tzcnt eax, ebx', in: { rbx: 0 }, out: { rax: 32 }, flags: 'CF', undefined: 'OF SF AF PF' },
  { name: 'POPCNT counts and clears the other flags', source: 'popcnt rax, rbx', in: { rbx: 0xf0f0 }, flagsIn: 'CF OF SF PF AF', out: { rax: 8 }, flags: '' },
  { name: 'POPCNT of 0 sets ZF', source: 'popcnt eax, ebx', in: { rbx: 0 }, out: { rax: 0 }, flags: 'ZF' },
  { name: 'ANDN', source: 'andn rax, rbx, rcx', in: { rbx: 0xf0, rcx: 0xff }, flagsIn: 'CF OF', out: { rax: 0x0f }, flags: '', undefined: 'AF PF' },
  { name: 'BLSI isolates the lowest bit, CF if there is one', source: 'blsi eax, ebx', in: { rbx: 0x18 }, out: { rax: 8 }, flags: 'CF', undefined: 'AF PF' },
  { name: 'BLSMSK gives a mask up to the lowest bit', source: 'blsmsk rax, rbx', in: { rbx: 0x18 }, out: { rax: 0xf }, flags: '', undefined: 'AF PF' },
  { name: 'BLSR resets the lowest bit', source: 'blsr rax, rbx', in: { rbx: 0x18 }, out: { rax: 0x10 }, flags: '', undefined: 'AF PF' },
  { name: 'BEXTR extracts a field', source: 'bextr rax, rbx, rcx', in: { rbx: 0x1234_5678, rcx: 0x0804 }, out: { rax: 0x67 }, flags: '', undefined: 'AF SF PF' },
  { name: 'BEXTR beyond the operand gives 0', source: 'bextr eax, ebx, ecx', in: { rbx: 0xffff_ffff, rcx: 0x0828 }, out: { rax: 0 }, flags: 'ZF', undefined: 'AF SF PF' },
  { name: 'BZHI clears from an index on', source: 'bzhi rax, rbx, rcx', in: { rbx: -1n, rcx: 4 }, out: { rax: 0xf }, flags: '', undefined: 'AF PF' },
  { name: 'BZHI with an index beyond the operand sets CF', source: 'bzhi eax, ebx, ecx', in: { rbx: 5, rcx: 32 }, out: { rax: 5 }, flags: 'CF', undefined: 'AF PF' },
  { name: 'PDEP deposits bits', source: 'pdep rax, rbx, rcx', in: { rbx: 0b1011, rcx: 0xf0f0 }, flagsIn: 'CF', out: { rax: 0xb0 } },
  { name: 'PEXT gathers bits', source: 'pext eax, ebx, ecx', in: { rbx: 0x1234_5678, rcx: 0xff00_0f00 }, out: { rax: 0x126 } },
];
