// What QEMU's pc-testdev gives to guests that test a processor: four bytes that read back what was written in any width, lines of the
// I/O APIC to raise and lower, and 64 KiB that are memory to a guest and a device to everybody else.

import type { PortDevice, PortSize } from './device.ts';
import type { MmioDevice, MmioSize } from './mmio-bus.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** Ports E0h to E3h: bytes that stay. */
export class EchoPorts implements PortDevice, Stateful {
  readonly name = 'echo ports';
  readonly #bytes = new DataView(new ArrayBuffer(4));

  in(offset: number, size: PortSize): number {
    return size === 1
      ? this.#bytes.getUint8(offset)
      : size === 2
        ? this.#bytes.getUint16(offset, true)
        : this.#bytes.getUint32(offset, true);
  }

  out(offset: number, size: PortSize, value: number): void {
    if (size === 1) this.#bytes.setUint8(offset, value);
    else if (size === 2) this.#bytes.setUint16(offset, value, true);
    else this.#bytes.setUint32(offset, value, true);
  }

  exchange(fields: Fields): void {
    fields.numbers(new Uint8Array(this.#bytes.buffer));
  }
}

/** A port for each line: anything but 0 raises it. */
export class LinePorts implements PortDevice {
  readonly name = 'interrupt lines';
  readonly width = 1;
  readonly #line: (pin: number, level: boolean) => void;

  constructor(line: (pin: number, level: boolean) => void) {
    this.#line = line;
  }

  in(): number {
    return 0xff;
  }

  out(offset: number, _size: PortSize, value: number): void {
    this.#line(offset, value !== 0);
  }
}

/** Memory behind the device side of the bus. */
export class TestMemory implements MmioDevice, Stateful {
  readonly name = 'test memory';
  readonly #bytes: DataView;
  /** A copy, as long as nothing is written. */
  #image: Uint8Array | null = null;

  constructor(size: number) {
    this.#bytes = new DataView(new ArrayBuffer(size));
  }

  read(offset: number, size: MmioSize): number {
    return size === 1
      ? this.#bytes.getUint8(offset)
      : size === 2
        ? this.#bytes.getUint16(offset, true)
        : this.#bytes.getUint32(offset, true);
  }

  write(offset: number, size: MmioSize, value: number): void {
    this.#image = null;
    if (size === 1) this.#bytes.setUint8(offset, value);
    else if (size === 2) this.#bytes.setUint16(offset, value, true);
    else this.#bytes.setUint32(offset, value, true);
  }

  exchange(fields: Fields): void {
    const image = fields.value((this.#image ??= new Uint8Array(this.#bytes.buffer.slice(0))));
    if (image !== this.#image) new Uint8Array(this.#bytes.buffer).set(image);
    this.#image = image;
  }
}
