// The XSAVE family for x87, SSE and PKRU state. APM vol. 2, 11.5; APM vol. 4. Standard form: the legacy region, a header of 64 bytes and,
// far behind it, PKRU. In the compacted form x87 and SSE lie in the same places, and PKRU right behind the header.

import { Feature } from '../../arch/cpuid.ts';
import { ExitCode } from '../../arch/exit-code.ts';
import { Cr4, Fcw } from '../../arch/registers.ts';
import { Vector } from '../../arch/exception.ts';
import { Gpr, State } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Component, PKRU_BYTES, PKRU_OFFSET, XSAVE_HEADER_END, xcr0Implemented, xsaveSizes } from '../extended-state.ts';
import type { Processor } from '../processor.ts';
import { clearXmm, isMxcsr, Legacy, restoreX87, restoreXmm, saveMxcsr, saveX87, saveXmm } from './fxsave.ts';
import { lastByte, readImage, writeImage } from './image.ts';
import { operand64, type Routine, type Routines } from './routine.ts';
import { controlWord, readPhysical, statusWord, tagWord, writePhysical } from './x87.ts';
import { initialize, pointers } from './x87-environment.ts';

const { X87, SSE, YMM, PKRU } = Component;
/** Bit 63 of XCOMP_BV: the compacted form. */
const COMPACTED = 1n << 63n;

const Header = { XSTATE_BV: 512, XCOMP_BV: 520, RESERVED: 528, END: 576 } as const;
const MXCSR_INITIAL = 0x1f80;
const ALL_EMPTY = 0xffff;

/** EDX:EAX and what is enabled. XSS enables nothing here. */
const requested = (p: Processor): bigint => operand64(p.gpr32(Gpr.RAX), p.gpr32(Gpr.RDX)) & p.u64(State.XCR0);

/** Components that are not in their initial state (XINUSE). */
function inUse(p: Processor, withMxcsr: boolean): bigint {
  const { u8 } = p.memory;
  const at = p.state + State.XMM;
  const sse = u8.subarray(at, at + 256).some((byte) => byte !== 0) || (withMxcsr && p.u32(State.MXCSR) !== MXCSR_INITIAL);
  const { fip, fdp, fop } = pointers(p);
  const words = controlWord(p) === Fcw.INITIAL && statusWord(p) === 0 && tagWord(p) === ALL_EMPTY && fip === 0n && fdp === 0n && fop === 0;
  let x87 = !words;
  for (let n = 0; n < 8; n++) x87 ||= readPhysical(p, n) !== 0n;
  return (x87 ? X87 : 0n) | (sse ? SSE : 0n) | (p.u32(State.PKRU) !== 0 ? PKRU : 0n);
}

/** #GP(0) unless the area lies on a multiple of 64. */
const isAligned = (address: bigint): boolean => (address & 63n) === 0n;

const keysAt = (compacted: boolean): number => (compacted ? XSAVE_HEADER_END : PKRU_OFFSET);

/** In which form an instruction saves, and whether it leaves out what is in its initial state. */
type Way = { readonly compacted: boolean; readonly skipsInitial: boolean; readonly kernelOnly?: boolean };

const save =
  ({ compacted, skipsInitial, kernelOnly = false }: Way, wide: boolean): Routine =>
  (p, record, low, high) => {
    if (kernelOnly && p.cpl !== 0) return p.generalProtection();
    const address = operand64(low, high);
    if (!isAligned(address)) return p.generalProtection();
    const by = p.byOperand(record);
    const asked = requested(p);
    const used = inUse(p, compacted) & asked;
    const saved = skipsInitial ? used : asked;
    const bytes = compacted ? xsaveSizes(asked).compacted : xsaveSizes(asked).standard;
    const image = new DataView(new ArrayBuffer(bytes));
    const ranges: [number, number][] = [[Header.XSTATE_BV, compacted ? Header.RESERVED : Header.XCOMP_BV]];
    if ((saved & X87) !== 0n) {
      saveX87(p, image, wide);
      ranges.push([0, Legacy.MXCSR], [Legacy.X87, Legacy.XMM]);
    }
    if (((compacted ? saved : asked) & (compacted ? SSE : SSE | YMM)) !== 0n) {
      saveMxcsr(p, image);
      ranges.push([Legacy.MXCSR, Legacy.X87]);
    }
    if ((saved & SSE) !== 0n) {
      saveXmm(p, image);
      ranges.push([Legacy.XMM, p.mode === 64 ? Legacy.XMM_END : Legacy.XMM + 128]);
    }
    if ((saved & PKRU) !== 0n) {
      const at = keysAt(compacted);
      image.setUint32(at, p.u32(State.PKRU), true);
      ranges.push([at, at + PKRU_BYTES]);
    }
    const old = compacted ? 0n : p.read(address + BigInt(Header.XSTATE_BV), 8, by);
    if (old === undefined) return SystemResult.FAULT;
    image.setBigUint64(Header.XSTATE_BV, (old & ~asked) | used, true);
    image.setBigUint64(Header.XCOMP_BV, COMPACTED | asked, true);
    return writeImage(p, address, image, by, lastByte(bytes), ranges) ? SystemResult.NEXT : SystemResult.FAULT;
  };

