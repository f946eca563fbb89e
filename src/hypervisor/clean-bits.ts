// The clean bits of a VMCB: whoever changes a field that one of them stands for says so, and they are set again once the processor has
// seen it (APM vol. 2, 15.15). Marked are only fields that hardly ever change, and whose changes all come this way.

import { CleanBits, VmcbControl } from '../arch/vmcb.ts';
import type { Port } from '../util/struct.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const { offset } = VmcbControl.layout.cleanBits;
const MARKED = CleanBits.I | CleanBits.IOPM | CleanBits.ASID;

export class CleanFields implements Stateful {
  readonly #port: Port;
  #changed = true;

  constructor(vmcb: Port) {
    this.#port = vmcb;
  }

  changed(): void {
    this.#changed = true;
    this.#port.setU32(offset, 0);
  }

  /** A VMRUN has gone by. */
  seen(): void {
    if (!this.#changed) return;
    this.#changed = false;
    this.#port.setU32(offset, MARKED);
  }

  exchange(fields: Fields): void {
    this.#changed = fields.value(this.#changed);
  }
}
