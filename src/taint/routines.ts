// What system routines do to labels: semantics end where a routine begins. A rule says what a routine reads and writes; one that has none goes by what it
// was seen to do: everything that it changed depends on everything that it read.

import { Msr } from '../arch/msr.ts';
import { By } from '../cpu/processor.ts';
import { Gpr, gprAt, Segment, SegmentPart, segmentAt, State } from '../memory/state.ts';
import { SystemResult, type SystemRoutine } from '../x86/emitter.ts';
import { PRIVATE_BYTE } from '../x86/label-table.ts';
import { sseOperations } from '../x86/sse-operation.ts';
import { systemRules } from './system-routines.ts';
import { FLAGS_BYTES, loaded, type Noted, RAX, RBX, RCX, RDX, readFlags, RSP, type Rule, type Work, writeFlags, writeLow } from './work.ts';

/** x87 registers with their control, status and tag words and pointers. */
const X87_BYTES = State.MXCSR - State.X87;

/** Registers that it writes, of values that nobody has to be told about. */
const gives =
  (...registers: readonly number[]): Rule =>
  (w) => {
    const result = w.call();
    if (result !== SystemResult.FAULT) for (const at of registers) w.write(at, 8, 0);
    return result;
  };

/** It leaves a public value for the destination, or writes public values to memory. */
const tells: Rule = (w) => {
  const result = w.call();
  w.write(State.OPERAND, 8, 0);
  for (const { address, size } of w.stores) w.writeMemory(address, size, 0);
  return result;
};

const nothing: Rule = (w) => w.call();

/** Of a leaf that depends on something the answer does, too. */
const cpuid: Rule = (w) => {
  const label = w.join(w.read(RAX, 4), w.read(RCX, 4));
  const result = w.call();
  if (result === SystemResult.NEXT) for (const at of [RAX, RCX, RDX, RBX]) writeLow(w, at, label);
  return result;
};

const random: Rule = (w) => {
  const result = w.call();
  w.write(State.OPERAND, 8, PRIVATE_BYTE);
  writeFlags(w, 0);
  return result;
};

const divide: Rule = (w) => {
  const label = w.join(w.read(RAX, 8), w.read(RDX, 8), w.operand);
  const result = w.call();
  if (result !== SystemResult.NEXT) return result;
  w.write(RAX, 8, label);
  w.write(RDX, 8, label);
  return result;
};

/** Registers that programs keep addresses in. */
const msrFields: ReadonlyMap<number, number> = new Map([
  [Msr.FS_BASE, segmentAt(Segment.FS) + SegmentPart.BASE],
  [Msr.GS_BASE, segmentAt(Segment.GS) + SegmentPart.BASE],
  [Msr.KERNEL_GS_BASE, State.KERNEL_GS_BASE],
  [Msr.LSTAR, State.LSTAR],
  [Msr.TSC_AUX, State.TSC_AUX],
]);

const rdmsr: Rule = (w) => {
  const msr = w.p.gpr32(Gpr.RCX);
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  const label = msr === Msr.GHCB ? w.ghcbMsr() : 0;
  if (label !== 0) {
    writeLow(w, RAX, label);
    writeLow(w, RDX, label);
    return result;
  }
  const field = msr === Msr.GHCB ? State.GHCB : msrFields.get(msr);
  w.write(RAX, 8, 0);
  w.write(RDX, 8, 0);
  if (field === undefined) return result;
  w.copy(w.p.state + field, w.p.state + RAX, 4);
  w.copy(w.p.state + field + 4, w.p.state + RDX, 4);
  return result;
};

/** GHCBInfo of requests that carry a value of the guest's: the address of a GHCB, a CPUID function. */
const CARRIES: ReadonlyMap<number, number> = new Map([
  [0x000, 0xff],
  [0x004, 0xf0],
  [0x012, 0xff],
]);

