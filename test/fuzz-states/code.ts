// Streams of random instructions, byte by byte: one and two byte opcodes with the operand bytes that they take, so that what
// follows stays in step; and short sequences that get system instructions to do something. APM vol. 3, appendix A.

import type { Dice } from './dice.ts';
import { Operand, Place, STREAMS, streamAt } from './layout.ts';
import { controlValue, flagsValue, MSRS, pointer, selector, value32 } from './values.ts';

export type Bits = 16 | 32 | 64;

/** What follows an opcode. */
const Tail = {
  MODRM: 1,
  BYTE: 2,
  WIDE: 4, // 2 or 4 bytes by operand size
  WORD: 8,
  FAR: 16,
  OFFSET: 32, // by address size
  FULL: 64, // as WIDE, but 8 bytes with REX.W
} as const;

const one = new Uint8Array(256);
const two = new Uint8Array(256).fill(Tail.MODRM);
const set = (map: Uint8Array, list: string, tail: number): void => {
  for (const item of list.split(' ')) {
    const [first, last] = item.split('-').map((hex) => Number.parseInt(hex, 16)) as [number, number?];
    map.fill(tail, first, (last ?? first) + 1);
  }
};
for (let row = 0; row < 0x40; row += 8) {
  one.fill(Tail.MODRM, row, row + 4);
  one[row + 4] = Tail.BYTE;
  one[row + 5] = Tail.WIDE;
}
set(one, '62-63 84-8f c4-c5 d0-d3 d8-df fe-ff f6-f7', Tail.MODRM);
set(one, '68 a9 e8-e9', Tail.WIDE);
set(one, '69 81 c7', Tail.MODRM | Tail.WIDE);
set(one, '6a 70-7f a8 b0-b7 cd d4-d5 e0-e7 eb', Tail.BYTE);
set(one, '6b 80 82-83 c0-c1 c6', Tail.MODRM | Tail.BYTE);
set(one, 'a0-a3', Tail.OFFSET);
set(one, 'b8-bf', Tail.FULL);
set(one, 'c2 ca', Tail.WORD);
set(one, 'c8', Tail.WORD | Tail.BYTE);
set(one, '9a ea', Tail.FAR);
set(two, '05-0b 0e 30-37 77 a0-a2 a8-aa c8-cf', 0);
set(two, '80-8f', Tail.WIDE);
set(two, '70-73 a4 ac ba c2 c4-c6 0f', Tail.MODRM | Tail.BYTE);

const bytesOf = (list: string): readonly number[] => list.split(' ').map((hex) => Number.parseInt(hex, 16));

/** Ordinary ones, often enough executed by anybody. */
const ORDINARY = bytesOf(
  '00 01 02 03 04 05 08 09 0a 0b 10 11 13 18 19 20 21 22 23 28 29 2b 2d 30 31 32 33 34 38 39 3a 3b 3c 3d 50 51 53 55 56 57 58 59 5b 5d 5f ' +
    '60 61 69 6b 70 71 72 73 74 75 76 78 79 7c 7d 7e 7f 80 81 83 84 85 86 87 88 89 8a 8b 8d 90 91 95 98 99 9b 9c 9e 9f a0 a1 a2 a3 a4 a5 a6 a7 a8 aa ab ' +
    'ac ad ae af b0 b4 b8 b9 bb bd be bf c0 c1 c3 c6 c7 c9 d0 d1 d2 d3 d4 d5 d7 d8 d9 da db dc dd de df e0 e1 e2 e3 e8 eb f5 f6 f7 f8 f9 fc fd fe ff',
);
const ORDINARY_TWO = bytesOf(
  '10 11 12 13 14 16 1f 28 29 2a 2c 2d 2e 2f 40 42 44 4f 51 54 57 58 59 5a 5b 5c 5e 60 61 6e 6f 70 71 72 73 74 7e 7f 80 84 85 8c 90 94 a2 a3 a4 a5 ' +
    'ab ac ad ae af b0 b1 b3 b6 b7 b8 ba bb bc bd be bf c0 c1 c2 c3 c6 c7 c8 cb d0 d4 e7 ef fa fe',
);
/** System instructions and those that change control or segments, alone: with whatever the registers hold. */
const SYSTEM = bytesOf(
  '06 07 0e 16 17 1e 1f 63 6c 6d 6e 6f 8c 8e 8f 9a 9c 9d c4 c5 c8 ca cb cc cd ce cf e4 e5 e6 e7 ea ec ed ee ef f1 f4 fa fb ff',
);
const SYSTEM_TWO = bytesOf('00 01 02 03 05 06 07 08 09 0b 0d 18 20 21 22 23 30 31 32 33 34 35 78 79 a0 a1 a2 a8 a9 ae b2 b4 b5 c7');
/** Register forms of 0F 01 and 0F AE. */
const GROUP_7 = bytesOf('c1 c2 c3 c4 c8 c9 ca cb d0 d1 d4 d5 d6 d8 d9 da db dc dd de df ee ef f8 f9 fa fb fc fd e0 e8 f0');
const SEGMENTS = bytesOf('26 2e 36 3e 64 65');

