// iced-x86 as the decoder: bytes of a code page become forms and the fields of a record. The only file outside semantics/ and
// asm/ that names iced's registers and operand kinds.

import {
  Code,
  Decoder,
  DecoderError,
  DecoderOptions,
  Instruction,
  InstructionInfoFactory,
  MemorySizeExt,
  Mnemonic,
  OpAccess,
  OpKind,
  Register,
  RegisterExt,
} from 'iced-x86';
import type { Form, Mode, Operand, Size } from './form.ts';
import { Gpr, gprAt, Segment, State, segmentAt } from '../memory/state.ts';

/** A decoded instruction: its form and what its record will hold. Offsets are relative to the linear page it starts in. */
export type Decoded = {
  readonly form: Form;
  readonly length: number;
  readonly registers: readonly number[];
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly segment: number;
  /** Displacement, absolute offset, or branch target relative to the page. */
  readonly displacement: bigint;
  readonly immediate: bigint;
  /** Does control never fall through to the next instruction, or must it leave generated code anyway? */
  readonly ends: boolean;
};

/** Why nothing could be decoded. */
export const DecodeProblem = { INVALID: 'invalid', MORE_BYTES: 'more bytes', TOO_LONG: 'too long' } as const;
export type DecodeProblem = (typeof DecodeProblem)[keyof typeof DecodeProblem];

const MAX_LENGTH = 15;
/** The area of XSAVE and its kin: legacy region and header. */
const XSAVE_BYTES = 576;

/** Instructions behind which a block of records ends. */
const endings = /^(Jmp|Call|Ret|Retf|Iret|Sysret|Syscall|Hlt|Ud\d|Int\d?_?|INVALID|Vmgexit|Vmmcall|Mov_cr)/;

export class InstructionDecoder {
  readonly #instruction = new Instruction();
  readonly #operands = new Map<number, OperandTemplate>();
  /** Are there caches in which lines can differ from memory? Then CLFLUSH and its kin have something to do. */
  keepsLines = false;

