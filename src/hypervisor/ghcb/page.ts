// One VMGEXIT's view of a GHCB page (GHCB specification 4). Validity lives here: a getter refuses a field that the guest did
// not mark valid, a setter marks what it sets. The page is read once, into a snapshot: a guest that changes it meanwhile
// changes nothing (CVE-2023-4155). Bits 126 and 127 of the bitmap, which stand for the bitmap itself, are ignored.

import { GHCB_BUFFER, Ghcb, type GhcbField, type GhcbVersion, validBit } from '../../arch/ghcb.ts';
import type { HostMemory } from '../../svm/host-processor.ts';
import { type Gpa, PAGE_SIZE, type Spa, spa } from '../../util/address.ts';
import { assert, InternalError } from '../../util/errors.ts';
import { fromHalves, highHalf, lowHalf } from '../../util/halves.ts';
import type { Field, QuadwordPort } from '../../util/struct.ts';

const { layout } = Ghcb;
const SAVE_AREA = 0x400;
const BITMAP = layout.validBitmapLow.offset;
const BITMAP_WORDS = 4;
/** Quadwords that a word of the bitmap stands for. */
const PER_WORD = 32;
/** The longest scratch area outside the GHCB page (version 1), as KVM has it. */
const LONGEST_SCRATCH = 0x1_0000;

export const ghcbFields = Object.keys(layout).filter(
  (name) => !['validBitmapLow', 'validBitmapHigh', 'x87StateGpa', 'protocolVersion', 'usage'].includes(name),
) as readonly GhcbField[];

/** A set of fields as the valid bitmap has them: four words. */
export type FieldSet = Readonly<Int32Array>;

export function fieldSet(fields: readonly GhcbField[]): FieldSet {
  const set = new Int32Array(BITMAP_WORDS);
  for (const field of fields) set[validBit(field) >>> 5]! |= 1 << (validBit(field) & 31);
  return set;
}

const contains = (set: FieldSet, { offset }: Field): boolean => ((set[offset >>> 8]! >>> ((offset >>> 3) & 31)) & 1) === 1;
const containsAll = (set: FieldSet, fields: FieldSet): boolean =>
  ((fields[0]! & ~set[0]!) | (fields[1]! & ~set[1]!) | (fields[2]! & ~set[2]!) | (fields[3]! & ~set[3]!)) === 0;

export class GhcbPage {
  readonly #memory: HostMemory;
  /** The valid fields of the page, at their places, and the answers to come. */
  readonly #words = new Int32Array(SAVE_AREA / 4);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  readonly #valid = new Int32Array(BITMAP_WORDS);
  readonly #answered = new Int32Array(BITMAP_WORDS);
  #usage = 0;
  #protocolVersion = 1;
  #unknownVersion = 0;
  #gpa = 0 as Gpa;
  #spa = spa(0);
  #port: QuadwordPort | null = null;

  constructor(memory: HostMemory) {
    this.#memory = memory;
  }

  get gpa(): Gpa {
    return this.#gpa;
  }
  /** Where the page is that was captured last, if it is the one at `gpa`: a guest's memory stays where it is. */
  addressOf(gpa: Gpa): Spa | null {
    return this.#port !== null && gpa === this.#gpa ? this.#spa : null;
  }
  get usage(): number {
    return this.#usage;
  }
  /** The version that page and hypervisor have in common. 0, which pages say whose guest never wrote it, stands for 1. */
  get protocolVersion(): number {
    return this.#protocolVersion;
  }
  /** What the page says, if the hypervisor does not speak it; else 0. */
  get unknownVersion(): number {
    return this.#unknownVersion;
  }

