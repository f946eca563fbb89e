// Which registers cross a world switch: save-area offset <-> place in the state block, with the class that the manual gives
// each in the VMSA (APM vol. 2, table B-4) and the instruction that moves it for a guest without SEV-ES (table B-2, 15.5).
//   A  VMRUN saves the host's to the host save area and loads the guest's; #VMEXIT does the reverse
//   B  the host's is not saved, but loaded from the host save area at #VMEXIT
//   C  the host's is not saved, and set to its reset value at #VMEXIT

import { FPREG_X87, FPREG_XMM, FPREG_YMM, Vmsa } from '../arch/vmsa.ts';
import { gprAt, Gpr, Segment, State, segmentAt } from '../memory/state.ts';

export type SwapClass = 'A' | 'B' | 'C' | '-';
/** Who moves the register for a guest without SEV-ES; null: neither VMRUN nor VMLOAD. */
export type Mover = 'vmrun' | 'vmload' | null;

export type SwitchRow = {
  readonly name: string;
  /** Offset in the save area and bytes there. */
  readonly save: number;
  readonly bytes: number;
  /** Offset in the state block. */
  readonly state: number;
  /** Bytes in the state block; those that the save area lacks become zero. */
  readonly stateBytes: number;
  readonly swap: SwapClass;
  readonly mover: Mover;
};

const f = Vmsa.layout;
const row = (name: keyof typeof f, state: number, swap: SwapClass, mover: Mover = null, stateBytes: number = f[name].bytes): SwitchRow => ({
  name,
  save: f[name].offset,
  bytes: f[name].bytes,
  state,
  stateBytes,
  swap,
  mover,
});
/** Sixteen bytes in the same order on both sides. */
const segment = (name: string, offset: number, which: Segment, swap: SwapClass, mover: Mover): SwitchRow => ({
  name,
  save: offset,
  bytes: 16,
  state: segmentAt(which),
  stateBytes: 16,
  swap,
  mover,
});
const block = (name: string, { offset, size }: { offset: number; size: number }, state: number): SwitchRow => ({
  name,
  save: offset,
  bytes: size,
  state,
  stateBytes: size,
  swap: 'C',
  mover: null,
});

