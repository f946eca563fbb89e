// Memory as bus masters reach it: by system physical addresses, which may carry the C-bit while memory encryption is enabled (APM vol. 2,
// 7.10.5). What addresses no DRAM is nobody's.

import type { DmaMemory } from '../devices/device.ts';
import type { Frames } from '../memory/frames.ts';
import { PAGE_SIZE } from '../util/address.ts';

export class SystemMemory implements DmaMemory {
  readonly #frames: Frames;
  readonly #cMask: bigint;
  readonly #hostKey: () => number;

  /** `hostKey`: key slot that the C-bit selects; 0 while it is an address bit. */
  constructor(frames: Frames, cBit: number, hostKey: () => number) {
    this.#frames = frames;
    this.#cMask = 1n << BigInt(cBit);
    this.#hostKey = hostKey;
  }

  read(address: bigint, into: Uint8Array): boolean {
    const [at, key] = this.#find(address);
    if (!this.#has(at, into.length)) return false;
    this.#frames.readByDevice(at, key, into);
    return true;
  }

  write(address: bigint, from: Uint8Array): boolean {
    const [at, key] = this.#find(address);
    if (!this.#has(at, from.length)) return false;
    this.#frames.writeByDevice(at, key, from);
    return true;
  }

  /** Address and key slot. */
  #find(address: bigint): readonly [number, number] {
    const key = this.#hostKey();
    const encrypted = key !== 0 && (address & this.#cMask) !== 0n;
    return encrypted ? [Number(address & ~this.#cMask), key] : [Number(address), 0];
  }

  #has(address: number, length: number): boolean {
    return address + length <= this.#frames.pageCount * PAGE_SIZE;
  }
}
