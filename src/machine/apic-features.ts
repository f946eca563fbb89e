// What the local APIC can do, as leaf 1 ECX of CPUID has it. There is one local APIC for every model, whoever has it: the processor, or a
// hypervisor that makes one.

import { type CpuidFeature, Feature } from '../arch/cpuid.ts';

export const apicFeatures = (withheld: readonly CpuidFeature[]): number =>
  [Feature.X2APIC, Feature.TSC_DEADLINE].filter((feature) => !withheld.includes(feature)).reduce((bits, { bit }) => bits | (1 << bit), 0);
