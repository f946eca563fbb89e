// An Mmu that tells somebody of each access that comes to it: the slow paths of generated code, and all accesses of routines in TypeScript. What it
// tells are host addresses: in a frame, or State.SCRATCH, from where `commit` carries the bytes on.

import { Mmu } from './mmu.ts';

export class NotingMmu extends Mmu {
  noted: ((address: number, size: number, write: boolean) => void) | null = null;

  override reset(): void {
    super.reset();
    this.noted = null;
  }

  override load(state: number, lo: number, hi: number, size: number, flags: number): number {
    const address = super.load(state, lo, hi, size, flags) >>> 0;
    if (address !== 0) this.noted?.(address, size, false);
    return address;
  }

  override store(state: number, lo: number, hi: number, size: number, flags: number): number {
    const address = super.store(state, lo, hi, size, flags) >>> 0;
    if (address !== 0) this.noted?.(address, size, true);
    return address;
  }
}
