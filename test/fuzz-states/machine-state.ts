// A whole random state of a machine from a seed and a number: registers, tables, code, and what a hypervisor would have set up around
// it. Registers are given as an SEV-ES save area, the one layout that has all of them, and are what VMRUN makes of it.

import { ExitCode } from '../../src/arch/exit-code.ts';
import { ARITHMETIC_FLAGS, Cr0, Cr4, Rflags, SegmentAttribute } from '../../src/arch/registers.ts';
import { EventInjection, EventType, VirtualInterrupt } from '../../src/arch/vmcb.ts';
import { gprAt, Gpr, Segment, SegmentPart, State, STATE_SIZE, segmentAt } from '../../src/memory/state.ts';
import { vmsaTransfer } from '../../src/svm/transfer.ts';
import { setStatusFlagsOf } from '../../src/x86/flags.ts';
import { type Bits, CodeWriter } from './code.ts';
import { Descriptors, isLong, type Kind } from './descriptors.ts';
import { Dice } from './dice.ts';
import { CODE_PAGES, DATA_PAGES, MEMORY, MODEL, Operand, PAGE, Place, STREAMS, streamAt } from './layout.ts';
import { PageTables, type Paging } from './paging.ts';
import { Entry, flagsValue, legalCr0, legalCr4, legalEfer, pointer, selector, value32, value64 } from './values.ts';

/** Who runs the guest: nobody (the processor alone), or a hypervisor by VMRUN. */
export type Host = 'bare' | 'none' | 'sev' | 'sev-es';

export type Controls = {
  readonly intercepts: Int32Array;
  readonly eventInj: bigint;
  readonly virtualInterrupt: number;
  readonly vector: number;
  readonly shadow: number;
  /** What the permission maps are filled with; -1: noise. */
  readonly ports: number;
  readonly msrs: number;
  readonly tscOffset: bigint;
  /** Bits to change in entries of the lowest nested table: pairs of page and mask. */
  readonly nested: readonly (readonly [page: number, mask: bigint])[];
};

export type MachineState = {
  readonly name: string;
  readonly host: Host;
  readonly kind: Kind;
  readonly paging: Paging;
  readonly memory: Uint8Array;
  /** Registers, as a VMSA has them. */
  readonly save: Uint8Array;
  /** DR0 to DR3 and CR8, which no save area has. */
  readonly live: BigUint64Array;
  readonly controls: Controls;
  readonly budget: number;
  /** For the choices of the hypervisor at each exit. */
  readonly choices: Uint32Array;
};

const memory = new Uint8Array(MEMORY);
const memoryView = new DataView(memory.buffer);
const block = new Uint8Array(STATE_SIZE);
const view = new DataView(block.buffer);
const i32 = new Int32Array(block.buffer);
const save = new Uint8Array(STATE_SIZE);
const saveBlock = { i32: new Int32Array(save.buffer), view: new DataView(save.buffer) };

/** The state with a number. Its arrays are reused by the next call. */
export function machineState(seed: string, number: number): MachineState {
  const dice = new Dice(seed, `state ${number}`);
  const host = dice.weighted<Host>([
    [24, 'bare'],
    [5, 'none'],
    [2, 'sev'],
    [2, 'sev-es'],
  ]);
  const kind = dice.weighted<Kind>([
    [12, 'real'],
    [12, 'v8086'],
    [10, 'protected16'],
    [22, 'protected32'],
    [10, 'compatibility'],
    [34, 'long'],
  ]);
  const paging: Paging = isLong(kind)
    ? 'long'
    : kind === 'real'
      ? 'none'
      : dice.weighted<Paging>([
          [3, 'none'],
          [4, 'legacy'],
          [4, 'pae'],
        ]);
  memory.fill(0);
  block.fill(0);
  save.fill(0);
  const cBit = host === 'sev' || host === 'sev-es' ? 1n << BigInt(MODEL.cBit) : 0n;
  new Descriptors(dice, memoryView, kind).write();
  const user = kind === 'v8086' || dice.chance(90);
  const cr3 = paging === 'none' ? 0n : new PageTables(dice, memoryView, cBit, user || dice.chance(128)).write(paging);
  writeCode(dice, bitsOf(kind));
  writeData(dice, kind);
  writeRegisters(dice, kind, paging, cr3, user);
  if (dice.chance(40)) disturb(dice);
  vmsaTransfer.store({ i32, view }, 0, saveBlock, 0);
  const live = BigUint64Array.from(
    [0, 1, 2, 3].map(() => (dice.chance(40) ? BigInt(pointer(dice)) : value64(dice))).concat([BigInt(dice.below(16))]),
  );
  return {
    name: `${host} ${kind} ${paging}`,
    host,
    kind,
    paging,
    memory,
    save,
    live,
    controls: controls(dice, host),
    budget:
      dice.weighted([
        [8, 100],
        [6, 300],
        [2, 1000],
      ]) + dice.below(50),
    choices: Uint32Array.from({ length: 32 }, () => dice.u32()),
  };
}

