// RIP behind the instruction of a record, in halves.

import { State } from '../../memory/state.ts';
import { Record } from '../../x86/record.ts';
import type { Processor } from '../processor.ts';

/** RIP becomes that of the next instruction; a fault of this one puts it back. */
export function setNextRip(p: Processor, record: number): void {
  const place = p.view.getUint16(record + Record.PLACE, true);
  const offset = (place & 0xfff) + (place >>> 12);
  const low = (p.u32(State.PAGE) + offset) | 0;
  const high = p.high32(State.PAGE) + (low >>> 0 < offset ? 1 : 0);
  p.set64(State.RIP, low, p.mode === 64 ? high | 0 : 0);
}
