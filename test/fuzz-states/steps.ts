// A state one instruction at a time: what is executed and what it leaves, for whoever looks into a fault.

import { gprAt, Segment, SegmentPart, State, segmentAt } from '../../src/memory/state.ts';
import { InstructionDecoder } from '../../src/x86/decode.ts';
import type { Mode } from '../../src/x86/form.ts';
import type { Lab, Outcome } from './lab.ts';
import { MEMORY } from './layout.ts';
import type { MachineState } from './machine-state.ts';

const MOST_BYTES = 12;

/** A line for each budget from `from` to `to`. */
export function steps(lab: Lab, state: MachineState, from: number, to: number): string {
  const lines: string[] = [];
  let before: Uint8Array | null = null;
  for (let budget = from; budget <= to; budget++) {
    const outcome = lab.run(state, budget);
    if (before !== null) lines.push(`        memory ${changes(before, outcome.memory)}`);
    before = outcome.memory.slice();
    lines.push(`${String(budget).padStart(6)}  ${line(state, outcome)}`);
  }
  return lines.join('\n');
}

function line(state: MachineState, { block, memory, log }: Outcome): string {
  const view = new DataView(block.buffer, block.byteOffset);
  const u64 = (offset: number): bigint => view.getBigUint64(offset, true);
  const mode = view.getUint32(State.MODE, true) as Mode;
  const cs = segmentAt(Segment.CS);
  const linear = Number((u64(State.RIP) + (mode === 64 ? 0n : u64(cs + SegmentPart.BASE))) & 0x3_ffffn);
  // Only where linear addresses are physical ones, and nothing is encrypted; mostly they are.
  const at = linear + (state.host === 'bare' ? 0 : MEMORY);
  let name = '?';
  if (state.host === 'bare' || state.host === 'none') {
    new InstructionDecoder().decode(memory.subarray(at, at + 15), linear & 0xfff, mode, ({ form }) => {
      name = form.name;
      return false;
    });
  }
  const registers = Array.from({ length: 8 }, (_, n) => u64(gprAt(n)).toString(16)).join(' ');
  const control = [State.CR0, State.CR2, State.CR3, State.CR4, State.EFER, State.RFLAGS, State.CPL, State.DR6, State.DR7]
    .map((offset) => view.getUint32(offset, true).toString(16))
    .join(' ');
  const selector = view.getUint16(cs + SegmentPart.SELECTOR, true).toString(16);
  return `${selector}:${u64(State.RIP).toString(16)} ${mode} ${name} | ${registers} | ${control} | ${log.split('\n').at(-1)}`;
}

function changes(before: Uint8Array, after: Uint8Array): string {
  const found: string[] = [];
  for (let n = 0; n < after.length && found.length < MOST_BYTES; n++)
    if (before[n] !== after[n]) found.push(`${n.toString(16)}: ${before[n]?.toString(16)} > ${after[n]?.toString(16)}`);
  return found.join(', ');
}
