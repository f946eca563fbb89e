// A bus master that copies: software gives it a list of descriptors in memory and says go. It drives 32 address lines, as much of the
// hardware of the nineties does, and knows no C-bit; what stands between it and memory is not its business. Ours, not a manual's:
// docs/devices.md states it. Copying takes no time.

import type { DmaMemory, Line } from './device.ts';
import type { MmioDevice, MmioSize } from './mmio-bus.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** Offsets of registers, 32 bits each. */
export const DmaRegister = { DESCRIPTORS: 0x00, COMMAND: 0x04, STATUS: 0x08, FAULT: 0x0c, COUNT: 0x10 } as const;
/** Start, and: interrupt when done. */
export const DmaCommand = { START: 1, INTERRUPT: 2 } as const;
/** Why it stopped. Writing 1 clears a bit, and with the last of them the interrupt. */
export const DmaStatus = { DONE: 1, ERROR: 2 } as const;

/** Source, destination, length, address of the next descriptor (0: the last). */
const Descriptor = { SOURCE: 0, DESTINATION: 4, LENGTH: 8, NEXT: 12, SIZE: 16 } as const;
/** A list that is longer, or a loop, is an error; so is a longer piece. */
const MOST_DESCRIPTORS = 64;
const LONGEST = 0x1_0000;
const STEP = 4096;
const TWO_32 = 2 ** 32;

export class DmaEngine implements MmioDevice, Stateful {
  readonly name = 'DMA engine';
  readonly #memory: DmaMemory;
  readonly #line: Line;
  readonly #buffer = new Uint8Array(STEP);
  #descriptors = 0;
  #status = 0;
  #fault = 0;
  #count = 0;

  /** `memory`: as this master reaches it. */
  constructor(memory: DmaMemory, line: Line) {
    this.#memory = memory;
    this.#line = line;
  }

  read(offset: number, size: MmioSize): number {
    const value = this.#register(offset & ~3) >>> (8 * (offset & 3));
    return size === 4 ? value >>> 0 : value & ((1 << (8 * size)) - 1);
  }

  /** Only whole registers are written. */
  write(offset: number, size: MmioSize, value: number): void {
    if (size !== 4) return;
    if (offset === DmaRegister.DESCRIPTORS) this.#descriptors = value;
    else if (offset === DmaRegister.STATUS) {
      this.#status &= ~value;
      if (this.#status === 0) this.#line(false);
    } else if (offset === DmaRegister.COMMAND && (value & DmaCommand.START) !== 0) this.#start((value & DmaCommand.INTERRUPT) !== 0);
  }

  #register(offset: number): number {
    switch (offset) {
      case DmaRegister.DESCRIPTORS:
        return this.#descriptors;
      case DmaRegister.STATUS:
        return this.#status;
      case DmaRegister.FAULT:
        return this.#fault;
      case DmaRegister.COUNT:
        return this.#count;
      default:
        return 0;
    }
  }

  #start(interrupt: boolean): void {
    this.#count = 0;
    this.#fault = 0;
    this.#status = this.#runList() ? DmaStatus.DONE : DmaStatus.ERROR;
    if (interrupt) this.#line(true);
  }

  /** False: FAULT has the address that could not be reached, or that of the descriptor that is none. */
  #runList(): boolean {
    const descriptor = new Uint8Array(Descriptor.SIZE);
    const view = new DataView(descriptor.buffer);
    let at = this.#descriptors;
    while (this.#count < MOST_DESCRIPTORS) {
      this.#fault = at;
      if (!this.#memory.read(BigInt(at), descriptor)) return false;
      const length = view.getUint32(Descriptor.LENGTH, true);
      const source = view.getUint32(Descriptor.SOURCE, true);
      const destination = view.getUint32(Descriptor.DESTINATION, true);
      if (length > LONGEST || source + length > TWO_32 || destination + length > TWO_32) return false;
      if (!this.#copy(source, destination, length)) return false;
      this.#count++;
      this.#fault = 0;
      at = view.getUint32(Descriptor.NEXT, true);
      if (at === 0) return true;
    }
    this.#fault = at;
    return false;
  }

  /** In ascending order, page by page. */
  #copy(source: number, destination: number, length: number): boolean {
    for (let done = 0; done < length; ) {
      const size = Math.min(length - done, STEP);
      const bytes = this.#buffer.subarray(0, size);
      this.#fault = source + done;
      if (!this.#memory.read(BigInt(source + done), bytes)) return false;
      this.#fault = destination + done;
      if (!this.#memory.write(BigInt(destination + done), bytes)) return false;
      done += size;
    }
    return true;
  }

  exchange(fields: Fields): void {
    this.#descriptors = fields.value(this.#descriptors);
    this.#status = fields.value(this.#status);
    this.#fault = fields.value(this.#fault);
    this.#count = fields.value(this.#count);
  }
}