function bitsOf(kind: Kind): Bits {
  return kind === 'long' ? 64 : kind === 'protected32' || kind === 'compatibility' ? 32 : 16;
}

function writeCode(dice: Dice, bits: Bits): void {
  const writer = new CodeWriter(dice, memory);
  for (let n = 0; n < STREAMS; n++) {
    const other = dice.chance(24) ? dice.one<Bits>([16, 32, 64]) : bits;
    writer.stream(streamAt(n), n === 0 ? 200 : 40 + dice.below(80), other);
  }
  // Across the border of two pages.
  for (let page = 1; page < CODE_PAGES; page++) writer.stream(Place.CODE + page * PAGE - 8 - dice.below(16), 40, bits);
}

function writeData(dice: Dice, kind: Kind): void {
  const wide = kind === 'long';
  for (let n = 0; n < Operand.COUNT; n++) {
    const gdt = Operand.GDT + 16 * n;
    memoryView.setUint16(gdt, dice.chance(200) ? 8 * Entry.COUNT - 1 : dice.below(0x140), true);
    memoryView.setUint32(gdt + 2, dice.chance(230) ? Place.GDT : value32(dice), true);
    const idt = Operand.IDT + 16 * n;
    memoryView.setUint16(idt, dice.chance(200) ? 0x3ff : dice.below(0x140), true);
    memoryView.setUint32(idt + 2, dice.chance(230) ? Place.IDT : value32(dice), true);
    const far = Operand.FAR + 16 * n;
    const size = dice.chance(40) ? dice.one([2, 4, 8]) : wide || kind === 'protected32' || kind === 'compatibility' ? 4 : 2;
    memoryView.setUint32(far, streamAt(dice.below(STREAMS)), true);
    memoryView.setUint16(far + size, selector(dice), true);
  }
  for (let n = 0; n < 160; n++) memoryView.setUint32(Place.DATA + 0x400 + 4 * n, value32(dice), true);
  for (let n = 0; n < 8; n++) memoryView.setUint32(Place.DATA + PAGE * (1 + (n % (DATA_PAGES - 1))) - 16 + 4 * n, value32(dice), true);
}

function put(offset: number, value: bigint): void {
  view.setBigUint64(offset, BigInt.asUintN(64, value), true);
}

function writeSegment(segment: Segment, selector_: number, attributes: number, limit: number, base: number): void {
  const at = segmentAt(segment);
  view.setUint16(at + SegmentPart.SELECTOR, selector_, true);
  view.setUint16(at + SegmentPart.ATTRIBUTES, attributes, true);
  view.setUint32(at + SegmentPart.LIMIT, limit, true);
  view.setBigUint64(at + SegmentPart.BASE, BigInt(base), true);
}

/** A segment register as loading a selector of the GDT leaves it. */
function fromTable(segment: Segment, selector_: number): void {
  const low = memoryView.getUint32(Place.GDT + (selector_ & 0x1f8), true);
  const high = memoryView.getUint32(Place.GDT + (selector_ & 0x1f8) + 4, true);
  const attributes = ((high >>> 8) & 0xff) | ((high >>> 12) & 0xf00);
  const limit = (low & 0xffff) | (high & 0xf_0000);
  const base = ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0;
  const accessed = (attributes & SegmentAttribute.S) !== 0 ? 1 : 0;
  writeSegment(
    segment,
    selector_,
    attributes | accessed,
    (attributes & SegmentAttribute.G) !== 0 ? ((limit << 12) | 0xfff) >>> 0 : limit,
    base,
  );
}

