// A GHCB page as the host finds it, to be changed and put back (GHCB specification, table 3). Unlike the hypervisor's accessor this one has no
// manners: any field can be read, set, marked valid or not.

import { Ghcb, type GhcbField, validBit } from '../arch/ghcb.ts';
import type { InterposedVcpu } from '../hypervisor/ghcb/interposer.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { BytesPort } from '../util/struct.ts';

const { layout } = Ghcb;
const BITMAP = layout.validBitmapLow.offset;
const BITMAP_SIZE = 16;

export class PageBytes {
  readonly bytes: Uint8Array;
  readonly port: BytesPort;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.port = new BytesPort(bytes);
  }

  /** null: there is no such page of RAM. */
  static read(vcpu: InterposedVcpu, gpa: bigint): PageBytes | null {
    const bytes = new Uint8Array(PAGE_SIZE);
    return gpa !== 0n && vcpu.readMemory(gpa, bytes) ? new PageBytes(bytes) : null;
  }

  copy(): PageBytes {
    return new PageBytes(this.bytes.slice());
  }

  get(field: GhcbField): bigint {
    const { offset, bytes } = layout[field];
    return bytes === 1 ? BigInt(this.port.u8(offset)) : this.port.u64(offset);
  }

  /** Sets the value alone. */
  put(field: GhcbField, value: bigint): void {
    const { offset, bytes } = layout[field];
    if (bytes === 1) this.port.setU8(offset, Number(value & 0xffn));
    else this.port.setU64(offset, value);
  }

  /** Sets the value and marks it valid. */
  set(field: GhcbField, value: bigint): void {
    this.put(field, value);
    this.mark(field, true);
  }

  isMarked(field: GhcbField): boolean {
    const bit = validBit(field);
    return (this.port.u8(BITMAP + (bit >>> 3)) & (1 << (bit & 7))) !== 0;
  }

  mark(field: GhcbField, valid: boolean): void {
    const bit = validBit(field);
    const at = BITMAP + (bit >>> 3);
    const mask = 1 << (bit & 7);
    this.port.setU8(at, valid ? this.port.u8(at) | mask : this.port.u8(at) & ~mask);
  }

  unmarkAll(): void {
    this.bytes.fill(0, BITMAP, BITMAP + BITMAP_SIZE);
  }
}
