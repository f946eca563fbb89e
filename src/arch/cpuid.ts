// CPUID feature flags by the manual's names: leaf, register and bit. APM vol. 3, appendix E.

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx';
/** Place of a register in what CPUID returns. */
export const cpuidSlot = { eax: 0, ebx: 1, ecx: 2, edx: 3 } as const satisfies Readonly<Record<CpuidRegister, number>>;
export type CpuidFeature = { readonly leaf: number; readonly register: CpuidRegister; readonly bit: number };
/** CPUID as whoever answers it: EAX, EBX, ECX, EDX. */
export type Cpuid = (leaf: number, subleaf: number) => readonly [number, number, number, number];

export const reportsFeature = (cpuid: Cpuid, { leaf, register, bit }: CpuidFeature): boolean =>
  ((cpuid(leaf, 0)[cpuidSlot[register]] >>> bit) & 1) === 1;

/** Encrypted memory capabilities (APM vol. 3, appendix E). */
export const SEV_LEAF = 0x8000_001f;

const edx1 = (bit: number): CpuidFeature => ({ leaf: 1, register: 'edx', bit });
const ecx1 = (bit: number): CpuidFeature => ({ leaf: 1, register: 'ecx', bit });
const ebx7 = (bit: number): CpuidFeature => ({ leaf: 7, register: 'ebx', bit });
const ecx7 = (bit: number): CpuidFeature => ({ leaf: 7, register: 'ecx', bit });
const ecxExtended = (bit: number): CpuidFeature => ({ leaf: 0x8000_0001, register: 'ecx', bit });
const edxExtended = (bit: number): CpuidFeature => ({ leaf: 0x8000_0001, register: 'edx', bit });
const edxSvm = (bit: number): CpuidFeature => ({ leaf: 0x8000_000a, register: 'edx', bit });
const eaxSev = (bit: number): CpuidFeature => ({ leaf: SEV_LEAF, register: 'eax', bit });

// biome-ignore format: a table
export const Feature = {
  FPU: edx1(0), VME: edx1(1), DE: edx1(2), PSE: edx1(3), TSC: edx1(4), MSR: edx1(5), PAE: edx1(6), MCE: edx1(7), CMPXCHG8B: edx1(8), APIC: edx1(9),
  SYSENTER: edx1(11), MTRR: edx1(12), PGE: edx1(13), MCA: edx1(14), CMOV: edx1(15), PAT: edx1(16), PSE36: edx1(17), CLFSH: edx1(19), MMX: edx1(23),
  FXSR: edx1(24), SSE: edx1(25), SSE2: edx1(26),
  SSE3: ecx1(0), PCLMULQDQ: ecx1(1), MONITOR: ecx1(3), SSSE3: ecx1(9), FMA: ecx1(12), CMPXCHG16B: ecx1(13), PCID: ecx1(17), SSE41: ecx1(19),
  SSE42: ecx1(20), X2APIC: ecx1(21), MOVBE: ecx1(22), POPCNT: ecx1(23), TSC_DEADLINE: ecx1(24), AES: ecx1(25), XSAVE: ecx1(26), OSXSAVE: ecx1(27), AVX: ecx1(28),
  F16C: ecx1(29), RDRAND: ecx1(30), HYPERVISOR: ecx1(31),
  FSGSBASE: ebx7(0), BMI1: ebx7(3), AVX2: ebx7(5), SMEP: ebx7(7), BMI2: ebx7(8), ERMS: ebx7(9), INVPCID: ebx7(10), RDSEED: ebx7(18), ADX: ebx7(19),
  SMAP: ebx7(20), CLFLUSHOPT: ebx7(23), CLWB: ebx7(24), SHA: ebx7(29),
  UMIP: ecx7(2), PKU: ecx7(3), OSPKE: ecx7(4), RDPID: ecx7(22),
  LAHF_SAHF: ecxExtended(0), SVM: ecxExtended(2), ALT_MOV_CR8: ecxExtended(4), ABM: ecxExtended(5), SSE4A: ecxExtended(6), MISALIGNSSE: ecxExtended(7), PREFETCHW: ecxExtended(8), TCE: ecxExtended(17),
  MONITORX: ecxExtended(29),
  SYSCALL: edxExtended(11), NX: edxExtended(20), FFXSR: edxExtended(25), PAGE1GB: edxExtended(26), RDTSCP: edxExtended(27), LM: edxExtended(29),
  INVARIANT_TSC: { leaf: 0x8000_0007, register: 'edx', bit: 8 },
  CLZERO: { leaf: 0x8000_0008, register: 'ebx', bit: 0 }, WBNOINVD: { leaf: 0x8000_0008, register: 'ebx', bit: 9 },
  RSTR_FP_ERR_PTRS: { leaf: 0x8000_0008, register: 'ebx', bit: 2 }, EFER_LMSLE_UNSUPPORTED: { leaf: 0x8000_0008, register: 'ebx', bit: 20 },
  NESTED_PAGING: edxSvm(0), LBR_VIRT: edxSvm(1), NRIPS: edxSvm(3), VMCB_CLEAN: edxSvm(5), FLUSH_BY_ASID: edxSvm(6), DECODE_ASSISTS: edxSvm(7), PAUSE_FILTER: edxSvm(10), PAUSE_FILTER_THRESHOLD: edxSvm(12), VNMI: edxSvm(25),
  SME: eaxSev(0), SEV: eaxSev(1), VM_PAGE_FLUSH: eaxSev(2), SEV_ES: eaxSev(3), SEV_SNP: eaxSev(4), TSC_AUX_VIRTUALIZATION: eaxSev(9), HW_CACHE_COHERENCY: eaxSev(10), SEV_64BIT_HOST: eaxSev(11), DEBUG_SWAP: eaxSev(14), VTE: eaxSev(16), SECURE_AVIC: eaxSev(26),
} as const satisfies Readonly<Record<string, CpuidFeature>>;

/** Flags of leaf 1 EDX that Fn8000_0001 EDX repeats on AMD processors. */
export const REPEATED_IN_EXTENDED = 0x0183_f3ff;
