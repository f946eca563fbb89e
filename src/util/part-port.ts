// A part of a Port: for a structure that does not begin where its page does, such as the save area at VMCB + 400h.

import type { Port } from './struct.ts';

export class PartPort implements Port {
  readonly #whole: Port;
  readonly #start: number;

  constructor(whole: Port, start: number) {
    this.#whole = whole;
    this.#start = start;
  }
  u8(offset: number): number {
    return this.#whole.u8(this.#start + offset);
  }
  u16(offset: number): number {
    return this.#whole.u16(this.#start + offset);
  }
  u32(offset: number): number {
    return this.#whole.u32(this.#start + offset);
  }
  u64(offset: number): bigint {
    return this.#whole.u64(this.#start + offset);
  }
  setU8(offset: number, value: number): void {
    this.#whole.setU8(this.#start + offset, value);
  }
  setU16(offset: number, value: number): void {
    this.#whole.setU16(this.#start + offset, value);
  }
  setU32(offset: number, value: number): void {
    this.#whole.setU32(this.#start + offset, value);
  }
  setU64(offset: number, value: bigint): void {
    this.#whole.setU64(this.#start + offset, value);
  }
}
