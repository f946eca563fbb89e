// Does VMRUN accept a VMCB? The rules a second time, from the manual's list (APM vol. 2, 15.5.1; SEV 15.34.3, SEV-ES 15.35.3, EVENTINJ
// 15.20, virtual NMIs 15.21.10) and from the bytes in memory: nothing of the product but its offsets is used, and those as numbers.

/** One attempt: the bytes of VMCB and VMSA, and what the host has set up. */
export type Attempt = {
  readonly vmcb: DataView;
  /** Plaintext of the VMSA that the VMCB should name. */
  readonly vmsa: DataView;
  /** The VMSA is whole: its integrity value matches. */
  readonly whole: boolean;
  /** SYSCFG.MemEncryptionModEn. */
  readonly encryption: boolean;
};

/** The processor, and the one guest that has an ASID. */
export type Box = {
  readonly model: { readonly name: string; readonly cBit: number; readonly physicalBits: number; readonly reducedBits: number };
  readonly lastAsid: number;
  readonly firstAsidWithoutEs: number;
  readonly asid: number;
  readonly vmsaPage: number;
  readonly smmLock: boolean;
};

const CR4: Readonly<Record<string, number>> = {
  naples: 0x0035_07ff,
  rome: 0x0035_0fff,
  milan: 0x0077_0fff,
  genoa: 0x0077_0fff,
  turin: 0x0077_0fff,
};
const EFER = 0xdd01;
const DEBUG_SWAP = 0x20;
const hasDebugSwap = (name: string): boolean => name !== 'naples' && name !== 'rome';
const hasVirtualNmi = (name: string): boolean => name === 'genoa' || name === 'turin';

type Rule = (a: Attempt, b: Box, g: Guest) => boolean;
/** What the VMCB is for, and where its registers are. */
type Guest = {
  readonly nested: boolean;
  readonly sev: boolean;
  readonly es: boolean;
  readonly asid: number;
  readonly registers: DataView;
  readonly at: number;
};

const low = (view: DataView, at: number): number => view.getUint32(at, true);
const high = (view: DataView, at: number): number => view.getUint32(at + 4, true);
const register = ({ registers, at }: Guest, offset: number): number => low(registers, at + offset);
const registerHigh = ({ registers, at }: Guest, offset: number): number => high(registers, at + offset);

/** Bytes from an address on lie beyond the physical address space; the C-bit is none of it. */
function beyond({ vmcb, encryption }: Attempt, { model }: Box, offset: number, bytes: number): boolean {
  const bits = encryption ? model.physicalBits - model.reducedBits : model.physicalBits;
  let upper = high(vmcb, offset);
  if (encryption) upper = (upper & ~(1 << (model.cBit - 32))) >>> 0;
  return upper * 2 ** 32 + low(vmcb, offset) + bytes > 2 ** bits;
}

const longMode = (g: Guest): boolean => (register(g, 0xd0) & 0x100) !== 0 && register(g, 0x158) >>> 31 === 1;
const codeAttributes = (g: Guest): number => g.registers.getUint16(g.at + 0x12, true);

/** Bits 63:52 of CR3, and those that no address has. */
function badCr3({ encryption }: Attempt, { model }: Box, g: Guest): boolean {
  const bits = encryption && !g.nested ? model.physicalBits - model.reducedBits : model.physicalBits;
  let allowed = bits === 64 ? 0xffff_ffff : 2 ** (bits - 32) - 1;
  if (g.sev || (encryption && !g.nested)) allowed = (allowed | (1 << (model.cBit - 32))) >>> 0;
  return (registerHigh(g, 0x150) & ~allowed) !== 0;
}

function badEvent({ vmcb }: Attempt, g: Guest): boolean {
  const event = low(vmcb, 0x0a8);
  if (event >>> 31 === 0) return false;
  const type = (event >>> 8) & 7;
  const vector = event & 0xff;
  if (type === 0 || type === 2) return false;
  if (type === 4) return g.es;
  if (type !== 3 || vector === 2 || vector > 31) return true;
  if (g.es && (vector === 3 || vector === 4)) return true;
  return longMode(g) && (codeAttributes(g) & 0x200) !== 0 && (vector === 4 || vector === 5);
}

const badPatWord = (word: number): boolean =>
  [0, 8, 16, 24].some((shift) => [2, 3].includes((word >>> shift) & 0xff) || ((word >>> shift) & 0xf8) !== 0);

