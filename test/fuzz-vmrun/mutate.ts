// Random VMCBs and VMSAs: a valid one, with a few fields changed, each field of the layouts by chance, and those that VMRUN checks more
// often and near their limits. What would lead a guest to the host's own structures is left out, or no case could be had again.

import { ExitCode } from '../../src/arch/exit-code.ts';
import { SaveArea } from '../../src/arch/save-area.ts';
import { VmcbControl } from '../../src/arch/vmcb.ts';
import { Vmsa, VMSA_PROTECTED } from '../../src/arch/vmsa.ts';
import type { Field } from '../../src/util/struct.ts';
import type { Chance } from './chance.ts';

const SAVE = 0x400;

/** What is mutated; plaintext. */
export type Pages = { readonly vmcb: DataView; readonly vmsa: DataView };
/** What else is special about a case. */
export type Twist = {
  /** The VMSA is changed behind its integrity value: offset of the byte, -1: it is not. */
  tamper: number;
  /** SYSCFG.MemEncryptionModEn. */
  encryption: boolean;
  /** VMRUN names a page that is none. */
  elsewhere: number;
};

export type Limits = {
  readonly es: boolean;
  readonly firstAsidWithoutEs: number;
  readonly lastAsid: number;
  readonly physicalBits: number;
  readonly cBit: number;
};

const u64 = (view: DataView, at: number, low: number, high: number): void => {
  view.setInt32(at, low, true);
  view.setInt32(at + 4, high, true);
};
const flip = (view: DataView, at: number, bit: number): void =>
  view.setUint8(at + (bit >>> 3), view.getUint8(at + (bit >>> 3)) ^ (1 << (bit & 7)));

type Places = readonly (readonly [offset: number, bytes: number])[];
const placesOf = (layout: Readonly<Record<string, Field>>, shift: number, without: readonly string[]): Places =>
  Object.entries(layout).flatMap(([name, { offset, bytes }]) => (without.includes(name) ? [] : [[offset + shift, bytes] as const]));

/** Clean bits are for fields that did not change; nCR3 must lead to this guest's memory or nowhere. */
const control = placesOf(VmcbControl.layout, 0, ['cleanBits', 'nCr3']);
const save = placesOf(SaveArea.layout, SAVE, []);
const vmsa = placesOf(Vmsa.layout, 0, ['integritySlot']);

function anyField(c: Chance, view: DataView, places: Places): void {
  const [at, bytes] = c.one(places);
  switch (c.below(5)) {
    case 0:
      for (let k = 0; k < bytes; k++) view.setUint8(at + k, 0);
      return;
    case 1:
      for (let k = 0; k < bytes; k++) view.setUint8(at + k, 0xff);
      return;
    case 2:
      for (let k = 0; k < bytes; k++) view.setUint8(at + k, c.u32());
      return;
    default:
      flip(view, at, c.below(8 * bytes));
  }
}

const types = [0, 0, 1, 2, 3, 3, 3, 3, 3, 4, 5, 6, 7] as const;
const controls = [0x148, 0x150, 0x158, 0x0d0, 0x160, 0x168, 0x170, 0x268] as const;
const attributes = [0x002, 0x012, 0x022, 0x032, 0x092] as const;

type Change = (c: Chance, p: Pages, limits: Limits, twist: Twist) => void;

/** The save area in force. */
const registers = ({ vmcb, vmsa: page }: Pages, { es }: Limits): { view: DataView; base: number } =>
  es ? { view: page, base: 0 } : { view: vmcb, base: SAVE };

