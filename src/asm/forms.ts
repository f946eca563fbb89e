// The instruction table: every form that iced-x86 knows, an AMD processor executes and the operand kinds can express, by
// mnemonic. Plus the other names that instructions go by.

import { Code, CodeExt, EncodingKind, MemorySizeExt, Mnemonic } from 'iced-x86';
import { accepts, type Accepts } from './operand-kinds.ts';

export type Bits = 16 | 32 | 64;

export type Form = {
  readonly code: Code;
  readonly operands: readonly Accepts[];
  /** In bits; 0 if the form has no such property. */
  readonly operandSize: number;
  readonly addressSize: number;
  readonly memorySize: number;
  /** 64-bit mode: the operand size is 64 bits without a prefix. */
  readonly default64: boolean;
};

/** Which forms exist in a mode, by mnemonic in lower case. Built when first asked for (measured: 60 ms for all three). */
export function formsOf(bits: Bits): ReadonlyMap<string, readonly Form[]> {
  tables ??= build();
  return tables[bits];
}
let tables: Record<Bits, ReadonlyMap<string, readonly Form[]>> | null = null;

function build(): Record<Bits, ReadonlyMap<string, readonly Form[]>> {
  const built: Record<Bits, Map<string, Form[]>> = { 16: new Map(), 32: new Map(), 64: new Map() };
  for (const code of Object.values(Code)) {
    if (typeof code !== 'number') continue;
    const info = CodeExt.opCode(code);
    const form = formOf(code, info);
    if (form) {
      const mnemonic = Mnemonic[info.mnemonic].toLowerCase();
      const modes = { 16: info.mode16 && info.amdDecoder16, 32: info.mode32 && info.amdDecoder32, 64: info.mode64 && info.amdDecoder64 };
      for (const bits of [16, 32, 64] as const) {
        if (!modes[bits]) continue;
        const forms = built[bits].get(mnemonic);
        if (forms) forms.push(form);
        else built[bits].set(mnemonic, [form]);
      }
    }
    info.free();
  }
  return built;
}

function formOf(code: Code, info: ReturnType<typeof CodeExt.opCode>): Form | null {
  if (!info.isInstruction || info.encoding === EncodingKind.EVEX || info.encoding === EncodingKind.MVEX) return null;
  // Opcodes that meant something on one old processor only.
  if (info.decoderOption !== 0) return null;
  const operands: Accepts[] = [];
  for (let n = 0; n < info.opCount; n++) {
    const kind = accepts.get(info.opKind(n));
    if (!kind) return null;
    operands.push(kind);
  }
  const default64 = info.defaultOpSize64 || info.forceOpSize64;
  const memorySize = 8 * MemorySizeExt.size(info.memorySize);
  return { code, operands, operandSize: info.operandSize, addressSize: info.addressSize, memorySize, default64 };
}

/** Operand size that a form has without a prefix. */
export function naturalSize(form: Form, bits: Bits): number {
  if (bits === 64) return form.default64 ? 64 : 32;
  return bits;
}

/** Another name of an instruction, and the operand size that the name asks for. */
export type Alias = { readonly mnemonic: string; readonly operandSize: number };

// biome-ignore format: a table
const conditions: Readonly<Record<string, string>> = {
  z: 'e', nz: 'ne', c: 'b', nc: 'ae', nae: 'b', nb: 'ae', na: 'be', nbe: 'a', pe: 'p', po: 'np', nge: 'l', nl: 'ge', ng: 'le', nle: 'g',
};
const renamed: Readonly<Record<string, string>> = {
  sal: 'shl',
  movabs: 'mov',
  xlat: 'xlatb',
  loopz: 'loope',
  loopnz: 'loopne',
  icebp: 'int1',
  retn: 'ret',
};
/** In iced the plain names of these mean the 16-bit form; here they mean the form of the mode, as the manual has it. */
const bySize: Readonly<Record<string, readonly [word: string, dword: string, qword: string]>> = {
  pushf: ['pushf', 'pushfd', 'pushfq'],
  popf: ['popf', 'popfd', 'popfq'],
  iret: ['iret', 'iretd', 'iretd'],
  pusha: ['pusha', 'pushad', 'pushad'],
  popa: ['popa', 'popad', 'popad'],
};
const sized: Readonly<Record<string, Alias>> = {
  ...Object.fromEntries(Object.entries(bySize).map(([name, [word]]) => [`${name}w`, { mnemonic: word, operandSize: 0 }])),
  ...Object.fromEntries(
    ['retf', 'ret', 'enter', 'leave'].flatMap((name) => [
      [`${name}w`, { mnemonic: name, operandSize: 16 }],
      [`${name}d`, { mnemonic: name, operandSize: 32 }],
      [`${name}q`, { mnemonic: name, operandSize: 64 }],
    ]),
  ),
};

/** O64 before these makes what iced knows by a name of its own. */
const widened: ReadonlySet<string> = new Set(['sysret', 'sysexit', 'iret']);

/** The mnemonic of the table that a written one stands for; `operandSize` is what an o16..o64 asks for, else 0. */
export function aliasOf(written: string, operandSize: number, bits: Bits): Alias {
  if (operandSize === 64 && widened.has(written)) return { mnemonic: `${written}q`, operandSize };
  const explicit = sized[written];
  if (explicit) return explicit;
  const variants = bySize[written];
  if (variants) return { mnemonic: variants[operandSize === 16 || bits === 16 ? 0 : bits === 32 ? 1 : 2], operandSize: 0 };
  const conditional = /^(j|set|cmov)(\w+)$/.exec(written);
  const condition = conditions[conditional?.[2] ?? ''];
  return { mnemonic: condition === undefined ? (renamed[written] ?? written) : `${conditional?.[1]}${condition}`, operandSize };
}
