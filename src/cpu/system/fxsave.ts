// FXSAVE and FXRSTOR, and the 512-byte region that XSAVE shares with them. APM vol. 2, 11.4.4 (figures 11-6 to 11-9); APM vol. 5. The
// pointers to the last instruction are those of a pending exception: without one, zeros are saved in their place
// (CPUID Fn8000_0008 EBX[2]); they are always restored.

import { Vector } from '../../arch/exception.ts';
import { Cr4, Efer, Fsw, MXCSR_MASK, Tag } from '../../arch/registers.ts';
import { State } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import type { Processor } from '../processor.ts';
import { isAligned, lastByte, readImage, writeImage } from './image.ts';
import { operand64, type Routine, type Routines } from './routine.ts';
import { controlWord, readPhysical, setTagWord, setWords, statusWord, tagWord, writePhysical } from './x87.ts';
import { pointers, setPointers } from './x87-environment.ts';

/** Offsets in the region. */
export const Legacy = {
  FCW: 0,
  FSW: 2,
  FTW: 4,
  FOP: 6,
  FIP: 8,
  FCS: 12,
  FDP: 16,
  FDS: 20,
  MXCSR: 24,
  MXCSR_MASK: 28,
  X87: 32,
  XMM: 160,
  XMM_END: 416,
  SIZE: 512,
} as const;

const topOf = (p: Processor): number => (statusWord(p) & Fsw.TOP) >> 11;

/** One bit a register: not empty. */
function shortTags(p: Processor): number {
  let tags = 0;
  for (let n = 0; n < 8; n++) if (((tagWord(p) >> (2 * n)) & 3) !== Tag.EMPTY) tags |= 1 << n;
  return tags;
}

export function saveX87(p: Processor, image: DataView, wide: boolean): void {
  const { fip, fcs, fdp, fds, fop } = (statusWord(p) & Fsw.ES) !== 0 ? pointers(p) : { fip: 0n, fcs: 0, fdp: 0n, fds: 0, fop: 0 };
  image.setUint16(Legacy.FCW, controlWord(p), true);
  image.setUint16(Legacy.FSW, statusWord(p), true);
  image.setUint16(Legacy.FTW, shortTags(p), true);
  image.setUint16(Legacy.FOP, fop, true);
  image.setBigUint64(Legacy.FIP, wide ? fip : (fip & 0xffff_ffffn) | (BigInt(fcs) << 32n), true);
  image.setBigUint64(Legacy.FDP, wide ? fdp : (fdp & 0xffff_ffffn) | (BigInt(fds) << 32n), true);
  for (let n = 0; n < 8; n++) {
    const bits = readPhysical(p, (topOf(p) + n) & 7);
    image.setBigUint64(Legacy.X87 + 16 * n, BigInt.asUintN(64, bits), true);
    image.setBigUint64(Legacy.X87 + 16 * n + 8, bits >> 64n, true);
  }
}

export function restoreX87(p: Processor, image: DataView, wide: boolean): void {
  setWords(p, image.getUint16(Legacy.FCW, true), image.getUint16(Legacy.FSW, true));
  const short = image.getUint8(Legacy.FTW);
  let tags = 0;
  for (let n = 0; n < 8; n++) tags |= ((short >> n) & 1 ? Tag.VALID : Tag.EMPTY) << (2 * n);
  setTagWord(p, tags);
  const pointer = (at: number): bigint => (wide ? image.getBigUint64(at, true) : BigInt(image.getUint32(at, true)));
  const selector = (at: number): number => (wide ? 0 : image.getUint16(at, true));
  setPointers(p, {
    fip: pointer(Legacy.FIP),
    fcs: selector(Legacy.FCS),
    fdp: pointer(Legacy.FDP),
    fds: selector(Legacy.FDS),
    fop: image.getUint16(Legacy.FOP, true),
  });
  for (let n = 0; n < 8; n++) {
    const at = Legacy.X87 + 16 * n;
    writePhysical(p, (topOf(p) + n) & 7, image.getBigUint64(at, true) | (BigInt(image.getUint16(at + 8, true)) << 64n));
  }
}