export class CodeWriter {
  readonly #dice: Dice;
  readonly #u8: Uint8Array;
  #bits: Bits = 32;
  #at = 0;

  constructor(dice: Dice, memory: Uint8Array) {
    this.#dice = dice;
    this.#u8 = memory;
  }

  /** Instructions from `at` on, about `length` bytes, and at the end a way on to another stream. */
  stream(at: number, length: number, bits: Bits): void {
    const dice = this.#dice;
    this.#bits = bits;
    this.#at = at;
    const end = at + length;
    while (this.#at < end) this.#instruction();
    const kind = dice.below(8);
    if (kind < 2) this.#put(...(bits === 64 ? [0x48, 0xcf] : [0xcf]));
    else if (kind < 4) this.#branch(0xe9, streamAt(dice.below(STREAMS)));
    else if (kind < 5) this.#branch(0xe9, at);
    else if (kind < 6) this.#put(0xf4);
  }

  #instruction(): void {
    const dice = this.#dice;
    const kind = dice.below(100);
    if (kind < 42) this.#single(ORDINARY, ORDINARY_TWO, 70);
    else if (kind < 60) this.#single(SYSTEM, SYSTEM_TWO, 150);
    else if (kind < 90) this.#sequence();
    else if (kind < 97) this.#opcode(dice.chance(90), dice.below(256));
    else for (let n = dice.below(6); n >= 0; n--) this.#put(dice.u32());
  }

