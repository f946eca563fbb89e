// What a guest sees of the processor: the processor's own CPUID, minus what this hypervisor does not virtualise, plus what a
// guest must be told (GHCB specification 4.2: leaf 1 ECX[31] and Fn8000_001F). APM vol. 3, appendix E.

import { SEV_LEAF } from '../arch/cpuid.ts';
import { Cr4 } from '../arch/registers.ts';
import type { Technology } from '../arch/boot-page.ts';
import type { CpuidResult } from './ghcb/services.ts';

export type CpuidSource = (leaf: number, subleaf: number) => CpuidResult;
export type CpuidGuest = {
  readonly technology: Technology;
  /** Position of the C-bit on this processor. */
  readonly cBit: number;
  /** Bits 31:0 of CR4 as far as the hypervisor knows it: leaf 1 mirrors OSXSAVE. */
  readonly cr4: number;
  readonly xcr0: bigint;
  /** Left out: 0. */
  readonly xss?: bigint;
  /** Is the local APIC enabled (APIC_BASE.AE)? */
  readonly apic: boolean;
  /** Bits of leaf 1 ECX: what the local APIC can do. */
  readonly apicFeatures: number;
  /** APIC ID of the virtual CPU, and how many there are: each is a core of one thread. Left out: 0 of 1. */
  readonly apicId?: number;
  readonly processors?: number;
};

const HYPERVISOR_LEAF = 0x4000_0000;
export const XSAVE_LEAF = 0xd;
/** The legacy region and the header. */
const XSAVE_HEADER_END = 576;
/** 'cbit' three times, as EBX, ECX and EDX spell it. */
const SIGNATURE = 0x7469_6263;
/** The guest loses one bit of physical address: the C-bit (what QEMU calls reduced-phys-bits). */
const REDUCED_BITS = 1;

const Leaf1Ecx = { MONITOR: 1 << 3, SMX: 1 << 6, OSXSAVE: 1 << 27, HYPERVISOR: 1 << 31 } as const;
const Leaf1Edx = { MCE: 1 << 7, APIC: 1 << 9, MCA: 1 << 14, HTT: 1 << 28 } as const;
const Leaf7Ecx = { OSPKE: 1 << 4 } as const;
const Extended1Ecx = { CMP_LEGACY: 1 << 1, SVM: 1 << 2, EXTENDED_APIC: 1 << 3, SKINIT: 1 << 12, MONITORX: 1 << 29 } as const;
const SevEax = { SEV: 1 << 1, SEV_ES: 1 << 3, COHERENT: 1 << 10 } as const;

export function guestCpuid(processor: CpuidSource, guest: CpuidGuest, leaf: number, subleaf: number): CpuidResult {
  if (leaf >= HYPERVISOR_LEAF && leaf < HYPERVISOR_LEAF + 0x100)
    return leaf === HYPERVISOR_LEAF ? [HYPERVISOR_LEAF, SIGNATURE, SIGNATURE, SIGNATURE] : none;
  const [eax, ebx, ecx, edx] = processor(leaf, subleaf);
  const { apicId = 0, processors = 1 } = guest;
  const several = processors > 1;
  switch (leaf) {
    case 1: {
      const hidden = Leaf1Ecx.MONITOR | Leaf1Ecx.SMX | Leaf1Ecx.OSXSAVE;
      const mirrored = (guest.cr4 & Cr4.OSXSAVE) !== 0 ? Leaf1Ecx.OSXSAVE : 0;
      // EBX: APIC ID, number of logical processors; CLFLUSH size and brand stay.
      return quad(
        eax,
        (ebx & 0xffff) | (Math.min(processors, 255) << 16) | (apicId << 24),
        (ecx & ~hidden) | Leaf1Ecx.HYPERVISOR | mirrored | guest.apicFeatures,
        (edx & ~hiddenEdx(guest)) | (several ? Leaf1Edx.HTT : 0),
      );
    }
    case 5: // MONITOR: intercepted, and hidden
      return none;
    case 7:
      if (subleaf !== 0) return quad(eax, ebx, ecx, edx);
      return quad(eax, ebx, (ecx & ~Leaf7Ecx.OSPKE) | ((guest.cr4 & Cr4.PKE) !== 0 ? Leaf7Ecx.OSPKE : 0), edx);
    case 0xa: // performance monitoring
      return none;
    case 0xb: // threads of a core, cores; EDX: x2APIC ID
      if (subleaf === 0) return quad(0, 1, 0x100, apicId);
      return subleaf === 1 ? quad(idBits(processors), processors, 0x201, apicId) : quad(0, 0, subleaf & 0xff, apicId);
    case 0x8000_0001:
      return quad(
        eax,
        ebx,
        (ecx & ~(Extended1Ecx.SVM | Extended1Ecx.EXTENDED_APIC | Extended1Ecx.SKINIT | Extended1Ecx.MONITORX)) |
          (several ? Extended1Ecx.CMP_LEGACY : 0),
        edx & ~hiddenEdx(guest),
      );
    case XSAVE_LEAF:
      return subleaf > 1
        ? quad(eax, ebx, ecx, edx)
        : quad(eax, xsaveSize(processor, subleaf === 1 ? guest.xcr0 | (guest.xss ?? 0n) : guest.xcr0, subleaf === 1), ecx, edx);
    case 0x8000_0008: // ECX: number of threads - 1, APIC ID bits
      return quad(eax, ebx, (ecx & ~0xf0ff) | (processors - 1) | (idBits(processors) << 12), edx);
    case 0x8000_000a: // SVM
      return none;
    case 0x8000_001e: // APIC ID, core of one thread, node 0 of 1
      return quad(apicId, apicId & 0xff, 0, 0);
    case SEV_LEAF:
      return memoryEncryption(guest, eax);
    default:
      return quad(eax, ebx, ecx, edx);
  }
}

