// Labels through routines of descriptors, privileges and ports.

import { Gpr, gprAt, Segment, SegmentPart, segmentAt, State } from '../memory/state.ts';
import { SystemResult, type SystemRoutine } from '../x86/emitter.ts';
import { loaded, RAX, RCX, RDX, readFlags, RSP, type Rule, writeFlags, writeLow } from './work.ts';

const RBP = gprAt(Gpr.RBP);
const R11 = gprAt(11);

/** TSC_AUX is what a program has written. */
const rdtscp: Rule = (w) => {
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  for (const at of [RAX, RDX]) w.write(at, 8, 0);
  writeLow(w, RCX, w.read(State.TSC_AUX, 4));
  return result;
};
const rdpid: Rule = (w) => {
  const result = w.call();
  writeLow(w, State.OPERAND, w.read(State.TSC_AUX, 4));
  return result;
};

/**
 * LAR, LSL, VERR, VERW: what they give, and ZF, is of the selector and the descriptor. The other flags stay; of the two words that flags are kept in
 * (x86/flags.ts) ZF has one to itself.
 */
const descriptor: Rule = (w) => {
  const before = readFlags(w);
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  const label = w.join(w.operand, loaded(w));
  w.write(State.OPERAND, 8, label);
  writeFlags(w, w.join(label, before));
  w.write(State.FLAG_RESULT, 8, label);
  return result;
};

const bases = [Segment.ES, Segment.CS, Segment.SS, Segment.DS, Segment.FS, Segment.GS].map((n) => segmentAt(n) + SegmentPart.BASE);

/** The base is now the descriptor's, and not what WRMSR or WRFSBASE left there. */
const loadSegment: Rule = (w) => {
  const before = bases.map((at) => w.p.u64(at));
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  const label = w.join(w.operand, loaded(w));
  for (const [n, at] of bases.entries()) if (w.p.u64(at) !== before[n]) w.write(at, 8, label);
  return result;
};

/** It pushes rBP, copies frame pointers, and pushes the new one, which is the stack pointer. */
const enter: Rule = (w) => {
  const old = w.read(RBP, 8);
  const top = w.read(RSP, 8);
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  const copied = w.loads.map(({ address, size }) => w.readMemory(address, size));
  for (const [n, { address, size }] of w.stores.entries()) w.writeMemory(address, size, n === 0 ? old : (copied[n - 1] ?? top));
  w.write(RBP, 8, w.p.form(w.record).operandSize === 2 ? w.join(old, top) : top);
  return result;
};

/** To another privilege, and so to another stack: from the task state segment, or popped. */
const transfer: Rule = (w) => {
  const { cpl } = w.p;
  const result = w.call();
  for (const { address, size } of w.stores) w.writeMemory(address, size, 0);
  if (result !== SystemResult.FAULT && w.p.cpl !== cpl) w.write(RSP, 8, loaded(w));
  return result;
};

/** Outside 64-bit mode, where semantics say it all. */
const syscall: Rule = (w) => {
  const flags = readFlags(w);
  const { longMode } = w.p;
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  w.write(RCX, 8, 0);
  if (longMode) writeLow(w, R11, flags);
  return result;
};
const sysret: Rule = (w) => {
  const flags = w.p.mode === 64 ? w.read(R11, 4) : readFlags(w);
  const branched = w.branching(w.read(RCX, 8));
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  branched();
  writeFlags(w, flags);
  return result;
};
const sysenter: Rule = (w) => {
  const result = w.call();
  if (result !== SystemResult.FAULT) w.write(RSP, 8, 0);
  return result;
};
const sysexit: Rule = (w) => {
  const stack = w.read(RCX, 4);
  const branched = w.branching(w.read(RDX, 4));
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  branched();
  writeLow(w, RSP, stack);
  return result;
};

/** A port without intercept: what the device says is the hypervisor's word. */
const input: Rule = (w) => {
  const size = w.p.form(w.record).operands[0]?.size ?? 4;
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  const label = w.hypervisor('a port');
  if (size < 4) w.write(RAX, size, label);
  else writeLow(w, RAX, label);
  return result;
};
const inputString: Rule = (w) => {
  const result = w.call();
  if (result === SystemResult.FAULT) return result;
  for (const { address, size } of w.stores) w.writeMemory(address, size, w.hypervisor('a port'));
  return result;
};

export const systemRules: Partial<Record<SystemRoutine, Rule>> = {
  rdtscp,
  rdpid,
  lar: descriptor,
  lsl: descriptor,
  verr: descriptor,
  verw: descriptor,
  loadSegment,
  loadPointerSegment: loadSegment,
  enter,
  farJump: transfer,
  farCall: transfer,
  farReturn: transfer,
  syscall,
  sysret,
  sysenter,
  sysexit,
  in: input,
  ins: inputString,
};
