// The frame that the delivery of an exception or interrupt has pushed (APM vol. 2, 8.9): what of it is the program's, and what nobody has to be told about.

import { By, type Processor } from '../cpu/processor.ts';
import { Gpr, gprAt, State } from '../memory/state.ts';
import type { LabelMemory } from './label-memory.ts';
import type { Noted } from './work.ts';

/** Bytes of a frame of 64-bit mode: RIP, CS, RFLAGS, RSP and SS, without and with an error code. */
const FRAME = 40;
const FRAME_WITH_CODE = 48;
const RSP = gprAt(Gpr.RSP);

type Labels = {
  readonly memory: LabelMemory;
  read(record: number, address: number, length: number): number;
  write(record: number, address: number, length: number, label: number): void;
};

/** `stores`: what was pushed, last. Of a frame RSP and RFLAGS are the program's. */
export function labelFrame(labels: Labels, p: Processor, stores: readonly Noted[]): void {
  const flags = labels.read(0, p.state + State.FLAG_RESULT, 16);
  if (!p.longMode) {
    // The legacy frames: the flags are the third from the last, or the fourth before an error code.
    const pushed = stores.slice(-6);
    for (const { address, size } of pushed.slice(-4)) if (size <= 4) labels.write(0, address, size, 0);
    for (const { address, size } of pushed.slice(-4, -2)) if (size <= 4) labels.write(0, address, Math.min(size, 2), flags);
    return;
  }
  const frame = stores.at(-1);
  if (frame === undefined || (frame.size !== FRAME && frame.size !== FRAME_WITH_CODE)) return;
  const own = labels.memory.range(p.state + RSP, 8);
  const first = frame.size - FRAME;
  for (let offset = 0; offset < frame.size; offset += 8) {
    const at = slot(p, frame, offset);
    if (at === 0) continue;
    labels.write(0, at, 8, 0);
    if (offset === first + 16) labels.write(0, at, 2, flags);
    if (offset === first + 24) for (const [k, label] of own.entries()) labels.write(0, at + k, 1, label);
  }
  own.fill(0);
}

/** The error code that was pushed, 0 if none was. */
export function errorCodeOf(p: Processor, stores: readonly Noted[]): number {
  const frame = stores.at(-1);
  return frame === undefined || frame.size !== FRAME_WITH_CODE ? 0 : p.view.getUint32(slot(p, frame, 0), true);
}

/** Host address of a slot of the frame that was pushed last; 0: it cannot be reached. */
function slot(p: Processor, frame: Noted, offset: number): number {
  if (frame.address !== p.state + State.SCRATCH) return frame.address + offset;
  // It lies across two pages and is there already.
  const at = p.load(p.u64(RSP) + BigInt(offset), 8, By.PROCESSOR);
  p.clearPending();
  return at;
}