// biome-ignore format: a table
const rules: readonly (readonly [name: string, rule: Rule])[] = [
  ['VMRUN not intercepted',       ({ vmcb }) => (low(vmcb, 0x010) & 1) === 0],
  ['ASID 0',                      (_a, _b, { asid }) => asid === 0],
  ['IOPM beyond memory',          (a, b) => beyond(a, b, 0x040, 3 * 4096)],
  ['MSRPM beyond memory',         (a, b) => beyond(a, b, 0x048, 2 * 4096)],
  ['nCR3 reserved bits',          (a, b, { nested }) => nested && beyond(a, b, 0x0b0, 1)],
  ['SEV-ES without SEV',          (_a, _b, { es, sev }) => es && !sev],
  ['SEV without nested paging',   (_a, _b, { sev, nested }) => sev && !nested],
  ['SEV without SmmLock',         (_a, { smmLock }, { sev }) => sev && !smmLock],
  ['SEV ASID too high',           (_a, { lastAsid }, { sev, asid }) => sev && asid > lastAsid],
  ['ASID of SEV-ES guests',       (_a, b, { sev, es, asid }) => sev && !es && asid < b.firstAsidWithoutEs],
  ['ASID of SEV guests',          (_a, b, { es, asid }) => es && asid >= b.firstAsidWithoutEs],
  ['nobody has the ASID',         (_a, b, { es, asid }) => es && asid !== b.asid],
  ['no LBR virtualization',       ({ vmcb }, _b, { es }) => es && (low(vmcb, 0x0b8) & 1) === 0],
  ['virtual NMIs',                ({ vmcb }, { model }) => hasVirtualNmi(model.name) && (low(vmcb, 0x060) & (1 << 26)) !== 0 && (low(vmcb, 0x00c) & 2) === 0],
  ['no VMSA there',               ({ vmcb }, { vmsaPage }, { es }) => es && ((high(vmcb, 0x108) & 0xf_ffff) !== 0 || low(vmcb, 0x108) >>> 12 !== vmsaPage)],
  ['integrity value',             ({ whole }, _b, { es }) => es && !whole],
  ['SEV_FEATURES',                ({ vmsa }, { model }, { es }) => es && (high(vmsa, 0x3b0) !== 0 || (low(vmsa, 0x3b0) & ~(hasDebugSwap(model.name) ? DEBUG_SWAP : 0)) !== 0)],
  ['EFER.SVME clear',             (_a, _b, g) => (register(g, 0xd0) & 0x1000) === 0],
  ['EFER reserved bits',          (_a, _b, g) => (register(g, 0xd0) & ~EFER) !== 0 || registerHigh(g, 0xd0) !== 0],
  ['CR0.NW without CD',           (_a, _b, g) => (register(g, 0x158) >>> 29 & 3) === 1],
  ['CR0 bits 63:32',              (_a, _b, g) => registerHigh(g, 0x158) !== 0],
  ['CR4 reserved bits',           (_a, { model }, g) => (register(g, 0x148) & ~CR4[model.name]!) !== 0 || registerHigh(g, 0x148) !== 0],
  ['DR6 bits 63:32',              (_a, _b, g) => registerHigh(g, 0x168) !== 0],
  ['DR7 bits 63:32',              (_a, _b, g) => registerHigh(g, 0x160) !== 0],
  ['long mode without PAE',       (_a, _b, g) => longMode(g) && (register(g, 0x148) & 0x20) === 0],
  ['long mode without PE',        (_a, _b, g) => longMode(g) && (register(g, 0x158) & 1) === 0],
  ['CS.L and CS.D',               (_a, _b, g) => longMode(g) && (codeAttributes(g) & 0x600) === 0x600],
  ['CR3 reserved bits',           (a, b, g) => longMode(g) && badCr3(a, b, g)],
  ['G_PAT',                       (_a, _b, g) => g.nested && (badPatWord(register(g, 0x268)) || badPatWord(registerHigh(g, 0x268)))],
  ['EVENTINJ',                    (a, _b, g) => badEvent(a, g)],
];

/** Names of the rules. */
export const ruleNames: readonly string[] = rules.map(([name]) => name);

/** The rules that a VMCB breaks; none: VMRUN accepts it. */
export function broken(attempt: Attempt, box: Box): string | null {
  const { vmcb, vmsa, encryption } = attempt;
  const control = low(vmcb, 0x090);
  const sev = encryption && (control & 2) !== 0;
  const es = encryption && (control & 4) !== 0;
  const g: Guest = {
    nested: (control & 1) !== 0,
    sev,
    es,
    asid: low(vmcb, 0x058),
    registers: es ? vmsa : vmcb,
    at: es ? 0 : 0x400,
  };
  for (const [name, rule] of rules) if (rule(attempt, box, g)) return name;
  return null;
}
