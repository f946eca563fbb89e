// The IOMMU: what bus masters address goes through the tables of the host's software, which is how a device with 32 address bits reaches
// encrypted memory (the tables set the C-bit), and how it reaches nothing else. AMD publication 48882: translation, the command
// buffer, the event log. There are no interrupts of its own, no guest translation (PASIDs), no remapping of interrupts.

import type { DmaMemory } from './device.ts';
import { Command, Control, Event, type EventCode, EXTENDED_FEATURES_LOW, Pages, Register, Status, Wait } from './iommu-layout.ts';
import { IommuWalk, type Refusal } from './iommu-walk.ts';
import type { MmioDevice, MmioSize } from './mmio-bus.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const PAGE = 4096n;
const POINTER = 0x7_fff0;
const BASE = 0x000f_ffff_ffff_f000n;
/** Length of a buffer in bits 59:56: 2^n entries of 16 bytes, n from 8 on. */
const LENGTH_SHIFT = 56n;
const LEAST_LENGTH = 8;
const ALL = (1n << 64n) - 1n;

/** Writable bits of registers that are kept as they are written. */
const writable: ReadonlyMap<number, bigint> = new Map([
  [Register.DEVICE_TABLE, BASE | 0x1ffn],
  [Register.COMMAND_BASE, BASE | (0xfn << LENGTH_SHIFT)],
  [Register.EVENT_BASE, BASE | (0xfn << LENGTH_SHIFT)],
  [Register.CONTROL, 0xffff_ffffn],
  [Register.COMMAND_HEAD, BigInt(POINTER)],
  [Register.COMMAND_TAIL, BigInt(POINTER)],
  [Register.EVENT_HEAD, BigInt(POINTER)],
  [Register.EVENT_TAIL, BigInt(POINTER)],
]);

export class Iommu implements MmioDevice, Stateful {
  readonly name = 'IOMMU';
  readonly #memory: DmaMemory;
  readonly #walk: IommuWalk;
  readonly #registers = new Map<number, bigint>();
  #status = 0;

  /** `memory`: all of it, by system physical addresses, the C-bit included. */
  constructor(memory: DmaMemory) {
    this.#memory = memory;
    this.#walk = new IommuWalk(memory);
    this.#registers.set(Register.COMMAND_BASE, BigInt(LEAST_LENGTH) << LENGTH_SHIFT);
    this.#registers.set(Register.EVENT_BASE, BigInt(LEAST_LENGTH) << LENGTH_SHIFT);
  }

  /** Memory as a bus master with this DeviceID reaches it. */
  behind(device: number): DmaMemory {
    return {
      read: (address, into) => this.#transfer(device, address, into, false),
      write: (address, from) => this.#transfer(device, address, from, true),
    };
  }

  // --- registers -------------------------------------------------------------------------------------------------------------

