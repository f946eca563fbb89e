// iced-x86 as the decoder: bytes of a code page become forms and the fields of a record. Each question to iced is a call into its
// WebAssembly, so what an instruction has in common with others is asked once (decode-template.ts), and so are forms.

import { Code, Decoder, DecoderError, DecoderOptions, Instruction, OpKind, Register, RegisterExt } from 'iced-x86';
import { Gpr, gprAt, Segment, State } from '../memory/state.ts';
import { addressSizeOf, impliedAddressSize, type Template, templateOf } from './decode-template.ts';
import type { Form, Mode, Operand, Size } from './form.ts';
import { MAX_LENGTH, REX_B, REX_W, isTooLong, rexPrefix, x87Opcode } from './prefixes.ts';
import { isControl, registerSlot, segmentOf } from './register-slots.ts';

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

/** iced's tables of names are large objects; their properties are not constants to V8. */
const { INVALID, Pause } = Code;
const clzero: ReadonlySet<Code> = new Set([Code.Clzerow, Code.Clzerod, Code.Clzeroq]);
const { Memory: MEMORY, Register: REGISTER, NearBranch16, NearBranch64, FarBranch16, FarBranch32, Immediate8, Immediate8_2nd } = OpKind;
const { Immediate32to64 } = OpKind;
const { None: NONE, MM0, MM7 } = Register;

const memoryKinds = ['none', 'flat', 'indexed', 'general'] as const;
const branchKinds = ['none', 'page', 'cross'] as const;
const repeatKinds = ['none', 'rep', 'repne'] as const;

export class InstructionDecoder {
  readonly #instruction = new Instruction();
  readonly #templates = new Map<number, Template>();
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
      for (let position = 0; decoder.canDecode; ) {
        decoder.decodeOut(this.#instruction);
        const code = this.#asAmdDecodes(bytes, position, mode);
        if (code === INVALID) {
          if (decoder.lastError === DecoderError.NoMoreBytes && bytes.length - position < MAX_LENGTH) return DecodeProblem.MORE_BYTES;
          return isTooLong(bytes, position, mode) ? DecodeProblem.TOO_LONG : DecodeProblem.INVALID;
        }
        const decoded = this.#describe(bytes, position, start + position, code, mode);
        if (!take(decoded, start + position)) return undefined;
        position += decoded.length;
      }
      return undefined;
    } finally {
      decoder.free();
    }
  }

  /** What iced decodes otherwise than the hardware: PAUSE with REX.B is XCHG R8, and CLZERO takes no repeat prefix (seen on Zen 5). */
  #asAmdDecodes(bytes: Uint8Array, position: number, mode: Mode): Code {
    const i = this.#instruction;
    const { code } = i;
    if (code === Pause && (rexPrefix(bytes, position, mode) & REX_B) !== 0) {
      // A segment override, which XCHG of registers ignores, keeps the length.
      const exchange = bytes.slice(position, position + i.length).map((byte) => (byte === 0xf3 ? 0x3e : byte));
      const decoder = new Decoder(mode, exchange, DecoderOptions.AMD);
      decoder.ip = i.ip;
      decoder.decodeOut(i);
      decoder.free();
      return i.code;
    }
    return clzero.has(code) && (i.hasRepPrefix || i.hasRepnePrefix) ? INVALID : code;
  }

  /** `offset`: where on its page the instruction begins, which is at `position` of the bytes. */
  #describe(bytes: Uint8Array, position: number, offset: number, code: Code, mode: Mode): Decoded {
    const i = this.#instruction;
    const { length } = i;
    const template = this.#template(code, mode);
    const registers: number[] = [];
    let immediate = 0n;
    let displacement = 0n;
    let base: number = State.ZERO;
    let index: number = State.ZERO;
    let scale = 0;
    let branch = 0;
    let branchSize: Size = 8;
    let memory = 0;
    let addressSize = template.addressSize ?? impliedAddressSize(i, template.name, mode);
    const operands: Operand['kind'][] = [];
    let special = this.keepsLines && template.flushesLine ? 'flushLine' : template.special;
    let segment: number = Segment.DS;
    for (let n = 0; n < template.operandCount; n++) {
      const kind = i.opKind(n);
      if (kind === REGISTER) {
        const register = i.opRegister(n);
        const slot = registerSlot(register);
        // A control or debug register that does not exist; others belong to instructions that are not implemented.
        if (slot < 0 && isControl(register)) special = 'invalid';
        registers[n] = Math.max(slot, 0);
        operands.push(register >= MM0 && register <= MM7 ? 'mmx' : 'register');
      } else if (kind === MEMORY && template.name !== 'Xlat_m8') {
        operands.push('memory');
        const { memoryBase, memoryIndex } = i;
        addressSize = addressSizeOf(i, mode);
        segment = segmentOf(i.memorySegment);
        if (mode === 64 && segment < Segment.FS) segment = isStackBase(memoryBase) ? Segment.SS : Segment.DS;
        if (memoryBase !== NONE) base = isRip(memoryBase) ? State.PAGE : registerSlot(memoryBase);
        if (memoryIndex !== NONE) index = registerSlot(memoryIndex);
        scale = 31 - Math.clz32(i.memoryIndexScale);
        displacement = BigInt.asIntN(64, i.memoryDisplacement);
        const plain = mode === 64 && addressSize === 8 && segment !== Segment.FS && segment !== Segment.GS;
        memory = !plain ? 3 : index === State.ZERO ? 1 : 2;
      } else if (kind >= NearBranch16 && kind <= NearBranch64) {
        operands.push('branch');
        branchSize = template.sizes[n] ?? 8;
        displacement = branchTarget(i.nearBranchTarget, branchSize);
        branch = displacement >= 0n && displacement < 4096n && offset + length <= 4096 ? 1 : 2;
      } else if (kind >= Immediate8 && kind <= Immediate32to64) {
        operands.push('immediate');
        const size = template.sizes[n] ?? 8;
        immediate |= kind === Immediate8_2nd ? BigInt(i.immediate8_2nd) << 32n : BigInt.asUintN(size === 8 ? 64 : 8 * size, i.immediate(n));
      } else if (kind === FarBranch16 || kind === FarBranch32) {
        operands.push('immediate');
        immediate = BigInt(kind === FarBranch16 ? i.farBranch16 : i.farBranch32) | (BigInt(i.farBranchSelector) << 32n);
      } else {
        operands.push('implicit');
        const { memorySegment } = i;
        const named = segmentOf(memorySegment);
        // In 64-bit mode the other overrides mean nothing, not even #SS for #GP.
        if (memorySegment !== NONE && (mode !== 64 || named >= Segment.FS)) segment = named;
      }
    }
    const x87 = template.x87 ? x87Opcode(bytes, position, mode) : 0;
    if (x87 !== 0) registers[2] = x87;
    if (special === 'movFromDr' || special === 'movToDr')
      immediate = BigInt(RegisterExt.number(i.opRegister(special === 'movToDr' ? 0 : 1)));
    // XLAT and the string source name their segment without a memory operand of ours.
    if (memory === 0) {
      const { segmentPrefix } = i;
      if (segmentPrefix !== NONE && (mode !== 64 || segmentOf(segmentPrefix) >= Segment.FS)) segment = segmentOf(segmentPrefix);
    }
    let operandSize = branchSize;
    if (branch === 0) {
      // A far CALL with REX.W pushes 8 bytes a slot, though its pointer stays m16:32 (AMD).
      const wide = special === 'farCall' && (rexPrefix(bytes, position, mode) & REX_W) !== 0;
      const farSize = template.name.endsWith('32') ? 4 : 2;
      operandSize = special === 'farCall' ? (wide ? 8 : farSize) : template.stackSize || template.operandSize;
    }
    // POP to memory forms its address with the stack pointer already moved.
    if (template.popsMemory && memory !== 0 && base === gprAt(Gpr.RSP)) displacement += BigInt(template.operandSize);
    const repeat = !template.repeatable ? 0 : i.hasRepnePrefix ? 2 : i.hasRepPrefix || i.hasRepePrefix ? 1 : 0;
    const form = formOf(template, { mode, operands, memory, addressSize, operandSize, repeat, special, branch });
    return { form, length, registers, base, index, scale, segment, displacement, immediate, ends: template.ends };
  }

  #template(code: Code, mode: Mode): Template {
    const i = this.#instruction;
    // The sizes of some Codes differ with a memory operand (MOV r32/m16, Sreg).
    const key = (code << 3) | (i.op0Kind === MEMORY || i.op1Kind === MEMORY ? 4 : 0) | (mode === 64 ? 2 : mode === 32 ? 1 : 0);
    let template = this.#templates.get(key);
    if (!template) this.#templates.set(key, (template = templateOf(i, mode)));
    return template;
  }
}