const wrmsr: Rule = (w) => {
  const msr = w.p.gpr32(Gpr.RCX);
  const info = w.p.gpr32(Gpr.RAX) & 0xfff;
  const bytes = Array.from({ length: 8 }, (_, k) => w.read((k < 4 ? RAX : RDX) + (k & 3), 1));
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  const field = msr === Msr.GHCB ? State.GHCB : msrFields.get(msr);
  if (field === undefined) return result;
  for (const [k, label] of bytes.entries()) w.write(field + k, 1, label);
  if (msr !== Msr.GHCB) return result;
  w.wroteGhcbMsr();
  const asked = CARRIES.get(info) ?? 0;
  const leaked = bytes.filter((label, k) => (label & PRIVATE_BYTE) !== 0 && ((asked >> k) & 1) === 0).length;
  if (leaked > 0) w.leak(`WRMSR puts ${leaked} private ${leaked === 1 ? 'byte' : 'bytes'} into the GHCB MSR, which the hypervisor reads`);
  return result;
};

/** CR0.PG, CR3, CR4.PAE. */
const movToCr: Rule = (w) => {
  const result = w.call();
  if (result !== SystemResult.FAULT) w.paged();
  return result;
};

const vmgexit: Rule = (w) => {
  w.handOver();
  return w.call();
};

/** The frame of an interrupt: RIP, CS, RFLAGS, RSP, SS. Only 64-bit mode has RSP in each. */
const iret: Rule = (w) => {
  const { p } = w;
  const long = p.mode === 64 ? p.u64(RSP) : null;
  const slot = (n: number): number => (long === null ? 0 : p.load(long + BigInt(8 * n), 8, By.STACK));
  const [flags, rsp, rip] = [slot(2), slot(3), slot(0)];
  p.clearPending();
  const flagsLabel = flags === 0 ? null : w.readMemory(flags, 4);
  const rspLabel = rsp === 0 ? 0 : w.readMemory(rsp, 8);
  const branched = w.branching(rip === 0 ? 0 : w.readMemory(rip, 8));
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  branched();
  writeFlags(w, flagsLabel ?? loaded(w));
  if (flagsLabel !== null) w.write(RSP, 8, rspLabel);
  return result;
};

const pushf: Rule = (w) => {
  const label = readFlags(w);
  const result = w.call();
  for (const { address, size } of w.stores) {
    w.writeMemory(address, size, 0);
    w.writeMemory(address, 2, label);
  }
  return result;
};

const popf: Rule = (w) => {
  const result = w.call();
  const label = w.join(...w.loads.map(({ address, size }) => w.readMemory(address, Math.min(size, 4))));
  if (result !== SystemResult.FAULT) writeFlags(w, label);
  return result;
};

/** SSE that needs more than WebAssembly has: two operands into the destination, or into the flags, and MXCSR. */
const sseFloat: Rule = (w) => {
  const slot = w.p.operandSlot(w.record, 0);
  const width = slot >= State.XMM ? 16 : 8;
  const label = w.join(w.read(State.VECTOR_OPERAND, 16), w.read(slot, width));
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  if (comparisons.has(w.low)) writeFlags(w, label);
  else w.write(slot, width, label);
  w.write(State.MXCSR, 4, w.join(label, w.read(State.MXCSR, 4)));
  return result;
};
/** By number, as the routine is told. */
const comparisons: ReadonlySet<number> = new Set(
  (['comiss', 'ucomiss', 'comisd', 'ucomisd'] as const).map((name) => sseOperations.indexOf(name)),
);

/** PCMPxSTRx: an index or a mask, and all flags. */
const compareStrings =
  (to: number, lengths: boolean): Rule =>
  (w) => {
    const given = lengths ? [w.read(RAX, 8), w.read(RDX, 8)] : [];
    const label = w.join(w.read(State.VECTOR_OPERAND, 16), w.read(w.p.operandSlot(w.record, 0), 16), ...given);
    const result = w.call();
    if (result === SystemResult.FAULT) return result;
    if (to === RCX) writeLow(w, to, label);
    else w.write(to, 16, label);
    writeFlags(w, label);
    return result;
  };
const XMM0 = State.XMM;

