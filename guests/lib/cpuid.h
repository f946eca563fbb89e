/* CPUID functions and bits that we look at (APM vol. 3, appendix E; vol. 2, 15.34.1 for Fn8000_001F). */
#pragma once

#define CPUID_VENDOR              0x00000000
#define CPUID_FEATURES            0x00000001
#define CPUID_STRUCTURED_FEATURES 0x00000007
#define CPUID_EXTENDED_STATE      0x0000000d
#define CPUID_EXTENDED_MAXIMUM    0x80000000
#define CPUID_MEMORY_ENCRYPTION   0x8000001f

/* Fn0000_0001 ECX */
#define CPUID_MONITOR      (1u << 3)
#define CPUID_X2APIC       (1u << 21)
#define CPUID_TSC_DEADLINE (1u << 24)
#define CPUID_HYPERVISOR (1u << 31)

/* Fn8000_001F EAX */
#define CPUID_SME      (1u << 0)
#define CPUID_SEV      (1u << 1)
#define CPUID_SEV_ES   (1u << 3)
#define CPUID_COHERENT (1u << 10) /* hardware keeps the views of a page under different keys coherent */
/* Fn8000_001F EBX */
#define CPUID_C_BIT    0x3f
