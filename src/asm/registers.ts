// Register names, with the class and width that decide which operand a register can be.

import { Register, RegisterExt } from 'iced-x86';

export type RegisterClass = 'r8' | 'r16' | 'r32' | 'r64' | 'segment' | 'control' | 'debug' | 'st' | 'mm' | 'xmm' | 'ymm' | 'ip' | 'other';

export function registerClass(register: Register): RegisterClass {
  if (RegisterExt.isGPR8(register)) return 'r8';
  if (RegisterExt.isGPR16(register)) return 'r16';
  if (RegisterExt.isGPR32(register)) return 'r32';
  if (RegisterExt.isGPR64(register)) return 'r64';
  if (RegisterExt.isSegmentRegister(register)) return 'segment';
  if (RegisterExt.isCR(register)) return 'control';
  if (RegisterExt.isDR(register)) return 'debug';
  if (RegisterExt.isST(register)) return 'st';
  if (RegisterExt.isMM(register)) return 'mm';
  if (RegisterExt.isXMM(register)) return 'xmm';
  if (RegisterExt.isYMM(register)) return 'ymm';
  return RegisterExt.isIP(register) ? 'ip' : 'other';
}

/** Width in bits of a general-purpose register or instruction pointer, else 0. */
export function addressWidth(register: Register): number {
  const kind = registerClass(register);
  if (kind === 'ip') return register === Register.RIP ? 64 : 32;
  return { r16: 16, r32: 32, r64: 64 }[kind as string] ?? 0;
}

const names = new Map<string, Register>();
for (const [name, value] of Object.entries(Register)) {
  if (typeof value === 'number' && value !== Register.None && registerClass(value) !== 'other') names.set(name.toLowerCase(), value);
}
// R8L and R8D: both spellings of the low byte are in use.
for (let n = 8; n < 16; n++) names.set(`r${n}b`, Register.R8L + (n - 8));

/** The register of that name in any case; undefined if there is none. `st` alone is the top of the x87 stack. */
export const registerOf = (name: string): Register | undefined =>
  name.toLowerCase() === 'st' ? Register.ST0 : names.get(name.toLowerCase());

/** How a register is written. */
export const registerName = (register: Register): string => Register[register].toLowerCase();
