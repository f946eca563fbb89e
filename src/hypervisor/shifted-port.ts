// A structure that begins in the middle of a page: the save area of a VMCB.

import type { Port } from '../util/struct.ts';

export class ShiftedPort implements Port {
  readonly #port: Port;
  readonly #by: number;

  constructor(port: Port, by: number) {
    this.#port = port;
    this.#by = by;
  }
  u8(offset: number): number {
    return this.#port.u8(this.#by + offset);
  }
  u16(offset: number): number {
    return this.#port.u16(this.#by + offset);
  }
  u32(offset: number): number {
    return this.#port.u32(this.#by + offset);
  }
  u64(offset: number): bigint {
    return this.#port.u64(this.#by + offset);
  }
  setU8(offset: number, value: number): void {
    this.#port.setU8(this.#by + offset, value);
  }
  setU16(offset: number, value: number): void {
    this.#port.setU16(this.#by + offset, value);
  }
  setU32(offset: number, value: number): void {
    this.#port.setU32(this.#by + offset, value);
  }
  setU64(offset: number, value: bigint): void {
    this.#port.setU64(this.#by + offset, value);
  }
}