/** The x87 as one thing: its registers turn, and are of eighty bits. */
const x87: Rule = (w) => {
  const operand = w.join(w.read(State.OPERAND, 8), w.operand);
  const result = w.call();
  const label = w.join(w.read(State.X87, X87_BYTES), operand, loaded(w));
  if (result === SystemResult.FAULT) return result;
  if (label !== 0) w.write(State.X87, X87_BYTES, label);
  for (const { address, size } of w.stores) w.writeMemory(address, size, label);
  return result;
};
/** FCOMI and FUCOMI write all flags. */
const x87Flags: Rule = (w) => {
  const result = x87(w);
  if (result !== SystemResult.FAULT) writeFlags(w, w.read(State.X87, X87_BYTES));
  return result;
};
/** FRSTOR: everything is from memory. */
const x87Restore: Rule = (w) => {
  const result = w.call();
  if (result !== SystemResult.FAULT) w.write(State.X87, X87_BYTES, loaded(w));
  return result;
};

/** Places in the area of FXSAVE and XSAVE (APM vol. 2, 11.4.4). */
const Area = { MXCSR: 24, X87: 32, X87_STEP: 16, XMM: 160, XSTATE_BV: 512 } as const;
const Component = { X87: 1, SSE: 2, ALL: 3 } as const;

/** Host address of a piece of the area; 0: it cannot be reached. */
const piece = (w: Work, offset: number, length: number): number => {
  const address = ((BigInt(w.high >>> 0) << 32n) | BigInt(w.low >>> 0)) + BigInt(offset);
  const at = w.p.load(address, length, w.p.byOperand(w.record));
  w.p.clearPending();
  return at;
};

/** The same, if the routine has stored it. */
const storedPiece = (w: Work, offset: number, stores: readonly Noted[], length = 16): number => {
  const at = piece(w, offset, length);
  return stores.some(({ address, size }) => at >= address && at < address + size) ? at : 0;
};

const saveArea: Rule = (w) => {
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  // One byte is a probe whether the area can be written.
  const stores = w.stores.filter(({ size }) => size > 1);
  for (const { address, size } of stores) w.writeMemory(address, size, 0);
  const x = w.read(State.X87, X87_BYTES);
  const words = storedPiece(w, 0, stores, Area.MXCSR);
  if (words !== 0) w.writeMemory(words, Area.MXCSR, x);
  const mxcsr = storedPiece(w, Area.MXCSR, stores, 4);
  if (mxcsr !== 0) w.copy(w.p.state + State.MXCSR, mxcsr, 4);
  for (let n = 0; n < 8; n++) {
    const at = storedPiece(w, Area.X87 + Area.X87_STEP * n, stores);
    if (at !== 0) w.writeMemory(at, 16, x);
  }
  for (let n = 0; n < 16; n++) {
    const at = storedPiece(w, Area.XMM + 16 * n, stores);
    if (at !== 0) w.copy(w.p.state + State.XMM + 16 * n, at, 16);
  }
  return result;
};

/** `header`: it says which components the area holds, and EAX which are wanted (XRSTOR); those that it lacks become zero. */
const restoreArea =
  (header: boolean): Rule =>
  (w) => {
    const { p } = w;
    const wanted = header ? p.gpr32(Gpr.RAX) : Component.ALL;
    const result = w.call();
    if (result === SystemResult.FAULT) return result;
    const bits = header ? piece(w, Area.XSTATE_BV, 8) : 0;
    const held = bits === 0 ? Component.ALL : p.view.getUint32(bits, true);
    if ((wanted & Component.X87) !== 0) {
      const places = (held & Component.X87) === 0 ? [] : [0, 1, 2, 3, 4, 5, 6, 7].map((n) => piece(w, Area.X87 + Area.X87_STEP * n, 16));
      w.write(State.X87, X87_BYTES, w.join(...places.map((at) => (at === 0 ? 0 : w.readMemory(at, 16)))));
    }
    if ((wanted & Component.SSE) === 0) return result;
    const mxcsr = piece(w, Area.MXCSR, 4);
    if (mxcsr !== 0) w.write(State.MXCSR, 4, w.join(w.read(State.MXCSR, 4), w.readMemory(mxcsr, 4)));
    for (let n = 0; n < (p.mode === 64 ? 16 : 8); n++) {
      const at = (held & Component.SSE) === 0 ? 0 : piece(w, Area.XMM + 16 * n, 16);
      if (at === 0) w.write(State.XMM + 16 * n, 16, 0);
      else w.copy(at, p.state + State.XMM + 16 * n, 16);
    }
    return result;
  };

