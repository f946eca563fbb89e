// The processor's own registers from outside: what it starts with, and INIT (APM vol. 2, 14.1.3, table 14-1). INIT leaves the
// floating-point state, CR0.CD and CR0.NW, and the model-specific registers; execution goes on at the reset vector.

import { Cr0, Rflags } from '../arch/registers.ts';
import type { EngineMemory } from '../memory/map.ts';
import { gprAt, Segment, SegmentPart, segmentAt, State, STOP_NONE } from '../memory/state.ts';
import { canonicaliseBases, vmsaTransfer } from '../svm/transfer.ts';
import { setStatusFlagsOf } from '../x86/flags.ts';

const REAL = 0xffff;
const GPRS = 16;
const RDX = 2;
const Attributes = { CODE16: 0x09b, DATA16: 0x093, LDT: 0x082, TSS: 0x08b } as const;
const INTERCEPTS = 6;

/** `image`: registers laid out as in a VMSA. */
export function loadRegisters(memory: EngineMemory, state: number, image: Uint8Array): void {
  const copy = image.slice();
  vmsaTransfer.load({ i32: new Int32Array(copy.buffer), view: new DataView(copy.buffer) }, 0, memory, state);
  canonicaliseBases(memory.i32, state >>> 2);
  settleNothingPending(memory, state);
}

export function initialise(memory: EngineMemory, state: number, signature: number): void {
  const { view } = memory;
  const set = (offset: number, value: bigint): void => view.setBigUint64(state + offset, value, true);
  for (let n = 0; n < GPRS; n++) set(gprAt(n), n === RDX ? BigInt(signature >>> 0) : 0n);
  for (const segment of Object.values(Segment)) {
    const code = segment === Segment.CS;
    const at = state + segmentAt(segment);
    view.setUint16(at + SegmentPart.SELECTOR, code ? 0xf000 : 0, true);
    view.setUint16(at + SegmentPart.ATTRIBUTES, attributesOf(segment), true);
    view.setUint32(at + SegmentPart.LIMIT, REAL, true);
    view.setBigUint64(at + SegmentPart.BASE, code ? 0xffff_0000n : 0n, true);
  }
  set(State.CR0, (view.getBigUint64(state + State.CR0, true) & BigInt(Cr0.CD + Cr0.NW)) | BigInt(Cr0.ET));
  for (const register of [State.CR2, State.CR3, State.CR4, State.CR8, State.EFER, State.DEBUGCTL]) set(register, 0n);
  setStatusFlagsOf(memory.i32, state >>> 2, 0);
  view.setUint32(state + State.RFLAGS, Rflags.ALWAYS_1, true);
  view.setUint32(state + State.CPL, 0, true);
  set(State.RIP, 0xfff0n);
  set(State.DR6, 0xffff_0ff0n);
  set(State.DR7, 0x400n);
  settleNothingPending(memory, state);
}

function attributesOf(segment: Segment): number {
  if (segment === Segment.CS) return Attributes.CODE16;
  if (segment === Segment.LDTR) return Attributes.LDT;
  return segment === Segment.TR ? Attributes.TSS : Attributes.DATA16;
}

function settleNothingPending({ i32 }: EngineMemory, state: number): void {
  const s = state >>> 2;
  for (const offset of [State.SHADOW, State.HALTED, State.NMI_BLOCKED, State.MONITOR_ARMED, State.PENDING_SIZE, State.SEV_STATUS])
    i32[s + (offset >>> 2)] = 0;
  i32.fill(0, s + (State.INTERCEPTS >>> 2), s + (State.INTERCEPTS >>> 2) + INTERCEPTS);
  i32[s + (State.STOP >>> 2)] = STOP_NONE;
  i32[s + (State.FAULT_VECTOR >>> 2)] = -1;
}
