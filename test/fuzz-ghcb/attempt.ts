// One VMGEXIT at random: mostly a request as a guest would make it, with one or two things changed in it; seldom noise.

import { Msr } from '../../src/arch/msr.ts';
import { guestMap } from '../../src/machine/memory-map.ts';
import { portMap } from '../../src/machine/ports.ts';
import type { Dice } from '../fuzz-states/dice.ts';
import { BITMAP, BUFFER, events, Field, infos, PAGE, USAGE, VERSION } from './protocol.ts';

/** Where things may be that an attempt names. */
export type Places = {
  /** Bytes of RAM. */
  readonly memory: number;
  /** Pages that may be the GHCB. */
  readonly pages: readonly number[];
  /** May scratch areas and lists be anywhere in RAM, or only in the page and here? */
  readonly safe: number | null;
};

export type Attempt = {
  /** The GHCB MSR. */
  msr: bigint;
  /** Content of the page that it names, if it names one. */
  readonly page: Uint8Array;
};

const ports = Object.values(portMap).flatMap((range) => Array.from({ length: Math.min(range.ports, 12) }, (_, n) => range.base + n));
const msrs: readonly number[] = [...Object.values(Msr), ...Array.from({ length: 0x40 }, (_, n) => 0x800 + n)];
const devices = [
  0xfee0_0000,
  ...Object.values(guestMap)
    .map((place): number => (typeof place === 'number' ? place : place.start))
    .filter((at) => at >= 0x8000_0000 && at < 2 ** 32),
];
const interesting = [
  0n,
  1n,
  2n,
  4n,
  7n,
  8n,
  0xdn,
  0xffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  1n << 32n,
  1n << 63n,
  0xffff_ffff_ffff_ffffn,
] as const;
const fields = Object.values(Field);

export class Attempts {
  readonly #dice: Dice;
  readonly #places: Places;
  readonly attempt: Attempt = { msr: 0n, page: new Uint8Array(PAGE) };
  readonly #view = new DataView(this.attempt.page.buffer);

  constructor(dice: Dice, places: Places) {
    this.#dice = dice;
    this.#places = places;
  }

