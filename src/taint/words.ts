// What findings say.

import { LabelUse } from '../x86/label-table.ts';
import type { Unproven } from './c-bit.ts';
import type { Origin } from './origins.ts';
import type { TaintRule } from './taint-rules.ts';

const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** Something that depends on an origin which was not validated. */
export function steered(use: LabelUse, { what, rip }: Origin): { readonly rule: TaintRule; readonly text: string } {
  const from = `${what}, which came in at ${hex(rip)} and was compared with nothing since`;
  switch (use) {
    case LabelUse.BRANCH:
      return { rule: 'taint-branch', text: `a computed branch goes where the hypervisor says: its target depends on ${from}` };
    case LabelUse.COUNT:
      return { rule: 'taint-address', text: `a repeated instruction runs as often as the hypervisor says: its count depends on ${from}` };
    default:
      return { rule: 'taint-address', text: `an access goes where the hypervisor says: its address depends on ${from}` };
  }
}

/** Page tables with a C-bit that nothing has proven. */
export function believedCBit({ origins }: Unproven): string {
  const [origin] = origins;
  const told = origin === undefined ? 'the hypervisor says' : `${origin.what} said at ${hex(origin.rip)}`;
  return `page tables take effect whose C-bit is where ${told}, and nothing private was found again behind them`;
}