/** Everything that is copied as it is. RFLAGS, CPL and the x87 registers need more: `special` below. */
export const switchTable: readonly SwitchRow[] = [
  segment('es', f.esSelector.offset, Segment.ES, 'A', 'vmrun'),
  segment('cs', f.csSelector.offset, Segment.CS, 'A', 'vmrun'),
  segment('ss', f.ssSelector.offset, Segment.SS, 'A', 'vmrun'),
  segment('ds', f.dsSelector.offset, Segment.DS, 'A', 'vmrun'),
  segment('fs', f.fsSelector.offset, Segment.FS, 'B', 'vmload'),
  segment('gs', f.gsSelector.offset, Segment.GS, 'B', 'vmload'),
  segment('gdtr', f.gdtrSelector.offset, Segment.GDTR, 'A', 'vmrun'),
  segment('ldtr', f.ldtrSelector.offset, Segment.LDTR, 'B', 'vmload'),
  segment('idtr', f.idtrSelector.offset, Segment.IDTR, 'A', 'vmrun'),
  segment('tr', f.trSelector.offset, Segment.TR, 'B', 'vmload'),
  row('efer', State.EFER, 'A', 'vmrun'),
  row('xss', State.XSS, 'B'),
  row('cr4', State.CR4, 'A', 'vmrun'),
  row('cr3', State.CR3, 'A', 'vmrun'),
  row('cr0', State.CR0, 'A', 'vmrun'),
  row('dr7', State.DR7, 'C', 'vmrun'),
  row('dr6', State.DR6, 'C', 'vmrun'),
  row('rip', State.RIP, 'A', 'vmrun'),
  row('rsp', gprAt(Gpr.RSP), 'A', 'vmrun'),
  row('rax', gprAt(Gpr.RAX), 'A', 'vmrun'),
  row('star', State.STAR, 'B', 'vmload'),
  row('lstar', State.LSTAR, 'B', 'vmload'),
  row('cstar', State.CSTAR, 'B', 'vmload'),
  row('sfmask', State.SFMASK, 'B', 'vmload'),
  row('kernelGsBase', State.KERNEL_GS_BASE, 'B', 'vmload'),
  row('sysenterCs', State.SYSENTER_CS, 'B', 'vmload'),
  row('sysenterEsp', State.SYSENTER_ESP, 'B', 'vmload'),
  row('sysenterEip', State.SYSENTER_EIP, 'B', 'vmload'),
  row('cr2', State.CR2, 'C', 'vmrun'),
  row('gPat', State.PAT, '-', 'vmrun'),
  row('dbgCtl', State.DEBUGCTL, 'A', 'vmrun'),
  row('specCtrl', State.SPEC_CTRL, 'A', 'vmrun'),
  row('pkru', State.PKRU, 'B', null, 8),
  row('tscAux', State.TSC_AUX, 'B', null, 8),
  row('rcx', gprAt(Gpr.RCX), 'B'),
  row('rdx', gprAt(Gpr.RDX), 'B'),
  row('rbx', gprAt(Gpr.RBX), 'B'),
  row('rbp', gprAt(Gpr.RBP), 'B'),
  row('rsi', gprAt(Gpr.RSI), 'B'),
  row('rdi', gprAt(Gpr.RDI), 'B'),
  row('r8', gprAt(8), 'B'),
  row('r9', gprAt(9), 'B'),
  row('r10', gprAt(10), 'B'),
  row('r11', gprAt(11), 'B'),
  row('r12', gprAt(12), 'B'),
  row('r13', gprAt(13), 'B'),
  row('r14', gprAt(14), 'B'),
  row('r15', gprAt(15), 'B'),
  row('xcr0', State.XCR0, 'B'),
  row('x87Dp', State.FDP, 'C'),
  row('mxcsr', State.MXCSR, 'C'),
  row('x87Ftw', State.FTW, 'C'),
  row('x87Fsw', State.FSW, 'C'),
  row('x87Fcw', State.FCW, 'C'),
  row('x87Fop', State.FOP, 'C'),
  row('x87Ds', State.FDS, 'C'),
  row('x87Cs', State.FCS, 'C'),
  row('x87Rip', State.FIP, 'C'),
  block('xmm', FPREG_XMM, State.XMM),
  block('ymm', FPREG_YMM, State.YMM_HIGH),
];

/** Type B for a guest whose SEV_FEATURES has DEBUG_VIRTUALIZATION (DebugSwap); for any other they are among `liveRegisters`. */
export const debugTable: readonly SwitchRow[] = [
  row('dr0', State.DR0, 'B'),
  row('dr1', State.DR0 + 8, 'B'),
  row('dr2', State.DR0 + 16, 'B'),
  row('dr3', State.DR0 + 24, 'B'),
];

/** Rows of what software keeps in memory of its own across VMRUN, besides RAX and RSP. */
export const generalPurpose: ReadonlySet<string> = new Set([
  'rcx',
  'rdx',
  'rbx',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
]);

/** Moved by code: RFLAGS is kept apart from its arithmetic flags, CPL is a byte, x87 registers are packed. */
export const special = { rflags: f.rflags.offset, cpl: f.cpl.offset, x87: FPREG_X87.offset } as const;

/** Neither saved nor loaded by any world switch (15.35.10): they stay in the processor, whoever runs. CR8, and behind it the debug registers. */
export const liveRegisters = [State.CR8, State.DR0, State.DR0 + 8, State.DR0 + 16, State.DR0 + 24] as const;
/** How many of them stay under DebugSwap. */
export const LIVE_UNDER_DEBUG_SWAP = 1;
