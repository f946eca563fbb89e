// Changes of privilege in 64-bit mode: SYSCALL, SYSRET, IRETQ and SWAPGS. APM vol. 2, 6.1 (fast system calls), 8.9.3 (returns); vol. 3. What
// is rare (other modes, calls that are stepped through, events that wait, segments out of the ordinary) is a routine's.

import { Vector } from '../../arch/exception.ts';
import { ExitCode } from '../../arch/exit-code.ts';
import { Cr0, Cr4, Efer, Rflags, SegmentAttribute as A } from '../../arch/registers.ts';
import { Gpr, Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import type { I32, Label } from '../../wasm/function.ts';
import type { Emitter, Value } from '../emitter.ts';
import { each } from './move.ts';
import type { Semantics, SemanticsTable } from './table.ts';

const CODE_64 = A.P | A.S | A.CODE | A.WRITABLE | A.ACCESSED | A.L | A.G; // readable code
const DATA = A.P | A.S | A.WRITABLE | A.ACCESSED | A.DB | A.G;
/** Bits of RFLAGS that State.RFLAGS keeps, RF and VM aside: they are never restored here. */
const KEPT = Rflags.TF | Rflags.IF | Rflags.DF | Rflags.IOPL | Rflags.NT | Rflags.AC | Rflags.VIF | Rflags.VIP | Rflags.ID;

/** The context of a privilege once RFLAGS are `flags` (Contexts.select); 0: it is not made yet. */
function contextOf(b: Emitter, cpl: 0 | 3, flags: I32): I32 {
  const { i32 } = b.f;
  const context = (kind: 0 | 1 | 2 | 3): I32 => b.state32(State.CONTEXTS + 4 * kind);
  // CR0.AM and RFLAGS.AC are the same bit.
  if (cpl === 3) return i32.select(i32.and(i32.and(flags, b.state32(State.CR0)), b.f.const32(Cr0.AM)), context(3), context(1));
  const open = i32.and(i32.shl(flags, b.f.const32(SMAP_BIT - AC_BIT)), i32.and(b.state32(State.CR4), b.f.const32(Cr4.SMAP)));
  return i32.select(open, context(2), context(0));
}
/** Places of RFLAGS.AC and CR4.SMAP. */
const AC_BIT = 18;
const SMAP_BIT = 21;

function setRflags(b: Emitter, value: I32): void {
  const { i32 } = b.f;
  b.setStatusFlags(value);
  b.setState32(State.RFLAGS, i32.or(i32.and(value, b.f.const32(KEPT)), b.f.const32(Rflags.ALWAYS_1)));
}

/** A flat segment of 4 GiB. */
function setFlat(b: Emitter, segment: Segment, selector: I32, attributes: number): void {
  const at = segmentAt(segment);
  b.setState32(at, b.f.i32.or(b.f.i32.and(selector, b.f.const32(0xffff)), b.f.const32(attributes << 16)));
  b.setState32(at + SegmentPart.LIMIT, b.f.const32(-1));
  b.setState64(at + SegmentPart.BASE, b.f.const64(0n));
}

const requireSce = (b: Emitter): void =>
  b.f.if(b.f.i32.eqz(b.f.i32.and(b.state32(State.EFER), b.f.const32(Efer.SCE))), () => b.fault(Vector.UD, 0));

/** STAR holds the selectors, LSTAR the target; RCX gets RIP, R11 RFLAGS. */
const syscall: Semantics = (b) => {
  if (b.form.mode !== 64) return b.system('syscall');
  const { f } = b;
  const { i32 } = f;
  requireSce(b);
  f.if(i32.and(b.state32(State.RFLAGS), f.const32(Rflags.TF)), () => b.system('beforeSyscall'));
  const flags = f.let32(i32.or(i32.and(b.state32(State.RFLAGS), f.const32(~Rflags.RF)), b.statusFlags()));
  const kept = f.let32(i32.and(flags, i32.not(b.state32(State.SFMASK))));
  f.if(i32.eqz(contextOf(b, 0, kept)), () => b.system('readyContexts'));
  b.setGpr(8, Gpr.RCX, b.nextRip() as Value);
  b.setGpr(8, 11, f.extendU(flags) as Value);
  const selector = f.let32(i32.and(b.state32(State.STAR + 4), f.const32(0xfffc)));
  setFlat(b, Segment.CS, selector, CODE_64);
  setFlat(b, Segment.SS, i32.add(selector, f.const32(8)), DATA);
  b.setState32(State.CPL, f.const32(0));
  setRflags(b, kept);
  b.setState32(State.CONTEXT, contextOf(b, 0, kept));
  b.enter(b.state64(State.LSTAR));
};

/** The target is not checked: one that is not canonical is #GP at its first fetch, at CPL 3. Only the selector of SS changes. */
const sysret: Semantics = (b) => {
  if (b.form.mode !== 64 || b.form.operandSize !== 8) return b.system('sysret');
  const { f } = b;
  const { i32 } = f;
  requireSce(b);
  f.if(b.state32(State.CPL), () => b.fault(Vector.GP, 0));
  const flags = f.let32(b.gpr(4, 11));
  const stepped = i32.and(i32.or(flags, b.state32(State.RFLAGS)), f.const32(Rflags.TF));
  f.if(i32.or(stepped, b.state32(State.WAITING)), () => b.system('beforeSysret'));
  f.if(i32.eqz(contextOf(b, 3, flags)), () => b.system('readyContexts'));
  const selector = f.let32(i32.and(i32.shrU(b.state32(State.STAR + 4), f.const32(16)), f.const32(0xfffc)));
  setFlat(b, Segment.CS, i32.or(i32.add(selector, f.const32(16)), f.const32(3)), CODE_64 | A.DPL);
  const ss = segmentAt(Segment.SS);
  const selectorOfSs = i32.and(i32.or(i32.add(selector, f.const32(8)), f.const32(3)), f.const32(0xffff));
  b.setState32(ss, i32.or(i32.and(b.state32(ss), f.const32(0xffff_0000 | 0)), selectorOfSs));
  b.setState32(State.CPL, f.const32(3));
  setRflags(b, flags);
  b.setState32(State.CONTEXT, contextOf(b, 3, flags));
  b.enter(b.gpr(8, Gpr.RCX));
};

/** Bits of the upper half of a descriptor, as they must be for the short way of IRETQ. */
const Raw = {
  ACCESSED: 1 << 8,
  WRITABLE: 1 << 9,
  CONFORMING: 1 << 10,
  CODE: 1 << 11,
  S: 1 << 12,
  P: 1 << 15,
  L: 1 << 21,
  DB: 1 << 22,
  G: 1 << 23,
};
const DPL_SHIFT = 13;
const RETURN_CODE = Raw.P | Raw.S | Raw.CODE | Raw.L | Raw.ACCESSED;
const RETURN_CODE_MASK = RETURN_CODE | Raw.DB | Raw.CONFORMING | (3 << DPL_SHIFT);
const RETURN_STACK = Raw.P | Raw.S | Raw.WRITABLE | Raw.ACCESSED;
const RETURN_STACK_MASK = RETURN_STACK | Raw.CODE | (3 << DPL_SHIFT);

/**
 * The end of every exception handler: from CPL 0 to 64-bit mode, with ordinary segments of the GDT. Where anything about it is unusual nothing
 * has changed, and the routine does all of it.
 */
const iretq: Semantics = (b) => {
  if (b.form.mode !== 64 || b.form.operandSize !== 8) return b.system('iret');
  b.f.block((unusual) => within64(b, unusual));
  b.system('iret');
};

function within64(b: Emitter, unusual: Label): void {
  const { f } = b;
  const { i32, i64 } = f;
  const unless = (condition: I32): void => f.brIf(unusual, i32.eqz(condition));
  const otherwise = (): void => f.br(unusual);
  const intercept = i32.and(b.state32(State.INTERCEPTS + 4 * (ExitCode.IRET >> 5)), f.const32(1 << (ExitCode.IRET & 31)));
  const nested = i32.and(b.state32(State.RFLAGS), f.const32(Rflags.NT));
  f.brIf(unusual, i32.or(i32.or(intercept, nested), i32.or(b.state32(State.CPL), b.state32(State.WAITING))));
  // Descriptors are read with the rights of the processor: those of this context, unless SMAP is suspended.
  unless(i32.eq(b.state32(State.CONTEXT), b.state32(State.CONTEXTS)));

  const frame = f.let32(b.hostAddress(b.gpr(8, Gpr.RSP), 40, false, otherwise));
  const rip = f.let64(f.load64(frame, 0));
  const cs = f.let32(f.loadU16(frame, 8));
  const image = f.let32(f.load32(frame, 16));
  const rsp = f.let64(f.load64(frame, 24));
  const ss = f.let32(f.loadU16(frame, 32));
  const cpl = f.let32(i32.and(cs, f.const32(3)));
  const sixteen = f.const64(16n);
  unless(i64.eq(i64.shrS(i64.shl(rip, sixteen), sixteen), rip));
  f.brIf(unusual, i32.and(image, f.const32(Rflags.TF | Rflags.AC | Rflags.VM)));

  const code = descriptor(b, cs, RETURN_CODE_MASK, RETURN_CODE, unusual);
  const stackLow = f.local32();
  const stackHigh = f.local32();
  unless(i32.eq(i32.and(ss, f.const32(3)), cpl));
  f.if(
    i32.and(ss, f.const32(0xfffc)),
    () => {
      const stack = descriptor(b, ss, RETURN_STACK_MASK, RETURN_STACK, unusual);
      f.set(stackLow, stack.low);
      f.set(stackHigh, stack.high);
    },
    () => {
      // A null SS exists below CPL 3 only.
      f.brIf(unusual, i32.eq(cpl, f.const32(3)));
      f.set(stackLow, f.const32(0));
      f.set(stackHigh, f.const32(0));
    },
  );
  // CPL 1 and 2 are hardly used.
  f.brIf(unusual, i32.and(i32.add(cpl, f.const32(1)), f.const32(2)));
  const user = f.let32(i32.eq(cpl, f.const32(3)));
  // Data segments that CPL 3 may not use would become null.
  f.brIf(unusual, i32.and(user, innerSegments(b)));
  const context = f.let32(i32.select(user, contextOf(b, 3, image), contextOf(b, 0, image)));
  unless(context);

  setDescriptor(b, Segment.CS, cs, code.low, code.high);
  f.if(
    i32.and(ss, f.const32(0xfffc)),
    () => setDescriptor(b, Segment.SS, ss, stackLow.get, stackHigh.get),
    () => {
      b.setState64(segmentAt(Segment.SS), f.extendU(ss));
      b.setState64(segmentAt(Segment.SS) + SegmentPart.BASE, f.const64(0n));
    },
  );
  b.setState32(State.CPL, cpl);
  b.setGpr(8, Gpr.RSP, rsp as Value);
  b.setState32(State.NMI_BLOCKED, f.const32(0));
  b.setState32(State.RESUME_AT, i32.select(i32.and(image, f.const32(Rflags.RF)), b.budget(), f.const32(-1)));
  setRflags(b, image);
  b.setState32(State.CONTEXT, context);
  b.enter(rip);
}

type Halves = { readonly low: I32; readonly high: I32 };

/** The descriptor of a selector in the GDT, with the selector's RPL as its DPL and bits as they usually are. */
function descriptor(b: Emitter, selector: I32, mask: number, bits: number, unusual: Label): Halves {
  const { f } = b;
  const { i32, i64 } = f;
  const gdtr = segmentAt(Segment.GDTR);
  const index = f.let32(i32.and(selector, f.const32(0xfff8)));
  f.brIf(unusual, i32.or(i32.eqz(index), i32.and(selector, f.const32(4))));
  f.brIf(unusual, i32.gtU(i32.add(index, f.const32(7)), b.state32(gdtr + SegmentPart.LIMIT)));
  const address = i64.add(b.state64(gdtr + SegmentPart.BASE), f.extendU(index));
  const at = f.let32(b.hostAddress(address, 8, false, () => f.br(unusual)));
  const low = f.let32(f.load32(at, 0));
  const high = f.let32(f.load32(at, 4));
  const wanted = i32.or(i32.shl(i32.and(selector, f.const32(3)), f.const32(DPL_SHIFT)), f.const32(bits));
  f.brIf(unusual, i32.ne(i32.and(high, f.const32(mask)), wanted));
  return { low, high };
}

/** Loads a segment register from a descriptor (4.7.1, 4.8.1). */
function setDescriptor(b: Emitter, segment: Segment, selector: I32, low: I32, high: I32): void {
  const { f } = b;
  const { i32 } = f;
  const at = segmentAt(segment);
  const type = i32.and(i32.shrU(high, f.const32(8)), f.const32(0xff));
  const attributes = i32.or(type, i32.and(i32.shrU(high, f.const32(12)), f.const32(0xf00)));
  b.setState32(at, i32.or(selector, i32.shl(attributes, f.const32(16))));
  const limit = f.let32(i32.or(i32.and(low, f.const32(0xffff)), i32.and(high, f.const32(0xf_0000))));
  const pages = i32.or(i32.shl(limit, f.const32(12)), f.const32(0xfff));
  b.setState32(at + SegmentPart.LIMIT, i32.select(i32.and(high, f.const32(Raw.G)), pages, limit));
  const base = i32.or(i32.shrU(low, f.const32(16)), i32.shl(i32.and(high, f.const32(0xff)), f.const32(16)));
  b.setState64(at + SegmentPart.BASE, f.extendU(i32.or(base, i32.and(high, f.const32(0xff00_0000 | 0)))));
}

/** Is any data segment present with a DPL below 3? */
function innerSegments(b: Emitter): I32 {
  const { f } = b;
  const { i32 } = f;
  const present = A.P << 16;
  return [Segment.ES, Segment.DS, Segment.FS, Segment.GS]
    .map((segment) => i32.and(b.state32(segmentAt(segment)), f.const32((A.P | A.DPL) << 16)))
    .map((bits) => i32.ltU(i32.sub(bits, f.const32(present)), f.const32(A.DPL << 16)))
    .reduce((any, one) => i32.or(any, one));
}

const swapgs: Semantics = (b) => {
  if (b.form.mode !== 64) return b.fault(Vector.UD, 0);
  const { f } = b;
  const gs = segmentAt(Segment.GS) + SegmentPart.BASE;
  f.if(b.state32(State.CPL), () => b.fault(Vector.GP, 0));
  const base = f.let64(b.state64(gs));
  b.setState64(gs, b.state64(State.KERNEL_GS_BASE));
  b.setState64(State.KERNEL_GS_BASE, base);
};

export const privilege: SemanticsTable = {
  ...each(syscall, 'Syscall'),
  ...each(sysret, 'Sysret Sysretq'),
  ...each(iretq, 'Iret Iretd Iretq'),
  ...each(swapgs, 'Swapgs'),
};
