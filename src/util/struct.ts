// A structure as a manual prints it: field names to offsets and widths. `struct` turns the table into a class of accessors
// over a Port, so that the same layout reads bytes in a test, a page of DRAM under the host's mapping, or processor state.

import { assert } from './errors.ts';

export type Width = 1 | 2 | 4 | 8;
/** A field of a hardware structure: where the manual puts it and how many bytes it has. */
export type Field<B extends Width = Width> = { readonly offset: number; readonly bytes: B };
export const u8 = (offset: number): Field<1> => ({ offset, bytes: 1 });
export const u16 = (offset: number): Field<2> => ({ offset, bytes: 2 });
export const u32 = (offset: number): Field<4> => ({ offset, bytes: 4 });
export const u64 = (offset: number): Field<8> => ({ offset, bytes: 8 });

/** Where the bytes of a structure are. Offsets are from the start of the structure; integers are little endian. */
export interface Port {
  u8(offset: number): number;
  u16(offset: number): number;
  u32(offset: number): number;
  u64(offset: number): bigint;
  setU8(offset: number, value: number): void;
  setU16(offset: number, value: number): void;
  setU32(offset: number, value: number): void;
  setU64(offset: number, value: bigint): void;
}

/** A Port that moves several quadwords at once, for paths on which each access by itself would count. */
export interface QuadwordPort extends Port {
  /** Copies the quadwords `first` + n, for each bit n that is set in `bits`, to the same places of `into`. */
  readQuadwords(first: number, bits: number, into: Int32Array): void;
  /** Copies them the other way. */
  writeQuadwords(first: number, bits: number, from: Int32Array): void;
}

/** Number of the lowest set bit. */
export const lowestBit = (bits: number): number => 31 - Math.clz32(bits & -bits);

/** A Port over plain bytes. */
export class BytesPort implements QuadwordPort {
  readonly #view: DataView;
  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  u8(offset: number): number {
    return this.#view.getUint8(offset);
  }
  u16(offset: number): number {
    return this.#view.getUint16(offset, true);
  }
  u32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }
  u64(offset: number): bigint {
    return this.#view.getBigUint64(offset, true);
  }
  setU8(offset: number, value: number): void {
    this.#view.setUint8(offset, value);
  }
  setU16(offset: number, value: number): void {
    this.#view.setUint16(offset, value, true);
  }
  setU32(offset: number, value: number): void {
    this.#view.setUint32(offset, value, true);
  }
  setU64(offset: number, value: bigint): void {
    this.#view.setBigUint64(offset, BigInt.asUintN(64, value), true);
  }
  readQuadwords(first: number, bits: number, into: Int32Array): void {
    for (let left = bits; left !== 0; left &= left - 1) {
      const at = 2 * (first + lowestBit(left));
      into[at] = this.u32(4 * at);
      into[at + 1] = this.u32(4 * at + 4);
    }
  }
  writeQuadwords(first: number, bits: number, from: Int32Array): void {
    for (let left = bits; left !== 0; left &= left - 1) {
      const at = 2 * (first + lowestBit(left));
      this.setU32(4 * at, from[at]! >>> 0);
      this.setU32(4 * at + 4, from[at + 1]! >>> 0);
    }
  }
}

export type Layout = Readonly<Record<string, Field>>;
/** Read and write access to the fields of one structure: 8-byte fields are bigint, all others number. */
export type View<L extends Layout> = { -readonly [K in keyof L]: L[K]['bytes'] extends 8 ? bigint : number };

export type Struct<L extends Layout> = {
  (port: Port): View<L>;
  readonly layout: L;
  /** Size of the structure in bytes. */
  readonly size: number;
  /** A view over fresh zeroed bytes, with the bytes. */
  create(): { readonly view: View<L>; readonly bytes: Uint8Array };
};

const reader = { 1: 'u8', 2: 'u16', 4: 'u32', 8: 'u64' } as const;
const writer = { 1: 'setU8', 2: 'setU16', 4: 'setU32', 8: 'setU64' } as const;

export function struct<const L extends Layout>(layout: L, size: number): Struct<L> {
  class Fields {
    readonly port: Port;
    constructor(port: Port) {
      this.port = port;
    }
  }
  for (const [name, { offset, bytes }] of Object.entries(layout)) {
    assert(offset >= 0 && offset + bytes <= size, `field ${name} lies outside its structure of ${size} bytes`);
    const get = reader[bytes];
    const set = writer[bytes];
    Object.defineProperty(Fields.prototype, name, {
      enumerable: true,
      get(this: Fields) {
        return this.port[get](offset);
      },
      set(this: Fields, value: never) {
        this.port[set](offset, value);
      },
    });
  }
  const make = (port: Port): View<L> => new Fields(port) as unknown as View<L>;
  return Object.assign(make, {
    layout,
    size,
    create: () => {
      const bytes = new Uint8Array(size);
      return { view: make(new BytesPort(bytes)), bytes };
    },
  });
}
