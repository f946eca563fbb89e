// The few instructions whose operands the rules look at themselves: moves between a register and memory, and from DR7 (APM vol. 3, 1.2 and appendix A).

/** A load of one register. */
export type Load = {
  readonly register: number;
  /** Bytes of memory, and of the register. */
  readonly from: number;
  readonly to: number;
  readonly sign: boolean;
  /** 8 for AH, CH, DH and BH. */
  readonly shift: 0 | 8;
};

type Parts = { readonly opcode: number; readonly modrm: number; readonly rex: number; readonly operand16: boolean };

const prefixes: ReadonlySet<number> = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67, 0xf0, 0xf2, 0xf3]);

function partsOf(bytes: Uint8Array, mode: number): Parts | null {
  let operand16 = false;
  let rex = 0;
  let n = 0;
  for (; n < bytes.length; n++) {
    const byte = bytes[n]!;
    if (mode === 64 && (byte & 0xf0) === 0x40) rex = byte;
    else if (byte === 0x66 || prefixes.has(byte)) rex = 0;
    else break;
    operand16 ||= byte === 0x66;
  }
  const long = bytes[n] === 0x0f;
  const at = long ? n + 1 : n;
  if (mode === 16 || at + 1 >= bytes.length) return null;
  return { opcode: long ? 0x0f00 | bytes[at]! : bytes[at]!, modrm: bytes[at + 1]!, rex, operand16 };
}

const isMemory = ({ modrm }: Parts): boolean => modrm >> 6 !== 3;
const regOf = ({ modrm, rex }: Parts): number => ((modrm >> 3) & 7) | ((rex & 4) << 1);
const sizeOf = ({ rex, operand16 }: Parts): number => ((rex & 8) !== 0 ? 8 : operand16 ? 2 : 4);

/** MOV, MOVZX, MOVSX and MOVSXD; null: it is none of these. */
export function loadIn(bytes: Uint8Array, mode: number): Load | null {
  const parts = partsOf(bytes, mode);
  if (parts === null) return null;
  const { opcode, rex } = parts;
  const wide = sizeOf(parts);
  const offset = opcode === 0xa0 || opcode === 0xa1;
  if (!offset && !isMemory(parts)) return null;
  const register = offset ? 0 : regOf(parts);
  switch (opcode) {
    case 0x8a:
    case 0xa0: {
      const high = rex === 0 && register >= 4;
      return { register: high ? register - 4 : register, from: 1, to: 1, sign: false, shift: high ? 8 : 0 };
    }
    case 0x8b:
    case 0xa1:
      return { register, from: wide, to: wide, sign: false, shift: 0 };
    case 0x0fb6:
    case 0x0fbe:
      return { register, from: 1, to: wide, sign: opcode === 0x0fbe, shift: 0 };
    case 0x0fb7:
    case 0x0fbf:
      return { register, from: 2, to: wide, sign: opcode === 0x0fbf, shift: 0 };
    case 0x63:
      return mode === 64 ? { register, from: Math.min(wide, 4), to: wide, sign: true, shift: 0 } : null;
    default:
      return null;
  }
}

/** MOV to memory: it changes no register. */
export function isPlainStore(bytes: Uint8Array, mode: number): boolean {
  const parts = partsOf(bytes, mode);
  if (parts === null) return false;
  return [0xa2, 0xa3].includes(parts.opcode) || ([0x88, 0x89, 0xc6, 0xc7].includes(parts.opcode) && isMemory(parts));
}

/** MOV from DR7: the register that it goes to; null: it is none. */
export function debugMoveIn(bytes: Uint8Array, mode: number): number | null {
  const parts = partsOf(bytes, mode);
  if (parts === null || parts.opcode !== 0x0f21 || regOf(parts) !== 7) return null;
  return (parts.modrm & 7) | ((parts.rex & 1) << 3);
}
