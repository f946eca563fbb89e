import { expect, it } from 'vitest';
import { SaveArea } from '../../src/arch/save-area.ts';
import { Vmsa } from '../../src/arch/vmsa.ts';
import { State, STATE_SIZE } from '../../src/memory/state.ts';
import { switchTable } from '../../src/svm/switch-table.ts';
import { canonicaliseBases, rflagsOf, vmsaTransfer } from '../../src/svm/transfer.ts';

const block = (bytes: Uint8Array<ArrayBuffer>) => ({ i32: new Int32Array(bytes.buffer), view: new DataView(bytes.buffer) });
const noise = (length: number): Uint8Array<ArrayBuffer> => Uint8Array.from({ length }, (_, i) => (i * 7919 + (i >>> 8) * 31) & 0xff);

it('no two rows share bytes of a save area or of a state block', () => {
  for (const side of [
    { at: 'save', size: 'bytes' },
    { at: 'state', size: 'stateBytes' },
  ] as const) {
    const taken = new Set<number>();
    for (const row of switchTable) {
      for (let k = 0; k < row[side.size]; k++) {
        expect(taken.has(row[side.at] + k) ? `${row.name} + ${k}` : null).toBeNull();
        taken.add(row[side.at] + k);
      }
    }
  }
});

it('a VMSA loaded and stored again has the same bytes where registers are', () => {
  const page = noise(4096);
  const view = new DataView(page.buffer);
  view.setBigUint64(Vmsa.layout.rflags.offset, 0x20_0ed7n, true);
  view.setUint8(Vmsa.layout.cpl.offset, 3);
  view.setBigUint64(Vmsa.layout.cr0.offset, 0x8000_0011n, true);
  const state = new Uint8Array(STATE_SIZE);
  vmsaTransfer.load(block(page), 0, block(state), 0);
  expect(rflagsOf(new Int32Array(state.buffer), 0)).toBe(0x20_0ed7);
  const copy = page.slice();
  for (const { save, bytes } of switchTable) copy.fill(0, save, save + bytes);
  copy.fill(0, 0x420, 0x470);
  vmsaTransfer.store(block(state), 0, block(copy), 0);
  expect(copy).toEqual(page);
});

it('narrow registers of the VMSA are zero-extended', () => {
  const page = new Uint8Array(4096).fill(0xff);
  const state = new Uint8Array(STATE_SIZE).fill(0xff);
  vmsaTransfer.load(block(page), 0, block(state), 0);
  const view = new DataView(state.buffer);
  expect(view.getBigUint64(State.PKRU, true)).toBe(0xffff_ffffn);
  expect(view.getBigUint64(State.TSC_AUX, true)).toBe(0xffff_ffffn);
});

it('RFLAGS keeps only bits that exist, and CPL is 0 in real mode and 3 in virtual-8086 mode', () => {
  const page = new Uint8Array(4096);
  const view = new DataView(page.buffer);
  const state = new Uint8Array(STATE_SIZE);
  const load = (cr0: bigint, rflags: bigint): number => {
    view.setBigUint64(Vmsa.layout.cr0.offset, cr0, true);
    view.setBigUint64(Vmsa.layout.rflags.offset, rflags, true);
    vmsaTransfer.load(block(page), 0, block(state), 0);
    return new DataView(state.buffer).getUint32(State.CPL, true);
  };
  view.setUint8(Vmsa.layout.cpl.offset, 2);
  expect(load(0n, 0xffff_ffff_ffff_ffffn)).toBe(0);
  expect(rflagsOf(new Int32Array(state.buffer), 0)).toBe(0x003f_7fd7);
  expect(load(1n, 2n)).toBe(2);
  expect(load(1n, 0x2_0002n)).toBe(3);
});

it('bases become canonical', () => {
  const { view, bytes } = Vmsa.create();
  view.fsBase = 0x1234_8000_0000_0000n;
  view.trBase = 0xffff_7fff_ffff_ffffn;
  const state = new Uint8Array(STATE_SIZE);
  vmsaTransfer.load(block(bytes as Uint8Array<ArrayBuffer>), 0, block(state), 0);
  canonicaliseBases(new Int32Array(state.buffer), 0);
  const base = (n: number): bigint => new DataView(state.buffer).getBigUint64(State.SEGMENTS + 16 * n + 8, true);
  expect(base(4)).toBe(0xffff_8000_0000_0000n);
  expect(base(9)).toBe(0x0000_7fff_ffff_ffffn);
});

it('save area and VMSA agree on the fields they share', () => {
  const vmsa: Readonly<Record<string, { offset: number; bytes: number }>> = Vmsa.layout;
  for (const [name, field] of Object.entries(SaveArea.layout)) expect({ name, ...vmsa[name] }).toEqual({ name, ...field });
});
