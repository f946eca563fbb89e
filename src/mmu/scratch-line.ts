// The scratch line of a state block (State.SCRATCH): the place for accesses that go to no one frame, across a page border or to a device. A load
// finds its bytes there; a store puts them there, and `commit` carries them on.

import { type Frames, Status, VOID_FRAME } from '../memory/frames.ts';
import type { EngineMemory } from '../memory/map.ts';
import { State, STOP_DEVICE } from '../memory/state.ts';
import type { DeviceMemory } from './device-memory.ts';

const PAGE = 4096;
/** Bytes at State.SCRATCH. */
export const SCRATCH_SIZE = 64;

export class ScratchLine {
  /** What answers where there is no DRAM; null: nobody does, or a hypervisor. */
  devices: DeviceMemory | null = null;
  /** False: an access that reaches a device ends its instruction with STOP_DEVICE. */
  asksDevices = true;
  /** Told of bytes that were moved between the line and frames. */
  moved: ((from: number, to: number, length: number) => void) | null = null;
  readonly #frames: Frames;
  readonly #i32: Int32Array;
  readonly #u8: Uint8Array;
  // Where the line belongs: an address of a device, or two pages.
  #device = -1;
  #page = 0;
  #key = 0;
  #offset = 0;
  #page2 = 0;
  #key2 = 0;

  constructor({ i32, u8 }: EngineMemory, frames: Frames) {
    this.#frames = frames;
    this.#i32 = i32;
    this.#u8 = u8;
  }

  /** Another machine begins. */
  reset(): void {
    this.devices = null;
    this.asksDevices = true;
    this.moved = null;
  }

  /** The line belongs to a page from an offset on, and to the beginning of another: `second` follows. */
  first(page: number, key: number, offset: number): void {
    this.#device = -1;
    this.#page = page;
    this.#key = key;
    this.#offset = offset;
  }

  second(page: number, key: number): void {
    this.#page2 = page;
    this.#key2 = key;
  }

  /** Address of the line, for a store to a linear address that `commit` ends. */
  pend(state: number, lo: number, hi: number, size: number): number {
    const i32 = this.#i32;
    i32[(state + State.PENDING_SIZE) >>> 2] = size;
    i32[(state + State.PENDING_ADDRESS) >>> 2] = lo;
    i32[(state + State.PENDING_ADDRESS + 4) >>> 2] = hi;
    return state + State.SCRATCH;
  }

  /** Address of the line with what the device at a system physical address answers; 0: not now. */
  fromDevice(state: number, address: number, size: number): number {
    if (!this.asksDevices) return this.#notNow(state);
    const at = state + State.SCRATCH;
    this.devices?.read(address, this.#u8.subarray(at, at + size));
    return at;
  }

  /** As `pend`, for the device at a system physical address; 0: not now. */
  toDevice(state: number, address: number, lo: number, hi: number, size: number): number {
    if (!this.asksDevices) return this.#notNow(state);
    this.#device = address;
    return this.pend(state, lo, hi, size);
  }

  /** The access is to be made by its instruction alone. */
  #notNow(state: number): 0 {
    this.#i32[(state + State.STOP) >>> 2] = STOP_DEVICE;
    return 0;
  }

  /** The bytes that are where the line belongs. */
  present(state: number, size: number): void {
    if (this.#device >= 0) {
      this.fromDevice(state, this.#device, size);
      return;
    }
    const to = state + State.SCRATCH;
    const length = PAGE - this.#offset;
    const from = this.#readable(this.#page, this.#key, this.#offset, length);
    this.#u8.copyWithin(to, from, from + length);
    this.moved?.(from, to, length);
    const from2 = this.#readable(this.#page2, this.#key2, 0, size - length);
    this.#u8.copyWithin(to + length, from2, from2 + size - length);
    this.moved?.(from2, to + length, size - length);
  }

  /** Writes the line to where it belongs, if a store is pending. Cannot fault. */
  commit(state: number): void {
    const size = this.#i32[(state + State.PENDING_SIZE) >>> 2]!;
    this.#i32[(state + State.PENDING_SIZE) >>> 2] = 0;
    if (size === 0) return;
    const from = state + State.SCRATCH;
    if (this.#device >= 0) {
      this.devices?.write(this.#device, this.#u8.subarray(from, from + size));
      return;
    }
    const length = PAGE - this.#offset;
    this.#put(this.#page, this.#key, this.#offset, from, length);
    this.#put(this.#page2, this.#key2, 0, from + length, size - length);
  }

  #readable(page: number, key: number, offset: number, length: number): number {
    const frame = this.#frames.view(page, key);
    this.#frames.loaded(frame, offset, length);
    return this.#frames.address(frame) + offset;
  }

  #put(page: number, key: number, offset: number, from: number, length: number): void {
    const frame = this.#frames.own(page, key);
    if (frame === VOID_FRAME) return;
    if (this.#frames.table.status[frame] !== Status.DIRTY) this.#frames.stored(frame, offset, length);
    this.#u8.copyWithin(this.#frames.address(frame) + offset, from, from + length);
    this.moved?.(from, this.#frames.address(frame) + offset, length);
  }
}