/** CS and SS, and with CS the CPL, that a mode begins with. */
function privileges(dice: Dice, kind: Kind, user: boolean): readonly [code: number, stack: number] {
  switch (kind) {
    case 'long':
      return user ? [(Entry.CODE64_3 << 3) | 3, (Entry.DATA32_3 << 3) | 3] : [Entry.CODE64 << 3, Entry.DATA << 3];
    case 'protected16':
      return user ? [(Entry.CODE16_3 << 3) | 3, (Entry.DATA32_3 << 3) | 3] : [Entry.CODE16 << 3, Entry.DATA16 << 3];
    default:
      if (dice.chance(20)) return [(Entry.CODE32_1 << 3) | 1, (Entry.DATA32_1 << 3) | 1];
      return user ? [(Entry.CODE32_3 << 3) | 3, (Entry.DATA32_3 << 3) | 3] : [Entry.CODE32 << 3, Entry.DATA32 << 3];
  }
}

const DATA_SEGMENTS = [Segment.DS, Segment.ES, Segment.FS, Segment.GS] as const;

function writeRegisters(dice: Dice, kind: Kind, paging: Paging, cr3: bigint, user: boolean): void {
  for (let n = 0; n < 16; n++) put(gprAt(n), value64(dice));
  put(gprAt(Gpr.RSP), BigInt(Place.STACK + 0x100 + 8 * dice.below(0x300) + (dice.chance(10) ? 1 : 0)));
  put(gprAt(Gpr.RCX), BigInt(dice.chance(128) ? dice.below(20) : value32(dice) >>> 0));
  if (dice.chance(128)) put(gprAt(Gpr.RDX), BigInt(dice.below(0x400)));
  const start = dice.chance(230) ? streamAt(0) : dice.chance(128) ? Place.CODE + PAGE - 12 : Place.CODE + dice.below(PAGE * CODE_PAGES);
  put(State.RIP, BigInt(start));
  let flags = flagsValue(dice);
  if (!dice.chance(4)) flags &= ~Rflags.VM;
  if (!dice.chance(64)) flags &= ~(Rflags.TF | Rflags.RF);
  if (kind === 'v8086') flags |= Rflags.VM | (dice.chance(128) ? Rflags.IOPL : 0);
  writeSegment(Segment.GDTR, 0, 0, dice.chance(245) ? 8 * Entry.COUNT - 1 : dice.below(0x140), Place.GDT);
  const plain = kind === 'real' || kind === 'v8086';
  writeSegment(Segment.IDTR, 0, 0, dice.chance(245) ? 0x3ff : dice.below(0x200), kind === 'real' ? Place.VECTORS : Place.IDT);
  if (plain) {
    const code = dice.chance(200) ? 0 : dice.below(0x800);
    put(State.RIP, BigInt(start - 16 * code));
    const attributes = kind === 'real' ? 0x93 : 0xf3;
    for (const segment of [...DATA_SEGMENTS, Segment.SS]) {
      const base = dice.chance(200) ? 0 : dice.below(0x800);
      const limit = kind === 'real' && dice.chance(40) ? 0xffff_ffff : 0xffff;
      writeSegment(segment, base, attributes, limit, 16 * base);
    }
    writeSegment(Segment.CS, code, kind === 'real' ? 0x9b : 0xf3, 0xffff, 16 * code);
    i32[State.CPL >>> 2] = kind === 'real' ? 0 : 3;
  } else {
    const [code, stack] = privileges(dice, kind, user);
    fromTable(Segment.CS, code);
    fromTable(Segment.SS, stack);
    i32[State.CPL >>> 2] = code & 3;
    for (const segment of DATA_SEGMENTS) {
      if (dice.chance(16)) writeSegment(segment, 0, 0, 0, 0);
      else fromTable(segment, dice.chance(240) ? stack : dice.one([Entry.DATA, Entry.EXPAND_DOWN, Entry.CODE32, Entry.DATA32_3]) << 3);
    }
    if (dice.chance(60)) put(segmentAt(Segment.FS) + SegmentPart.BASE, BigInt(pointer(dice)));
    if (kind === 'long' && dice.chance(60)) put(segmentAt(Segment.GS) + SegmentPart.BASE, value64(dice));
  }
  fromTable(Segment.TR, (dice.chance(30) ? Entry.TSS3 : Entry.TSS) << 3);
  if (dice.chance(200)) fromTable(Segment.LDTR, Entry.LDT << 3);
  setStatusFlagsOf(i32, 0, flags);
  i32[State.RFLAGS >>> 2] = (flags & ~ARITHMETIC_FLAGS) | Rflags.ALWAYS_1;
  const long = isLong(kind);
  put(State.CR0, BigInt((legalCr0(dice, kind !== 'real') | (paging !== 'none' ? Cr0.PG : 0)) >>> 0));
  put(State.CR2, value64(dice));
  put(State.CR3, cr3);
  const cr4 = legalCr4(dice) & ~(Cr4.PAE | (user && dice.chance(200) ? Cr4.SMEP | Cr4.SMAP : 0));
  put(State.CR4, BigInt(cr4 | (paging === 'pae' || long ? Cr4.PAE : 0) | (paging === 'legacy' && dice.chance(200) ? Cr4.PSE : 0)));
  put(State.EFER, BigInt(legalEfer(dice, long)));
  put(State.DR6, 0xffff_0ff0n);
  put(State.DR7, dice.chance(30) ? BigInt((0x400 | (dice.u32() & 0xffff_2355)) >>> 0) : 0x400n);
  put(State.DEBUGCTL, dice.chance(60) ? BigInt(dice.u32() & 0x3f) : 0n);
  put(State.XCR0, 1n);
  if (dice.chance(100)) put(State.XCR0, 3n);
  put(State.PAT, 0x0007_0406_0007_0406n);
  const kernel = dice.chance(200) ? Entry.CODE64 << 3 : selector(dice);
  put(State.STAR, (BigInt(kernel) << 32n) | (BigInt(dice.chance(128) ? Entry.CODE32_3 << 3 : selector(dice)) << 48n) | BigInt(streamAt(3)));
  put(State.LSTAR, dice.chance(240) ? BigInt(streamAt(4)) : value64(dice));
  put(State.CSTAR, BigInt(streamAt(5)));
  put(State.SFMASK, BigInt(flagsValue(dice) >>> 0));
  put(State.KERNEL_GS_BASE, BigInt(pointer(dice)));
  put(State.SYSENTER_CS, BigInt(dice.chance(220) ? dice.one([Entry.CODE32, Entry.CODE64, Entry.DATA]) << 3 : selector(dice)));
  put(State.SYSENTER_ESP, BigInt(Place.STACK + 0x400));
  put(State.SYSENTER_EIP, BigInt(streamAt(6)));
  put(State.TSC_AUX, BigInt(dice.u32()));
  floats(dice);
}

