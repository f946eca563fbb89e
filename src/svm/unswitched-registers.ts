// Registers that no world switch moves for a guest without SEV-ES, so that they stay in the processor until software moves them: what VMLOAD and VMSAVE
// have in a VMCB (APM vol. 2, 15.5.2), and what takes other instructions, in a page of the host's.

import { SAVE_AREA_OFFSET } from '../arch/vmcb.ts';
import { type Frames, VOID_FRAME } from '../memory/frames.ts';
import type { EngineMemory } from '../memory/map.ts';
import type { PhysicalAddresses } from '../sev/physical-addresses.ts';
import { PAGE_SIZE, pageOf, type Spa } from '../util/address.ts';
import type { HostFault } from './host-processor.ts';
import type { HostState } from './host-state.ts';
import { canonicaliseBases, extendedTransfer, vmloadTransfer } from './transfer.ts';
import type { VmcbPlace } from './vmcb-place.ts';

export class UnswitchedRegisters {
  readonly #memory: EngineMemory;
  readonly #frames: Frames;
  readonly #host: HostState;
  readonly #place: VmcbPlace;
  readonly #addresses: PhysicalAddresses;

  constructor(memory: EngineMemory, frames: Frames, host: HostState, place: VmcbPlace, addresses: PhysicalAddresses) {
    this.#memory = memory;
    this.#frames = frames;
    this.#host = host;
    this.#place = place;
    this.#addresses = addresses;
  }

  vmload(vmcb: Spa): HostFault | null {
    const at = this.#place.of(vmcb);
    if (at === 0) return this.#place.fault;
    vmloadTransfer.load(this.#memory, at + SAVE_AREA_OFFSET, this.#memory, this.#host.live);
    canonicaliseBases(this.#memory.i32, this.#host.live >>> 2);
    this.#host.changed();
    return null;
  }

  vmsave(vmcb: Spa): HostFault | null {
    const at = this.#place.of(vmcb);
    if (at === 0) return this.#place.fault;
    vmloadTransfer.store(this.#memory, this.#host.live, this.#memory, at + SAVE_AREA_OFFSET);
    return null;
  }

  /** From (`load`) or to a page of the host's (HostProcessor.loadRegisters). */
  move(page: Spa, load: boolean): void {
    const frame = this.#frames.own(pageOf(this.#addresses.place(page)), this.#addresses.key(page));
    if (frame === VOID_FRAME) return;
    this.#frames.stored(frame, 0, PAGE_SIZE);
    const at = this.#frames.address(frame);
    if (load) extendedTransfer.load(this.#memory, at, this.#memory, this.#host.live);
    else extendedTransfer.store(this.#memory, this.#host.live, this.#memory, at);
    this.#host.changed();
  }
}
