// The host's own registers across world switches, and the host save area in memory (VM_HSAVE_PA + 400h; APM vol. 2, 15.5.2 and
// 15.35.8). The host's program is not emulated, but what a world switch does to its registers is: type A stands in the save
// area from VMRUN to #VMEXIT, type B comes from there after an SEV-ES guest, type C is reset after one.
// The area is bytes of memory. As long as nobody else touches the page, they are up to date and need not be moved again.

import { Cr0, Cr4, Efer, Fcw, Rflags } from '../arch/registers.ts';
import { SAVE_AREA_OFFSET } from '../arch/vmcb.ts';
import { type Frames, type LazyOwner, Status, VOID_FRAME } from '../memory/frames.ts';
import type { EngineMemory } from '../memory/map.ts';
import { PAGE_SIZE, pageOf } from '../util/address.ts';
import { gprAt, Gpr, Segment, SegmentPart, State, STATE_SIZE, STOP_NONE, segmentAt } from '../memory/state.ts';
import { canonicaliseBases, debugControlTransfer, debugTransfer, hostTransferA, hostTransferB } from './transfer.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const EMPTY_TAGS = 0xffff;
/** What the host's address space depends on: low and high halves. */
const CONTROL_REGISTERS = [State.CR0, State.CR3, State.CR3 + 4, State.CR4, State.EFER];

/** Registers after reset that are not zero (APM vol. 2, table 14-1). */
export function resetFloatingPoint(view: DataView, state: number): void {
  for (let at = State.XMM; at < State.X87 + 128; at += 8) view.setBigUint64(state + at, 0n, true);
  view.setUint16(state + State.FCW, 0x40, true);
  view.setUint16(state + State.FSW, 0, true);
  view.setUint16(state + State.FTW, 0x5555, true);
  view.setUint16(state + State.FOP, 0, true);
  view.setBigUint64(state + State.FIP, 0n, true);
  view.setBigUint64(state + State.FDP, 0n, true);
  view.setUint32(state + State.MXCSR, 0x1f80, true);
  view.setUint16(state + State.FCS, 0, true);
  view.setUint16(state + State.FDS, 0, true);
}

export class HostState implements LazyOwner, Stateful {
  /** State block of the processor's registers while no SEV-ES guest runs; guests without SEV-ES run in it. */
  readonly live: number;
  /** State block of the host's type A registers. */
  readonly #own: number;
  readonly #memory: EngineMemory;
  readonly #frames: Frames;
  #page = 0;
  #key = 0;
  #vmcb = -1;
  /** Nobody else touched the page since it was written. */
  #untouched = false;
  #ownStale = true;
  #bStale = true;
  #cStale = true;
  #debugStale = true;
  #debugControl = 0;
  /** The host's program has loaded CR3: what translates its addresses are tables of its own, no longer the firmware's. */
  ownTables = false;
  /** Called when the host's control registers may have changed. */
  onControl: () => void = () => undefined;

  constructor(memory: EngineMemory, frames: Frames, live: number, own: number) {
    this.#memory = memory;
    this.#frames = frames;
    this.live = live;
    this.#own = own;
    for (const block of [live, own]) this.#reset(block);
  }

