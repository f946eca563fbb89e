// Software that changes a field of a VMCB and leaves its clean bit set is told of, by field and bit (APM vol. 2, 15.15). For an SEV-ES guest
// bits 10:5 mean nothing: those registers are in the VMSA (15.35.9).

import { describe, expect, it } from 'vitest';
import { CleanBits, SAVE_AREA_OFFSET, VmcbControl } from '../../src/arch/vmcb.ts';
import { SaveArea } from '../../src/arch/save-area.ts';
import { CleanCheck, type CleanFaults } from '../../src/svm/clean-check.ts';
import type { TraceNote } from '../../src/util/trace.ts';

const ALL = Object.values(CleanBits).reduce((all, bit) => all | bit, 0);
const ES = 7;
const VMCB = 0x5000;

function desk(nestedControl = 1) {
  const bytes = new Uint8Array(4096);
  const view = new DataView(bytes.buffer);
  const faults: CleanFaults = new Map();
  const notes: TraceNote[] = [];
  const check = new CleanCheck(new Int32Array(bytes.buffer), faults, { emit: (note) => notes.push(note) });
  view.setUint32(VmcbControl.layout.nestedControl.offset, nestedControl, true);
  return {
    bytes,
    faults,
    notes,
    clean: (bits: number) => view.setUint32(VmcbControl.layout.cleanBits.offset, bits, true),
    enter: (vmcb = VMCB) => check.enter(vmcb, 0),
    leave: (vmcb = VMCB) => check.leave(vmcb, 0),
    /** Fields told of. */
    told: () => notes.map((note) => (note.kind === 'clean-bits' ? `${note.field} ${note.bit}` : note.kind)),
  };
}

const control = (name: keyof typeof VmcbControl.layout) => VmcbControl.layout[name].offset;
const save = (name: keyof typeof SaveArea.layout) => SAVE_AREA_OFFSET + SaveArea.layout[name].offset;

/** A byte of each field, and the bit that stands for it. */
// biome-ignore format: a table
const fields: readonly (readonly [field: string, offset: number, bit: keyof typeof CleanBits])[] = [
  ['interceptCr', control('interceptCr'), 'I'], ['interceptDr', control('interceptDr'), 'I'], ['interceptException', control('interceptException'), 'I'],
  ['intercept3', control('intercept3'), 'I'], ['intercept4', control('intercept4'), 'I'], ['intercept5', control('intercept5'), 'I'],
  ['tscOffset', control('tscOffset') + 7, 'I'], ['pauseFilterCount', control('pauseFilterCount'), 'I'], ['pauseFilterThreshold', control('pauseFilterThreshold'), 'I'],
  ['iopmBasePa', control('iopmBasePa') + 1, 'IOPM'], ['msrpmBasePa', control('msrpmBasePa') + 1, 'IOPM'], ['guestAsid', control('guestAsid'), 'ASID'],
  ['virtualInterrupt', control('virtualInterrupt'), 'TPR'], ['vIntrVector', control('vIntrVector'), 'TPR'],
  ['nCr3', control('nCr3') + 1, 'NP'], ['gPat', save('gPat'), 'NP'],
  ['cr0', save('cr0'), 'CRX'], ['cr3', save('cr3') + 1, 'CRX'], ['cr4', save('cr4'), 'CRX'], ['efer', save('efer'), 'CRX'],
  ['dr6', save('dr6'), 'DRX'], ['dr7', save('dr7'), 'DRX'], ['gdtr', save('gdtrBase'), 'DT'], ['idtr', save('idtrLimit'), 'DT'],
  ['es', save('esBase'), 'SEG'], ['cs', save('csSelector'), 'SEG'], ['ss', save('ssLimit'), 'SEG'], ['ds', save('dsAttributes'), 'SEG'], ['cpl', save('cpl'), 'SEG'],
  ['cr2', save('cr2'), 'CR2'], ['dbgCtl', save('dbgCtl'), 'LBR'], ['brFrom', save('brFrom'), 'LBR'], ['lastExcpTo', save('lastExcpTo'), 'LBR'],
  ['avicApicBar', control('avicApicBar') + 1, 'AVIC'], ['avicBackingPage', control('avicBackingPage') + 1, 'AVIC'], ['sCet', save('sCet'), 'CET'], ['ssp', save('ssp'), 'CET'],
];

describe('a field changed under a set clean bit', () => {
  it.each(fields)('%s is named with its bit, and not under a clear one', (field, offset, bit) => {
    for (const [clean, told] of [
      [ALL, [`${field} ${bit}`]],
      [CleanBits[bit], [`${field} ${bit}`]],
      [ALL & ~CleanBits[bit], []],
    ] as const) {
      const { bytes, clean: mark, enter, leave, told: names } = desk();
      leave();
      bytes[offset] = 1;
      mark(clean);
      enter();
      expect(names()).toEqual(told);
    }
  });

  it('of an SEV-ES guest counts only where its VMCB has the field', () => {
    for (const [field, offset, bit] of fields) {
      const { bytes, clean, enter, leave, told } = desk(ES);
      leave();
      bytes[offset] = 1;
      clean(ALL);
      enter();
      expect(told()).toEqual(offset >= SAVE_AREA_OFFSET ? [] : [`${field} ${bit}`]);
    }
  });

  it('is counted for the report, with the VMCB', () => {
    const { bytes, clean, enter, leave, faults } = desk();
    leave();
    clean(ALL);
    bytes[0x50] = 1;
    enter();
    enter();
    expect([...faults]).toEqual([['VMCB 5000h: tscOffset was changed while clean bit 0 (I) is set', 2]]);
  });

  it('is none where #VMEXIT changed it, at the first VMRUN, or of another VMCB', () => {
    const { bytes, clean, enter, leave, told } = desk();
    clean(ALL);
    bytes[0x50] = 1;
    enter();
    leave();
    enter();
    bytes[0x50] = 2;
    leave();
    enter();
    bytes[0x50] = 3;
    enter(0x6000);
    expect(told()).toEqual([]);
    enter();
    expect(told()).toEqual(['tscOffset I']);
  });

  it('keeps a bounded number of VMCBs and of texts', () => {
    const { bytes, clean, enter, leave, faults } = desk();
    clean(ALL);
    for (let n = 1; n <= 2000; n++) leave(n * 4096);
    bytes[0x50] = 1;
    for (let n = 1; n <= 2000; n++) enter(n * 4096);
    expect(faults.size).toBe(64);
  });
});
