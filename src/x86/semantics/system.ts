// System instructions. What they do stands in TypeScript (src/cpu/system/): these entries say which routine, and with what
// operand. An operand is the value, or the linear address of a memory operand that the routine reads or writes itself.

import { Mnemonic } from 'iced-x86';
import { Vector } from '../../arch/exception.ts';
import { ExitCode } from '../../arch/exit-code.ts';
import { Cr0, Cr4, Rflags } from '../../arch/registers.ts';
import { Gpr, Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import type { Emitter, SystemRoutine, Value } from '../emitter.ts';
import type { I32 } from '../../wasm/function.ts';
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

/** #GP(0) above CPL 0 comes before any fault of the operand. */
const kernelOnly =
  (semantics: Semantics): Semantics =>
  (b) => {
    b.f.if(b.state32(State.CPL), () => b.fault(Vector.GP, 0));
    semantics(b);
  };

/** #UD in real and virtual-8086 mode comes before anything else, the mode's own CPL included. */
export const protectedOnly =
  (semantics: Semantics): Semantics =>
  (b) => {
    const { i32 } = b.f;
    const enabled = i32.and(b.state32(State.CR0), b.f.const32(Cr0.PE));
    // Long mode has no virtual-8086 mode.
    const virtual = b.form.mode === 64 ? b.f.const32(0) : i32.and(b.state32(State.RFLAGS), b.f.const32(Rflags.VM));
    b.f.if(i32.or(i32.eqz(enabled), virtual), () => b.fault(Vector.UD, 0));
    semantics(b);
  };

/** A pseudo-descriptor in memory: the address of the limit, and in State.OPERAND that of the base, whose offset wraps by itself. */
const withTable =
  (name: 'lgdt' | 'lidt' | 'sgdt' | 'sidt'): Semantics =>
  (b) => {
    const limit = b.f.let64(b.address(undefined, b.form.writesMemory, 2));
    b.setState64(State.OPERAND, b.address(b.f.const64(2n), b.form.writesMemory, b.form.mode === 64 ? 8 : 4));
    b.system(name, limit);
  };

/** A far pointer in memory: the address of its offset, and in State.OPERAND that of its selector. */
export const throughPointer =
  (name: 'farJump' | 'farCall'): Semantics =>
  (b) => {
    const size = b.form.memoryBytes - 2;
    const offset = b.f.let64(b.address(undefined, false, size));
    b.setState64(State.OPERAND, b.address(b.f.const64(BigInt(size)), false, 2));
    b.system(name, offset);
  };

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

/** A control or debug register that may be read is read like any other. */
const moveOut =
  (name: SystemRoutine): Semantics =>
  (b) => {
    b.system(name);
    b.write(0, b.truncate(b.size(1), b.size(0), b.let(b.size(1), b.read(1))));
  };

/** Is the intercept of an exit code set (15.9)? */
const intercepted = (b: Emitter, code: number): I32 =>
  b.f.i32.and(b.state32(State.INTERCEPTS + 4 * (code >> 5)), b.f.const32(1 << (code & 31)));

/** The routine has a fault or an exit for it, if any control register is intercepted, too. */
const movFromCr: Semantics = (b) => {
  const anyRead = b.f.i32.and(b.state32(State.INTERCEPTS), b.f.const32(0xffff));
  b.f.if(b.f.i32.or(b.state32(State.CPL), anyRead), () => b.system('movFromCr'));
  b.write(0, b.truncate(b.size(1), b.size(0), b.let(b.size(1), b.read(1))));
};

/** TLBs are coherent: nothing is left to do but to refuse. */
const invlpg: Semantics = (b) => {
  const address = b.f.let64(b.address());
  b.f.if(b.f.i32.or(b.state32(State.CPL), intercepted(b, ExitCode.INVLPG)), () => b.system('invlpg', address));
};

/** At CPL 0 nothing forbids it, whatever the mode. */
const cli: Semantics = (b) => {
  b.f.if(
    b.state32(State.CPL),
    () => b.system('cli'),
    () => b.setState32(State.RFLAGS, b.f.i32.and(b.state32(State.RFLAGS), b.f.const32(~Rflags.IF))),
  );
};

/** In 64-bit mode IOPL does not matter to it. */
const pushf: Semantics = (b) => {
  if (b.form.mode !== 64) return b.system('pushf');
  const { f } = b;
  f.if(intercepted(b, ExitCode.PUSHF), () => b.system('pushf'));
  const size = b.form.operandSize;
  const image = f.let32(f.i32.or(f.i32.and(b.state32(State.RFLAGS), f.const32(~(Rflags.VM | Rflags.RF))), b.statusFlags()));
  b.push(size, b.zeroExtend(4, size, b.truncate(4, size, image as Value)));
};

/** In 64-bit mode, at CPL 0, where no event, single step or other context follows from it; the routine does the rest. */
const popf: Semantics = (b) => {
  const { f } = b;
  const { i32 } = f;
  const size = b.form.operandSize;
  if (b.form.mode !== 64 || size !== 8) return b.system('popf');
  f.block((unusual) => {
    f.brIf(unusual, i32.or(i32.or(b.state32(State.CPL), b.state32(State.WAITING)), intercepted(b, ExitCode.POPF)));
    const image = f.let32(f.wrap(b.peek(8)));
    const other = i32.and(i32.xor(image, b.state32(State.RFLAGS)), f.const32(Rflags.AC));
    f.brIf(unusual, i32.or(other, i32.and(image, f.const32(Rflags.TF))));
    b.dropStack(8);
    b.setStatusFlags(image);
    const kept = i32.and(b.state32(State.RFLAGS), f.const32(~(POPPED | Rflags.RF)));
    b.setState32(State.RFLAGS, i32.or(kept, i32.and(image, f.const32(POPPED))));
    b.next();
  });
  b.system('popf');
};
/** What POPF may change at CPL 0, the status flags aside. */
const POPPED = Rflags.TF | Rflags.DF | Rflags.NT | Rflags.AC | Rflags.ID | Rflags.IOPL | Rflags.IF;

/** MOV between general and control, debug or segment registers shares its mnemonic with plain moves: the decoder tells them apart. */
export const specialMoves = {
  movFromCr,
  movToCr: withValue('movToCr', 1),
  movFromDr: moveOut('movFromDr'),
  movToDr: withValue('movToDr', 1),
  loadSegment: withValue('loadSegment', 1),
} as const;

/** POP into a segment register: the load checks, then the stack pointer moves. */
export const popSegment: Semantics = (b) => {
  const size = b.form.operandSize;
  const selector = b.truncate(size, 2, b.let(size, b.peek(size)));
  b.f.scope(() => b.system('loadSegment', b.zeroExtend(2, 8, b.let(2, selector))));
  b.dropStack(size);
  b.system('afterPopSegment');
};

/** SGDT, SIDT, SLDT, STR, SMSW above CPL 0 with CR4.UMIP: #GP(0). */
const unlessPrevented =
  (semantics: Semantics): Semantics =>
  (b) => {
    const { i32 } = b.f;
    const umip = i32.and(b.state32(State.CR4), b.f.const32(Cr4.UMIP));
    b.f.if(i32.select(b.state32(State.CPL), umip, b.f.const32(0)), () => b.fault(Vector.GP, 0));
    semantics(b);
  };

/** LAR, LSL: the destination changes only where ZF says that the selector could be looked at. */
const whereAccessible =
  (name: SystemRoutine): Semantics =>
  (b) => {
    b.f.scope(() => withValue(name, 1)(b));
    b.f.if(b.condition(EQUAL), () => b.write(0, b.truncate(8, b.size(0), b.result(8))));
  };
/** Condition code E. */
const EQUAL = 4;

/** RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE: at any CPL where CR4.FSGSBASE allows; 64-bit mode only, which the decoder sees to. */
const segmentBase =
  (segment: typeof Segment.FS | typeof Segment.GS, write: boolean): Semantics =>
  (b) => {
    const { f } = b;
    const size = b.size(0);
    const at = segmentAt(segment) + SegmentPart.BASE;
    f.if(f.i32.eqz(f.i32.and(b.state32(State.CR4), f.const32(Cr4.FSGSBASE))), () => b.fault(Vector.UD, 0));
    if (!write) return b.write(0, b.truncate(8, size, b.state64(at) as Value));
    const base = f.let64(b.zeroExtend(size, 8, b.let(size, b.read(0))));
    b.checkTarget(base);
    b.setState64(at, base);
  };

/** CLFLUSH and its kin are reads of their line as far as permissions go; where caches are coherent nothing else happens. */
const flushLine: Semantics = (b) => b.f.drop(b.loadAt(1, b.address()));

/** The same where a cache can hold a line that differs from memory. */
export const flushLineOf = (mnemonic: Mnemonic): Semantics => withAddress(mnemonic === Mnemonic.Clwb ? 'clwb' : 'clflush');

/** Clears the line of 64 bytes that rAX points into (AMD). */
const clzero: Semantics = (b) => {
  const { i64 } = b.f;
  const size = b.form.addressSize;
  const line = b.f.let64(i64.and(b.stringAddress('source', b.let(size, b.gpr(size, Gpr.RAX)), true, 1), b.f.const64(-64n)));
  for (let n = 0; n < 64; n += 8) b.storeAt(8, i64.add(line, b.f.const64(BigInt(n))), b.f.const64(0n) as Value);
};

/** A read of the byte that rAX points to, as far as permissions go. */
const monitor =
  (name: SystemRoutine): Semantics =>
  (b) => {
    const size = b.form.addressSize;
    b.system(name);
    b.f.drop(b.loadAt(1, b.stringAddress('source', b.let(size, b.gpr(size, Gpr.RAX)), false, 1)));
    b.setState32(State.MONITOR_ARMED, b.f.const32(1));
  };

/** #NM if MP and TS are set, #MF if an unmasked x87 exception is pending (FSW.ES). */
const wait: Semantics = (b) => {
  const { i32 } = b.f;
  const both = b.f.const32(Cr0.MP | Cr0.TS);
  b.f.if(i32.eq(i32.and(b.state32(State.CR0), both), both), () => b.fault(Vector.NM, 0));
  b.f.if(i32.and(b.state32(State.FCW), b.f.const32(FSW_ES << 16)), () => b.fault(Vector.MF, 0));
};
const FSW_ES = 0x80;

export const system: SemanticsTable = {
  [Mnemonic.Rdfsbase]: segmentBase(Segment.FS, false),
  [Mnemonic.Rdgsbase]: segmentBase(Segment.GS, false),
  [Mnemonic.Wrfsbase]: segmentBase(Segment.FS, true),
  [Mnemonic.Wrgsbase]: segmentBase(Segment.GS, true),
  ...each(flushLine, 'Clflush Clflushopt'),
  [Mnemonic.Clwb]: withAddress('clwb'),
  [Mnemonic.Clzero]: clzero,
  [Mnemonic.Wait]: wait,
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
  [Mnemonic.Invlpg]: invlpg,
  [Mnemonic.Clts]: routine('clts'),
  [Mnemonic.Lmsw]: kernelOnly(withValue('lmsw', 0)),
  [Mnemonic.Smsw]: unlessPrevented(intoOperand('smsw')),
  [Mnemonic.Lgdt]: kernelOnly(withTable('lgdt')),
  [Mnemonic.Lidt]: kernelOnly(withTable('lidt')),
  [Mnemonic.Sgdt]: unlessPrevented(withTable('sgdt')),
  [Mnemonic.Sidt]: unlessPrevented(withTable('sidt')),
  [Mnemonic.Lldt]: protectedOnly(kernelOnly(withValue('lldt', 0))),
  [Mnemonic.Ltr]: protectedOnly(kernelOnly(withValue('ltr', 0))),
  [Mnemonic.Sldt]: protectedOnly(unlessPrevented(intoOperand('sldt'))),
  [Mnemonic.Str]: protectedOnly(unlessPrevented(intoOperand('str'))),
  [Mnemonic.Lar]: protectedOnly(whereAccessible('lar')),
  [Mnemonic.Lsl]: protectedOnly(whereAccessible('lsl')),
  [Mnemonic.Verr]: protectedOnly(withValue('verr', 0)),
  [Mnemonic.Verw]: protectedOnly(withValue('verw', 0)),
  [Mnemonic.Rdpid]: intoOperand('rdpid'),
  [Mnemonic.Sysenter]: routine('sysenter'),
  ...each(routine('sysexit'), 'Sysexit Sysexitq'),
  ...each(routine('farReturn'), 'Retf'),
  [Mnemonic.Int]: routine('int'),
  [Mnemonic.Int3]: routine('int3'),
  [Mnemonic.Int1]: routine('int1'),
  [Mnemonic.Into]: routine('into'),
  [Mnemonic.Cli]: cli,
  [Mnemonic.Sti]: routine('sti'),
  ...each(pushf, 'Pushf Pushfd Pushfq'),
  ...each(popf, 'Popf Popfd Popfq'),
  [Mnemonic.Clac]: routine('clac'),
  [Mnemonic.Stac]: routine('stac'),
  [Mnemonic.Rdrand]: intoOperand('rdrand'),
  [Mnemonic.Rdseed]: intoOperand('rdseed'),
  [Mnemonic.Pause]: routine('pause'),
  [Mnemonic.Monitor]: monitor('monitor'),
  [Mnemonic.Monitorx]: monitor('monitorx'),
  [Mnemonic.Mwait]: routine('mwait'),
  [Mnemonic.Mwaitx]: routine('mwaitx'),
  [Mnemonic.Invpcid]: withAddress('invpcid'),
  [Mnemonic.Rdpkru]: routine('rdpkru'),
  [Mnemonic.Wrpkru]: routine('wrpkru'),
  ...each(routine('svm'), 'Vmrun Vmload Vmsave Stgi Clgi Skinit Invlpga'),
  [Mnemonic.Enter]: routine('enter'),
  ...each(routine('invalidOpcode'), 'Ud0 Ud1 Ud2 INVALID'),
};