  /**
   * Decodes instructions one after another from bytes that start at page offset `start`, giving each to `take` until that
   * returns false, the bytes run out, or one does not decode.
   */
  decode(bytes: Uint8Array, start: number, mode: Mode, take: (d: Decoded, offset: number) => boolean): DecodeProblem | undefined {
    const decoder = new Decoder(mode, bytes, DecoderOptions.AMD);
    try {
      decoder.ip = BigInt(start);
      while (decoder.canDecode) {
        const position = decoder.position;
        decoder.decodeOut(this.#instruction);
        this.#asAmdDecodes(bytes, position, mode);
        if (this.#instruction.code === Code.INVALID) {
          if (decoder.lastError === DecoderError.NoMoreBytes && bytes.length - position < MAX_LENGTH) return DecodeProblem.MORE_BYTES;
          return isTooLong(bytes, position, mode) ? DecodeProblem.TOO_LONG : DecodeProblem.INVALID;
        }
        const wide = rexPrefix(bytes, position, mode) & REX_W;
        if (!take(this.#describe(mode, start + position, wide !== 0, x87Opcode(bytes, position, mode)), start + position)) return undefined;
      }
      return undefined;
    } finally {
      decoder.free();
    }
  }

  /** What iced decodes otherwise than the hardware: PAUSE with REX.B is XCHG R8, and CLZERO takes no repeat prefix (seen on Zen 5). */
  #asAmdDecodes(bytes: Uint8Array, position: number, mode: Mode): void {
    const i = this.#instruction;
    if (i.code === Code.Pause && (rexPrefix(bytes, position, mode) & REX_B) !== 0) {
      // A segment override, which XCHG of registers ignores, keeps the length.
      const exchange = bytes.slice(position, position + i.length).map((byte) => (byte === 0xf3 ? 0x3e : byte));
      const decoder = new Decoder(mode, exchange, DecoderOptions.AMD);
      decoder.ip = i.ip;
      decoder.decodeOut(i);
      decoder.free();
    } else if (i.mnemonic === Mnemonic.Clzero && (i.hasRepPrefix || i.hasRepnePrefix)) i.code = Code.INVALID;
  }

  /** `wide`: there is a REX.W prefix. */
  #describe(mode: Mode, offset: number, wide: boolean, x87: number): Decoded {
    const i = this.#instruction;
    const template = this.#template(mode);
    const registers: number[] = [];
    let immediate = 0n;
    let displacement = 0n;
    let base: number = State.ZERO;
    let index: number = State.ZERO;
    let branch: Form['branch'] = 'none';
    let memory: Form['memory'] = 'none';
    let addressSize = template.addressSize;
    const operands: Operand[] = [];
    let special = this.keepsLines && template.flushesLine ? 'flushLine' : template.special;
    let segment: number = Segment.DS;
    for (let n = 0; n < i.opCount; n++) {
      const kind = i.opKind(n);
      const size = template.sizes[n] ?? 8;
      if (kind === OpKind.Register) {
        const slot = registerSlot(i.opRegister(n));
        // A control or debug register that does not exist; others belong to instructions that are not implemented.
        if (slot < 0 && isControl(i.opRegister(n))) special = 'invalid';
        registers[n] = Math.max(slot, 0);
        operands.push({ kind: RegisterExt.isMM(i.opRegister(n)) ? 'mmx' : 'register', size });
      } else if (kind === OpKind.Memory && template.name !== 'Xlat_m8') {
        operands.push({ kind: 'memory', size });
        addressSize = addressSizeOf(i, mode);
        segment = segmentOf(i.memorySegment);
        if (mode === 64 && segment < Segment.FS) segment = isStackBase(i.memoryBase) ? Segment.SS : Segment.DS;
        if (i.memoryBase !== Register.None) base = isRip(i.memoryBase) ? State.PAGE : registerSlot(i.memoryBase);
        if (i.memoryIndex !== Register.None) index = registerSlot(i.memoryIndex);
        displacement = BigInt.asIntN(64, i.memoryDisplacement);
        const plain = mode === 64 && addressSize === 8 && segment !== Segment.FS && segment !== Segment.GS;
        memory = !plain ? 'general' : index === State.ZERO ? 'flat' : 'indexed';
      } else if (kind >= OpKind.NearBranch16 && kind <= OpKind.NearBranch64) {
        operands.push({ kind: 'branch', size });
        displacement = branchTarget(i.nearBranchTarget, size);
        const stays = displacement >= 0n && displacement < 4096n && offset + i.length <= 4096;
        branch = stays ? 'page' : 'cross';
      } else if (isImmediate(kind)) {
        operands.push({ kind: 'immediate', size });
        const value =
          kind === OpKind.Immediate8_2nd ? BigInt(i.immediate8_2nd) << 32n : BigInt.asUintN(size === 8 ? 64 : 8 * size, i.immediate(n));
        immediate |= value;
      } else if (kind === OpKind.FarBranch16 || kind === OpKind.FarBranch32) {
        operands.push({ kind: 'immediate', size: kind === OpKind.FarBranch16 ? 2 : 4 });
        immediate = BigInt(kind === OpKind.FarBranch16 ? i.farBranch16 : i.farBranch32) | (BigInt(i.farBranchSelector) << 32n);
      } else {
        operands.push({ kind: 'implicit', size });
        const named = segmentOf(i.memorySegment);
        // In 64-bit mode the other overrides mean nothing, not even #SS for #GP.
        if (i.memorySegment !== Register.None && (mode !== 64 || named >= Segment.FS)) segment = named;
      }
    }
    if (x87 !== 0) registers[2] = x87;
    if (special === 'movFromDr' || special === 'movToDr')
      immediate = BigInt(RegisterExt.number(i.opRegister(special === 'movToDr' ? 0 : 1)));
    // XLAT and the string source name their segment without a memory operand of ours.
    if (memory === 'none' && i.segmentPrefix !== Register.None && (mode !== 64 || segmentOf(i.segmentPrefix) >= Segment.FS))
      segment = segmentOf(i.segmentPrefix);
    const operandSize = branch === 'none' ? template.operandSize : (operands.find((o) => o.kind === 'branch')?.size ?? 8);
    // A far CALL with REX.W pushes 8 bytes a slot, though its pointer stays m16:32 (AMD).
    const stack = special === 'farCall' ? (wide ? 8 : template.name.endsWith('32') ? 4 : 2) : template.stackSize || operandSize;
    // POP to memory forms its address with the stack pointer already moved.
    if (template.popsMemory && memory !== 'none' && base === gprAt(Gpr.RSP)) displacement += BigInt(operandSize);
    const form: Form = {
      name: template.name,
      mnemonic: i.mnemonic,
      mode,
      operands,
      memory,
      addressSize,
      memoryBytes: memory === 'none' ? 0 : template.memoryBytes,
      writesMemory: template.writesMemory,
      operandSize: branch === 'none' ? stack : operandSize,
      condition: i.conditionCode === 0 ? -1 : i.conditionCode - 1,
      repeat: template.repeatable ? (i.hasRepnePrefix ? 'repne' : i.hasRepPrefix || i.hasRepePrefix ? 'rep' : 'none') : 'none',
      special,
      branch,
    };
    return {
      form,
      length: i.length,
      registers,
      base,
      index,
      scale: 31 - Math.clz32(i.memoryIndexScale),
      segment,
      displacement,
      immediate,
      ends: template.ends,
    };
  }

  /** What is the same for every instruction of one Code. */
  #template(mode: Mode): OperandTemplate {
    const i = this.#instruction;
    // The sizes of some Codes differ with a memory operand (MOV r32/m16, Sreg); string address sizes differ by prefix.
    const key =
      (i.code << 3) | (i.op0Kind === OpKind.Memory || i.op1Kind === OpKind.Memory ? 4 : 0) | (mode === 64 ? 2 : mode === 32 ? 1 : 0);
    const known = this.#operands.get(key);
    if (known && !known.string && !known.variable) return known;
    const name = Code[i.code] ?? 'INVALID';
    const sizes: Size[] = [];
    for (let n = 0; n < i.opCount; n++) sizes.push(operandSizeOf(i, n));
    // MOVSXD of 16 bits reads 32 (seen on Zen 5).
    const wideSource = name === 'Movsxd_r16_rm16' && i.op1Kind === OpKind.Memory;
    if (wideSource) sizes[1] = 4;
    const string = i.isStringInstruction;
    const element = string ? (MemorySizeExt.size(i.memorySize) as Size) : undefined;
    const suffixed = suffixSize(name);
    const template: OperandTemplate = {
      name,
      sizes,
      operandSize: element ?? suffixed ?? (name.endsWith('m1632_16') ? 2 : (sizes[0] ?? 8)),
      stackSize: element ? 0 : (stackOperand(name, sizes, mode) ?? 0),
      addressSize: stringAddressSize(i, name, mode),
      special: specialOf(i, name),
      string,
      memoryBytes: wideSource ? 4 : /^X(save|rstor)/.test(name) ? XSAVE_BYTES : MemorySizeExt.size(i.memorySize) || 1,
      writesMemory: writesMemory(i),
      repeatable: string || /^Loopn?e_/.test(name),
      variable: /^(Xlat|Loop|Monitor|Maskmov|J\w?cxz)/.test(name),
      popsMemory: name.startsWith('Pop_rm'),
      flushesLine: /^Cl(flush|wb)/.test(name),
      ends: endings.test(name) || specialOf(i, name) === 'movToCr',
    };
    this.#operands.set(key, template);
    return template;
  }
}

