// What Multiboot, PVH and Linux have in common: a block of structures that refer to each other, a memory map, files high in memory, and an
// entry in 32-bit protected mode with flat segments and paging off.

import { Cr0 } from '../arch/registers.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { UserError } from '../util/errors.ts';
import {
  Attributes,
  type BootOptions,
  type BootPlan,
  common,
  type Content,
  findGap,
  findHighGap,
  FLAT,
  type InitialState,
  pageRanges,
  quadwords,
  type Range,
} from './boot-plan.ts';
import { CONVENTIONAL_END, GIB_4, MIB } from './guest-memory.ts';
import { hex, type Image } from './images/image.ts';

/** Where structures go if the image leaves it free; page 0 and what firmware used to have behind it stay empty. */
const LOWEST = 0x9000;
const FIRST_PLACE = PAGE_SIZE;
/** Interrupt controllers and the place of firmware. */
const DEVICES = 0xfec0_0000;

export const MemoryType = { RAM: 1, RESERVED: 2 } as const;
export type MemoryMapEntry = { readonly start: number; readonly size: number; readonly type: number };

/** The map that a guest is told: what a PC has below 1 MiB besides RAM is reserved, although plain images may use it. */
export function memoryMap(memory: number): MemoryMapEntry[] {
  return [
    { start: 0, size: CONVENTIONAL_END, type: MemoryType.RAM },
    { start: CONVENTIONAL_END, size: MIB - CONVENTIONAL_END, type: MemoryType.RESERVED },
    ...(memory > MIB ? [{ start: MIB, size: memory - MIB, type: MemoryType.RAM }] : []),
    { start: DEVICES, size: GIB_4 - DEVICES, type: MemoryType.RESERVED },
  ];
}

/** Pieces laid one behind the other from an address on, so that each may hold the addresses of those before it. */
export class Block {
  readonly contents: Content[] = [];
  #next: number;

  constructor(start: number) {
    this.#next = start;
  }

  /** Where the next piece goes. */
  at(align: number): number {
    return Math.ceil(this.#next / align) * align;
  }

  /** Gives the address. */
  put(bytes: Uint8Array, align = 8): number {
    const at = this.at(align);
    this.contents.push({ start: at, bytes });
    this.#next = at + bytes.length;
    return at;
  }

  /** A text with its closing zero. */
  text(text: string): number {
    return this.put(zeroTerminated(text), 1);
  }

  get end(): number {
    return this.#next;
  }
}

const zeroTerminated = (text: string): Uint8Array => {
  const bytes = new TextEncoder().encode(text);
  const closed = new Uint8Array(bytes.length + 1);
  closed.set(bytes);
  return closed;
};

/** A file's place high in memory. */
export type Placed = { readonly name: string; readonly start: number; readonly end: number };

/** Where a hand-over puts things; ranges that are taken are never given again. */
export class Places {
  readonly contents: Content[] = [];
  readonly #name: string;
  readonly #memory: number;
  #taken: Range[];
  /** Nothing is loaded here, and nothing may go here. */
  readonly #kept: { readonly start: number; readonly size: number }[] = [];

  constructor(name: string, image: Image, memory: number) {
    this.#name = name;
    this.#memory = memory;
    this.#taken = pageRanges(image.segments);
    this.contents.push(...image.segments.map(({ start, bytes }) => ({ start, bytes })));
  }

  /** What is to be loaded, whole pages, ascending. */
  get ranges(): readonly Range[] {
    return this.#taken;
  }

  /** Memory that the image will use: left free, but not loaded. */
  keep(start: number, size: number): void {
    this.#kept.push({ start, size });
  }

  /** As high as there is room below `limit`; null: nowhere above 1 MiB. */
  high(bytes: Uint8Array, limit = GIB_4): Range | null {
    const start = findHighGap(this.#occupied(), bytes.length, MIB, Math.min(this.#memory, limit));
    if (start === null) return null;
    this.#take(start, bytes.length);
    this.contents.push({ start, bytes });
    return { start, end: start + bytes.length };
  }

  /** Makes a block twice: once for its size, once where it goes, which is below 640 KiB if it can be. */
  low<T>(build: (block: Block) => T): T {
    const trial = new Block(0);
    build(trial);
    const size = Math.ceil(trial.end / PAGE_SIZE) * PAGE_SIZE;
    const occupied = this.#occupied();
    const at =
      findGap(occupied, size, LOWEST, CONVENTIONAL_END) ??
      findGap(occupied, size, FIRST_PLACE, CONVENTIONAL_END) ??
      findGap(occupied, size, MIB, this.#memory);
    if (at === null)
      throw new UserError(
        `${this.#name}: the image leaves no ${hex(size)} bytes free for what it is told at its start: give the guest more with --memory`,
      );
    const block = new Block(at);
    const result = build(block);
    this.#take(at, size);
    this.contents.push(...block.contents);
    return result;
  }

  #take(start: number, size: number): void {
    this.#taken = this.#with([{ start, size }]);
  }

  #occupied(): readonly Range[] {
    return this.#kept.length === 0 ? this.#taken : this.#with(this.#kept);
  }

  #with(more: readonly { readonly start: number; readonly size: number }[]): Range[] {
    return pageRanges([...this.#taken.map(({ start, end }) => ({ start, size: end - start })), ...more]);
  }
}

/** Places the file of --initrd; null: there is none. */
export function placeInitrd(places: Places, { initrd, memory }: BootOptions, limit?: number): Placed | null {
  if (initrd === undefined) return null;
  const found = places.high(initrd.bytes, limit);
  if (found === null) {
    throw new UserError(
      `--initrd ${initrd.name}: the file has ${hex(initrd.bytes.length)} bytes, for which the guest's memory of ${hex(memory)} bytes has no room beside the image: give it more with --memory`,
    );
  }
  return { name: initrd.name, ...found };
}

/** A text for the guest's command line, which a zero byte would end. */
export function checkAppend(append: string): void {
  if (append.includes('\0')) throw new UserError('--append contains a zero byte: leave it out');
}

const Selector = { CODE: 0x08, DATA: 0x10 } as const;
const descriptors = [0n, 0x00cf_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn] as const;
const TSS_LIMIT = 0x67;

/** Puts a descriptor table into the block and gives the state of 32-bit protected mode at `entry`. */
export function protectedMode(block: Block, entry: number, registers: { readonly rax?: bigint; readonly rbx: bigint }): InitialState {
  const gdt = block.put(quadwords(descriptors));
  const data = { selector: Selector.DATA, attributes: Attributes.DATA32, limit: FLAT, base: 0n };
  return {
    ...common,
    cs: { selector: Selector.CODE, attributes: Attributes.CODE32, limit: FLAT, base: 0n },
    ss: data,
    data,
    gdtr: { selector: 0, attributes: 0, limit: descriptors.length * 8 - 1, base: BigInt(gdt) },
    idtr: { selector: 0, attributes: 0, limit: 0, base: 0n },
    tr: { ...common.tr, limit: TSS_LIMIT },
    cr0: BigInt(Cr0.PE + Cr0.ET),
    rip: BigInt(entry),
    ...registers,
  };
}

export const planOf = (places: Places, state: InitialState, warnings: readonly string[] = []): BootPlan => ({
  ranges: places.ranges,
  contents: places.contents,
  state,
  warnings,
});