  /** A 64-bit host with paging on. */
  #reset(block: number): void {
    const { view } = this.#memory;
    this.#memory.u8.fill(0, block, block + STATE_SIZE);
    view.setBigUint64(block + State.CR0, BigInt(Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP) | BigInt(Cr0.PG), true);
    view.setBigUint64(block + State.CR4, BigInt(Cr4.PAE | Cr4.OSFXSR | Cr4.OSXMMEXCPT), true);
    view.setBigUint64(block + State.EFER, BigInt(Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE), true);
    view.setUint32(block + State.RFLAGS, Rflags.ALWAYS_1, true);
    view.setBigUint64(block + State.XCR0, 1n, true);
    view.setBigUint64(block + State.PAT, 0x0007_0406_0007_0406n, true);
    view.setInt32(block + State.STOP, STOP_NONE, true);
    view.setInt32(block + State.FAULT_VECTOR, -1, true);
    const segments: readonly [Segment, number][] = [
      [Segment.CS, 0xa9b],
      [Segment.SS, 0xc93],
      [Segment.DS, 0xc93],
      [Segment.ES, 0xc93],
    ];
    for (const [segment, attributes] of segments) {
      const at = block + segmentAt(segment);
      view.setUint16(at + SegmentPart.SELECTOR, segment === Segment.CS ? 0x10 : 0x18, true);
      view.setUint16(at + SegmentPart.ATTRIBUTES, attributes, true);
      view.setUint32(at + SegmentPart.LIMIT, 0xffff_ffff, true);
    }
    this.#resetC(block);
    // The host's software has executed FNINIT, as every system does; a guest without SEV-ES starts with what it left.
    view.setUint16(block + State.FCW, Fcw.INITIAL, true);
    view.setUint16(block + State.FTW, EMPTY_TAGS, true);
  }

  #resetC(block: number): void {
    const { view } = this.#memory;
    view.setBigUint64(block + State.DR6, 0xffff_0ff0n, true);
    view.setBigUint64(block + State.DR7, 0x400n, true);
    view.setBigUint64(block + State.CR2, 0n, true);
    resetFloatingPoint(view, block);
  }

  /** State block with the host's control registers. */
  get control(): number {
    return this.#own;
  }

  set cr3(value: bigint) {
    this.#memory.view.setBigUint64(this.#own + State.CR3, value, true);
    this.#ownStale = true;
    this.ownTables = true;
    this.onControl();
  }

  /** Does the host run in long mode? VMRUN of encrypted guests may want it. */
  get longMode(): boolean {
    return (this.eferLow & Efer.LMA) !== 0;
  }

  /** Bits 31:0 of the host's EFER. */
  get eferLow(): number {
    return this.#memory.i32[(this.#own + State.EFER) >>> 2]!;
  }

  get efer(): bigint {
    return this.#memory.view.getBigUint64(this.#own + State.EFER, true);
  }

  set efer(value: bigint) {
    this.#memory.view.setBigUint64(this.#own + State.EFER, value, true);
    this.#ownStale = true;
    this.onControl();
  }

  /** VM_HSAVE_PA was written. */
  setSaveArea(spa: number, key: number): void {
    if (this.#untouched) this.#frames.setLazy(this.#page, null);
    this.#untouched = false;
    this.#page = pageOf(spa);
    this.#key = key;
  }

  /** VMLOAD or a guest without SEV-ES changed registers of type B and C in the live block. */
  changed(): void {
    this.#bStale = true;
    this.#cStale = true;
    this.#debugStale = true;
  }

  /** Is there nothing to be moved at VMRUN, and at the #VMEXIT of an SEV-ES guest? */
  isSettled(vmcb: number): boolean {
    return this.#untouched && vmcb === this.#vmcb && !this.#ownStale && !this.#bStale && !this.#cStale;
  }

  /** VMRUN: type A goes to the save area. RAX is the address of the VMCB. */
  enter(vmcb: number): void {
    if (this.#untouched && !this.#ownStale && vmcb === this.#vmcb) return;
    this.#vmcb = vmcb;
    this.#memory.view.setBigUint64(this.#own + gprAt(Gpr.RAX), BigInt(vmcb), true);
    const known = this.#untouched;
    const frame = this.#frames.own(this.#page, this.#key);
    if (frame !== VOID_FRAME) {
      if (this.#frames.table.status[frame] !== Status.DIRTY) this.#frames.stored(frame, SAVE_AREA_OFFSET, 0xc00);
      hostTransferA.store(this.#memory, this.#own, this.#memory, this.#frames.address(frame) + SAVE_AREA_OFFSET);
    }
    this.#ownStale = false;
    if (!known) {
      this.#bStale = true;
      this.#debugStale = true;
    }
    this.#watch();
  }

  /** LBR virtualization of a guest without SEV-ES: its own DebugCtl is in force until #VMEXIT (15.23). `save`: address of its save area. */
  giveDebugControl(save: number): void {
    this.#debugControl = this.#memory.i32[(this.live + State.DEBUGCTL) >>> 2]!;
    debugControlTransfer.load(this.#memory, save, this.#memory, this.live);
  }

  takeDebugControlBack(save: number): void {
    debugControlTransfer.store(this.#memory, this.live, this.#memory, save);
    this.#memory.i32[(this.live + State.DEBUGCTL) >>> 2] = this.#debugControl;
  }

  /** #VMEXIT. With DebugSwap the debug registers are of type B; else they are what the guest left. */
  leave(encryptedState: boolean, debugSwap = false): void {
    if (!this.#untouched) {
      this.#load(hostTransferA, this.#own);
      this.onControl();
      this.#ownStale = true;
      this.#bStale = true;
      this.#debugStale = true;
    }
    if (!encryptedState) {
      this.changed();
      return;
    }
    if (this.#bStale) this.#load(hostTransferB, this.live);
    if (this.#cStale) this.#resetC(this.live);
    if (debugSwap && this.#debugStale) this.#load(debugTransfer, this.live);
    this.#debugStale = !debugSwap;
    this.#bStale = false;
    this.#cStale = false;
  }

  /** Somebody looks at the save area: its bytes are true, but may now be changed. */
  materialise(): void {
    this.#untouched = false;
  }

  /** From now on whoever touches the save area is noticed. */
  #watch(): void {
    if (this.#untouched || this.#page >= this.#frames.pageCount) return;
    this.#frames.setLazy(this.#page, this);
    this.#untouched = true;
  }

  #load(registers: typeof hostTransferA, block: number): void {
    const watched = this.#untouched; // until our own look
    const frame = this.#frames.view(this.#page, this.#key);
    this.#frames.loaded(frame, SAVE_AREA_OFFSET, PAGE_SIZE - SAVE_AREA_OFFSET);
    registers.load(this.#memory, this.#frames.address(frame) + SAVE_AREA_OFFSET, this.#memory, block);
    canonicaliseBases(this.#memory.i32, block >>> 2);
    if (watched) this.#watch();
  }

  exchange(fields: Fields): void {
    const before = CONTROL_REGISTERS.map((register) => this.#memory.i32[(this.#own + register) >>> 2]);
    this.#memory.exchangeState(fields, this.live);
    this.#memory.exchangeState(fields, this.#own);
    this.#page = fields.value(this.#page);
    this.#key = fields.value(this.#key);
    this.#vmcb = fields.value(this.#vmcb);
    this.#untouched = fields.value(this.#untouched);
    this.#ownStale = fields.value(this.#ownStale);
    this.#bStale = fields.value(this.#bStale);
    this.#cStale = fields.value(this.#cStale);
    this.#debugStale = fields.value(this.#debugStale);
    this.#debugControl = fields.value(this.#debugControl);
    this.ownTables = fields.value(this.ownTables);
    if (fields.restoring && CONTROL_REGISTERS.some((register, n) => before[n] !== this.#memory.i32[(this.#own + register) >>> 2]))
      this.onControl();
  }
}
