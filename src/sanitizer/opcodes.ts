// Which instruction a #VC's exit code stands for (APM vol. 2, 15.9 to 15.12).

import { ExitCode } from '../arch/exit-code.ts';
import { Vector } from '../arch/exception.ts';
import { InstructionDecoder } from '../x86/decode.ts';
import { type Form, type Mode, mnemonicOf } from '../x86/form.ts';

export type SeenInstruction = { readonly name: string; readonly length: number; readonly form: Form | null };

const decoder = new InstructionDecoder();
const nothing: SeenInstruction = { name: '', length: 0, form: null };
/** What was decoded lately, by bytes: programs leave at the same places again and again. */
const seen = new Map<string, SeenInstruction>();
const MOST_SEEN = 4096;

export function instructionIn(bytes: Uint8Array, mode: number): SeenInstruction {
  const key = `${mode} ${bytes.join()}`;
  const known = seen.get(key);
  if (known !== undefined) return known;
  const found = decode(bytes, mode);
  if (seen.size >= MOST_SEEN) seen.clear();
  seen.set(key, found);
  return found;
}

function decode(bytes: Uint8Array, mode: number): SeenInstruction {
  let found = nothing;
  decoder.decode(bytes, 0, mode as Mode, ({ form, length }) => {
    found = { name: mnemonicOf(form.name), length, form };
    return false;
  });
  return found;
}

const mnemonics: Readonly<Record<number, RegExp>> = {
  [ExitCode.RDTSC]: /^RDTSC$/,
  [ExitCode.RDPMC]: /^RDPMC$/,
  [ExitCode.CPUID]: /^CPUID$/,
  [ExitCode.INVD]: /^INVD$/,
  [ExitCode.IOIO]: /^(IN|OUT)(S[BWD]?)?$/,
  [ExitCode.MSR]: /^(RD|WR)MSR$/,
  [ExitCode.VMMCALL]: /^VMMCALL$/,
  [ExitCode.RDTSCP]: /^RDTSCP$/,
  [ExitCode.WBINVD]: /^WB(NO)?INVD$/,
  [ExitCode.MONITOR]: /^MONITORX?[WDQ]?$/,
  [ExitCode.MWAIT]: /^MWAITX?$/,
  [ExitCode.XSETBV]: /^XSETBV$/,
  [ExitCode.VMRUN]: /^VMRUN[WDQ]?$/,
};

/** Their memory operand is no operand of the instruction. */
const implicitMemory = /^(MOVS|STOS|LODS|SCAS|CMPS|PUSH|POP|CALL|RET|IRET|ENTER|LEAVE|XLAT|MASKMOV)/;

/** Could an instruction give this exit? Of codes that stand for no one instruction: yes. */
export function isInstructionOf(code: number, { name, form }: SeenInstruction): boolean {
  if (code === ExitCode.NPF) return form !== null && (form.memory !== 'none' || implicitMemory.test(name));
  if (code >= ExitCode.DR0_READ && code < ExitCode.DR0_WRITE) return form?.special === 'movFromDr';
  if (code >= ExitCode.DR0_WRITE && code < ExitCode.EXCEPTION) return form?.special === 'movToDr';
  if (code === ExitCode.EXCEPTION + Vector.VC) return false;
  return mnemonics[code]?.test(name) ?? true;
}
