// System instructions. What they do stands in TypeScript (src/cpu/system/): these entries say which routine, and with what
// operand. An operand is the value, or the linear address of a memory operand that the routine reads or writes itself.

import { Mnemonic } from 'iced-x86';
import type { SystemRoutine } from '../emitter.ts';
import { each } from './move.ts';
import type { Semantics, SemanticsTable } from './table.ts';

const routine =
  (name: SystemRoutine): Semantics =>
  (b) =>
    b.system(name);

/** With the value of an operand. */
const withValue =
  (name: SystemRoutine, n: number): Semantics =>
  (b) =>
    b.system(name, b.zeroExtend(b.size(n), 8, b.let(b.size(n), b.read(n))));

/** With the address of the memory operand. */
const withAddress =
  (name: SystemRoutine): Semantics =>
  (b) =>
    b.system(name, b.address());

/** A routine that yields a value in State.OPERAND for the destination. */
const intoOperand =
  (name: SystemRoutine): Semantics =>
  (b) => {
    b.system(name);
    b.write(0, b.result(b.size(0)));
  };

/** MOV between general and control, debug or segment registers shares its mnemonic with plain moves: the decoder tells them apart. */
export const specialMoves = {
  movFromCr: routine('movFromCr'),
  movToCr: withValue('movToCr', 1),
  movFromDr: routine('movFromDr'),
  movToDr: withValue('movToDr', 1),
  loadSegment: withValue('loadSegment', 1),
} as const;

/** POP into a segment register: the load checks, then the stack pointer moves. */
export const popSegment: Semantics = (b) => {
  const size = b.form.operandSize;
  const selector = b.truncate(size, 2, b.let(size, b.peek(size)));
  b.f.scope(() => b.system('loadSegment', b.zeroExtend(2, 8, b.let(2, selector))));
  b.dropStack(size);
};

export const system: SemanticsTable = {
  [Mnemonic.Cpuid]: routine('cpuid'),
  [Mnemonic.Rdmsr]: routine('rdmsr'),
  [Mnemonic.Wrmsr]: routine('wrmsr'),
  [Mnemonic.Rdtsc]: routine('rdtsc'),
  [Mnemonic.Rdtscp]: routine('rdtscp'),
  [Mnemonic.Rdpmc]: routine('rdpmc'),
  [Mnemonic.Hlt]: routine('hlt'),
  [Mnemonic.In]: routine('in'),
  [Mnemonic.Out]: routine('out'),
  [Mnemonic.Vmmcall]: routine('vmmcall'),
  ...each(routine('vmgexit'), 'Vmgexit'),
  ...each(routine('wbinvd'), 'Wbinvd Wbnoinvd'),
  [Mnemonic.Invd]: routine('invd'),
  [Mnemonic.Invlpg]: withAddress('invlpg'),
  [Mnemonic.Clts]: routine('clts'),
  [Mnemonic.Lmsw]: withValue('lmsw', 0),
  [Mnemonic.Smsw]: intoOperand('smsw'),
  [Mnemonic.Lgdt]: withAddress('lgdt'),
  [Mnemonic.Lidt]: withAddress('lidt'),
  [Mnemonic.Sgdt]: withAddress('sgdt'),
  [Mnemonic.Sidt]: withAddress('sidt'),
  [Mnemonic.Lldt]: withValue('lldt', 0),
  [Mnemonic.Ltr]: withValue('ltr', 0),
  [Mnemonic.Sldt]: intoOperand('sldt'),
  [Mnemonic.Str]: intoOperand('str'),
  [Mnemonic.Swapgs]: routine('swapgs'),
  [Mnemonic.Syscall]: routine('syscall'),
  ...each(routine('sysret'), 'Sysret Sysretq'),
  ...each(routine('iret'), 'Iret Iretd Iretq'),
  ...each(routine('farReturn'), 'Retf'),
  [Mnemonic.Int]: routine('int'),
  [Mnemonic.Int3]: routine('int3'),
  [Mnemonic.Int1]: routine('int1'),
  [Mnemonic.Into]: routine('into'),
  [Mnemonic.Cli]: routine('cli'),
  [Mnemonic.Sti]: routine('sti'),
  ...each(routine('pushf'), 'Pushf Pushfd Pushfq'),
  ...each(routine('popf'), 'Popf Popfd Popfq'),
  [Mnemonic.Clac]: routine('clac'),
  [Mnemonic.Stac]: routine('stac'),
  [Mnemonic.Rdrand]: intoOperand('rdrand'),
  [Mnemonic.Rdseed]: intoOperand('rdseed'),
  [Mnemonic.Pause]: routine('pause'),
  ...each(routine('monitor'), 'Monitor Monitorx'),
  ...each(routine('mwait'), 'Mwait Mwaitx'),
  ...each(routine('svm'), 'Vmrun Vmload Vmsave Stgi Clgi Skinit Invlpga'),
  [Mnemonic.Enter]: routine('enter'),
  ...each(routine('invalidOpcode'), 'Ud0 Ud1 Ud2 INVALID'),
};