  #single(first: readonly number[], second: readonly number[], ofSecond: number): void {
    const escaped = this.#dice.chance(ofSecond);
    this.#opcode(escaped, this.#dice.one(escaped ? second : first));
  }

  #opcode(escaped: boolean, opcode: number): void {
    const dice = this.#dice;
    let operand = this.#bits === 16 ? 2 : 4;
    let address = this.#bits === 16 ? 2 : this.#bits >> 3;
    if (dice.chance(30)) {
      this.#put(0x66);
      operand = 6 - operand;
    }
    if (dice.chance(10)) {
      this.#put(0x67);
      address = address === 4 ? (this.#bits === 64 ? 4 : 2) : 4;
    }
    if (dice.chance(12)) this.#put(dice.one(SEGMENTS));
    if (dice.chance(20)) this.#put(dice.chance(128) ? 0xf3 : 0xf2);
    if (dice.chance(5)) this.#put(0xf0);
    let wide = false;
    if (this.#bits === 64 && dice.chance(110)) {
      const rex = dice.one([0x48, 0x48, 0x41, 0x44, 0x49, 0x40 | dice.below(16)]);
      wide = (rex & 8) !== 0;
      if (wide) operand = 4;
      this.#put(rex);
    }
    if (escaped) this.#put(0x0f);
    this.#put(opcode);
    if (escaped && (opcode === 0x38 || opcode === 0x3a)) {
      this.#put(dice.u32());
      this.#modrm(dice.below(8), address);
      if (opcode === 0x3a) this.#put(dice.u32());
      return;
    }
    const tail = (escaped ? two : one)[opcode]!;
    if ((tail & Tail.MODRM) !== 0) {
      const reg = dice.below(8);
      if (escaped && opcode === 0x01 && dice.chance(90)) this.#put(dice.one(GROUP_7));
      else this.#modrm(reg, address);
      if (!escaped && (opcode === 0xf6 || opcode === 0xf7) && reg < 2) this.#number(opcode === 0xf6 ? 1 : operand);
    }
    if ((tail & Tail.WORD) !== 0) this.#number(2, dice.below(64));
    if ((tail & Tail.BYTE) !== 0) this.#put(this.#byte(opcode));
    if ((tail & Tail.WIDE) !== 0) this.#number(operand, this.#isBranch(escaped, opcode) ? dice.below(48) : value32(dice));
    if ((tail & Tail.OFFSET) !== 0) this.#number(address, pointer(dice));
    if ((tail & Tail.FULL) !== 0) this.#number(wide ? 8 : operand, value32(dice));
    if ((tail & Tail.FAR) !== 0) {
      this.#number(operand, streamAt(dice.below(STREAMS)));
      this.#number(2, selector(dice));
    }
  }

  #isBranch(escaped: boolean, opcode: number): boolean {
    return escaped ? opcode >> 4 === 8 : opcode === 0xe8 || opcode === 0xe9;
  }

  /** An immediate byte: of branches mostly a short way on. */
  #byte(opcode: number): number {
    const dice = this.#dice;
    if (opcode >> 4 === 7 || opcode === 0xeb) return dice.chance(230) ? dice.below(12) : -dice.below(40);
    return opcode >= 0xe0 && opcode <= 0xe3 ? -2 - dice.below(24) : dice.u32();
  }

  #modrm(reg: number, address: number): void {
    const dice = this.#dice;
    if (dice.chance(100)) {
      this.#put(0xc0 | (reg << 3) | dice.below(8));
      return;
    }
    const mod = dice.below(3);
    if (mod === 0 && dice.chance(150)) {
      this.#absolute(reg, pointer(dice), address);
      return;
    }
    const rm = dice.below(8);
    this.#put((mod << 6) | (reg << 3) | rm);
    if (address === 2) {
      if (mod === 0 && rm === 6) this.#number(2, pointer(dice));
      else if (mod === 1) this.#put(dice.u32());
      else if (mod === 2) this.#number(2, dice.chance(128) ? dice.below(0x200) : pointer(dice));
      return;
    }
    let base = rm;
    if (rm === 4) {
      const sib = dice.u32();
      base = sib & 7;
      this.#put(sib);
    }
    if (mod === 1) this.#put(dice.u32());
    else if (mod === 2) this.#number(4, dice.chance(200) ? dice.below(0x200) : value32(dice));
    else if (base === 5) this.#number(4, rm === 5 && address === 8 ? dice.below(0x4000) : pointer(dice));
  }

  #absolute(reg: number, to: number, address = this.#bits === 16 ? 2 : this.#bits >> 3): void {
    if (address === 2) this.#put((reg << 3) | 6);
    else if (this.#bits === 64) this.#put((reg << 3) | 4, 0x25);
    else this.#put((reg << 3) | 5);
    this.#number(address === 2 ? 2 : 4, to);
  }

  #branch(opcode: number, to: number): void {
    const size = this.#bits === 16 ? 2 : 4;
    this.#put(opcode);
    this.#number(size, to - (this.#at + size));
  }

  /** MOV register, immediate of the full width. */
  #load(register: number, value: number): void {
    this.#put(0xb8 | register);
    this.#number(this.#bits === 16 ? 2 : 4, value);
  }

  #load32(register: number, value: number): void {
    if (this.#bits === 16) this.#put(0x66);
    this.#put(0xb8 | register);
    this.#number(4, value);
  }

  #push(value: number): void {
    this.#put(0x68);
    this.#number(this.#bits === 16 ? 2 : 4, value);
  }

  #sequence(): void {
    const dice = this.#dice;
    const bits = this.#bits;
    const wide = bits === 64 ? [0x48] : [];
    switch (dice.below(22)) {
      case 0: // a segment register
        this.#load(dice.below(4), selector(dice));
        this.#put(0x8e, 0xc0 | (dice.one([0, 2, 3, 4, 5, 1, 6]) << 3) | dice.below(4));
        return;
      case 1: // an MSR
        this.#load32(1, dice.one(MSRS));
        this.#load32(0, value32(dice));
        this.#load32(2, dice.chance(200) ? 0 : dice.u32());
        this.#put(0x0f, dice.chance(170) ? 0x30 : 0x32);
        return;
      case 2: // a control register: read, change a bit, write; or a whole value
      case 3: {
        const cr = dice.one([0, 0, 3, 4, 4, 2, 8 & 7]);
        if (dice.chance(160)) {
          this.#put(0x0f, 0x20, 0xc0 | (cr << 3));
          if (bits === 16) this.#put(0x66);
          this.#put(0x0f, 0xba, 0xf8, dice.below(cr === 0 ? 32 : 23)); // BTC EAX
        } else this.#load32(0, controlValue(dice, cr));
        this.#put(0x0f, 0x22, 0xc0 | (cr << 3));
        return;
      }
      case 4: // far return
        this.#push(selector(dice));
        this.#push(streamAt(dice.below(STREAMS)));
        this.#put(...(dice.chance(128) ? wide : []), 0xcb);
        return;
      case 5: // interrupt return
      case 6:
        if (bits === 64 || dice.chance(100)) {
          if (dice.chance(40)) for (let n = 0; n < 4; n++) this.#push(selector(dice)); // segment registers of virtual-8086 mode
          this.#push(selector(dice));
          this.#push(Place.STACK + 0x800);
        }
        this.#push(flagsValue(dice));
        this.#push(selector(dice));
        this.#push(streamAt(dice.below(STREAMS)));
        this.#put(...wide, 0xcf);
        return;
      case 7:
        this.#put(0xcd, dice.chance(200) ? dice.below(48) : dice.u32());
        return;
      case 8: // far through memory
        this.#put(...(dice.chance(60) ? wide : []), 0xff);
        this.#absolute(dice.one([3, 5]), Operand.FAR + 16 * dice.below(Operand.COUNT));
        return;
      case 9: // LGDT, LIDT, and the stores
        this.#put(0x0f, 0x01);
        this.#absolute(dice.below(4), (dice.chance(128) ? Operand.GDT : Operand.IDT) + 16 * dice.below(Operand.COUNT));
        return;
      case 10: // SLDT STR LLDT LTR VERR VERW
        this.#load(0, selector(dice));
        this.#put(0x0f, 0x00, 0xc0 | (dice.below(6) << 3));
        return;
      case 11: // LAR LSL
        this.#load(0, selector(dice));
        this.#put(0x0f, dice.one([0x02, 0x03]), 0xc8);
        return;
      case 12: // ports
        this.#load(2, dice.one([0x60, 0x3f8, 0x80, 0xf4, 0xffff, dice.below(0x10000)]));
        this.#load(1, dice.below(5));
        if (dice.chance(100)) this.#put(0xf3);
        this.#put(dice.one([0x6c, 0x6d, 0x6e, 0x6f, 0xec, 0xed, 0xee, 0xef]));
        return;
      case 13: // a debug register
        this.#load32(0, dice.chance(128) ? pointer(dice) : dice.u32() & 0xffff_27ff);
        this.#put(0x0f, 0x23, 0xc0 | (dice.one([0, 1, 2, 3, 6, 7, 7, 4, 5]) << 3));
        return;
      case 14: // flags
        this.#push(flagsValue(dice));
        this.#put(0x9d);
        return;
      case 15: // code that changes code
        this.#put(dice.one([0xc6, 0xc7, 0x88, 0x89]));
        this.#absolute(0, dice.chance(128) ? this.#at + dice.below(40) : streamAt(dice.below(STREAMS)) + dice.below(64));
        if (this.#u8[this.#at - 1] !== 0) this.#put(0x90);
        return;
      case 16: // strings, into anything
        this.#load(1, dice.below(40));
        this.#load(7, pointer(dice));
        this.#load(6, pointer(dice));
        this.#put(dice.chance(200) ? 0xf3 : 0xf2, dice.one([0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xae, 0xa6, 0xa7, 0xad]));
        return;
      case 17: // an entry of a table
        this.#put(...(dice.chance(100) ? wide : []), 0xc7);
        this.#absolute(0, dice.one([Place.TABLES, Place.GDT, Place.IDT, Place.TSS, Place.LDT]) + 8 * dice.below(600) + dice.below(2) * 4);
        this.#number(bits === 16 ? 2 : 4, dice.chance(200) ? (dice.below(64) << 12) | (dice.u32() & 0xe7) | 3 : value32(dice));
        return;
      case 18: // a loop
        this.#load(1, 1 + dice.below(30));
        this.#opcode(false, dice.one([0x01, 0x03, 0x8b, 0x89, 0xaa, 0x31, 0x40]));
        this.#put(0xe2, -2 - dice.below(10));
        return;
      case 19: // stack pointer
        this.#load(4, Place.STACK + 16 * dice.below(512));
        return;
      case 20:
        this.#put(0x0f, dice.one([0x05, 0x07, 0x34, 0x35, 0x01]));
        if (this.#u8[this.#at - 1] === 1) this.#put(dice.one(GROUP_7));
        return;
      default:
        this.#load(dice.below(8), value32(dice));
    }
  }

  #number(size: number, value = value32(this.#dice)): void {
    for (let n = 0; n < size; n++) this.#put(n < 4 ? value >>> (8 * n) : value < 0 ? 0xff : 0);
  }

  #put(...bytes: readonly number[]): void {
    for (const byte of bytes) this.#u8[this.#at++] = byte;
  }
}
