// Where the bytes of a VMCB are: looked up once, and again only when any view of memory was changed since.

import { type Frames, Status, VOID_FRAME } from '../memory/frames.ts';
import type { PhysicalAddresses } from '../sev/physical-addresses.ts';
import { PAGE_SIZE, pageOf, type Spa } from '../util/address.ts';

export class VmcbPlace {
  readonly #frames: Frames;
  #vmcb = -1;
  /** Was memory encryption on, so that the C-bit selected a key? */
  #encryption = false;
  #at = 0;
  /** The revision of all views for which that holds. */
  #revision = -1;

  constructor(frames: Frames) {
    this.#frames = frames;
  }

  /** Address of a VMCB's bytes for reading and writing, valid until frames are touched again; 0: it is no page of memory. */
  of(vmcb: Spa, addresses: PhysicalAddresses): number {
    const frames = this.#frames;
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
}
