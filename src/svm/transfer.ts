// The switch table made into copies between a save area and a state block: lists of 32-bit words, so that a world switch
// neither looks at the table nor makes an object.

import { ARITHMETIC_FLAGS, Cr0, Rflags } from '../arch/registers.ts';
import { setStatusFlagsOf, statusFlagsOf } from '../x86/flags.ts';
import { SegmentPart, State, segmentAt, type Segment } from '../memory/state.ts';
import { debugTable, generalPurpose, LIVE_UNDER_DEBUG_SWAP, liveRegisters, type SwitchRow, special, switchTable } from './switch-table.ts';

/** Bits of RFLAGS that exist. */
const RFLAGS_BITS =
  ARITHMETIC_FLAGS |
  Rflags.TF |
  Rflags.IF |
  Rflags.DF |
  Rflags.IOPL |
  Rflags.NT |
  Rflags.RF |
  Rflags.VM |
  Rflags.AC |
  Rflags.VIF |
  Rflags.VIP |
  Rflags.ID;

const X87_REGISTERS = 8;
const SEGMENTS = 10;

/** A block of bytes on 32-bit boundaries: the WebAssembly memory, or a buffer. */
export type Block = { readonly i32: Int32Array; readonly view: DataView };

/** A set of registers that cross together. Save areas and state blocks are given by byte addresses that are multiples of 4. */
export class Transfer {
  /** Word offsets in the save area, and in the state block. */
  readonly #saveWords: Int32Array;
  readonly #stateWords: Int32Array;
  /** Pairs of byte offsets of 16-bit fields. */
  readonly #halves: Int32Array;
  /** Word offsets in the state block that a load clears. */
  readonly #zeros: Int32Array;
  readonly #flags: boolean;
  readonly #x87: boolean;

  constructor(rows: readonly SwitchRow[], { flags, x87 }: { readonly flags: boolean; readonly x87: boolean }) {
    const saveWords: number[] = [];
    const stateWords: number[] = [];
    const halves: number[] = [];
    const zeros: number[] = [];
    for (const { save, bytes, state, stateBytes } of rows) {
      if (bytes === 2) halves.push(save, state);
      for (let k = 0; k + 4 <= bytes; k += 4) {
        saveWords.push((save + k) >>> 2);
        stateWords.push((state + k) >>> 2);
      }
      for (let k = bytes; k >= 4 && k < stateBytes; k += 4) zeros.push((state + k) >>> 2);
    }
    this.#saveWords = Int32Array.from(saveWords);
    this.#stateWords = Int32Array.from(stateWords);
    this.#halves = Int32Array.from(halves);
    this.#zeros = Int32Array.from(zeros);
    this.#flags = flags;
    this.#x87 = x87;
  }

  load(from: Block, save: number, to: Block, state: number): void {
    const source = from.i32;
    const target = to.i32;
    const a = save >>> 2;
    const s = state >>> 2;
    const saveWords = this.#saveWords;
    const stateWords = this.#stateWords;
    for (let k = 0; k < saveWords.length; k++) target[s + stateWords[k]!] = source[a + saveWords[k]!]!;
    const halves = this.#halves;
    for (let k = 0; k < halves.length; k += 2)
      to.view.setUint16(state + halves[k + 1]!, from.view.getUint16(save + halves[k]!, true), true);
    const zeros = this.#zeros;
    for (let k = 0; k < zeros.length; k++) target[s + zeros[k]!] = 0;
    if (this.#flags) {
      const rflags = source[a + (special.rflags >>> 2)]!;
      setStatusFlagsOf(target, s, rflags);
      target[s + (State.RFLAGS >>> 2)] = (rflags & RFLAGS_BITS & ~ARITHMETIC_FLAGS) | Rflags.ALWAYS_1;
      // Real mode runs at 0, virtual-8086 mode at 3, whatever the field says.
      const protectedMode = (target[s + (State.CR0 >>> 2)]! & Cr0.PE) !== 0;
      target[s + (State.CPL >>> 2)] = !protectedMode ? 0 : (rflags & Rflags.VM) !== 0 ? 3 : from.view.getUint8(save + special.cpl) & 3;
    }
    if (this.#x87) {
      for (let n = 0; n < X87_REGISTERS; n++) {
        const at = s + ((State.X87 + 16 * n) >>> 2);
        target[at] = source[a + ((special.x87 + 8 * n) >>> 2)]!;
        target[at + 1] = source[a + ((special.x87 + 8 * n + 4) >>> 2)]!;
        to.view.setUint16(state + State.X87 + 16 * n + 8, from.view.getUint16(save + special.x87 + 64 + 2 * n, true), true);
      }
    }
  }

