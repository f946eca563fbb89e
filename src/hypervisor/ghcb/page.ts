// One VMGEXIT's view of a GHCB page (GHCB specification 4). Validity lives here: a getter refuses a field that the guest did
// not mark valid, a setter marks what it sets. The page is read once, into a snapshot: a guest that changes it meanwhile
// changes nothing (CVE-2023-4155). Bits 126 and 127 of the bitmap, which stand for the bitmap itself, are ignored.

import { GHCB_BUFFER, Ghcb, type GhcbField, validBit } from '../../arch/ghcb.ts';
import type { HostMemory } from '../../svm/host.ts';
import { type Gpa, PAGE_SIZE, type Spa, spa } from '../../util/address.ts';
import { assert } from '../../util/errors.ts';

const { layout } = Ghcb;
/** The save area with its bitmap; what lies behind is read field by field. */
const SAVE_AREA = 0x400;
const TRAILER = 0xff0;
/** The longest scratch area outside the GHCB page (version 1), as KVM has it. */
const LONGEST_SCRATCH = 0x1_0000;

export const ghcbFields = Object.keys(layout).filter(
  (name) => !['validBitmapLow', 'validBitmapHigh', 'x87StateGpa', 'protocolVersion', 'usage'].includes(name),
) as readonly GhcbField[];

export class GhcbPage {
  readonly #memory: HostMemory;
  readonly #snapshot = new Uint8Array(SAVE_AREA);
  readonly #view = new DataView(this.#snapshot.buffer);
  readonly #trailer = new DataView(new ArrayBuffer(PAGE_SIZE - TRAILER));
  readonly #valid = new Uint32Array(4);
  readonly #answered = new Uint32Array(4);
  readonly #answers: GhcbField[] = [];
  #gpa = 0 as Gpa;
  #spa = spa(0);

  constructor(memory: HostMemory) {
    this.#memory = memory;
  }

  get gpa(): Gpa {
    return this.#gpa;
  }
  get usage(): number {
    return this.#trailer.getUint32(layout.usage.offset - TRAILER, true);
  }
  get protocolVersion(): number {
    return this.#trailer.getUint16(layout.protocolVersion.offset - TRAILER, true);
  }

  /** Takes the snapshot of the page at `address`, which the guest names `gpa`. */
  capture(gpa: Gpa, address: Spa): void {
    this.#gpa = gpa;
    this.#spa = address;
    this.#memory.read(address, this.#snapshot);
    this.#memory.read(spa(address + TRAILER), new Uint8Array(this.#trailer.buffer));
    for (let word = 0; word < 4; word++) {
      this.#valid[word] = this.#view.getUint32(layout.validBitmapLow.offset + 4 * word, true);
      this.#answered[word] = 0;
    }
    this.#answers.length = 0;
  }

  /** Did the guest mark the field valid? */
  has(field: GhcbField): boolean {
    const bit = validBit(field);
    return (((this.#valid[bit >>> 5] ?? 0) >>> (bit & 31)) & 1) === 1;
  }

  /** A field that the guest marked valid. Whoever reads another has forgotten it among the needs of its event. */
  get(field: GhcbField): bigint {
    assert(this.has(field), `the GHCB field ${field} is read without having been required`);
    const { offset, bytes } = layout[field];
    return bytes === 1 ? BigInt(this.#view.getUint8(offset)) : this.#view.getBigUint64(offset, true);
  }

  /** The low 32 bits of a field that the guest marked valid. */
  low(field: GhcbField): number {
    assert(this.has(field), `the GHCB field ${field} is read without having been required`);
    const { offset, bytes } = layout[field];
    return bytes === 1 ? this.#view.getUint8(offset) : this.#view.getUint32(offset, true);
  }

  /** Answers in a field. It becomes visible to the guest, with its valid bit, at `reply`. */
  set(field: GhcbField, value: bigint): void {
    const { offset, bytes } = layout[field];
    if (bytes === 1) this.#view.setUint8(offset, Number(BigInt.asUintN(8, value)));
    else this.#view.setBigUint64(offset, BigInt.asUintN(64, value), true);
    const bit = validBit(field);
    const word = this.#answered[bit >>> 5] ?? 0;
    if (((word >>> (bit & 31)) & 1) === 0) this.#answers.push(field);
    this.#answered[bit >>> 5] = word | (1 << (bit & 31));
  }

  /** Was the field answered? */
  answered(field: GhcbField): boolean {
    const bit = validBit(field);
    return (((this.#answered[bit >>> 5] ?? 0) >>> (bit & 31)) & 1) === 1;
  }

  /** Takes back what was answered so far. */
  clearAnswers(): void {
    this.#answered.fill(0);
    this.#answers.length = 0;
  }

  /** Writes the answers and the new bitmap, which has their bits and no other. */
  reply(): void {
    for (const field of this.#answers) {
      const { offset, bytes } = layout[field];
      this.#memory.write(spa(this.#spa + offset), this.#snapshot.subarray(offset, offset + bytes));
    }
    const bitmap = new Uint8Array(this.#answered.buffer);
    this.#memory.write(spa(this.#spa + layout.validBitmapLow.offset), bitmap);
  }

  /** The valid fields of the snapshot, or the answers, by name: for the trace. */
  fields(which: 'guest' | 'hypervisor'): Record<string, bigint> {
    const found: Record<string, bigint> = {};
    for (const field of ghcbFields) {
      if (which === 'guest' ? !this.has(field) : !this.answered(field)) continue;
      const { offset, bytes } = layout[field];
      found[field] = bytes === 1 ? BigInt(this.#view.getUint8(offset)) : this.#view.getBigUint64(offset, true);
    }
    return found;
  }

  /**
   * Is `length` bytes at SW_SCRATCH a place that this event may use? Version 2 demands the shared buffer of this page
   * (2.1); version 1 allows any shared memory, but nothing of this page except the buffer.
   */
  scratchFits(scratch: bigint, length: number, memorySize: number): boolean {
    const end = scratch + BigInt(length);
    const page = BigInt(this.#gpa);
    const inBuffer = scratch >= page + BigInt(GHCB_BUFFER.start) && end <= page + BigInt(GHCB_BUFFER.end);
    if (inBuffer) return true;
    if (this.protocolVersion >= 2 || scratch === 0n || length > LONGEST_SCRATCH || end > BigInt(memorySize)) return false;
    return end <= page || scratch >= page + BigInt(PAGE_SIZE);
  }
}
