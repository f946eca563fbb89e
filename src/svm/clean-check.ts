// Does software keep what it promises by clean bits? A field that it changed since the last #VMEXIT of a VMCB, while the bit that stands for
// it is set, may be used as it was (APM vol. 2, 15.15): the guest then runs under what somebody believes changed, or not, by chance of the
// processor. So this compares each VMCB with what #VMEXIT left of it. Only for those who ask: it costs a copy of the VMCB at every exit.

import { CleanBits, NestedControl, SAVE_AREA_OFFSET, VirtualInterrupt, VmcbControl } from '../arch/vmcb.ts';
import { SaveArea } from '../arch/save-area.ts';
import type { TraceSink } from '../util/trace.ts';
import { Word } from './vmcb-words.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** By a text that names VMCB, field and bit: how often. */
export type CleanFaults = Map<string, number>;

type Row = {
  readonly field: string;
  readonly bit: keyof typeof CleanBits;
  /** The first word of the VMCB, and how many. */
  readonly word: number;
  readonly words: number;
  /** Bits of each word that count. */
  readonly mask: number;
  /** A register of the guest: an SEV-ES guest's is in its VMSA, and the bit means nothing. */
  readonly register: boolean;
};

const c = VmcbControl.layout;
const r = SaveArea.layout;
const control = (field: keyof typeof c, bit: Row['bit'], words = Math.max(c[field].bytes >>> 2, 1), mask = -1): Row => ({
  field,
  bit,
  word: c[field].offset >>> 2,
  words,
  mask,
  register: false,
});
const register = (field: keyof typeof r, bit: Row['bit'], words: number): Row => ({
  field,
  bit,
  word: (SAVE_AREA_OFFSET + r[field].offset) >>> 2,
  words,
  mask: -1,
  register: true,
});
const segment = (field: keyof typeof r, bit: Row['bit']): Row => ({ ...register(field, bit, 4), field: field.slice(0, 2) });

const V_TPR_BITS =
  VirtualInterrupt.V_TPR |
  VirtualInterrupt.V_IRQ |
  VirtualInterrupt.V_INTR_PRIO |
  VirtualInterrupt.V_IGN_TPR |
  VirtualInterrupt.V_INTR_MASKING;
/** CPL is the last byte of its word. */
const CPL_BITS = 0xff00_0000 | 0;

/** The fields of each bit (15.15.3). */
// biome-ignore format: a table
const rows: readonly Row[] = [
  control('interceptCr', 'I'), control('interceptDr', 'I'), control('interceptException', 'I'), control('intercept3', 'I'), control('intercept4', 'I'),
  control('intercept5', 'I'), control('tscOffset', 'I'), control('pauseFilterThreshold', 'I', 1, 0xffff), control('pauseFilterCount', 'I', 1, -0x1_0000),
  control('iopmBasePa', 'IOPM'), control('msrpmBasePa', 'IOPM'),
  control('guestAsid', 'ASID'),
  control('virtualInterrupt', 'TPR', 1, V_TPR_BITS), control('vIntrVector', 'TPR', 1, 0xff),
  control('nCr3', 'NP'), register('gPat', 'NP', 2),
  register('cr0', 'CRX', 2), register('cr3', 'CRX', 2), register('cr4', 'CRX', 2), register('efer', 'CRX', 2),
  register('dr6', 'DRX', 2), register('dr7', 'DRX', 2),
  { ...register('gdtrLimit', 'DT', 3), field: 'gdtr' }, { ...register('idtrLimit', 'DT', 3), field: 'idtr' },
  segment('esSelector', 'SEG'), segment('csSelector', 'SEG'), segment('ssSelector', 'SEG'), segment('dsSelector', 'SEG'),
  { ...register('cpl', 'SEG', 1), mask: CPL_BITS },
  register('cr2', 'CR2', 2),
  register('dbgCtl', 'LBR', 2), register('brFrom', 'LBR', 2), register('brTo', 'LBR', 2), register('lastExcpFrom', 'LBR', 2), register('lastExcpTo', 'LBR', 2),
  control('avicApicBar', 'AVIC'), control('avicBackingPage', 'AVIC'), control('avicLogicalTable', 'AVIC'), control('avicPhysicalTable', 'AVIC'),
  register('sCet', 'CET', 2), register('ssp', 'CET', 2), register('isstAddr', 'CET', 2),
];

const WORDS = Math.max(...rows.map(({ word, words }) => word + words));
/** VMCBs remembered; of more, the one that was run longest ago is forgotten. */
const MOST = 512;
/** Different texts; a hypervisor that is wrong once is wrong often. */
const MOST_FAULTS = 64;

export class CleanCheck implements Stateful {
  readonly #i32: Int32Array;
  readonly #faults: CleanFaults;
  readonly #trace: TraceSink | null;
  /** What #VMEXIT left, by address of the VMCB. */
  readonly #left = new Map<number, Int32Array>();

  constructor(i32: Int32Array, faults: CleanFaults, trace: TraceSink | null) {
    this.#i32 = i32;
    this.#faults = faults;
    this.#trace = trace;
  }

  /** VMRUN; `v`: word index of the VMCB. */
  enter(vmcb: number, v: number): void {
    const clean = this.#i32[v + Word.CLEAN]!;
    const left = clean === 0 ? undefined : this.#left.get(vmcb);
    if (left === undefined) return;
    const encryptedState = (this.#i32[v + Word.NESTED_CONTROL]! & NestedControl.SEV_ES) !== 0;
    for (const row of rows) {
      if ((clean & CleanBits[row.bit]) === 0 || (encryptedState && row.register) || !this.#changed(row, left, v)) continue;
      this.#trace?.emit({ kind: 'clean-bits', vmcb, field: row.field, bit: row.bit });
      const text = `VMCB ${vmcb.toString(16)}h: ${row.field} was changed while clean bit ${31 - Math.clz32(CleanBits[row.bit])} (${row.bit}) is set`;
      const times = this.#faults.get(text) ?? 0;
      if (times > 0 || this.#faults.size < MOST_FAULTS) this.#faults.set(text, times + 1);
    }
  }

  /** #VMEXIT. */
  leave(vmcb: number, v: number): void {
    let copy = this.#left.get(vmcb);
    if (copy === undefined) copy = this.#left.size < MOST ? new Int32Array(WORDS) : this.#oldest();
    else this.#left.delete(vmcb);
    copy.set(this.#i32.subarray(v, v + WORDS));
    this.#left.set(vmcb, copy); // at the end of the order
  }

  #changed({ word, words, mask }: Row, left: Int32Array, v: number): boolean {
    for (let k = word; k < word + words; k++) if (((left[k]! ^ this.#i32[v + k]!) & mask) !== 0) return true;
    return false;
  }

  #oldest(): Int32Array {
    for (const [vmcb, copy] of this.#left) {
      this.#left.delete(vmcb);
      return copy;
    }
    return new Int32Array(WORDS);
  }

  exchange(fields: Fields): void {
    const left = fields.value<readonly (readonly [number, Int32Array])[]>(
      fields.restoring ? [] : Array.from(this.#left, ([vmcb, copy]) => [vmcb, copy.slice()]),
    );
    if (!fields.restoring) return;
    this.#left.clear();
    for (const [vmcb, copy] of left) this.#left.set(vmcb, copy.slice());
  }
}
