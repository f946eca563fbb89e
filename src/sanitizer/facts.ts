// What the rules may ask about the machine: all of it without any effect.

import { Rflags } from '../arch/registers.ts';
import { gprAt, Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';
import type { Place } from '../mmu/onlooker.ts';
import type { VirtualMachine } from '../virtual-machine.ts';
import { PAGE_SIZE, gpa as gpaOf, pageOf } from '../util/address.ts';
import { statusFlagsOf } from '../x86/flags.ts';
import type { RuleId } from './rules.ts';
import { BITMAP, type PageImage } from './page-image.ts';
import type { Registers } from './state.ts';

/** Says what is wrong. `exit`: the event under way. */
export type Report = (rule: RuleId, rip: bigint, exit: string, text: string) => void;

export class Facts {
  readonly cBit: number;
  readonly guestKey: number;
  /** The key of what the guest shares: none, or the host's. */
  readonly sharedKey: number;
  /** Are views of a page under different keys coherent? */
  readonly coherent: boolean;
  readonly #vm: VirtualMachine;

  constructor(vm: VirtualMachine) {
    this.#vm = vm;
    const guest = vm.bare === null ? vm.guest.vm : null;
    this.cBit = guest?.config.cBit ?? 0;
    this.guestKey = guest?.config.asid ?? 0;
    this.sharedKey = (guest?.cMask ?? 0n) === 0n ? 0 : vm.machine.encryption.hostKey;
    this.coherent = vm.machine.model.coherent;
  }

  get retired(): number {
    return this.#vm.machine.retired;
  }

  /** Is there an NMI that has not been delivered? */
  get nmiWaits(): boolean {
    return this.#vm.guest.vm.vcpus.some(({ interrupts: { apic } }) => apic.nmi);
  }

  /** The page of system physical memory behind one of the guest's; null: it is not RAM. */
  pageOf(gpa: number): number | null {
    const spa = this.#vm.guest.vm.locate(gpaOf(gpa - (gpa % PAGE_SIZE)), true);
    return spa === null ? null : pageOf(spa);
  }

  isRam(gpa: bigint, bytes: bigint): boolean {
    return gpa + bytes <= BigInt(this.#vm.guest.vm.config.ram.size);
  }

  /** A page as the hypervisor would find it. */
  image(page: number): PageImage {
    const { frames, memory } = this.#vm.machine.engine;
    const at = frames.address(frames.glimpse(page, this.sharedKey));
    return memory.u8.slice(at, at + PAGE_SIZE);
  }

  /** Its valid bitmap as it is now, for the moment. */
  bitmap(page: number): Uint8Array {
    const { frames, memory } = this.#vm.machine.engine;
    const at = frames.address(frames.glimpse(page, this.sharedKey));
    return memory.u8.subarray(at + BITMAP.start, at + BITMAP.end);
  }

  /** Was what the page holds written with the guest's key? */
  writtenPrivately(page: number): boolean {
    return this.#vm.machine.engine.frames.writtenUnder(page) === this.guestKey;
  }

  /** Bytes at a linear address; fewer where nothing is mapped. `fetch`: as code. */
  bytes(state: number, low: number, high: number, length: number, fetch = false): Uint8Array {
    const into = new Uint8Array(length);
    return into.subarray(0, this.#vm.machine.engine.mmu.onlooker.peek(state, low, high, into, fetch));
  }

  look(state: number, address: bigint, user = false, write = false): Readonly<Place> | null {
    return this.#vm.machine.engine.mmu.onlooker.look(
      state,
      Number(address & 0xffff_ffffn) | 0,
      Number((address >> 32n) & 0xffff_ffffn) | 0,
      user,
      write,
    );
  }

  // --- the state block ---

  u32(state: number, offset: number): number {
    return this.#vm.machine.engine.memory.view.getUint32(state + offset, true);
  }

  u64(state: number, offset: number): bigint {
    return this.#vm.machine.engine.memory.view.getBigUint64(state + offset, true);
  }

  registers(state: number): Registers {
    return {
      gpr: Array.from({ length: 16 }, (_, n) => this.u64(state, gprAt(n))),
      rip: this.u64(state, State.RIP),
      rflags: this.rflags(state),
      cpl: this.u32(state, State.CPL),
      mode: this.u32(state, State.MODE),
    };
  }

  rflags(state: number): number {
    return this.u32(state, State.RFLAGS) | statusFlagsOf(this.#vm.machine.engine.memory.i32, state >>> 2);
  }

  interruptible(state: number): boolean {
    return (this.u32(state, State.RFLAGS) & Rflags.IF) !== 0;
  }

  base(state: number, segment: Segment): bigint {
    return this.u64(state, segmentAt(segment) + SegmentPart.BASE);
  }

  /** The linear address of an offset in a segment; in 64-bit mode only FS and GS have a base. */
  linear(state: number, mode: number, segment: Segment, offset: bigint): bigint {
    if (mode !== 64) return (this.base(state, segment) + offset) & 0xffff_ffffn;
    return BigInt.asUintN(64, offset + (segment === Segment.FS || segment === Segment.GS ? this.base(state, segment) : 0n));
  }

  /** RIP of the instruction that accesses memory. */
  accessor(state: number): bigint {
    const { processor } = this.#vm.machine.engine.cpu;
    const record = this.u32(state, State.RECORD);
    return record === 0 ? this.u64(state, State.RIP) : processor.ripOf(record);
  }

  /** Does the task allow user mode a port (APM vol. 2, 12.2.4)? A map that cannot be read allows nothing. */
  mayAccessPort(state: number, rflags: number, cpl: number, port: number, size: number): boolean {
    if ((rflags & Rflags.VM) === 0 && (rflags & Rflags.IOPL) >>> 12 >= cpl) return true;
    const base = this.u64(state, segmentAt(Segment.TR) + SegmentPart.BASE);
    const limit = this.u32(state, segmentAt(Segment.TR) + SegmentPart.LIMIT);
    const read = (offset: number): number | null => {
      if (offset + 1 > limit) return null;
      const address = base + BigInt(offset);
      const found = this.bytes(state, Number(address & 0xffff_ffffn) | 0, Number((address >> 32n) & 0xffff_ffffn) | 0, 2);
      return found.length < 2 ? null : found[0]! | (found[1]! << 8);
    };
    const map = read(IO_MAP_BASE);
    const bits = map === null ? null : read(map + (port >>> 3));
    return bits !== null && ((bits >>> (port & 7)) & ((1 << size) - 1)) === 0;
  }
}

/** Where a TSS says how far from its beginning the I/O permission bitmap is. */
const IO_MAP_BASE = 0x66;