/** Bits of CR4 that answers depend on. */
const CR4_BITS = Cr4.OSXSAVE | Cr4.PKE;
/** So many answers are kept. */
const ANSWERS = 64;

/** What stays the same for a virtual CPU. */
type ConstantPart = Pick<CpuidGuest, 'technology' | 'cBit' | 'apicFeatures' | 'apicId' | 'processors'>;

/** A guest's CPUID. It asks for the same leaves again and again, each time by an exit: the answers given last are kept. */
export class GuestCpuid {
  readonly #processor: CpuidSource;
  readonly #guest: ConstantPart;
  readonly #kept: ({ readonly leaf: number; readonly subleaf: number; readonly result: CpuidResult } | undefined)[] = [];
  /** What the answers kept are for. */
  #cr4 = 0;
  #apic = false;

  constructor(processor: CpuidSource, guest: ConstantPart) {
    this.#processor = processor;
    this.#guest = guest;
  }

  /** `xcr0` and `xss` count for leaf Dh only. */
  answer(leaf: number, subleaf: number, cr4: number, xcr0: bigint, apic: boolean, xss = 0n): CpuidResult {
    const bits = cr4 & CR4_BITS;
    if (bits !== this.#cr4 || apic !== this.#apic) {
      this.#kept.length = 0;
      this.#cr4 = bits;
      this.#apic = apic;
    }
    const slot = (leaf ^ (leaf >>> 26) ^ (subleaf << 2)) & (ANSWERS - 1);
    const kept = this.#kept[slot];
    if (kept !== undefined && kept.leaf === leaf && kept.subleaf === subleaf) return kept.result;
    const result = guestCpuid(this.#processor, { ...this.#guest, cr4, xcr0, xss, apic }, leaf, subleaf);
    if (leaf !== XSAVE_LEAF) this.#kept[slot] = { leaf, subleaf, result };
    return result;
  }
}

/** Bits of an APIC ID that tell so many cores apart. */
const idBits = (processors: number): number => 32 - Math.clz32(processors - 1);

/** The APIC's flag goes while it is disabled (APM vol. 2, 16.3.1). */
const hiddenEdx = ({ apic }: CpuidGuest): number => (apic ? 0 : Leaf1Edx.APIC) | Leaf1Edx.MCE | Leaf1Edx.MCA;

const none: CpuidResult = [0, 0, 0, 0];
const quad = (eax: number, ebx: number, ecx: number, edx: number): CpuidResult => [eax >>> 0, ebx >>> 0, ecx >>> 0, edx >>> 0];

/** Bytes of an XSAVE area for what XCR0 enables, and for the compacted form XSS: each component from 2 on has a sub-leaf with its size and offset. */
function xsaveSize(processor: CpuidSource, components: bigint, compacted: boolean): number {
  let bytes = XSAVE_HEADER_END;
  for (let n = 2; n < 63; n++) {
    if (((components >> BigInt(n)) & 1n) === 0n) continue;
    const [size, offset] = processor(XSAVE_LEAF, n);
    bytes = compacted ? bytes + size : Math.max(bytes, offset + size);
  }
  return bytes;
}

/** Fn8000_001F: what protects this guest, and where the C-bit is. A plain guest is told of nothing. */
function memoryEncryption(guest: CpuidGuest, processor: number): CpuidResult {
  if (guest.technology === 'none') return none;
  const features = SevEax.SEV | (guest.technology === 'sev-es' ? SevEax.SEV_ES : 0) | (processor & SevEax.COHERENT);
  return quad(features, guest.cBit | (REDUCED_BITS << 6), 0, 0);
}