  /** The next one, in the same object each time. */
  next(): Attempt {
    const { attempt } = this;
    if (this.#dice.chance(30)) attempt.msr = this.#request();
    else {
      attempt.msr = this.#address();
      this.#fill(Number(attempt.msr & 0xffff_ffffn));
    }
    return attempt;
  }

  #request(): bigint {
    const dice = this.#dice;
    if (dice.chance(40)) return dice.u64() | 1n;
    const info = BigInt(dice.one(infos));
    if (info === 4n && dice.chance(128)) return (BigInt(this.#leaf()) << 32n) | (BigInt(dice.below(4)) << 30n) | info;
    return dice.chance(160) ? info : ((this.#value() << 12n) & 0xffff_ffff_ffff_f000n) | info;
  }

  /** Mostly a page of RAM. */
  #address(): bigint {
    const dice = this.#dice;
    if (!dice.chance(10)) return BigInt(dice.one(this.#places.pages));
    return dice.one([
      0n,
      BigInt(this.#places.memory),
      BigInt(this.#places.memory) + 0x1000n,
      1n << 32n,
      1n << 51n,
      0xffff_ffff_ffff_f000n,
      0xfee0_0000n,
    ]);
  }

  #leaf(): number {
    const dice = this.#dice;
    return dice.weighted([
      [8, dice.below(0x20)],
      [6, 0x8000_0000 + dice.below(0x24)],
      [2, 0x4000_0000 + dice.below(4)],
      [2, 0xd],
      [1, dice.u32()],
    ]);
  }

  #value(): bigint {
    const dice = this.#dice;
    return dice.chance(128) ? dice.one(interesting) : dice.chance(128) ? BigInt(dice.u32()) : dice.u64();
  }

  #fill(page: number): void {
    const dice = this.#dice;
    const view = this.#view;
    this.attempt.page.fill(0);
    for (let n = 0; n < 4; n++) view.setUint32(BUFFER.start + 4 * dice.below(500), dice.u32(), true);
    view.setUint16(
      VERSION,
      dice.weighted([
        [60, 2],
        [25, 1],
        [10, 0],
        [2, 3],
        [1, 0xffff],
      ]),
      true,
    );
    if (dice.chance(6)) view.setUint32(USAGE, dice.chance(128) ? 1 : dice.u32(), true);
    for (const at of fields) view.setBigUint64(at & ~7, this.#value(), true);

    const event = dice.one(events);
    const valid: number[] = [Field.CODE, Field.INFO1, Field.INFO2, ...event.needs];
    view.setBigUint64(Field.CODE, this.#code(event.code), true);
    view.setBigUint64(Field.INFO1, 0n, true);
    view.setBigUint64(Field.INFO2, 0n, true);
    view.setBigUint64(Field.SCRATCH, this.#scratch(page), true);
    this.#operands(event.code, page, valid);
    if (dice.chance(20)) view.setBigUint64(Field.INFO1, this.#value(), true);
    if (dice.chance(20)) view.setBigUint64(Field.INFO2, this.#value(), true);

    if (dice.chance(40)) valid.splice(dice.below(valid.length), 1);
    while (dice.chance(70)) valid.push(dice.one(fields));
    for (const at of valid) this.#mark(at >> 3);
    while (dice.chance(20)) this.#mark(dice.below(128));
    if (dice.chance(3)) for (let n = 0; n < 4; n++) view.setUint32(BITMAP + 4 * n, dice.u32(), true);
  }

  #mark(quadword: number): void {
    const { page } = this.attempt;
    page[BITMAP + (quadword >> 3)] = page[BITMAP + (quadword >> 3)]! | (1 << (quadword & 7));
  }

  #code(code: number): bigint {
    const dice = this.#dice;
    if (!dice.chance(14)) return BigInt(code);
    return dice.weighted([
      [4, BigInt(dice.below(0x410))],
      [3, BigInt(0x8000_0000 + dice.below(0x20))],
      [2, BigInt(code) | (1n << BigInt(32 + dice.below(32)))],
      [1, dice.u64()],
      [1, BigInt.asUintN(64, -1n - BigInt(dice.below(4)))],
    ]);
  }

  /** An address for data: in the buffer, at its edges, elsewhere in RAM, at the edges of that, nowhere. */
  #scratch(page: number): bigint {
    const dice = this.#dice;
    const { memory, safe } = this.#places;
    const near = (at: number): bigint => BigInt(Math.max(0, at + dice.below(17) - 8));
    return dice.weighted([
      [8, BigInt(page + BUFFER.start)],
      [4, BigInt(page + BUFFER.start + dice.below(BUFFER.end - BUFFER.start))],
      [1, near(page + BUFFER.start)],
      [2, near(page + BUFFER.end)],
      [4, safe === null ? BigInt(dice.below(memory)) : BigInt(safe + dice.below(0x100))],
      [1, safe === null ? near(page) : BigInt(safe)],
      [1, safe === null ? near(page + PAGE) : BigInt(safe)],
      [1, near(memory)],
      [1, this.#value() | (safe === null ? 0n : 1n << 40n)],
      [1, 0n],
    ]);
  }

  /** What this event takes besides, as a guest would give it. */
  #operands(code: number, page: number, valid: number[]): void {
    const dice = this.#dice;
    const set = (at: number, value: bigint): void => this.#view.setBigUint64(at, value, true);
    switch (code) {
      case 0x37:
        return set(Field.RAX, BigInt(dice.u32()));
      case 0x6f:
        return set(Field.RCX, BigInt(dice.below(6)));
      case 0x72:
        set(Field.RAX, BigInt(this.#leaf()));
        if (dice.chance(128)) valid.push(Field.XCR0);
        return set(Field.RCX, BigInt(dice.below(4)));
      case 0x7b:
        return this.#port(valid);
      case 0x7c:
        set(Field.RCX, BigInt(dice.chance(220) ? dice.one(msrs) : dice.u32()));
        if (dice.chance(128)) {
          set(Field.INFO1, 1n);
          valid.push(Field.RAX, Field.RDX);
        }
        return;
      case 0x81:
        if (dice.chance(128)) set(Field.RAX, 10n);
        return;
      case 0x8000_0001:
      case 0x8000_0002:
        set(Field.INFO1, dice.chance(220) ? BigInt(dice.one(devices) + dice.below(dice.chance(128) ? 0x40 : 0x1000)) : this.#value());
        return set(
          Field.INFO2,
          dice.weighted([
            [20, BigInt(dice.one([1, 2, 4, 8]))],
            [3, BigInt(dice.below(40))],
            [1, this.#value()],
          ]),
        );
      case 0x8000_0005:
        if (dice.chance(128)) return set(Field.INFO1, 1n);
        return set(Field.INFO2, this.#value());
      case 0x8000_0017:
        set(Field.RAX, BigInt(dice.below(3)));
        return set(Field.INFO1, dice.chance(200) ? this.#scratch(page) & ~0xfffn : this.#scratch(page));
      case 0x8000_fffe:
        return set(Field.INFO1, BigInt(dice.below(0x1000)));
    }
  }

  #port(valid: number[]): void {
    const dice = this.#dice;
    const size = dice.one([1, 2, 4]);
    const string = dice.chance(128);
    const port = dice.chance(210) ? dice.one(ports) : dice.below(0x1_0000);
    const word = port * 0x1_0000 + 0x200 + (size << 4) + (string ? 4 : 0) + (dice.chance(128) ? 8 : 0) + (dice.chance(128) ? 1 : 0);
    this.#view.setBigUint64(Field.INFO1, BigInt(dice.chance(12) ? (word ^ (1 << dice.below(32))) >>> 0 : word), true);
    valid.push(string ? Field.SCRATCH : Field.RAX);
    if (!string) return;
    const whole = Math.floor((BUFFER.end - BUFFER.start) / size);
    const count = dice.weighted([
      [200, dice.below(9)],
      [10, whole - 1 + dice.below(3)],
      [1, dice.below(0x1_0000 / size + 2)],
    ]);
    this.#view.setBigUint64(Field.INFO2, BigInt(count), true);
  }
}