function floats(dice: Dice): void {
  view.setUint32(State.MXCSR, dice.chance(200) ? 0x1f80 : dice.u32() & 0xffff, true);
  view.setUint16(State.FCW, dice.chance(200) ? 0x037f : (dice.u32() & 0x1f3f) | 0x40, true);
  view.setUint16(State.FTW, dice.chance(128) ? 0xffff : dice.u32(), true);
  view.setUint16(State.FSW, dice.chance(200) ? 0 : dice.u32() & 0x7f7f, true);
  for (let n = 0; n < 8; n++) {
    view.setBigUint64(State.X87 + 16 * n, (1n << 63n) | dice.u64(), true);
    view.setUint16(State.X87 + 16 * n + 8, dice.chance(230) ? 0x3f80 + dice.below(0x100) : dice.u32(), true);
  }
  for (let n = 0; n < 32; n++) put(State.XMM + 8 * n, dice.chance(128) ? dice.u64() : 0x3f80_0000_4000_0000n + BigInt(dice.below(64)));
}

/** Registers that disagree with each other or with the tables: some bit somewhere. VMRUN admits much of it. */
function disturb(dice: Dice): void {
  const places = [
    State.CR0,
    State.CR4,
    State.EFER,
    State.CR3,
    State.RFLAGS,
    State.DR7,
    State.DR6,
    State.CPL,
    State.RIP,
    State.PAT,
    State.MXCSR,
  ];
  for (let n = dice.below(3); n >= 0; n--) {
    if (dice.chance(100)) {
      const at = dice.one(places);
      if (at === State.CPL) i32[at >>> 2] = dice.below(4);
      else i32[at >>> 2]! ^= 1 << dice.below(at === State.EFER ? 15 : at === State.MXCSR ? 16 : 32);
      continue;
    }
    const at = segmentAt(dice.below(10) as Segment);
    const what = dice.below(4);
    if (what === 0) view.setUint16(at + SegmentPart.SELECTOR, selector(dice), true);
    else if (what === 1)
      view.setUint16(at + SegmentPart.ATTRIBUTES, view.getUint16(at + SegmentPart.ATTRIBUTES, true) ^ (1 << dice.below(12)), true);
    else if (what === 2) view.setUint32(at + SegmentPart.LIMIT, dice.chance(128) ? pointer(dice) : dice.u32(), true);
    else view.setBigUint64(at + SegmentPart.BASE, value64(dice), true);
  }
}

