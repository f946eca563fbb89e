// Where the bytes of a VMCB are that VMRUN, VMLOAD or VMSAVE names: looked up once, and again only when any view of memory was changed since.

import { Vector } from '../arch/exception.ts';
import { Efer } from '../arch/registers.ts';
import { type Frames, Status, VOID_FRAME } from '../memory/frames.ts';
import type { PhysicalAddresses } from '../sev/physical-addresses.ts';
import { PAGE_SIZE, pageOf, type Spa } from '../util/address.ts';
import type { HostFault } from './host-processor.ts';
import type { HostState } from './host-state.ts';

export class VmcbPlace {
  readonly #frames: Frames;
  readonly #host: HostState;
  readonly #addresses: PhysicalAddresses;
  #vmcb = -1;
  /** Was memory encryption on, so that the C-bit selected a key? */
  #encryption = false;
  #at = 0;
  /** The revision of all views for which that holds. */
  #revision = -1;

  constructor(frames: Frames, host: HostState, addresses: PhysicalAddresses) {
    this.#frames = frames;
    this.#host = host;
    this.#addresses = addresses;
  }

  /** Address of a VMCB's bytes for reading and writing, valid until frames are touched again; 0: `fault`. */
  of(vmcb: Spa): number {
    if ((this.#host.eferLow & Efer.SVME) === 0) return 0;
    const frames = this.#frames;
    const addresses = this.#addresses;
    if (frames.revisions === this.#revision && vmcb === this.#vmcb && addresses.encryption === this.#encryption) return this.#at;
    if (vmcb < 0 || vmcb % PAGE_SIZE !== 0) return 0;
    const page = pageOf(addresses.place(vmcb));
    const frame = page < frames.pageCount ? frames.own(page, addresses.key(vmcb)) : VOID_FRAME;
    if (frame === VOID_FRAME) return 0;
    const { status } = frames.table;
    if (status[frame] !== Status.DIRTY) frames.stored(frame, 0, PAGE_SIZE);
    this.#vmcb = vmcb;
    this.#encryption = addresses.encryption;
    this.#at = frames.address(frame);
    this.#revision = status[frame] === Status.DIRTY ? frames.revisions : -1;
    return this.#at;
  }

  /** Without EFER.SVME the instruction is #UD; for what is no page of memory #GP. */
  get fault(): HostFault {
    return (this.#host.eferLow & Efer.SVME) === 0 ? Vector.UD : Vector.GP;
  }
}