type OperandTemplate = {
  readonly name: string;
  readonly sizes: readonly Size[];
  readonly operandSize: Size;
  readonly stackSize: Size | 0;
  readonly addressSize: 2 | 4 | 8;
  readonly special: Form['special'];
  readonly string: boolean;
  readonly memoryBytes: number;
  readonly writesMemory: boolean;
  /** Does a repeat prefix mean something? */
  readonly repeatable: boolean;
  readonly variable: boolean;
  readonly popsMemory: boolean;
  /** CLFLUSH, CLFLUSHOPT, CLWB. */
  readonly flushesLine: boolean;
  readonly ends: boolean;
};

/** Does the instruction write its memory operand, if only under a condition? Segments are checked for it (APM vol. 2, 4.12). */
function writesMemory(i: Instruction): boolean {
  const factory = new InstructionInfoFactory();
  const information = factory.info(i);
  let writes = false;
  for (let n = 0; n < i.opCount; n++) if (i.opKind(n) !== OpKind.Register) writes ||= writing.has(information.opAccess(n));
  information.free();
  factory.free();
  return writes;
}
const writing: ReadonlySet<OpAccess> = new Set([OpAccess.Write, OpAccess.CondWrite, OpAccess.ReadWrite, OpAccess.ReadCondWrite]);

const isPrefix = (b: number, mode: Mode): boolean =>
  [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3].includes(b) || (mode === 64 && (b & 0xf0) === 0x40);

/** What an x87 instruction notes as its opcode: the low bits of the first byte and the second (APM vol. 1, 6.2.5); 0 for others. */
function x87Opcode(bytes: Uint8Array, position: number, mode: Mode): number {
  let at = position;
  while (isPrefix(bytes[at] ?? 0, mode)) at++;
  const first = bytes[at] ?? 0;
  return (first & 0xf8) === 0xd8 ? ((first & 7) << 8) | (bytes[at + 1] ?? 0) : 0;
}

/**
 * Would what iced rejects take more than 15 bytes? That is #GP rather than #UD. So many bytes have prefixes that say the same twice:
 * without these it decodes, or is invalid, as it would without the limit.
 */