const bit = (code: number): number => 1 << (code & 31);
/** Intercepts that an exit loop cannot do without. */
const ALWAYS = [ExitCode.VMRUN, ExitCode.SHUTDOWN, ExitCode.INTR, ExitCode.NMI];

function controls(dice: Dice, host: Host): Controls {
  const intercepts = new Int32Array(6);
  if (host !== 'bare') {
    const density = dice.below(4);
    for (let word = 0; word < 6; word++) {
      if (density === 0) intercepts[word] = 0;
      else if (density === 1) intercepts[word] = dice.u32() & dice.u32() & dice.u32() & dice.u32();
      else intercepts[word] = word === 2 && dice.chance(128) ? 0 : dice.u32() & dice.u32();
    }
    for (const code of ALWAYS) if (code === ExitCode.VMRUN ? !dice.chance(1) : true) intercepts[code >>> 5]! |= bit(code);
    if (dice.chance(200)) intercepts[ExitCode.HLT >>> 5]! |= bit(ExitCode.HLT);
  }
  const nmi = dice.chance(60)
    ? VirtualInterrupt.V_NMI_ENABLE | (dice.chance(128) ? VirtualInterrupt.V_NMI : 0) | (dice.chance(60) ? VirtualInterrupt.V_NMI_MASK : 0)
    : 0;
  const interrupt = dice.chance(40) ? VirtualInterrupt.V_IRQ | (dice.below(16) << 16) : 0;
  return {
    intercepts,
    eventInj: dice.chance(24) ? randomEvent(dice.u32(), dice.u32()) : 0n,
    virtualInterrupt:
      interrupt |
      nmi |
      (dice.chance(60) ? VirtualInterrupt.V_INTR_MASKING : 0) |
      (dice.chance(60) ? VirtualInterrupt.V_IGN_TPR : 0) |
      dice.below(16),
    vector: 32 + dice.below(20),
    shadow: dice.chance(24) ? 1 : 0,
    ports: dice.one([0, 0xff, -1]),
    msrs: dice.one([0, 0, 0xff, -1]),
    tscOffset: dice.u64(),
    nested: Array.from(
      { length: dice.chance(60) ? dice.below(5) : 0 },
      () => [dice.below(64), 1n << dice.one([0n, 1n, 2n, 51n, 63n])] as const,
    ),
  };
}

/** An event for EVENTINJ from random bits: mostly one that exists. */
export function randomEvent(bits: number, code: number): bigint {
  const types = [
    EventType.INTR,
    EventType.NMI,
    EventType.EXCEPTION,
    EventType.EXCEPTION,
    EventType.SOFTWARE_INTERRUPT,
    EventType.INTR,
    EventType.EXCEPTION,
    (bits >>> 3) & 7,
  ];
  const type = types[bits & 7]!;
  const vector =
    type === EventType.EXCEPTION ? (bits >>> 8) % 20 : (bits & 0x4000_0000) !== 0 ? (bits >>> 8) & 0xff : 32 + ((bits >>> 8) & 15);
  const low = (EventInjection.V | (type << 8) | vector | ((bits & 0x2000_0000) !== 0 ? EventInjection.EV : 0)) >>> 0;
  return (BigInt((code & 0xffff) >>> 0) << 32n) | BigInt(low);
}