/** What a Code and its mode leave open of a form; numbers are places in the lists above. */
type Open = Pick<Form, 'mode' | 'addressSize' | 'operandSize' | 'special'> & {
  readonly operands: readonly Operand['kind'][];
  readonly memory: number;
  readonly repeat: number;
  readonly branch: number;
};

/** The one form of a template with these properties. */
function formOf(template: Template, open: Open): Form {
  const { operands, memory, addressSize, operandSize, repeat, special, branch } = open;
  const sizes = (addressSize << 4) | operandSize;
  const key = memory | (branch << 2) | (repeat << 4) | ((special === template.special ? 0 : 1) << 6) | (sizes << 7);
  const known = template.forms.get(key);
  if (known) return known;
  const form: Form = {
    name: template.name,
    mnemonic: template.mnemonic,
    mode: open.mode,
    operands: operands.map((kind, n) => ({ kind, size: template.sizes[n] ?? 8 })),
    memory: memoryKinds[memory] ?? 'none',
    addressSize,
    memoryBytes: memory === 0 ? 0 : template.memoryBytes,
    writesMemory: template.writesMemory,
    operandSize,
    condition: template.condition,
    repeat: repeatKinds[repeat] ?? 'none',
    special,
    branch: branchKinds[branch] ?? 'none',
  };
  template.forms.set(key, form);
  return form;
}

const isRip = (r: Register): boolean => r === Register.RIP || r === Register.EIP;

/** In 64-bit mode overrides other than FS and GS mean nothing, so that the base register alone decides (APM vol. 1, 2.2.3). */
const stackBases: ReadonlySet<Register> = new Set([Register.RSP, Register.RBP, Register.ESP, Register.EBP]);
const isStackBase = (r: Register): boolean => stackBases.has(r);

/** iced gives targets unsigned in the width of the operand; relative to the page they are small signed numbers. */
const branchTarget = (target: bigint, size: Size): bigint => BigInt.asIntN(8 * size, target);
