// The bits of CR4 and EFER that a processor has, by what its CPUID reports: the others are reserved. APM vol. 2, 3.1.3 and 3.1.7.

import { type Cpuid, Feature, reportsFeature } from '../arch/cpuid.ts';
import { Cr4, Efer } from '../arch/registers.ts';

/** Every model has these. */
const CR4_ALWAYS = Cr4.VME | Cr4.PVI | Cr4.TSD | Cr4.DE | Cr4.PSE | Cr4.PAE | Cr4.MCE | Cr4.PGE | Cr4.PCE | Cr4.OSFXSR | Cr4.OSXMMEXCPT;
const cr4ByFeature = [
  { bit: Cr4.UMIP, feature: Feature.UMIP },
  { bit: Cr4.OSXSAVE, feature: Feature.XSAVE },
  { bit: Cr4.FSGSBASE, feature: Feature.FSGSBASE },
  { bit: Cr4.PCIDE, feature: Feature.PCID },
  { bit: Cr4.SMEP, feature: Feature.SMEP },
  { bit: Cr4.SMAP, feature: Feature.SMAP },
  { bit: Cr4.PKE, feature: Feature.PKU },
] as const;

export const cr4Implemented = (cpuid: Cpuid): number =>
  cr4ByFeature.reduce((bits, { bit, feature }) => (reportsFeature(cpuid, feature) ? bits | bit : bits), CR4_ALWAYS);

/** LMSLE is reserved: Fn8000_0008 EBX says that it is not there. */
export const EFER_IMPLEMENTED = Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE | Efer.SVME | Efer.FFXSR | Efer.TCE;