  store(from: Block, state: number, to: Block, save: number): void {
    const source = from.i32;
    const target = to.i32;
    const a = save >>> 2;
    const s = state >>> 2;
    const saveWords = this.#saveWords;
    const stateWords = this.#stateWords;
    for (let k = 0; k < saveWords.length; k++) target[a + saveWords[k]!] = source[s + stateWords[k]!]!;
    const halves = this.#halves;
    for (let k = 0; k < halves.length; k += 2)
      to.view.setUint16(save + halves[k]!, from.view.getUint16(state + halves[k + 1]!, true), true);
    if (this.#flags) {
      target[a + (special.rflags >>> 2)] = rflagsOf(source, s);
      target[a + (special.rflags >>> 2) + 1] = 0;
      to.view.setUint8(save + special.cpl, source[s + (State.CPL >>> 2)]!);
    }
    if (this.#x87) {
      for (let n = 0; n < X87_REGISTERS; n++) {
        const at = s + ((State.X87 + 16 * n) >>> 2);
        target[a + ((special.x87 + 8 * n) >>> 2)] = source[at]!;
        target[a + ((special.x87 + 8 * n + 4) >>> 2)] = source[at + 1]!;
        to.view.setUint16(save + special.x87 + 64 + 2 * n, from.view.getUint16(state + State.X87 + 16 * n + 8, true), true);
      }
    }
  }
}

/** RFLAGS as software sees it; `s` is the address of the state block >>> 2. */
export const rflagsOf = (i32: Int32Array, s: number): number => i32[s + (State.RFLAGS >>> 2)]! | statusFlagsOf(i32, s);

/** Bases that were loaded become canonical: sign-extended from bit 47 (15.5.1). */
export function canonicaliseBases(i32: Int32Array, s: number): void {
  for (let n = 0; n < SEGMENTS; n++) {
    const high = s + ((segmentAt(n as Segment) + SegmentPart.BASE + 4) >>> 2);
    i32[high] = (i32[high]! << 16) >> 16;
  }
}

/** Between the host's block and that of an SEV-ES guest; `from` and `to` are addresses of state blocks >>> 2. */
export function moveLiveRegisters(i32: Int32Array, from: number, to: number, debugSwap: boolean): void {
  const count = debugSwap ? LIVE_UNDER_DEBUG_SWAP : liveRegisters.length;
  for (let k = 0; k < count; k++) {
    const at = liveRegisters[k]! >>> 2;
    i32[to + at] = i32[from + at]!;
    i32[to + at + 1] = i32[from + at + 1]!;
  }
}

const select = (choose: (row: SwitchRow) => boolean): SwitchRow[] => switchTable.filter(choose);

/** All of a VMSA. */
export const vmsaTransfer = new Transfer(switchTable, { flags: true, x87: true });
/** What VMRUN loads and #VMEXIT saves of a guest without SEV-ES; G_PAT only under nested paging, DebugCtl only with its virtualization. */
export const vmrunTransfer = new Transfer(
  select(({ mover, name }) => mover === 'vmrun' && name !== 'gPat' && name !== 'dbgCtl'),
  { flags: true, x87: false },
);
export const patTransfer = new Transfer(
  select(({ name }) => name === 'gPat'),
  { flags: false, x87: false },
);
export const debugControlTransfer = new Transfer(
  select(({ name }) => name === 'dbgCtl'),
  { flags: false, x87: false },
);
export const vmloadTransfer = new Transfer(
  select(({ mover }) => mover === 'vmload'),
  { flags: false, x87: false },
);
/** DR0 to DR3, on both sides. */
export const debugTransfer = new Transfer(debugTable, { flags: false, x87: false });
/** What neither VMRUN nor VMLOAD moves, but for the general-purpose registers: extended state, MSRs, debug registers. */
export const extendedTransfer = new Transfer([...select(({ mover, name }) => mover === null && !generalPurpose.has(name)), ...debugTable], {
  flags: false,
  x87: true,
});
/** The host's, by class. */
export const hostTransferA = new Transfer(
  select(({ swap }) => swap === 'A'),
  { flags: true, x87: false },
);
export const hostTransferB = new Transfer(
  select(({ swap }) => swap === 'B'),
  { flags: false, x87: false },
);
