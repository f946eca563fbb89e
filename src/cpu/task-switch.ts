// Hardware task switches: APM vol. 2, 12.2.4 (TSS), 12.3, 12.4. Everything that can fault in the outgoing task comes first; from then on
// faults are the new task's, which has its registers but perhaps not all of its segments. An exit in that second part undoes the
// switch, so that a hypervisor sees all of it or nothing. The intercept comes once the incoming TSS was found good (15.14.1).

import { ExitCode } from '../arch/exit-code.ts';
import { Vector } from '../arch/exception.ts';
import { Cr0, Rflags, SegmentAttribute as A } from '../arch/registers.ts';
import { gprAt, Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';
import { Dr6 } from './breakpoints.ts';
import { By, NO_FAULT, type Processor } from './processor.ts';
import { type Descriptor, DescriptorType as Type, readDescriptor, setType } from './segmentation.ts';
import { isTss16, presentStack, push, usePointer } from './stack-frame.ts';
import { loadTaskSegments } from './task-segments.ts';

/** What asks for a task switch. */
export const TaskSwitch = { JUMP: 0, CALL: 1, INTERRUPT: 2, RETURN: 3 } as const;
export type TaskSwitch = (typeof TaskSwitch)[keyof typeof TaskSwitch];

/** EXITINFO2 of an intercepted task switch. */
const Info2 = { BY_IRET: 1n << 36n, BY_JUMP: 1n << 38n, HAS_ERROR_CODE: 1n << 44n, RF: 1n << 48n } as const;

/** Bit 1 of the type of a TSS descriptor, in the upper half. */
const BUSY = 1 << 9;
/** Local enables of DR7, which end with the task. */
const DR7_LOCAL = 0x155;
/** Words of the state block that a task switch can change: those before the first that is not a register. */
const REGISTER_WORDS = State.INTERCEPTS >>> 2;
/** In the order of the TSS. */
const SEGMENTS = [Segment.ES, Segment.CS, Segment.SS, Segment.DS, Segment.FS, Segment.GS] as const;

/** Where the fields of a TSS are, and how wide. The smallest limit that a TSS may have is its size less one (12.2.4). */
type Layout = {
  readonly size: 2 | 4;
  readonly limit: number;
  readonly cr3: number;
  readonly ip: number;
  readonly flags: number;
  readonly gprs: number;
  readonly segments: number;
  readonly segmentCount: number;
  readonly ldt: number;
};
// biome-ignore format: a table
const tss32: Layout = { size: 4, limit: 0x67, cr3: 0x1c, ip: 0x20, flags: 0x24, gprs: 0x28, segments: 0x48, segmentCount: 6, ldt: 0x60 };
// biome-ignore format: a table
const tss16: Layout = { size: 2, limit: 0x2b, cr3: -1, ip: 0x0e, flags: 0x10, gprs: 0x12, segments: 0x22, segmentCount: 4, ldt: 0x2a };

/** What a TSS holds of a task. */
export type Task = {
  readonly cr3: number;
  readonly ip: number;
  readonly flags: number;
  readonly gprs: readonly number[];
  readonly segments: readonly number[];
  readonly ldt: number;
  readonly trap: boolean;
};

/**
 * Switches to the task of a TSS selector. State.RIP is where the old one goes on; `rf` is set in its image of RFLAGS; an error code (not
 * below 0) goes on the new task's stack. False: a fault or exit is recorded; p.inNewTask tells whose fault it is.
 */
export function switchTask(p: Processor, selector: number, by: TaskSwitch, errorCode = -1, rf = 0): boolean {
  const d = incoming(p, selector, by);
  if (!d) return false;
  const layout = isTss16(d.attributes) ? tss16 : tss32;
  if (d.limit < layout.limit) {
    refuse(p, Vector.TS, selector);
    return false;
  }
  if (p.intercepted(ExitCode.TASK_SWITCH)) {
    p.exit(ExitCode.TASK_SWITCH, BigInt(selector), information2(p, by, errorCode, rf));
    return false;
  }
  const old = outgoing(p);
  const task = old && readTask(p, d, layout);
  if (!old || !task) return false;
  const nests = by === TaskSwitch.CALL || by === TaskSwitch.INTERRUPT;
  const leaves = by === TaskSwitch.JUMP || by === TaskSwitch.RETURN;
  // Bytes that will be written: after this nothing of the old task can fault.
  if (!p.canStore(old.tss + BigInt(old.layout.ip), old.layout.size, By.PROCESSOR)) return false;
  if (!p.canStore(old.tss + BigInt(old.layout.ldt - 1), 1, By.PROCESSOR)) return false;
  if (nests && !p.canStore(d.base, 2, By.PROCESSOR)) return false;
  if (leaves && !p.canStore(old.descriptor + 5n, 1, By.PROCESSOR)) return false;
  if (by !== TaskSwitch.RETURN && !p.canStore(d.address + 5n, 1, By.PROCESSOR)) return false;

  const before = p.i32.slice(p.state >>> 2, (p.state >>> 2) + REGISTER_WORDS);
  const from = p.selector(Segment.TR);
  if (!saveTask(p, old, by === TaskSwitch.RETURN ? p.rflags & ~Rflags.NT : p.rflags | rf)) return false;
  const marked =
    (!nests || p.write(d.base, 2, BigInt(from), By.PROCESSOR)) &&
    (!leaves || setType(p, old.descriptor, BUSY, 0)) &&
    (by === TaskSwitch.RETURN || setType(p, d.address, 0, BUSY));
  if (!marked) return false;

  const alreadyNew = p.inNewTask;
  p.inNewTask = true;
  p.enteredHandler = true;
  p.setSegment(Segment.TR, selector, d.attributes | 2, d.limit, d.base);
  enterTask(p, task, layout, nests);
  if (loadTaskSegments(p, task) && pushErrorCode(p, layout.size, errorCode)) {
    if (task.trap) p.breakpoints.pending |= Dr6.BT;
    return true;
  }
  if ((p.u32(State.FAULT_VECTOR) | 0) === NO_FAULT) {
    // An exit: back to before the switch. What was written to the old TSS is written anew when the guest comes here again.
    p.i32.set(before, p.state >>> 2);
    p.inNewTask = alreadyNew;
    p.settle();
    if (leaves) setType(p, old.descriptor, 0, BUSY);
    if (by !== TaskSwitch.RETURN) setType(p, d.address, BUSY, 0);
  }
  return false;
}

function refuse(p: Processor, vector: number, selector: number): undefined {
  p.fault(vector, selector & 0xfffc);
  return undefined;
}

/** The incoming TSS: available, or for IRET busy. Its selector comes from a far pointer, a task gate, or the link of the present TSS. */
function incoming(p: Processor, selector: number, by: TaskSwitch): Descriptor | undefined {
  const back = by === TaskSwitch.RETURN;
  const wrong = back ? Vector.TS : Vector.GP;
  if ((selector & 4) !== 0 || (selector & 0xfffc) === 0) return refuse(p, wrong, selector);
  const d = readDescriptor(p, selector, wrong);
  if (!d) return undefined;
  const type = d.attributes & (A.S | A.TYPE);
  const good = back ? type === Type.TSS_BUSY || type === Type.TSS_16_BUSY : type === Type.TSS_AVAILABLE || type === Type.TSS_16_AVAILABLE;
  if (!good) return refuse(p, wrong, selector);
  if ((d.attributes & A.P) === 0) return refuse(p, Vector.NP, selector);
  return d;
}

type Outgoing = { readonly tss: bigint; readonly layout: Layout; readonly descriptor: bigint };

/** The present TSS, which must have room for what is saved. */
function outgoing(p: Processor): Outgoing | undefined {
  const tr = segmentAt(Segment.TR);
  const layout = isTss16(p.attributes(Segment.TR)) ? tss16 : tss32;
  const selector = p.selector(Segment.TR);
  if (p.u32(tr + SegmentPart.LIMIT) < layout.ldt - 1) return refuse(p, Vector.TS, selector);
  const descriptor = p.u64(segmentAt(Segment.GDTR) + SegmentPart.BASE) + BigInt(selector & 0xfff8);
  return { tss: p.u64(tr + SegmentPart.BASE), layout, descriptor };
}

function information2(p: Processor, by: TaskSwitch, errorCode: number, rf: number): bigint {
  let info = by === TaskSwitch.RETURN ? Info2.BY_IRET : by === TaskSwitch.JUMP ? Info2.BY_JUMP : 0n;
  if (errorCode >= 0) info |= Info2.HAS_ERROR_CODE | BigInt(errorCode >>> 0);
  return ((p.u32(State.RFLAGS) | rf) & Rflags.RF) !== 0 ? info | Info2.RF : info;
}

function readTask(p: Processor, d: Descriptor, layout: Layout): Task | undefined {
  const read = (offset: number, size: 2 | 4): number => {
    const value = p.read(d.base + BigInt(offset), size, By.PROCESSOR);
    if (value === undefined) failed = true;
    return Number(value ?? 0n);
  };
  let failed = false;
  const { size } = layout;
  // The upper halves of registers that a 16-bit TSS does not have are all ones; the flags' are zeros.
  const gpr = (n: number): number => read(layout.gprs + n * size, size) | (size === 2 ? 0xffff_0000 : 0);
  const task = {
    cr3: layout.cr3 < 0 ? 0 : read(layout.cr3, 4),
    ip: read(layout.ip, size),
    flags: read(layout.flags, size),
    gprs: Array.from({ length: 8 }, (_, n) => gpr(n)),
    segments: SEGMENTS.map((_, n) => (n < layout.segmentCount ? read(layout.segments + n * size, 2) : 0)),
    ldt: read(layout.ldt, 2),
    trap: size === 4 && (read(TRAP_WORD, 2) & 1) !== 0,
  };
  return failed ? undefined : task;
}
/** Offset of the T bit's word in a 32-bit TSS. */
const TRAP_WORD = 0x64;

function saveTask(p: Processor, { tss, layout }: Outgoing, flags: number): boolean {
  const { size } = layout;
  const write = (offset: number, bytes: 2 | 4, value: number): boolean =>
    p.write(tss + BigInt(offset), bytes, BigInt(value >>> 0), By.PROCESSOR);
  let done = write(layout.ip, size, p.u32(State.RIP)) && write(layout.flags, size, flags);
  for (let n = 0; n < 8; n++) done = done && write(layout.gprs + n * size, size, p.gpr32(n));
  for (let n = 0; n < layout.segmentCount; n++) done = done && write(layout.segments + n * size, 2, p.selector(SEGMENTS[n] ?? Segment.ES));
  return done;
}

/** Registers of the new task, but no segment yet: their selectors are loaded, unusable. */
function enterTask(p: Processor, task: Task, layout: Layout, nests: boolean): void {
  p.setU32(State.CR0, p.u32(State.CR0) | Cr0.TS);
  p.setU32(State.DR7, p.u32(State.DR7) & ~DR7_LOCAL);
  if (layout.cr3 >= 0 && (p.u32(State.CR0) & Cr0.PG) !== 0) p.set64(State.CR3, task.cr3, 0);
  p.set64(State.RIP, task.ip, 0);
  p.rflags = (task.flags & FLAGS) | (nests ? Rflags.NT : 0);
  for (const [n, value] of task.gprs.entries()) p.set64(gprAt(n), value, 0);
  const virtual = (task.flags & Rflags.VM) !== 0;
  p.setU32(State.CPL, virtual ? 3 : (task.segments[1] ?? 0) & 3);
  for (const [n, segment] of SEGMENTS.entries()) p.setSegment(segment, task.segments[n] ?? 0, 0, 0, 0n);
  p.setSegment(Segment.LDTR, task.ldt, 0, 0, 0n);
  p.settle();
}
/** Bits of EFLAGS that exist. */
const FLAGS = 0x3f_7fd5;

/** With the width of the new task's TSS. */
function pushErrorCode(p: Processor, size: 2 | 4, errorCode: number): boolean {
  if (errorCode < 0) return true;
  const stack = presentStack(p);
  if (!push(p, stack, size, errorCode)) return false;
  usePointer(p, stack);
  return true;
}
