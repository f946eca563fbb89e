// Page tables of random states: the first 2 MiB are mapped to themselves, mostly; everything else is an alias, a large page, a table
// that maps tables, or wrong. APM vol. 2, 5.2 and 5.3.

import type { Dice } from './dice.ts';
import { PAGE, PAGES, Place, TABLE_PAGES } from './layout.ts';

export type Paging = 'none' | 'legacy' | 'pae' | 'long';

const [ROOT, POINTERS, DIRECTORY, TABLE, TABLE2] = [0, 1, 2, 3, 4].map((n) => Place.TABLES + n * PAGE) as [
  number,
  number,
  number,
  number,
  number,
];

export class PageTables {
  readonly #dice: Dice;
  readonly #view: DataView;
  /** In tables of an encrypted guest. */
  readonly #cBit: bigint;
  /** Of the lowest entries: P and R/W, and U/S where everything is the program's. */
  readonly #rights: number;

  constructor(dice: Dice, view: DataView, cBit: bigint, user: boolean) {
    this.#rights = user ? 7 : 3;
    this.#dice = dice;
    this.#view = view;
    this.#cBit = cBit;
  }

  /** Writes the tables and gives CR3. */
  write(paging: Paging): bigint {
    const dice = this.#dice;
    if (paging === 'legacy') {
      this.#lowest4(TABLE);
      this.#lowest4(TABLE2);
      this.#put4(ROOT, 0, TABLE | 0x67);
      for (let n = 1; n < 24; n++) this.#put4(ROOT, n < 12 ? n : dice.below(1024), this.#upper4());
      return BigInt(ROOT | (dice.chance(30) ? dice.u32() & 0x18 : 0));
    }
    this.#lowest(TABLE);
    this.#lowest(TABLE2);
    this.#put(DIRECTORY, 0, this.#table(TABLE));
    for (let n = 1; n < 24; n++) this.#put(DIRECTORY, n < 12 ? n : dice.below(512), this.#upper(TABLE, false));
    if (paging === 'pae') {
      for (let n = 0; n < 4; n++) {
        const wrong = dice.chance(n === 0 ? 4 : 20) ? BigInt(dice.u32() & 0xfff) : 0n;
        this.#view.setBigUint64(
          POINTERS + 8 * n,
          (BigInt(n === 0 || dice.chance(200) ? DIRECTORY : TABLE) | 1n | this.#cBit) ^ wrong,
          true,
        );
      }
      return BigInt(POINTERS);
    }
    this.#put(POINTERS, 0, this.#table(DIRECTORY));
    for (let n = 1; n < 12; n++) this.#put(POINTERS, n < 6 ? n : dice.below(512), this.#upper(DIRECTORY, true));
    this.#put(ROOT, 0, this.#table(POINTERS));
    this.#put(ROOT, 256, this.#table(POINTERS));
    this.#put(ROOT, 511, this.#upper(POINTERS, false));
    this.#put(ROOT, dice.below(512), this.#upper(POINTERS, false));
    return BigInt(ROOT) | this.#cBit | (dice.chance(20) ? BigInt(dice.u32() & 0x18) : 0n);
  }

  /** An entry that leads to a table: nearly always with all rights. */
  #table(to: number): bigint {
    const dice = this.#dice;
    const flags = dice.chance(245) ? 7 | (dice.u32() & 0x60) : dice.u32() & 0x7f;
    return BigInt(to | flags) | this.#cBit;
  }

  #upper(next: number, gigabyte: boolean): bigint {
    const dice = this.#dice;
    const kind = dice.below(16);
    if (kind < 6) return this.#table(next);
    if (kind < 8) return this.#table(Place.TABLES + PAGE * dice.below(TABLE_PAGES));
    // A large page: the first of all has memory.
    if (kind < 12)
      return (
        BigInt(0x87 | (dice.u32() & 0x160)) |
        this.#private() |
        (dice.chance(40) ? 1n << BigInt(12 + dice.below(40)) : 0n) |
        (dice.chance(20) ? 1n << 63n : 0n)
      );
    if (kind < 14) return BigInt((PAGE * dice.below(PAGES)) | (dice.u32() & (gigabyte ? 0xfff : 0xf7f)) | 1) | this.#private();
    return dice.chance(128) ? 0n : dice.u64();
  }

  /** The C-bit of data: sometimes a shared page. */
  #private(): bigint {
    return this.#dice.chance(230) ? this.#cBit : 0n;
  }

  #lowest(at: number): void {
    const dice = this.#dice;
    for (let n = 0; n < 128; n++) {
      const page = n < PAGES && (at === TABLE || dice.chance(128)) ? (dice.chance(250) ? n : dice.below(PAGES)) : dice.below(PAGES);
      let entry = BigInt((page * PAGE) | this.#rights | (dice.u32() & 0x60)) | this.#private();
      if (dice.chance(n < 32 && at === TABLE ? 3 : 60)) entry ^= this.#wrong();
      this.#view.setBigUint64(at + 8 * n, entry, true);
    }
    // The end of the table is the neighbour of what follows it.
    for (let n = 508; n < 512; n++) this.#view.setBigUint64(at + 8 * n, BigInt((PAGE * dice.below(PAGES)) | 7) | this.#private(), true);
  }

  #wrong(): bigint {
    const dice = this.#dice;
    return dice.weighted([
      [4, 1n],
      [6, 2n],
      [6, 4n],
      [3, 1n << 63n],
      [2, 0x100n],
      [2, 0x18n],
      [1, 1n << 51n],
      [1, 1n << BigInt(dice.below(64))],
    ]);
  }

  #lowest4(at: number): void {
    const dice = this.#dice;
    for (let n = 0; n < 128; n++) {
      const page = n < PAGES && at === TABLE && dice.chance(250) ? n : dice.below(PAGES);
      const wrong = dice.chance(n < 32 && at === TABLE ? 3 : 60) ? dice.one([1, 2, 4, 0x100, 0x18, 1 << dice.below(32)]) : 0;
      this.#view.setUint32(at + 4 * n, ((page * PAGE) | this.#rights | (dice.u32() & 0x60)) ^ wrong, true);
    }
  }

  #upper4(): number {
    const dice = this.#dice;
    const kind = dice.below(12);
    if (kind < 5) return (dice.chance(128) ? TABLE : TABLE2) | 7 | (dice.u32() & 0x60);
    if (kind < 7) return (Place.TABLES + PAGE * dice.below(TABLE_PAGES)) | 7;
    if (kind < 9) return 0x87 | (dice.u32() & 0x160) | (dice.chance(40) ? 1 << (12 + dice.below(20)) : 0);
    return dice.chance(128) ? 0 : dice.u32();
  }

  #put(table: number, index: number, entry: bigint): void {
    const wrong = this.#dice.chance(3) ? this.#wrong() : 0n;
    this.#view.setBigUint64(table + 8 * index, entry ^ wrong, true);
  }

  #put4(table: number, index: number, entry: number): void {
    this.#view.setUint32(table + 4 * index, entry, true);
  }
}
