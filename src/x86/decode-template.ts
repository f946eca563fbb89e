// What is the same for every instruction of one iced Code: operand sizes, which meaning of its mnemonic it has, whether it writes memory.
// Much of it stands in the Code's name only.

import {
  Code,
  type Instruction,
  InstructionInfoFactory,
  MemorySizeExt,
  type Mnemonic,
  OpAccess,
  OpKind,
  Register,
  RegisterExt,
} from 'iced-x86';
import type { Form, Mode, Size } from './form.ts';

/** The area of XSAVE and its kin: legacy region and header. */
const XSAVE_BYTES = 576;

/** Instructions behind which a block of records ends. */
const endings = /^(Jmp|Call|Ret|Retf|Iret|Sysret|Syscall|Hlt|Ud\d|Int\d?_?|INVALID|Vmgexit|Vmmcall|Mov_cr)/;

export type Template = {
  readonly name: string;
  readonly mnemonic: Mnemonic;
  /** As in Form. */
  readonly condition: number;
  readonly operandCount: number;
  readonly sizes: readonly Size[];
  readonly operandSize: Size;
  readonly stackSize: Size | 0;
  /** That of operands which are implied; null: prefixes decide it. */
  readonly addressSize: 2 | 4 | 8 | null;
  readonly special: Form['special'];
  readonly memoryBytes: number;
  readonly writesMemory: boolean;
  /** Does a repeat prefix mean something? */
  readonly repeatable: boolean;
  /** Does it note its opcode for the x87? */
  readonly x87: boolean;
  readonly popsMemory: boolean;
  /** CLFLUSH, CLFLUSHOPT, CLWB. */
  readonly flushesLine: boolean;
  readonly ends: boolean;
  /** The forms met so far, by what prefixes and operands leave open. */
  readonly forms: Map<number, Form>;
};

/** The template of an instruction's Code in a mode, for operands of the same kinds. */
export function templateOf(i: Instruction, mode: Mode): Template {
  const name = Code[i.code] ?? 'INVALID';
  const { mnemonic, opCount, conditionCode } = i;
  const sizes: Size[] = [];
  for (let n = 0; n < opCount; n++) sizes.push(operandSizeOf(i, n));
  // MOVSXD of 16 bits reads 32 (seen on Zen 5).
  const wideSource = name === 'Movsxd_r16_rm16' && i.op1Kind === OpKind.Memory;
  if (wideSource) sizes[1] = 4;
  const string = i.isStringInstruction;
  const element = string ? (MemorySizeExt.size(i.memorySize) as Size) : undefined;
  const suffixed = suffixSize(name);
  const special = specialOf(i, name);
  // Of these the address size differs by prefix.
  const variable = string || /^(Xlat|Loop|Monitor|Maskmov|J\w?cxz)/.test(name);
  const operandSize = element ?? suffixed ?? (name.endsWith('m1632_16') ? 2 : (sizes[0] ?? 8));
  const far = i.op0Kind === OpKind.FarBranch16 ? 2 : i.op0Kind === OpKind.FarBranch32 ? 4 : undefined;
  return {
    name,
    mnemonic,
    condition: conditionCode === 0 ? -1 : conditionCode - 1,
    operandCount: opCount,
    sizes: far === undefined ? sizes : [far],
    operandSize,
    stackSize: element ? 0 : (stackOperand(name, sizes, mode) ?? 0),
    addressSize: variable ? null : impliedAddressSize(i, name, mode),
    special,
    memoryBytes: wideSource ? 4 : /^X(save|rstor)/.test(name) ? XSAVE_BYTES : MemorySizeExt.size(i.memorySize) || 1,
    writesMemory: writesMemory(i),
    repeatable: string || /^Loopn?e_/.test(name),
    x87: name.startsWith('F'),
    popsMemory: name.startsWith('Pop_rm'),
    flushesLine: /^Cl(flush|wb)/.test(name),
    ends: endings.test(name) || special === 'movToCr',
    forms: new Map(),
  };
}

let factory: InstructionInfoFactory | undefined;

/** Does the instruction write its memory operand, if only under a condition? Segments are checked for it (APM vol. 2, 4.12). */
function writesMemory(i: Instruction): boolean {
  let writes = false;
  for (let n = 0; n < i.opCount; n++) {
    const kind = i.opKind(n);
    if (kind < OpKind.MemorySegSI || kind > OpKind.Memory) continue;
    // It is some work to find out, so nobody asks for instructions without memory.
    factory ??= new InstructionInfoFactory();
    const information = factory.info(i);
    writes ||= writing.has(information.opAccess(n));
    information.free();
  }
  return writes;
}
const writing: ReadonlySet<OpAccess> = new Set([OpAccess.Write, OpAccess.CondWrite, OpAccess.ReadWrite, OpAccess.ReadCondWrite]);

