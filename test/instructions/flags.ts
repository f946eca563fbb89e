// CLC STC CMC CLD STD CLI STI LAHF SAHF CLAC STAC and instructions without effect. APM vol. 3.

import { Vector } from '../../src/arch/exception.ts';
import { Rflags } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import type { InstructionCase } from './case.ts';

// biome-ignore format: one case to a row
export const flags: readonly InstructionCase[] = [
  { name: 'CLC clears CF alone', source: 'clc', flagsIn: 'CF ZF OF', flags: 'ZF OF' },
  { name: 'STC sets CF alone', source: 'stc', flagsIn: 'ZF OF', flags: 'CF ZF OF' },
  { name: 'CMC complements CF', source: 'cmc', flagsIn: 'CF SF', flags: 'SF' },
  { name: 'STD and CLD', source: 'std', flags: 'DF' },
  { name: 'CLD clears DF', source: 'cld', flagsIn: 'DF', flags: '' },
  { name: 'LAHF copies the low flags to AH', source: 'lahf', in: { rax: 0 }, flagsIn: 'CF PF AF ZF SF OF', out: { rax: 0xd700 } },
  { name: 'SAHF loads all but OF', source: 'sahf', in: { rax: 0x4100 }, flagsIn: 'OF SF', flags: 'OF CF ZF' },
  { name: 'SETcc after SAHF sees SF with ZF', source: 'sahf\nsets al\nsetz bl\nsetp cl', in: { rax: 0xc000, rbx: 0, rcx: 9 }, flags: 'ZF SF', out: { rax: 0xc001, rbx: 1, rcx: 0 } },
  { name: 'STI sets IF', source: 'sti', flags: 'IF' },
  { name: 'CLI clears IF', source: 'cli', flagsIn: 'IF', flags: '' },
  { name: 'CLI above IOPL raises #GP(0)', cpl: 3, source: 'cli', exception: { vector: Vector.GP, code: 0 } },
  { name: 'STI above IOPL raises #GP(0)', cpl: 3, source: 'sti', exception: { vector: Vector.GP, code: 0 } },
  { name: 'CLI with IOPL 3 works at CPL 3', cpl: 3, source: 'cli', state: { [State.RFLAGS]: BigInt(Rflags.IOPL | Rflags.IF | Rflags.ALWAYS_1) }, flagsIn: 'IF', flags: '' },
  { name: 'NOP and its long forms do nothing', source: 'nop\nnop dword [rax+rax]\npause\nendbr64', in: { rax: 0 } },
  { name: 'Fences and prefetches do nothing', source: 'mfence\nlfence\nsfence\nprefetchnta [rax]\nprefetchw [rax]', in: { rax: 0 } },
];
