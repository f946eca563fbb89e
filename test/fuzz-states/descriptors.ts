// Descriptor tables, gates and task state segments of random states: mostly as an operating system would set them up, each now and
// then with a wrong bit. APM vol. 2, 4.7 and 4.8, 12.2.

import type { Dice } from './dice.ts';
import { Place, STREAMS, streamAt } from './layout.ts';
import { Entry, flagsValue, pointer, selector, value32, value64 } from './values.ts';

export type Kind = 'real' | 'v8086' | 'protected16' | 'protected32' | 'compatibility' | 'long';
export const isLong = (kind: Kind): boolean => kind === 'long' || kind === 'compatibility';

/** Descriptor with attributes as the VMCB packs them. */
function descriptor(base: number, limit: number, attributes: number): bigint {
  const low = (limit & 0xffff) + (base & 0xffff) * 0x1_0000;
  const high =
    ((base >>> 16) & 0xff) | ((attributes & 0xff) << 8) | (limit & 0xf_0000) | ((attributes & 0xf00) << 12) | (base & 0xff00_0000);
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

const gate = (to: number, selector_: number, type: number, count = 0): bigint =>
  BigInt(to & 0xffff) | (BigInt(selector_) << 16n) | (BigInt(count) << 32n) | (BigInt(type) << 40n) | (BigInt(to >>> 16) << 48n);

const FLAT = 0xf_ffff;
const P = 0x80;

export class Descriptors {
  readonly #dice: Dice;
  readonly #view: DataView;
  readonly #long: boolean;
  readonly #kind: Kind;

  constructor(dice: Dice, view: DataView, kind: Kind) {
    this.#dice = dice;
    this.#view = view;
    this.#kind = kind;
    this.#long = isLong(kind);
  }

  write(): void {
    this.#segments(Place.GDT);
    this.#local();
    this.#interrupts();
    this.#vectors();
    if (this.#long) this.#taskLong(Place.TSS);
    else this.#task(Place.TSS);
    this.#task(Place.TSS2);
    this.#task(Place.TSS3);
  }

  #put(table: number, index: number, value: bigint): void {
    const wrong = this.#dice.chance(3) ? 1n << BigInt(this.#dice.below(64)) : 0n;
    this.#view.setBigUint64(table + 8 * index, value ^ wrong, true);
  }

  /** A flat segment's limit: now and then a small one. */
  #limit(): number {
    return this.#dice.chance(12) ? this.#dice.below(0x40) : FLAT;
  }

  #segments(table: number): void {
    const dice = this.#dice;
    const accessed = (): number => (dice.chance(128) ? 1 : 0);
    const base = (): number => (dice.chance(10) ? dice.below(0x1000) : 0);
    this.#put(table, Entry.CODE64, descriptor(0, FLAT, 0xa9a | accessed()));
    this.#put(table, Entry.DATA, descriptor(base(), this.#limit(), 0xc92 | accessed()));
    this.#put(table, Entry.CODE32, descriptor(0, this.#limit(), 0xc9a | accessed()));
    this.#put(table, Entry.DATA32, descriptor(base(), this.#limit(), 0xc92 | accessed()));
    this.#put(table, Entry.CODE16, descriptor(0, dice.chance(200) ? 0xffff : FLAT, 0x09a | accessed()));
    this.#put(table, Entry.DATA16, descriptor(base(), 0xffff, 0x092 | accessed()));
    this.#put(table, Entry.CODE32_3, descriptor(0, FLAT, 0xcfa | accessed()));
    this.#put(table, Entry.DATA32_3, descriptor(base(), this.#limit(), 0xcf2 | accessed()));
    this.#put(table, Entry.CODE64_3, descriptor(0, FLAT, 0xafa | accessed()));
    this.#put(table, Entry.CONFORMING, descriptor(0, FLAT, 0xc9e | accessed()));
    this.#put(table, Entry.EXPAND_DOWN, descriptor(0, dice.below(0x10), (dice.chance(128) ? 0xc96 : 0x096) | accessed()));
    this.#put(table, Entry.CODE16_3, descriptor(0, 0xffff, 0x0fa | accessed()));
    this.#put(table, Entry.CODE32_1, descriptor(0, FLAT, 0xcba | accessed()));
    this.#put(table, Entry.DATA32_1, descriptor(0, FLAT, 0xcb2 | accessed()));
    this.#put(table, Entry.LDT, descriptor(Place.LDT, dice.chance(240) ? 0x7f : dice.below(0x40), P | 2));
    const size16 = dice.chance(60);
    const task = (busy: boolean, narrow: boolean): number => P | (narrow ? 1 : 9) | (busy ? 2 : 0) | (dice.chance(40) ? 0x60 : 0);
    this.#put(
      table,
      Entry.TSS,
      descriptor(Place.TSS, dice.chance(128) ? 0x1fff : 0x67 + dice.below(64), task(true, !this.#long && size16)),
    );
    this.#put(table, Entry.TSS2, descriptor(Place.TSS2, 0x67 + dice.below(64), task(dice.chance(40), false)));
    this.#put(table, Entry.TSS3, descriptor(Place.TSS3, 0x2b + dice.below(80), task(dice.chance(40), true)));
    const code = this.#long ? Entry.CODE64 : dice.one([Entry.CODE32, Entry.CODE32, Entry.CONFORMING, Entry.CODE16]);
    const to = (): number => streamAt(dice.below(STREAMS));
    this.#put(table, Entry.CALL_GATE, gate(to(), code << 3, P | 0xc, dice.below(4)));
    this.#put(
      table,
      Entry.CALL_GATE_3,
      gate(to(), dice.one([code, Entry.CODE32_1, Entry.CODE32_3]) << 3, P | 0x6c, this.#long ? 0 : dice.below(32)),
    );
    this.#put(table, Entry.TASK_GATE, gate(0, dice.one([Entry.TSS2, Entry.TSS3, Entry.TSS]) << 3, P | 5 | (dice.chance(128) ? 0x60 : 0)));
    this.#put(table, Entry.CALL_GATE16, gate(to(), Entry.CODE16 << 3, P | 4 | (dice.chance(128) ? 0x60 : 0), dice.below(6)));
    for (let n = Entry.RANDOM; n < Entry.COUNT; n++)
      this.#view.setBigUint64(table + 8 * n, descriptor(value32(dice), dice.u32() & FLAT, dice.u32() | (dice.chance(200) ? P : 0)), true);
    // The second halves of system descriptors stay zero mostly, as long mode wants them.
  }

  #local(): void {
    const dice = this.#dice;
    for (let n = 0; n < 8; n++) {
      const attributes = dice.one([0xc9b, 0xc93, 0xcfb, 0xcf3, 0x09b, 0x0f3, 0xa9b, 0xc97, 0x08c, 0x0e5]);
      this.#put(
        Place.LDT,
        n,
        (attributes & 0x10) !== 0 ? descriptor(0, this.#limit(), attributes) : gate(streamAt(n), selector(dice), attributes),
      );
    }
  }

  #interrupts(): void {
    const dice = this.#dice;
    const code = this.#long ? Entry.CODE64 : this.#kind === 'protected16' && dice.chance(128) ? Entry.CODE16 : Entry.CODE32;
    for (let vector = 0; vector < 48; vector++) {
      const to = streamAt(dice.below(STREAMS));
      const target = dice.chance(240) ? code << 3 : selector(dice);
      const dpl = dice.chance(150) ? 0x60 : 0;
      if (this.#long) {
        const type = dice.chance(245) ? 0x8e | dice.below(2) : dice.u32() & 0xff;
        this.#put(Place.IDT, 2 * vector, gate(to, target, type | dpl, dice.chance(40) ? dice.below(8) : 0));
        this.#view.setBigUint64(Place.IDT + 16 * vector + 8, dice.chance(3) ? value64(dice) : 0n, true);
      } else {
        const type = dice.weighted([
          [20, 0x8e],
          [10, 0x8f],
          [3, 0x86],
          [2, 0x87],
          [3, 0x85],
          [1, dice.u32() & 0xff],
        ]);
        const task = (type & 0x1f) === 5;
        this.#put(Place.IDT, vector, gate(to, task ? dice.one([Entry.TSS2, Entry.TSS3, Entry.TSS]) << 3 : target, type | dpl));
      }
    }
  }

  /** Real mode: far pointers. */
  #vectors(): void {
    for (let vector = 0; vector < 64; vector++) {
      const base = this.#dice.chance(200) ? 0 : this.#dice.below(0x800);
      this.#view.setUint32(Place.VECTORS + 4 * vector, ((streamAt(this.#dice.below(STREAMS)) - 16 * base) & 0xffff) | (base << 16), true);
    }
  }

  #taskLong(at: number): void {
    const dice = this.#dice;
    for (let offset = 4; offset < 0x5c; offset += 8)
      this.#view.setBigUint64(at + offset, dice.chance(240) ? BigInt(Place.STACK + 0x200 + 0x10 * dice.below(0x1c0)) : value64(dice), true);
    this.#permissions(at);
  }

  #permissions(at: number): void {
    const dice = this.#dice;
    this.#view.setUint16(
      at + 0x66,
      dice.weighted([
        [6, 0x68],
        [1, 0],
        [1, 0xffff],
        [1, dice.below(0x2000)],
      ]),
      true,
    );
    if (at !== Place.TSS) return;
    for (let n = 0x68; n < 0x180; n++) this.#view.setUint8(at + n, dice.chance(200) ? 0 : dice.u32());
    if (dice.chance(128)) this.#view.setUint8(at + 0x68 + 0x1fff, 0xff);
  }

  /** Stacks, and registers for a switch to the task: of 32 bits, or of 16 bits where the descriptor says so. */
  #task(at: number): void {
    const dice = this.#dice;
    const view = this.#view;
    const stack = (): number => Place.STACK + 0x200 + 0x10 * dice.below(0x1c0);
    if (at === Place.TSS3) {
      view.setUint16(at, selector(dice), true);
      for (let ring = 0; ring < 3; ring++) {
        view.setUint16(at + 2 + 4 * ring, stack(), true);
        view.setUint16(at + 4 + 4 * ring, (dice.one([Entry.DATA16, Entry.DATA32]) << 3) | ring, true);
      }
      view.setUint16(at + 0x0e, streamAt(dice.below(STREAMS)), true);
      view.setUint16(at + 0x10, flagsValue(dice), true);
      for (let n = 0; n < 8; n++) view.setUint16(at + 0x12 + 2 * n, pointer(dice), true);
      for (const [n, entry] of [Entry.DATA16, Entry.CODE16, Entry.DATA16, Entry.DATA16].entries())
        view.setUint16(at + 0x22 + 2 * n, dice.chance(235) ? entry << 3 : selector(dice), true);
      view.setUint16(at + 0x2a, dice.chance(128) ? Entry.LDT << 3 : 0, true);
      return;
    }
    view.setUint32(at, selector(dice), true);
    for (let ring = 0; ring < 3; ring++) {
      view.setUint32(at + 4 + 8 * ring, stack(), true);
      const entry =
        ring === 1 ? Entry.DATA32_1 : ring === 0 ? dice.one([Entry.DATA32, Entry.DATA32, Entry.DATA16, Entry.DATA]) : Entry.DATA32_3;
      view.setUint32(at + 8 + 8 * ring, dice.chance(245) ? (entry << 3) | ring : selector(dice), true);
    }
    view.setUint32(at + 0x1c, dice.chance(240) ? Place.TABLES : value32(dice), true);
    view.setUint32(at + 0x20, streamAt(dice.below(STREAMS)), true);
    view.setUint32(at + 0x24, flagsValue(dice), true);
    for (let n = 0; n < 8; n++) view.setUint32(at + 0x28 + 4 * n, n === 4 ? stack() : value32(dice), true);
    const outer = dice.chance(60);
    const [code, data] = outer ? [(Entry.CODE32_3 << 3) | 3, (Entry.DATA32_3 << 3) | 3] : [Entry.CODE32 << 3, Entry.DATA32 << 3];
    for (const [n, entry] of [data, code, data, data, data, data].entries())
      view.setUint32(at + 0x48 + 4 * n, dice.chance(245) ? entry : selector(dice), true);
    view.setUint32(at + 0x60, dice.chance(128) ? Entry.LDT << 3 : 0, true);
    view.setUint16(at + 0x64, dice.chance(20) ? 1 : 0, true);
    this.#permissions(at);
  }
}