// biome-ignore format: a table
const immediateSizes: Readonly<Record<number, Size>> = {
  [OpKind.Immediate8]: 1, [OpKind.Immediate8_2nd]: 1, [OpKind.Immediate16]: 2, [OpKind.Immediate32]: 4, [OpKind.Immediate64]: 8,
  [OpKind.Immediate8to16]: 2, [OpKind.Immediate8to32]: 4, [OpKind.Immediate8to64]: 8, [OpKind.Immediate32to64]: 8,
};

function operandSizeOf(i: Instruction, n: number): Size {
  const kind = i.opKind(n);
  if (kind === OpKind.Register) {
    const r = i.opRegister(n);
    return RegisterExt.isSegmentRegister(r) ? 2 : (Math.min(RegisterExt.size(r), 16) as Size);
  }
  if (kind === OpKind.NearBranch16) return 2;
  if (kind === OpKind.NearBranch32) return 4;
  if (kind === OpKind.NearBranch64) return 8;
  const immediate = immediateSizes[kind];
  if (immediate) return immediate;
  const bytes = MemorySizeExt.size(i.memorySize);
  return bytes === 1 || bytes === 2 || bytes === 4 || bytes === 8 || bytes === 16 ? bytes : 8;
}

/** The operand size that a Code's name ends in (Retnq, Pushfw, Iretd ...), where no operand shows it. */
function suffixSize(name: string): Size | undefined {
  const m = /^(Retn|Retf|Pushf|Popf|Iret|Enter|Leave|Pusha|Popa|Sysret|Push|Pop|Sysexit)(w|d|q)(_|$)/.exec(name);
  return m ? ({ w: 2, d: 4, q: 8 } as const)[m[2] as 'w' | 'd' | 'q'] : undefined;
}

/** Width of the stack slot of PUSH and POP: of the operand, except for segment registers and immediates, whose Code says it. */
function stackOperand(name: string, sizes: readonly Size[], mode: Mode): Size | undefined {
  if (!/^(Push|Pop)(_|w|d|q)/.test(name)) return undefined;
  return suffixSize(name) ?? (/_(ES|CS|SS|DS|FS|GS)$/.test(name) ? ((mode / 8) as Size) : (sizes[0] ?? 8));
}

export function addressSizeOf(i: Instruction, mode: Mode): 2 | 4 | 8 {
  const register = i.memoryBase !== Register.None ? i.memoryBase : i.memoryIndex;
  if (register !== Register.None) {
    if (register === Register.RIP) return 8;
    if (register === Register.EIP) return 4;
    const bytes = RegisterExt.size(register);
    return bytes === 8 ? 8 : bytes === 4 ? 4 : 2;
  }
  const bytes = i.memoryDisplSize;
  return bytes === 8 ? 8 : bytes === 2 ? 2 : bytes === 4 ? 4 : mode === 64 ? 8 : mode === 32 ? 4 : 2;
}

// biome-ignore format: a table
const addressKinds: Readonly<Record<number, 2 | 4 | 8>> = {
  [OpKind.MemorySegSI]: 2, [OpKind.MemorySegESI]: 4, [OpKind.MemorySegRSI]: 8, [OpKind.MemorySegDI]: 2, [OpKind.MemorySegEDI]: 4, [OpKind.MemorySegRDI]: 8,
  [OpKind.MemoryESDI]: 2, [OpKind.MemoryESEDI]: 4, [OpKind.MemoryESRDI]: 8,
};

/** The size of addresses that no operand of ours shows: string instructions, loops and their like. */
export function impliedAddressSize(i: Instruction, name: string, mode: Mode): 2 | 4 | 8 {
  for (let n = 0; n < i.opCount; n++) {
    const size = addressKinds[i.opKind(n)];
    if (size) return size;
  }
  const loop = /_(CX|ECX|RCX)$/.exec(name) ?? /^J(r|e)?cxz/.exec(name);
  if (loop) return loop[1] === 'RCX' || loop[1] === 'r' ? 8 : loop[1] === 'ECX' || loop[1] === 'e' ? 4 : 2;
  const implied = /^(?:Clzero|Monitorx?)([wdq])$/.exec(name);
  if (implied) return implied[1] === 'q' ? 8 : implied[1] === 'd' ? 4 : 2;
  if (name === 'Xlat_m8') return addressSizeOf(i, mode);
  return mode === 64 ? 8 : mode === 32 ? 4 : 2;
}

function specialOf(i: Instruction, name: string): Form['special'] {
  if (/^Mov_(r32|r64)_cr$/.test(name)) return 'movFromCr';
  if (/^Mov_cr_(r32|r64)$/.test(name)) return 'movToCr';
  if (/^Mov_(r32|r64)_dr$/.test(name)) return 'movFromDr';
  if (/^Mov_dr_(r32|r64)$/.test(name)) return 'movToDr';
  if (name.startsWith('Mov_Sreg_')) return i.opRegister(0) === Register.CS ? 'invalid' : 'loadSegment';
  if (/^Pop[wdq]?_(ES|SS|DS|FS|GS)$/.test(name)) return 'popSegment';
  if (/^Jmp_(ptr|m)16/.test(name)) return 'farJump';
  if (/^Call_(ptr|m)16/.test(name)) return 'farCall';
  return undefined;
}