/** By what it was seen to do. */
const REGISTERS = gprAt(16);
const seen: Rule = (w) => {
  const { p, record } = w;
  const { u8 } = p.memory;
  const before = u8.slice(p.state, p.state + State.MXCSR + 4);
  const named = [0, 1, 2].flatMap((n) => {
    const slot = p.operandSlot(record, n);
    return slot === 0 ? [] : [w.read(slot, slot >= State.XMM ? 16 : 8)];
  });
  const result = w.call();
  const label = w.join(w.operand, ...named, loaded(w));
  if (result === SystemResult.FAULT) return result;
  for (const { address, size } of w.stores) w.writeMemory(address, size, label);
  const changed = (at: number): boolean => before[at] !== u8[p.state + at];
  const follow = (from: number, to: number, step: number): void => {
    for (let at = from; at < to; at += step)
      for (let k = 0; k < step; k++)
        if (changed(at + k)) {
          w.write(at, step, label);
          break;
        }
  };
  follow(0, REGISTERS, 8);
  follow(State.FLAG_RESULT, State.FLAG_RESULT + FLAGS_BYTES, 8);
  follow(State.OPERAND, State.OPERAND + 8, 8);
  follow(State.XMM, State.XMM + 512, 16);
  follow(State.X87, State.X87 + X87_BYTES, 8);
  return result;
};

const same = (rule: Rule, names: string): Partial<Record<SystemRoutine, Rule>> =>
  Object.fromEntries(names.split(' ').map((name) => [name, rule])) as Partial<Record<SystemRoutine, Rule>>;

/** Routines by name; what is not here is `seen`. */
export const rules: Partial<Record<SystemRoutine, Rule>> = {
  ...systemRules,
  cpuid,
  rdmsr,
  wrmsr,
  vmgexit,
  movToCr,
  iret,
  pushf,
  popf,
  ...same(random, 'rdrand rdseed'),
  ...same(divide, 'div128 idiv128'),
  rdtsc: gives(RAX, RDX),
  rdpmc: gives(RAX, RDX),
  xgetbv: gives(RAX, RDX),
  rdpkru: gives(RAX, RDX),
  ...same(tells, 'movFromCr movFromDr smsw sldt str sgdt sidt'),
  ...same(
    nothing,
    'invalidOpcode notImplemented hlt vmmcall wbinvd invd invlpg movToDr clts lmsw lgdt lidt lldt ltr cli sti clac stac pause monitor mwait svm xsetbv clflush clwb invpcid wrpkru monitorx mwaitx beforeSyscall beforeSysret readyContexts afterPopSegment out outs int int3 int1 into',
  ),
  sseFloat,
  pcmpestri: compareStrings(RCX, true),
  pcmpestrm: compareStrings(XMM0, true),
  pcmpistri: compareStrings(RCX, false),
  pcmpistrm: compareStrings(XMM0, false),
  ...same(x87Flags, 'fcomi fucomi'),
  frstor: x87Restore,
  ...same(
    x87,
    'fld fbld fst fist fisttp fbstp fstpnce fxch fcmov fldConstant fadd fsub fsubr fmul fdiv fdivr fsqrt fabs fchs frndint fscale fxtract fprem fprem1 fcom fucom ftst fxam f2xm1 fyl2x fyl2xp1 fsin fcos fsincos fptan fpatan ffree fincstp fdecstp fnop finit fclex fldcw fstenv fldenv fsave',
  ),
  ...same(saveArea, 'fxsave fxsave64 xsave xsave64 xsaveopt xsaveopt64 xsavec xsavec64 xsaves xsaves64'),
  ...same(restoreArea(false), 'fxrstor fxrstor64'),
  ...same(restoreArea(true), 'xrstor xrstor64 xrstors xrstors64'),
};

export const ruleOf = (routine: SystemRoutine): Rule => rules[routine] ?? seen;
