// The processor models, and what CPUID says of them: exactly what this processor implements. APM vol. 3, appendix E; the
// values of Fn8000_001F by generation as published dumps have them. Values without a public source are marked.

import { type CpuidFeature, cpuidSlot, Feature, REPEATED_IN_EXTENDED } from '../arch/cpuid.ts';
import type { Tweak } from '../memory/encryption.ts';
import { PKRU_BYTES, PKRU_COMPONENT, PKRU_OFFSET, xcr0Implemented, xsaveSizes } from './extended-state.ts';

export type CpuidResult = readonly [eax: number, ebx: number, ecx: number, edx: number];

export type ProcessorModel = {
  readonly name: string;
  /** CPUID leaf 1 EAX: family, model, stepping. */
  readonly signature: number;
  /** Position of the C-bit, and how many physical address bits memory encryption takes away (Fn8000_001F EBX). */
  readonly cBit: number;
  readonly reducedBits: number;
  readonly vmpls: number;
  /** Highest ASID of an encrypted guest, and lowest one for guests without SEV-ES (Fn8000_001F ECX, EDX). */
  readonly lastAsid: number;
  readonly firstAsidWithoutEs: number;
  /** Width of physical addresses before the reduction. */
  readonly physicalBits: number;
  readonly tweak: Tweak;
  /** Does the hardware keep views of a page under different keys coherent (Fn8000_001F EAX[10])? */
  readonly coherent: boolean;
  /** Features that somebody took away from it. */
  readonly without?: readonly CpuidFeature[];
  /** Features that it has beyond those of its generation. */
  readonly besides?: readonly CpuidFeature[];
};

const drawn = { mode: 'xex', constants: 'drawn' } as const;

// biome-ignore format: a table
const models = [
  { name: 'naples', signature: 0x0080_0f12, cBit: 47, reducedBits: 5, vmpls: 0, lastAsid: 15,   firstAsidWithoutEs: 5,   physicalBits: 48, tweak: { mode: 'xe', constants: 'published' }, coherent: false },
  { name: 'rome',   signature: 0x0083_0f10, cBit: 47, reducedBits: 5, vmpls: 0, lastAsid: 509,  firstAsidWithoutEs: 100, physicalBits: 48, tweak: drawn, coherent: false },
  { name: 'milan',  signature: 0x00a0_0f11, cBit: 51, reducedBits: 4, vmpls: 4, lastAsid: 253,  firstAsidWithoutEs: 15,  physicalBits: 48, tweak: drawn, coherent: true },
  { name: 'genoa',  signature: 0x00a1_0f11, cBit: 51, reducedBits: 6, vmpls: 4, lastAsid: 1006, firstAsidWithoutEs: 100, physicalBits: 52, tweak: drawn, coherent: true },
  { name: 'turin',  signature: 0x00b0_0f21, cBit: 51, reducedBits: 6, vmpls: 4, lastAsid: 1006, firstAsidWithoutEs: 100, physicalBits: 52, tweak: drawn, coherent: true },
] as const satisfies readonly ProcessorModel[];
// Without a public source: first ASID without SEV-ES of rome, genoa and turin, which firmware settings choose.

export const processorModels: readonly ProcessorModel[] = models;
export const DEFAULT_MODEL = 'milan';
export const processorModel = (name: string): ProcessorModel | undefined => processorModels.find((model) => model.name === name);

