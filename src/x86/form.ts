// An instruction form: everything about an instruction that its handler is generated for. What remains open (which registers,
// which immediate, which displacement) stands in the record.

/** Operand width in bytes. */
export type Size = 1 | 2 | 4 | 8 | 16;
/** Decoding mode: the width of code in bits. */
export type Mode = 16 | 32 | 64;

/** `mmx`: a 64-bit media register, which a write marks as no number for the x87 (exponent all ones). */
export type OperandKind = 'register' | 'mmx' | 'memory' | 'immediate' | 'branch' | 'implicit';

export type Operand = { readonly kind: OperandKind; readonly size: Size };

export type Form = {
  /** Name of the iced Code: what "not implemented" names, and part of the key. */
  readonly name: string;
  readonly mnemonic: number;
  readonly mode: Mode;
  readonly operands: readonly Operand[];
  /** flat: base + displacement in 64 bits; indexed: with a scaled index; general: also segment base, limit and address size. */
  readonly memory: 'none' | 'flat' | 'indexed' | 'general';
  readonly addressSize: 2 | 4 | 8;
  /** Bytes of the memory operand and whether the instruction writes it: what segment limits and types are checked for. */
  readonly memoryBytes: number;
  readonly writesMemory: boolean;
  /** Size of the operation where no operand shows it (PUSHF, IRET, string instructions ...). */
  readonly operandSize: Size;
  /** Condition code 0-15 as the opcode encodes it (APM vol. 3, appendix A), -1 if none. */
  readonly condition: number;
  readonly repeat: 'none' | 'rep' | 'repne';
  /** Which of the instructions that share a mnemonic: moves of control, debug and segment registers, far transfers, CLFLUSH where caches keep lines. */
  readonly special:
    | 'movFromCr'
    | 'movToCr'
    | 'movFromDr'
    | 'movToDr'
    | 'loadSegment'
    | 'popSegment'
    | 'farJump'
    | 'farCall'
    | 'flushLine'
    | 'invalid'
    | undefined;
  /** A direct branch within the page links records; one that leaves it goes through the jump cache. */
  readonly branch: 'none' | 'page' | 'cross';
};

/** Forms that mean the same share a handler, whatever their encoding: the key names the mnemonic, not the Code. */
export const formKey = (f: Form): string =>
  `${f.mnemonic}${f.special ?? ''}/${f.mode}/${f.operands.map((o) => `${o.kind === 'mmx' ? 'x' : o.kind[0]}${o.size}`).join('')}/${f.memory[0]}${f.addressSize}.${f.memoryBytes}/${f.operandSize}/${f.condition}/${f.repeat}/${f.branch[0]}`;

/** The mnemonic as the manuals print it, from the name of an iced Code (VEX_Vpaddd_xmm_xmm_xmmm128 is VPADDD). */
export const mnemonicOf = (name: string): string => (/^(?:VEX_|EVEX_|XOP_|D3NOW_)?([^_]+)/.exec(name)?.[1] ?? name).toUpperCase();