/** XMM8 to XMM15 exist in 64-bit mode only. */
const xmmBytes = (p: Processor): number => (p.mode === 64 ? 256 : 128);
const xmm = (p: Processor): Uint8Array => p.memory.u8.subarray(p.state + State.XMM, p.state + State.XMM + xmmBytes(p));

export function saveXmm(p: Processor, image: DataView): void {
  new Uint8Array(image.buffer).set(xmm(p), Legacy.XMM);
}

export function restoreXmm(p: Processor, image: DataView): void {
  xmm(p).set(new Uint8Array(image.buffer, Legacy.XMM, xmmBytes(p)));
}

export function clearXmm(p: Processor): void {
  xmm(p).fill(0);
}

export function saveMxcsr(p: Processor, image: DataView): void {
  image.setUint32(Legacy.MXCSR, p.u32(State.MXCSR), true);
  image.setUint32(Legacy.MXCSR_MASK, MXCSR_MASK, true);
}

/** #GP(0) if a bit is set that MXCSR does not have. */
export const isMxcsr = (image: DataView): boolean => (image.getUint32(Legacy.MXCSR, true) & ~MXCSR_MASK) === 0;

// --- FXSAVE, FXRSTOR ---

/** EFER.FFXSR: the kernel of a 64-bit system leaves the XMM registers out (3.1.7). */
const leavesXmm = (p: Processor): boolean => p.mode === 64 && p.cpl === 0 && (p.u32(State.EFER) & Efer.FFXSR) !== 0;
const savesSse = (p: Processor): boolean => (p.u32(State.CR4) & Cr4.OSFXSR) !== 0;

/** #AC or #GP(0) unless the operand lies on a multiple of 16. */
function checkAlignment(p: Processor, address: bigint): boolean {
  if (!isAligned(p, address, 4)) return false;
  if ((address & 15n) === 0n) return true;
  p.fault(Vector.GP);
  return false;
}

const save =
  (wide: boolean): Routine =>
  (p, record, low, high) => {
    const address = operand64(low, high);
    if (!checkAlignment(p, address)) return SystemResult.FAULT;
    const image = new DataView(new ArrayBuffer(Legacy.SIZE));
    saveX87(p, image, wide);
    let written: number = Legacy.MXCSR;
    const parts: [number, number][] = [];
    if (savesSse(p)) {
      saveMxcsr(p, image);
      written = Legacy.X87;
      if (!leavesXmm(p)) {
        saveXmm(p, image);
        parts.push([Legacy.XMM, Legacy.XMM + xmmBytes(p)]);
      }
    }
    parts.push([0, written], [Legacy.X87, Legacy.XMM]);
    return writeImage(p, address, image, p.byOperand(record), lastByte(Legacy.SIZE), parts) ? SystemResult.NEXT : SystemResult.FAULT;
  };

const restore =
  (wide: boolean): Routine =>
  (p, record, low, high) => {
    const address = operand64(low, high);
    if (!checkAlignment(p, address)) return SystemResult.FAULT;
    const image = readImage(p, address, Legacy.SIZE, p.byOperand(record), lastByte(Legacy.SIZE));
    if (!image) return SystemResult.FAULT;
    if (savesSse(p) && !isMxcsr(image)) return p.generalProtection();
    restoreX87(p, image, wide);
    if (savesSse(p)) {
      p.setU32(State.MXCSR, image.getUint32(Legacy.MXCSR, true));
      if (!leavesXmm(p)) restoreXmm(p, image);
    }
    return SystemResult.NEXT;
  };

export const fxsaveRoutines: Routines = {
  fxsave: save(false),
  fxsave64: save(true),
  fxrstor: restore(false),
  fxrstor64: restore(true),
};