/** The switchboard: what is not named here is reported absent. */
// biome-ignore format: a table
const implemented: readonly CpuidFeature[] = [
  Feature.FPU, Feature.CMPXCHG8B, Feature.MMX, Feature.FXSR, Feature.FFXSR, Feature.RSTR_FP_ERR_PTRS, Feature.XSAVE, Feature.SSE, Feature.SSE2,
  Feature.VME, Feature.DE, Feature.PSE, Feature.TSC, Feature.MSR, Feature.PAE, Feature.MCE, Feature.APIC, Feature.SYSENTER, Feature.MTRR, Feature.PGE, Feature.MCA, Feature.CMOV,
  Feature.PAT, Feature.PSE36, Feature.MONITOR, Feature.MONITORX,
  Feature.SSE3, Feature.PCLMULQDQ, Feature.SSSE3, Feature.SSE41, Feature.SSE42, Feature.AES, Feature.SHA, Feature.SSE4A, Feature.MISALIGNSSE,
  Feature.CLFSH, Feature.CMPXCHG16B, Feature.MOVBE, Feature.POPCNT, Feature.RDRAND,
  Feature.FSGSBASE, Feature.BMI1, Feature.SMEP, Feature.BMI2, Feature.RDSEED, Feature.ADX, Feature.SMAP, Feature.CLFLUSHOPT,
  Feature.LAHF_SAHF, Feature.SVM, Feature.ALT_MOV_CR8, Feature.ABM, Feature.PREFETCHW,
  Feature.SYSCALL, Feature.NX, Feature.PAGE1GB, Feature.RDTSCP, Feature.LM, Feature.TCE, Feature.EFER_LMSLE_UNSUPPORTED,
  Feature.INVARIANT_TSC, Feature.CLZERO,
  Feature.NESTED_PAGING, Feature.LBR_VIRT, Feature.NRIPS, Feature.VMCB_CLEAN, Feature.FLUSH_BY_ASID, Feature.DECODE_ASSISTS, Feature.PAUSE_FILTER, Feature.PAUSE_FILTER_THRESHOLD,
  Feature.SME, Feature.SEV, Feature.VM_PAGE_FLUSH, Feature.SEV_ES,
];

/** What came with a later generation: on the models before it the instructions are #UD and the bits of CR4 reserved. */
const since = [
  { first: 'rome', features: [Feature.CLWB, Feature.WBNOINVD, Feature.RDPID, Feature.UMIP, Feature.VTE] },
  { first: 'milan', features: [Feature.PCID, Feature.INVPCID, Feature.PKU, Feature.SEV_64BIT_HOST, Feature.DEBUG_SWAP] },
  { first: 'genoa', features: [Feature.VNMI, Feature.TSC_AUX_VIRTUALIZATION] },
] as const;

/** Does every model have the feature? */
export const reports = (feature: CpuidFeature): boolean => implemented.includes(feature);

/** Extended state (Fn0000_000D): x87 and SSE lie in the legacy region before the header of 64 bytes, PKRU behind what AVX would take. */
const XSAVE_LEAF = 0xd;
/** XSAVEOPT, XSAVEC and the compacted form, XGETBV with ECX = 1, XSAVES and XSS. */
const XSAVE_FEATURES = 0xf;

const LAST_STANDARD = XSAVE_LEAF;
const LAST_EXTENDED = 0x8000_001f;
const LINEAR_BITS = 48;
/** Line size of CLFLUSH in units of 8 bytes; one logical processor (leaf 1 EBX). */
const LEAF1_EBX = (8 << 8) | (1 << 16);
/** L1 data and instruction cache: 32 KiB, 8 ways, one line a tag, 64 bytes a line (Fn8000_0005 ECX, EDX). */
const L1 = 0x2008_0140;
/** L2: 512 KiB, 8 ways, 64 bytes a line (Fn8000_0006 ECX). */
const L2 = 0x0200_6140;
/** Bytes that MONITOR watches; ECX: extensions are enumerated, an interrupt can break a wait though masked (Fn0000_0005). */
const MONITOR_LINE = 64;
const MONITOR_EXTENSIONS = 3;
const SVM_REVISION = 1;
/** ASIDs of SVM, encrypted or not (Fn8000_000A EBX). */
const SVM_ASIDS = 0x8000;

const VENDOR = 'AuthenticAMD';

/** Four ASCII characters from `at` on as a register holds them. */
const characters = (text: string, at: number): number =>
  (text.charCodeAt(at) | (text.charCodeAt(at + 1) << 8) | (text.charCodeAt(at + 2) << 16) | (text.charCodeAt(at + 3) << 24)) >>> 0;
const vendor = [characters(VENDOR, 0), characters(VENDOR, 8), characters(VENDOR, 4)] as const; // EBX, ECX, EDX