  /** Takes the snapshot of the page at `address`, which the guest names `gpa`. `most`: the hypervisor's highest protocol version. */
  capture(gpa: Gpa, address: Spa, most: GhcbVersion): void {
    this.#gpa = gpa;
    if (this.#port === null || address !== this.#spa) this.#port = this.#memory.page(address);
    this.#spa = address;
    const port = this.#port;
    this.#usage = port.u32(layout.usage.offset);
    const version = port.u16(layout.protocolVersion.offset);
    this.#protocolVersion = version > most ? most : version === 0 ? 1 : version;
    this.#unknownVersion = version > most ? version : 0;
    for (let n = 0; n < BITMAP_WORDS; n++) {
      const valid = port.u32(BITMAP + 4 * n) & everyField[n]!;
      this.#valid[n] = valid;
      this.#answered[n] = 0;
      if (valid !== 0) port.readQuadwords(PER_WORD * n, valid, this.#words);
    }
  }

  /** Did the guest mark the field valid? */
  has(field: Field): boolean {
    return contains(this.#valid, field);
  }

  hasAll(fields: FieldSet): boolean {
    return containsAll(this.#valid, fields);
  }

  /** A field that the guest marked valid. Whoever reads another has forgotten it among the needs of its event. */
  get(field: Field): bigint {
    return fromHalves(this.low(field), this.high(field));
  }

  /** The low 32 bits of a field that the guest marked valid. */
  low(field: Field): number {
    if (!contains(this.#valid, field)) notRequired(field);
    const { offset, bytes } = field;
    return bytes === 1 ? this.#bytes[offset]! : this.#words[offset >>> 2]! >>> 0;
  }

  /** Its high 32 bits. */
  high(field: Field): number {
    if (!contains(this.#valid, field)) notRequired(field);
    const { offset, bytes } = field;
    return bytes === 1 ? 0 : this.#words[(offset >>> 2) + 1]! >>> 0;
  }

  /** Are all 64 bits of a field clear that the guest marked valid? */
  isZero(field: Field): boolean {
    if (!contains(this.#valid, field)) notRequired(field);
    const at = field.offset >>> 2;
    return (this.#words[at]! | this.#words[at + 1]!) === 0;
  }

  /** Answers in a field. It becomes visible to the guest, with its valid bit, at `reply`. */
  set(field: Field, value: bigint): void {
    this.set64(field, lowHalf(value), highHalf(value));
  }

  /** The same by halves. */
  set64({ offset, bytes }: Field, low: number, high: number): void {
    assert(bytes === 8, 'an answer has 64 bits');
    this.#words[offset >>> 2] = low;
    this.#words[(offset >>> 2) + 1] = high;
    this.#answered[offset >>> 8]! |= 1 << ((offset >>> 3) & 31);
  }

  /** Were the fields answered? */
  answeredAll(fields: FieldSet): boolean {
    return containsAll(this.#answered, fields);
  }

  /** Takes back what was answered so far. */
  clearAnswers(): void {
    for (let n = 0; n < BITMAP_WORDS; n++) this.#answered[n] = 0;
  }

  /** Writes the answers and the new bitmap, which has their bits and no other. */
  reply(): void {
    const port = this.#port;
    assert(port !== null, 'a page is answered after it was captured');
    for (let n = 0; n < BITMAP_WORDS; n++) {
      const answered = this.#answered[n]!;
      if (answered !== 0) port.writeQuadwords(PER_WORD * n, answered, this.#words);
      port.setU32(BITMAP + 4 * n, answered >>> 0);
    }
  }

  /** The valid fields of the snapshot, or the answers, by name: for the trace. */
  fields(which: 'guest' | 'hypervisor'): Record<string, bigint> {
    const found: Record<string, bigint> = {};
    for (const field of ghcbFields) {
      if (!contains(which === 'guest' ? this.#valid : this.#answered, layout[field])) continue;
      const { offset, bytes } = layout[field];
      found[field] = bytes === 1 ? BigInt(this.#bytes[offset]!) : fromHalves(this.#words[offset >>> 2]!, this.#words[(offset >>> 2) + 1]!);
    }
    return found;
  }

  /**
   * Is `length` bytes at SW_SCRATCH a place that this event may use? Version 2 demands the shared buffer of this page
   * (2.1); version 1 allows any shared memory, but nothing of this page except the buffer. Whether there is memory is another question.
   */
  scratchFits(scratch: bigint, length: number): boolean {
    const end = scratch + BigInt(length);
    const page = BigInt(this.#gpa);
    if (scratch >= page + BigInt(GHCB_BUFFER.start) && end <= page + BigInt(GHCB_BUFFER.end)) return true;
    if (this.#protocolVersion >= 2 || scratch === 0n || length > LONGEST_SCRATCH) return false;
    return end <= page || scratch >= page + BigInt(PAGE_SIZE);
  }
}

/** Every field that has a name here: of the others nobody asks. */
const everyField = fieldSet(ghcbFields);

function notRequired(field: Field): never {
  const name = ghcbFields.find((one) => layout[one] === field);
  throw new InternalError(`the GHCB field ${name} is read without having been required`);
}