  read(offset: number, size: MmioSize): number {
    const value = Number((this.#value(offset & ~7) >> BigInt(8 * (offset & 7))) & 0xffff_ffffn);
    return size === 4 ? value : value & ((1 << (8 * size)) - 1);
  }

  /** A half at a time: only whole ones are written. */
  write(offset: number, size: MmioSize, value: number): void {
    if (size !== 4) return;
    const register = offset & ~7;
    const high = (offset & 4) !== 0;
    if (register === Register.STATUS) {
      if (!high) this.#status &= ~(value & (Status.EVENT_OVERFLOW | Status.EVENT_LOG_INT | Status.COM_WAIT_INT));
      return;
    }
    const bits = writable.get(register);
    if (bits === undefined) return;
    const before = this.#register(register);
    const after = high ? (before & 0xffff_ffffn) | (BigInt(value) << 32n) : (before & ~0xffff_ffffn) | BigInt(value);
    this.#registers.set(register, after & bits);
    if (register === Register.CONTROL && !high) this.#control(Number(before & 0xffff_ffffn), value);
    this.#runCommands();
  }

  #value(register: number): bigint {
    if (register === Register.STATUS) return BigInt(this.#status);
    return register === Register.EXTENDED_FEATURES ? BigInt(EXTENDED_FEATURES_LOW) : this.#register(register);
  }

  #register(register: number): bigint {
    return this.#registers.get(register) ?? 0n;
  }

  #has(control: number): boolean {
    return (Number(this.#register(Register.CONTROL)) & control) !== 0;
  }

  /** Enabling starts the machines that work on the rings; disabling the IOMMU forgets what it knows. */
  #control(before: number, now: number): void {
    const on = (now & Control.IOMMU_EN) !== 0;
    if (!on && (before & Control.IOMMU_EN) !== 0) this.#walk.forgetAll();
    this.#run(
      Status.CMD_BUF_RUN,
      on && (now & Control.CMD_BUF_EN) !== 0,
      (before & Control.IOMMU_EN & now) !== 0 && (before & Control.CMD_BUF_EN) !== 0,
    );
    this.#run(
      Status.EVENT_LOG_RUN,
      on && (now & Control.EVENT_LOG_EN) !== 0,
      (before & Control.IOMMU_EN & now) !== 0 && (before & Control.EVENT_LOG_EN) !== 0,
    );
  }

  /** One that has stopped by itself starts again only when it is enabled anew. */
  #run(bit: number, enabled: boolean, wasEnabled: boolean): void {
    if (!enabled) this.#status &= ~bit;
    else if (!wasEnabled) this.#status |= bit;
  }

  /** Bytes of a ring. */
  #ring(base: number): number {
    const length = Number((this.#register(base) >> LENGTH_SHIFT) & 0xfn);
    return length < LEAST_LENGTH ? 0 : 2 ** length * Command.SIZE;
  }

  // --- translation -----------------------------------------------------------------------------------------------------------

  /** Page by page; what comes before a fault has happened. */
  #transfer(device: number, address: bigint, bytes: Uint8Array, write: boolean): boolean {
    if (!this.#has(Control.IOMMU_EN)) return this.#move(address, bytes, write);
    const base = this.#register(Register.DEVICE_TABLE);
    const table = { base: base & BASE, size: Number(((base & 0x1ffn) + 1n) * PAGE) };
    for (let done = 0; done < bytes.length; ) {
      const from = address + BigInt(done);
      const found = this.#walk.translate(table, device, from, write);
      if (typeof found !== 'bigint') {
        this.#logFault(found);
        return false;
      }
      const length = Math.min(bytes.length - done, Number(PAGE - (from % PAGE)));
      if (!this.#move(found, bytes.subarray(done, done + length), write)) return false;
      done += length;
    }
    return true;
  }

  #move(address: bigint, bytes: Uint8Array, write: boolean): boolean {
    return write ? this.#memory.write(address, bytes) : this.#memory.read(address, bytes);
  }

  // --- event log -------------------------------------------------------------------------------------------------------------

  #logFault({ code, device, domain, flags, address, quiet }: Refusal): void {
    if (code === Event.IO_PAGE_FAULT && quiet) return;
    this.#log(code, device, flags | domain, address);
  }

  /** Second doubleword: code in bits 31:28. A full log says so and stops. */
  #log(code: EventCode, device: number, second: number, address: bigint): void {
    if ((this.#status & Status.EVENT_LOG_RUN) === 0) return;
    const size = this.#ring(Register.EVENT_BASE);
    const tail = Number(this.#register(Register.EVENT_TAIL));
    const next = size === 0 ? 0 : (tail + Event.SIZE) % size;
    if (size === 0 || next === Number(this.#register(Register.EVENT_HEAD))) {
      this.#status = (this.#status | Status.EVENT_OVERFLOW) & ~Status.EVENT_LOG_RUN;
      return;
    }
    const event = new Uint8Array(Event.SIZE);
    const view = new DataView(event.buffer);
    view.setUint32(0, device, true);
    view.setUint32(4, ((code << 28) | second) >>> 0, true);
    view.setBigUint64(8, address, true);
    this.#memory.write((this.#register(Register.EVENT_BASE) & BASE) + BigInt(tail), event);
    this.#registers.set(Register.EVENT_TAIL, BigInt(next));
    this.#status |= Status.EVENT_LOG_INT;
  }

  // --- commands --------------------------------------------------------------------------------------------------------------

  /** Executes what lies between head and tail. A command that is none stops the machine. */
  #runCommands(): void {
    const size = this.#ring(Register.COMMAND_BASE);
    const base = this.#register(Register.COMMAND_BASE) & BASE;
    const command = new Uint8Array(Command.SIZE);
    // The ring once around at most: nobody moves the tail meanwhile.
    for (let left = size / Command.SIZE; left > 0 && (this.#status & Status.CMD_BUF_RUN) !== 0; left--) {
      const head = Number(this.#register(Register.COMMAND_HEAD));
      if (head === Number(this.#register(Register.COMMAND_TAIL))) return;
      const at = base + BigInt(head);
      const problem = !this.#memory.read(at, command)
        ? Event.COMMAND_HARDWARE_ERROR
        : this.#execute(new DataView(command.buffer))
          ? null
          : Event.ILLEGAL_COMMAND_ERROR;
      if (problem !== null) {
        this.#log(problem, 0, 0, at);
        this.#status &= ~Status.CMD_BUF_RUN;
        return;
      }
      this.#registers.set(Register.COMMAND_HEAD, BigInt((head + Command.SIZE) % size));
    }
  }

  /** False: there is no such command. */
  #execute(command: DataView): boolean {
    const first = command.getBigUint64(0, true);
    const second = command.getBigUint64(8, true);
    switch (Number(first >> 60n)) {
      case Command.COMPLETION_WAIT:
        this.#complete(first, second);
        return true;
      case Command.INVALIDATE_DEVTAB_ENTRY:
        this.#walk.forgetDevice(Number(first & 0xffffn));
        return true;
      case Command.INVALIDATE_IOMMU_PAGES:
        this.#walk.forgetPages(Number((first >> 32n) & 0xffffn), second & BASE, rangeOf(second));
        return true;
      // Nothing is kept that these are about.
      case Command.INVALIDATE_IOTLB_PAGES:
      case Command.INVALIDATE_INTERRUPT_TABLE:
      case Command.PREFETCH_IOMMU_PAGES:
        return true;
      case Command.INVALIDATE_IOMMU_ALL:
        this.#walk.forgetAll();
        return true;
      default:
        return false;
    }
  }

  #complete(first: bigint, data: bigint): void {
    if ((first & Wait.S) !== 0n) {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, data, true);
      this.#memory.write(first & Wait.ADDRESS, bytes);
    }
    if ((first & Wait.I) !== 0n) this.#status |= Status.COM_WAIT_INT;
  }

  exchange(fields: Fields): void {
    fields.map(this.#registers);
    this.#status = fields.value(this.#status);
    fields.part(this.#walk);
  }
}

/** Size less one of the range of an invalidation: 4 KiB, or with S what the lowest clear bit from 12 on says; all bits set: everything. */
function rangeOf(second: bigint): bigint {
  if ((second & Pages.S) === 0n) return PAGE - 1n;
  let bit = 12n;
  while (bit < 63n && (second >> bit) & 1n) bit++;
  return bit >= 63n ? ALL : (2n << bit) - 1n;
}