/** May the header be restored from? */
function isHeader(p: Processor, image: DataView, onlyCompacted: boolean): boolean {
  const enabled = p.u64(State.XCR0);
  const present = image.getBigUint64(Header.XSTATE_BV, true);
  const format = image.getBigUint64(Header.XCOMP_BV, true);
  const zeros = (from: number, to: number): boolean => new Uint8Array(image.buffer, from, to - from).every((byte) => byte === 0);
  if ((format & COMPACTED) === 0n) return !onlyCompacted && (present & ~enabled) === 0n && zeros(Header.XCOMP_BV, Header.RESERVED + 8);
  const components = format & ~COMPACTED;
  return (components & ~enabled) === 0n && (present & ~components) === 0n && zeros(Header.RESERVED, Header.END);
}

const restore =
  (onlyCompacted: boolean, wide: boolean): Routine =>
  (p, record, low, high) => {
    if (onlyCompacted && p.cpl !== 0) return p.generalProtection();
    const address = operand64(low, high);
    if (!isAligned(address)) return p.generalProtection();
    const image = readImage(p, address, XSAVE_HEADER_END, p.byOperand(record), lastByte(XSAVE_HEADER_END));
    if (!image) return SystemResult.FAULT;
    if (!isHeader(p, image, onlyCompacted)) return p.generalProtection();
    const compacted = (image.getBigUint64(Header.XCOMP_BV, true) & COMPACTED) !== 0n;
    const asked = requested(p);
    const present = image.getBigUint64(Header.XSTATE_BV, true) & asked;
    // MXCSR of the standard form comes with either of two components, present or not.
    const loadsMxcsr = compacted ? (present & SSE) !== 0n : (asked & (SSE | YMM)) !== 0n;
    if (loadsMxcsr && !isMxcsr(image)) return p.generalProtection();
    const keys = (present & PKRU) === 0n ? 0n : p.read(address + BigInt(keysAt(compacted)), 8, p.byOperand(record));
    if (keys === undefined) return SystemResult.FAULT;
    if ((present & X87) !== 0n) restoreX87(p, image, wide);
    else if ((asked & X87) !== 0n) clearX87(p);
    if ((present & SSE) !== 0n) restoreXmm(p, image);
    else if ((asked & SSE) !== 0n) clearXmm(p);
    if (loadsMxcsr) p.setU32(State.MXCSR, image.getUint32(Legacy.MXCSR, true));
    else if (compacted && (asked & SSE) !== 0n) p.setU32(State.MXCSR, MXCSR_INITIAL);
    if ((asked & PKRU) !== 0n) {
      p.set64(State.PKRU, Number(keys & 0xffff_ffffn) | 0, 0);
      p.mmu.selectContext(p.state);
    }
    return SystemResult.NEXT;
  };

function clearX87(p: Processor): void {
  initialize(p);
  for (let n = 0; n < 8; n++) writePhysical(p, n, 0n);
}

const enabled = (p: Processor): boolean => (p.u32(State.CR4) & Cr4.OSXSAVE) !== 0;

export const xsaveRoutines: Routines = {
  xsave: save({ compacted: false, skipsInitial: false }, false),
  xsave64: save({ compacted: false, skipsInitial: false }, true),
  xsaveopt: save({ compacted: false, skipsInitial: true }, false),
  xsaveopt64: save({ compacted: false, skipsInitial: true }, true),
  xsavec: save({ compacted: true, skipsInitial: true }, false),
  xsavec64: save({ compacted: true, skipsInitial: true }, true),
  xsaves: save({ compacted: true, skipsInitial: true, kernelOnly: true }, false),
  xsaves64: save({ compacted: true, skipsInitial: true, kernelOnly: true }, true),
  xrstor: restore(false, false),
  xrstor64: restore(false, true),
  xrstors: restore(true, false),
  xrstors64: restore(true, true),

  /** Register 0 is XCR0; register 1 tells which of its components are in use. */
  xgetbv(p) {
    if (!enabled(p)) return p.fault(Vector.UD);
    const register = p.gpr32(Gpr.RCX);
    if (register > 1) return p.generalProtection();
    const value = p.u64(State.XCR0) & (register === 0 ? -1n : inUse(p, true));
    p.setGpr32(Gpr.RAX, Number(value & 0xffff_ffffn) | 0);
    p.setGpr32(Gpr.RDX, Number(value >> 32n) | 0);
    return SystemResult.NEXT;
  },

  xsetbv(p) {
    if (!enabled(p)) return p.fault(Vector.UD);
    if (p.cpl !== 0) return p.generalProtection();
    if (p.intercepted(ExitCode.XSETBV)) return p.exit(ExitCode.XSETBV);
    const value = operand64(p.gpr32(Gpr.RAX), p.gpr32(Gpr.RDX));
    if (p.gpr32(Gpr.RCX) !== 0 || (value & X87) === 0n || (value & ~xcr0Implemented(p.has(Feature.PKU))) !== 0n)
      return p.generalProtection();
    p.setU64(State.XCR0, value);
    return SystemResult.NEXT;
  },
};