function leaves(model: ProcessorModel): Map<number, CpuidResult> {
  const table = new Map<number, [number, number, number, number]>();
  const set = (leaf: number, eax: number, ebx: number, ecx: number, edx: number): void => {
    table.set(leaf, [eax, ebx, ecx, edx]);
  };
  set(0, LAST_STANDARD, ...vendor);
  set(1, model.signature, LEAF1_EBX, 0, 0);
  set(7, 0, 0, 0, 0);
  set(5, MONITOR_LINE, MONITOR_LINE, MONITOR_EXTENSIONS, 0);
  set(0x8000_0000, LAST_EXTENDED, ...vendor);
  set(0x8000_0001, model.signature, 0, 0, 0);
  const brand = `AMD EPYC (${model.name}) emulated by cbit`.padEnd(48, '\0');
  for (let k = 0; k < 3; k++) {
    set(
      0x8000_0002 + k,
      characters(brand, 16 * k),
      characters(brand, 16 * k + 4),
      characters(brand, 16 * k + 8),
      characters(brand, 16 * k + 12),
    );
  }
  set(0x8000_0005, 0, 0, L1, L1);
  set(0x8000_0006, 0, 0, L2, 0);
  set(0x8000_0007, 0, 0, 0, 0);
  set(0x8000_0008, model.physicalBits | (LINEAR_BITS << 8), 0, 0, 0);
  set(0x8000_000a, SVM_REVISION, SVM_ASIDS, 0, 0);
  set(0x8000_001f, 0, model.cBit | (model.reducedBits << 6) | (model.vmpls << 12), model.lastAsid, model.firstAsidWithoutEs);
  const generation = processorModels.findIndex(({ name }) => name === model.name);
  const newer = since
    .filter(({ first }) => generation >= models.findIndex(({ name }) => name === first))
    .flatMap(({ features }) => features);
  const features = [...implemented, ...newer, ...(model.coherent ? [Feature.HW_CACHE_COHERENCY] : []), ...(model.besides ?? [])].filter(
    (feature) => model.without?.includes(feature) !== true,
  );
  for (const { leaf, register, bit } of features) {
    const row = table.get(leaf);
    if (row) row[cpuidSlot[register]] = ((row[cpuidSlot[register]] ?? 0) | (1 << bit)) >>> 0;
  }
  const standard = table.get(1);
  const extended = table.get(0x8000_0001);
  if (standard && extended) extended[3] = (extended[3] | (standard[3] & REPEATED_IN_EXTENDED)) >>> 0;
  return table;
}

const absent: CpuidResult = [0, 0, 0, 0];

/** Fn0000_000D: the components that there are, and the size of an area by those that XCR0 enables. */
export function extendedState(subleaf: number, xcr0: bigint, keys: boolean): CpuidResult {
  const { standard, compacted } = xsaveSizes(xcr0);
  if (subleaf === 0) return [Number(xcr0Implemented(keys)), standard, xsaveSizes(xcr0Implemented(keys)).standard, 0];
  if (subleaf === 1) return [XSAVE_FEATURES, compacted, 0, 0];
  return subleaf === PKRU_COMPONENT && keys ? [PKRU_BYTES, PKRU_OFFSET, 0, 0] : absent;
}

/**
 * CPUID of a processor of this model, where no register of it counts: of leaf 1 OSXSAVE, of leaf 7 OSPKE and the sizes of leaf 0Dh are
 * as after reset. Leaves and sub-leaves that do not exist read as zeros.
 */
export function processorCpuid(model: ProcessorModel): (leaf: number, subleaf: number) => CpuidResult {
  const table = leaves(model);
  const keys = ((table.get(7)?.[cpuidSlot.ecx] ?? 0) & (1 << Feature.PKU.bit)) !== 0;
  return (leaf, subleaf) => {
    if (leaf === XSAVE_LEAF) return extendedState(subleaf, 1n, keys);
    return leaf === 7 && subleaf !== 0 ? absent : (table.get(leaf >>> 0) ?? absent);
  };
}
