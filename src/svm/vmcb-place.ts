// Where the bytes of a VMCB are: looked up once, and again only when any view of memory was changed since.

import { type Frames, Status, VOID_FRAME } from '../memory/frames.ts';
import { PAGE_SIZE, pageOf, type Spa } from '../util/address.ts';

const HOST_KEY = 0;

export class VmcbPlace {
  readonly #frames: Frames;
  #page = 0;
  #at = 0;
  /** The revision of all views for which that holds. */
  #revision = -1;

  constructor(frames: Frames) {
    this.#frames = frames;
  }

  /** Address of a VMCB's bytes for reading and writing, valid until frames are touched again; 0: it is no page of memory. */
  of(vmcb: Spa): number {
    if (vmcb < 0 || vmcb % PAGE_SIZE !== 0) return 0;
    const frames = this.#frames;
    const page = pageOf(vmcb);
    if (frames.revisions === this.#revision && page === this.#page) return this.#at;
    const frame = page < frames.pageCount ? frames.own(page, HOST_KEY) : VOID_FRAME;
    if (frame === VOID_FRAME) return 0;
    const { status } = frames.table;
    if (status[frame] !== Status.DIRTY) frames.stored(frame, 0, PAGE_SIZE);
    this.#page = page;
    this.#at = frames.address(frame);
    this.#revision = status[frame] === Status.DIRTY ? frames.revisions : -1;
    return this.#at;
  }
}
