// Port I/O. APM vol. 3: IN, OUT, INS, OUTS. The order of checks is IOPL and the TSS bitmap (12.2.4), then the I/O permission map of
// the hypervisor (APM vol. 2, 15.10), then the rest. What no intercept takes goes to the board; without one it reads as all ones.

import { ExitCode } from '../../arch/exit-code.ts';
import { Rflags } from '../../arch/registers.ts';
import { SevStatus } from '../../arch/sev-features.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Record } from '../../x86/record.ts';
import { Gpr, gprAt, Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { By, type Processor } from '../processor.ts';
import { linearAddress } from '../segment-access.ts';
import { DescriptorType } from '../segmentation.ts';
import type { Routine, Routines } from './routine.ts';

/**
 * May the running program touch these ports? IOPL decides outside virtual-8086 mode; else the bitmap of the TSS, which a 16-bit
 * TSS does not have. False: #GP(0) or the fault of the TSS access is recorded.
 */
function allowed(p: Processor, port: number, size: number): boolean {
  if (!p.protectedMode || (!p.virtual8086 && p.cpl <= (p.u32(State.RFLAGS) & Rflags.IOPL) >> 12)) return true;
  const tr = segmentAt(Segment.TR);
  const base = p.u64(tr + SegmentPart.BASE);
  const limit = p.u32(tr + SegmentPart.LIMIT);
  const refuse = (): boolean => {
    p.generalProtection();
    return false;
  };
  const wide = (p.attributes(Segment.TR) & TSS_TYPE) === DescriptorType.TSS_AVAILABLE;
  if (!wide || limit < MAP_BASE + 1) return refuse();
  const map = p.read(base + BigInt(MAP_BASE), 2, By.PROCESSOR);
  if (map === undefined) return false;
  const at = Number(map) + (port >> 3);
  if (at + 1 > limit) return refuse();
  const bits = p.read(base + BigInt(at), 2, By.PROCESSOR);
  if (bits === undefined) return false;
  return ((Number(bits) >> (port & 7)) & ((1 << size) - 1)) === 0 ? true : refuse();
}

/** Offset of the bitmap's own offset in a TSS. */
const MAP_BASE = 0x66;
/** Type of a TSS descriptor but for the busy bit. */
const TSS_TYPE = 0xd;

/** Is any of the ports of an access marked in the IOPM? */
function interceptedPort(p: Processor, port: number, size: number): boolean {
  if (!p.intercepted(ExitCode.IOIO)) return false;
  const iopm = Number(p.u64(State.IOPM));
  for (let n = port; n < port + size; n++) if ((p.hostByte(iopm + (n >> 3)) >> (n & 7)) & 1) return true;
  return false;
}

/** EXITINFO1 of IOIO (15.10.2). */
function information(p: Processor, record: number, port: number, size: number, input: boolean, string: boolean): bigint {
  const form = p.form(record);
  const address = string ? form.addressSize : p.mode / 8;
  const repeat = string && form.repeat !== 'none';
  const segment = string && !input ? p.view.getUint8(record + Record.SEGMENT) : 0;
  const word =
    (port << 16) | (segment << 10) | (((address >> 1) & 7) << 7) | (size << 4) | (repeat ? 8 : 0) | (string ? 4 : 0) | (input ? 1 : 0);
  return BigInt(word >>> 0);
}

/** EXITINFO2 of IOIO is the next RIP. */
function intercept(p: Processor, record: number, port: number, size: number, input: boolean, string: boolean): typeof SystemResult.FAULT {
  const next = p.ripOf(record) + BigInt(p.instructionLength(record));
  return p.exit(ExitCode.IOIO, information(p, record, port, size, input, string), next);
}

/**
 * An intercepted string instruction. Where the hypervisor is to move the element it is told its guest physical address, in
 * EXITINFO2 instead of the next RIP (which nRIP has): no hypervisor can walk the encrypted tables of a SEV guest. A page fault
 * of the access comes instead of the exit then. An SEV-ES guest moves its elements itself.
 */
function interceptString(p: Processor, record: number, port: number, size: number, input: boolean): typeof SystemResult.FAULT {
  if ((p.u32(State.SEV_STATUS) & SevStatus.SEV_ES) !== 0) return intercept(p, record, port, size, input, true);
  const { repeat, addressSize } = p.form(record);
  const information1 = information(p, record, port, size, input, true);
  if (repeat !== 'none' && (p.u64(gprAt(Gpr.RCX)) & addressMask(addressSize)) === 0n) return p.exit(ExitCode.IOIO, information1, 0n);
  const address = elementAddress(p, record, size, input);
  if (address === undefined) return SystemResult.FAULT;
  const gpa = p.mmu.guestPhysical(p.state, Number(address & 0xffff_ffffn) | 0, Number(address >> 32n) | 0, input);
  return gpa < 0 ? SystemResult.FAULT : p.exit(ExitCode.IOIO, information1, BigInt(gpa));
}

const addressMask = (size: number): bigint => (size === 8 ? 0xffff_ffff_ffff_ffffn : size === 4 ? 0xffff_ffffn : 0xffffn);

/** Linear address of the element that ES:rDI or seg:rSI names; undefined: the segment does not admit it, a fault is recorded. */
function elementAddress(p: Processor, record: number, size: number, input: boolean): bigint | undefined {
  const offset = p.u64(gprAt(input ? Gpr.RDI : Gpr.RSI)) & addressMask(p.form(record).addressSize);
  const segment = (input ? Segment.ES : p.view.getUint8(record + Record.SEGMENT)) as Segment;
  return linearAddress(p, segment, offset, size, input);
}

/** The port is DX or an immediate byte. */
const portOf = (p: Processor, record: number): number =>
  p.form(record).operands.every((o) => o.kind === 'register') ? p.gpr32(Gpr.RDX) & 0xffff : p.view.getUint8(record + Record.IMMEDIATE);

const single =
  (input: boolean): Routine =>
  (p, record) => {
    const size = p.form(record).operands[input ? 0 : 1]!.size;
    const port = portOf(p, record);
    if (!allowed(p, port, size)) return SystemResult.FAULT;
    if (interceptedPort(p, port, size)) return intercept(p, record, port, size, input, false);
    const at = p.state + gprAt(Gpr.RAX);
    if (input) {
      const value = portIn(p, port, size as PortSize);
      if (size === 1) p.view.setUint8(at, value);
      else if (size === 2) p.view.setUint16(at, value, true);
      else p.setGpr32(Gpr.RAX, value);
    } else portOut(p, port, size as PortSize, p.u32(gprAt(Gpr.RAX)));
    return p.breakpoints.notePorts(port, size) || p.askedBoard ? SystemResult.EVENTS : SystemResult.NEXT;
  };

type PortSize = 1 | 2 | 4;

function portIn(p: Processor, port: number, size: PortSize): number {
  if (p.board === null) return -1;
  p.askedBoard = true;
  return p.board.in(port, size);
}

/** Only the low bytes of the value count. */
function portOut(p: Processor, port: number, size: PortSize, value: number): void {
  if (p.board === null) return;
  p.askedBoard = true;
  p.board.out(port, size, size === 4 ? value >>> 0 : value & ((1 << (8 * size)) - 1));
}

/** The device is asked only where the element can be moved. False: a fault is recorded. */
function move(p: Processor, port: number, input: boolean, address: bigint, size: PortSize): boolean {
  if (!input) {
    const value = p.read(address, size);
    if (value !== undefined) portOut(p, port, size, Number(value));
    return value !== undefined;
  }
  return p.canStore(address, size) && p.write(address, size, BigInt(portIn(p, port, size) >>> 0));
}

/** One element; a repeated instruction stays at its RIP until rCX is 0, so that it is interruptible. */
function element(p: Processor, record: number, port: number, input: boolean, size: PortSize): SystemResult {
  const { addressSize, repeat } = p.form(record);
  const mask = addressMask(addressSize);
  const count = p.u64(gprAt(Gpr.RCX)) & mask;
  if (repeat !== 'none' && count === 0n) return SystemResult.NEXT;
  const register = gprAt(input ? Gpr.RDI : Gpr.RSI);
  const offset = p.u64(register) & mask;
  const address = elementAddress(p, record, size, input);
  if (address === undefined) return SystemResult.FAULT;
  if (!move(p, port, input, address, size)) return SystemResult.FAULT;
  const step = BigInt((p.u32(State.RFLAGS) & Rflags.DF) !== 0 ? -size : size);
  const advanced = (offset + step) & mask;
  const kept = addressSize === 2 ? ~mask & 0xffff_ffff_ffff_ffffn : 0n;
  p.setU64(register, (p.u64(register) & kept) | advanced);
  const done = p.breakpoints.notePorts(port, size) || p.askedBoard ? SystemResult.EVENTS : SystemResult.NEXT;
  if (repeat === 'none') return done;
  p.setU64(gprAt(Gpr.RCX), (p.u64(gprAt(Gpr.RCX)) & kept) | (count - 1n));
  if (count === 1n) return done;
  p.setU32(State.ELEMENTS, p.u32(State.ELEMENTS) + 1);
  p.setU64(State.RIP, p.ripOf(record));
  return SystemResult.MOVED;
}

/** Un-intercepted string I/O goes element by element. */
const string =
  (input: boolean): Routine =>
  (p, record) => {
    const size = p.form(record).operandSize as PortSize;
    const port = p.gpr32(Gpr.RDX) & 0xffff;
    if (!allowed(p, port, size)) return SystemResult.FAULT;
    if (interceptedPort(p, port, size)) return interceptString(p, record, port, size, input);
    return element(p, record, port, input, size);
  };

export const ioRoutines: Routines = { in: single(true), out: single(false), ins: string(true), outs: string(false) };