const changes: readonly Change[] = [
  // EVENTINJ: every type, exceptions most.
  (c, { vmcb }) => {
    const vector = c.chance(200) ? c.below(34) : c.below(256);
    u64(vmcb, 0xa8, vector | (c.one(types) << 8) | (c.below(2) << 11) | (c.chance(230) ? 0x8000_0000 : 0), c.below(2) * c.u32());
  },
  // The ASID near each limit.
  (c, { vmcb }, { firstAsidWithoutEs, lastAsid }) =>
    vmcb.setUint32(
      0x58,
      c.one([0, 1, 2, firstAsidWithoutEs - 1, firstAsidWithoutEs, firstAsidWithoutEs + 1, lastAsid, lastAsid + 1, 0xffff, c.u32()]),
      true,
    ),
  (c, { vmcb }) => vmcb.setUint8(0x90, c.chance(128) ? vmcb.getUint8(0x90) ^ (1 << c.below(3)) : c.u32()),
  // Permission maps at the end of the physical address space.
  (c, { vmcb }, { physicalBits, cBit }) => {
    const bits = physicalBits - c.below(7);
    const at = 2 ** bits - 4096 * c.below(5) - c.below(2) * c.below(4096);
    u64(vmcb, c.one([0x40, 0x48]), (at % 2 ** 32) | 0, Math.floor(at / 2 ** 32) | (c.chance(64) ? 1 << (cBit - 32) : 0));
  },
  // Nested CR3: the guest's tables with bits below, or beyond all memory.
  (c, { vmcb }) => {
    if (c.chance(128)) vmcb.setUint32(0xb0, vmcb.getUint32(0xb0, true) | c.below(32), true);
    else flip(vmcb, 0xb0, 23 + c.below(41));
  },
  (c, { vmcb }) => flip(vmcb, 0xb8, c.below(4)),
  (c, { vmcb }) => {
    const code = c.chance(128) ? c.one([ExitCode.VMRUN, ExitCode.NMI, ExitCode.INTR, ExitCode.HLT, ExitCode.SHUTDOWN]) : c.below(192);
    flip(vmcb, 0, code);
  },
  // All intercepts by chance, but that of VMRUN.
  (c, { vmcb }) => {
    for (let at = 0; at < 0x18; at += 4) vmcb.setUint32(at, c.u32(), true);
    vmcb.setUint8(0x10, vmcb.getUint8(0x10) | 1);
  },
  // Virtual interrupts, windows, shadow.
  (c, { vmcb }) => {
    vmcb.setUint32(0x60, (c.u32() & 0x0f1f_1b0f) | (c.below(2) << 26), true);
    vmcb.setUint8(0x64, c.u32());
    vmcb.setUint8(0x68, c.below(4));
  },
  (c, { vmcb }) => vmcb.setUint32(0x3c, c.chance(128) ? c.below(4) << 16 : c.u32(), true),
  (c, { vmcb }) => u64(vmcb, 0xa0, c.u32(), c.u32()),
  (c, { vmcb }) => flip(vmcb, 0x108, c.below(64)),
  // One bit of a control register, which most rules are about.
  (c, p, limits) => {
    const { view, base } = registers(p, limits);
    flip(view, base + c.one(controls), c.chance(200) ? c.below(32) : c.below(64));
  },
  (c, p, limits) => {
    const { view, base } = registers(p, limits);
    view.setUint32(base + c.one(controls), c.u32(), true);
  },
  // Modes: real, protected, long, compatibility.
  (c, p, limits) => {
    const { view, base } = registers(p, limits);
    view.setUint32(base + 0x158, c.one([0x10, 0x11, 0x8000_0011, 0x8001_0031, 0xe000_0011, 0x6000_0010]), true);
    view.setUint32(base + 0x0d0, 0x1000 | c.one([0, 0x100, 0x500, 0xd00, 0x800, 0x400]), true);
    view.setUint32(base + 0x148, c.one([0, 0x20, 0x30, 0x620, 0x40]), true);
    view.setUint16(base + 0x12, c.one([0x9b, 0xa9b, 0xc9b, 0x49b, 0xe9b, 0]), true);
  },
  (c, p, limits) => {
    const { view, base } = registers(p, limits);
    view.setUint16(base + c.one(attributes), c.u32(), true);
    view.setUint8(base + 0xcb, c.below(4));
  },
  (c, p, limits) => {
    const { view, base } = registers(p, limits);
    u64(view, base + c.one([0x178, 0x1d8, 0x88, 0x68, 0x18, 0x98]), c.u32(), c.chance(128) ? 0 : c.u32());
  },
  (c, { vmsa: page }) => {
    if (c.chance(96))
      page.setUint32(0x3b0, 0x20, true); // DebugSwap
    else if (c.chance(200)) page.setUint32(0x3b0, 1 << c.below(32), true);
    else u64(page, 0x3b0, c.u32(), c.u32());
  },
  (c, _p, { es }, twist) => {
    if (es) twist.tamper = c.below(VMSA_PROTECTED);
  },
  (c, { vmcb }) => anyField(c, vmcb, control),
  (c, { vmcb }) => anyField(c, vmcb, save),
  (c, { vmsa: page }) => anyField(c, page, vmsa),
];

export function mutate(c: Chance, pages: Pages, limits: Limits, twist: Twist): void {
  twist.tamper = -1;
  twist.encryption = !c.chance(2);
  twist.elsewhere = c.chance(1) ? c.one([0x1010, 0x4000_0000, 0x10_0000_0000]) : 0;
  for (let left = c.below(5); left > 0; left--) c.one(changes)(c, pages, limits, twist);
  contain(pages);
}

/** Without nested paging a guest's tables translate to the host's memory: such a guest gets tables that hold nothing, and no mode without them. */
const NOTHING = 0x3f_0000;
function contain({ vmcb }: Pages): void {
  if ((vmcb.getUint8(0x90) & 1) !== 0) return;
  vmcb.setUint32(SAVE + 0x150, NOTHING, true);
  vmcb.setUint32(SAVE + 0x158, vmcb.getUint32(SAVE + 0x158, true) | 0x8000_0000, true);
}