function isTooLong(bytes: Uint8Array, position: number, mode: Mode): boolean {
  const prefix = (b: number): boolean => isLegacyPrefix(b) || (mode === 64 && (b & 0xf0) === 0x40);
  let opcode = position;
  while (opcode < bytes.length && prefix(bytes[opcode] ?? 0)) opcode++;
  const prefixes = bytes.subarray(position, opcode);
  if (prefixes.length >= MAX_LENGTH) return true;
  const needed = prefixes.filter((b, n) => prefixes.lastIndexOf(b) === n && (isLegacyPrefix(b) || n === prefixes.length - 1));
  const rest = bytes.subarray(opcode, opcode + MAX_LENGTH);
  const decoder = new Decoder(mode, Uint8Array.from([...needed, ...rest]), DecoderOptions.AMD);
  const instruction = decoder.decode();
  // What has no meaning is known by its opcode: no more bytes are looked at (seen on Zen 5).
  const opcodeLength = rest[0] !== 0x0f ? 1 : rest[1] === 0x38 || rest[1] === 0x3a ? 3 : 2;
  const length = instruction.code === Code.INVALID ? prefixes.length + opcodeLength : prefixes.length - needed.length + instruction.length;
  instruction.free();
  decoder.free();
  return length > MAX_LENGTH;
}

const isRip = (r: Register): boolean => r === Register.RIP || r === Register.EIP;

/** In 64-bit mode overrides other than FS and GS mean nothing, so that the base register alone decides (APM vol. 1, 2.2.3). */
const isStackBase = (r: Register): boolean => [Register.RSP, Register.RBP, Register.ESP, Register.EBP].includes(r);

const REX_W = 8;
const REX_B = 1;
/** The REX prefix of an instruction, 0 if it has none. */
function rexPrefix(bytes: Uint8Array, position: number, mode: Mode): number {
  if (mode !== 64) return 0;
  let rex = 0;
  for (const byte of bytes.subarray(position)) {
    // Only the last prefix counts, and only right before the opcode.
    if (isLegacyPrefix(byte)) rex = 0;
    else if ((byte & 0xf0) === 0x40) rex = byte;
    else break;
  }
  return rex;
}

const isLegacyPrefix = (b: number): boolean => legacyPrefixes.has(b);
const legacyPrefixes: ReadonlySet<number> = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

/** iced gives targets unsigned in the width of the operand; relative to the page they are small signed numbers. */
const branchTarget = (target: bigint, size: Size): bigint => BigInt.asIntN(8 * size, target);

function isImmediate(kind: OpKind): boolean {
  return kind >= OpKind.Immediate8 && kind <= OpKind.Immediate32to64;
}

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

function addressSizeOf(i: Instruction, mode: Mode): 2 | 4 | 8 {
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

function stringAddressSize(i: Instruction, name: string, mode: Mode): 2 | 4 | 8 {
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

function segmentOf(r: Register): number {
  return r >= Register.ES && r <= Register.GS ? r - Register.ES : Segment.DS;
}

// biome-ignore format: a table
const isControl = (r: Register): boolean => r >= Register.CR0 && r <= Register.DR15;

const controlSlots: Readonly<Record<number, number>> = {
  [Register.CR0]: State.CR0,
  [Register.CR2]: State.CR2,
  [Register.CR3]: State.CR3,
  [Register.CR4]: State.CR4,
  [Register.CR8]: State.CR8,
  [Register.DR0]: State.DR0,
  [Register.DR1]: State.DR0 + 8,
  [Register.DR2]: State.DR0 + 16,
  [Register.DR3]: State.DR0 + 24,
  [Register.DR4]: State.DR6,
  [Register.DR5]: State.DR7,
  [Register.DR6]: State.DR6,
  [Register.DR7]: State.DR7,
};

/** Byte offset of a register in the processor state; -1 if the processor has no such register. */
function registerSlot(r: Register): number {
  if (r >= Register.RAX && r <= Register.R15) return gprAt(r - Register.RAX);
  if (r >= Register.EAX && r <= Register.R15D) return gprAt(r - Register.EAX);
  if (r >= Register.AX && r <= Register.R15W) return gprAt(r - Register.AX);
  if (r >= Register.AL && r <= Register.BL) return gprAt(r - Register.AL);
  if (r >= Register.AH && r <= Register.BH) return gprAt(r - Register.AH) + 1;
  if (r >= Register.SPL && r <= Register.R15L) return gprAt(r - Register.SPL + 4);
  if (r >= Register.ES && r <= Register.GS) return segmentAt((r - Register.ES) as Segment);
  if (r >= Register.XMM0 && r <= Register.XMM15) return State.XMM + 16 * (r - Register.XMM0);
  if (r >= Register.MM0 && r <= Register.MM7) return State.X87 + 16 * (r - Register.MM0);
  if (r >= Register.ST0 && r <= Register.ST7) return State.X87 + 16 * (r - Register.ST0); // from the top of the stack
  return controlSlots[r] ?? -1;
}
