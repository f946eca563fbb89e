// CPUID features under the names that Linux and QEMU give them, for whoever wants a model without one. Without a feature its bits in CR4
// and EFER are reserved, and its system instructions #UD. Instructions that no privilege and no control register guards still execute,
// as they do under any hypervisor: CPUID is all that it can change. What every guest needs (long mode) and what none is shown (SVM)
// is not among them.

import { type CpuidFeature, Feature } from '../arch/cpuid.ts';

// biome-ignore format: a table
export const featureNames: Readonly<Record<string, CpuidFeature>> = {
  pni: Feature.SSE3, pclmulqdq: Feature.PCLMULQDQ, monitor: Feature.MONITOR, ssse3: Feature.SSSE3, cx16: Feature.CMPXCHG16B, pcid: Feature.PCID,
  'sse4.1': Feature.SSE41, 'sse4.2': Feature.SSE42, movbe: Feature.MOVBE, popcnt: Feature.POPCNT, aes: Feature.AES,
  xsave: Feature.XSAVE, rdrand: Feature.RDRAND,
  fsgsbase: Feature.FSGSBASE, bmi1: Feature.BMI1, smep: Feature.SMEP, bmi2: Feature.BMI2, invpcid: Feature.INVPCID, rdseed: Feature.RDSEED, adx: Feature.ADX,
  smap: Feature.SMAP, clflushopt: Feature.CLFLUSHOPT, clwb: Feature.CLWB, 'sha-ni': Feature.SHA,
  umip: Feature.UMIP, pku: Feature.PKU, rdpid: Feature.RDPID,
  lahf_lm: Feature.LAHF_SAHF, abm: Feature.ABM, sse4a: Feature.SSE4A, misalignsse: Feature.MISALIGNSSE,
  '3dnowprefetch': Feature.PREFETCHW, tce: Feature.TCE, monitorx: Feature.MONITORX,
  rdtscp: Feature.RDTSCP, invtsc: Feature.INVARIANT_TSC,
  clzero: Feature.CLZERO, wbnoinvd: Feature.WBNOINVD,
};

/** The local APIC is the hypervisor's: what it can do does not depend on the model. */
export const apicFeatureNames: Readonly<Record<string, CpuidFeature>> = { x2apic: Feature.X2APIC, 'tsc-deadline': Feature.TSC_DEADLINE };

/** Linux's spelling where QEMU has another, and the other way round. */
const aliases: Readonly<Record<string, string>> = {
  sse3: 'pni', sse4_1: 'sse4.1', sse4_2: 'sse4.2', sha_ni: 'sha-ni', tsc_deadline_timer: 'tsc-deadline', 'lahf-lm': 'lahf_lm', lzcnt: 'abm',
  constant_tsc: 'invtsc',
}; // biome-ignore format: a table

/** The name in the tables above; underscores and hyphens are one. */
export function canonicalName(name: string): string {
  const lower = name.toLowerCase();
  return aliases[lower] ?? lower;
}
