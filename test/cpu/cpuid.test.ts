import { describe, expect, it } from 'vitest';
import { Feature } from '../../src/arch/cpuid.ts';
import { DEFAULT_MODEL, processorCpuid, processorModel, processorModels, reports } from '../../src/cpu/cpuid.ts';

const hex = (values: readonly number[]): string[] => values.map((value) => value.toString(16));

describe.each(processorModels)('CPUID of $name', (model) => {
  const cpuid = processorCpuid(model);

  it('names its vendor, model and address widths', () => {
    const [largest, ebx, ecx, edx] = cpuid(0, 0);
    const text = String.fromCharCode(...[ebx, edx, ecx].flatMap((value) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff)));
    expect(text).toBe('AuthenticAMD');
    expect(largest).toBe(0xd);
    expect(cpuid(1, 0)[0]).toBe(model.signature);
    expect(cpuid(0x8000_0001, 0)[0]).toBe(model.signature);
    expect(cpuid(0x8000_0008, 0)[0] & 0xffff).toBe(model.physicalBits | 0x3000);
  });

  it('gives unsigned values, and zeros for leaves that do not exist', () => {
    for (const leaf of [0, 1, 7, 0x8000_0000, 0x8000_0001, 0x8000_001f])
      for (const value of cpuid(leaf, 0)) expect(value).toBeGreaterThanOrEqual(0);
    for (const leaf of [2, 0xc, 0x4000_0000, 0x8000_0020, 0xffff_ffff]) expect(cpuid(leaf, 0)).toEqual([0, 0, 0, 0]);
    expect(cpuid(7, 1)).toEqual([0, 0, 0, 0]);
  });

  it('describes the state that XSAVE knows', () => {
    // PKRU came with the third generation.
    const keys = ((cpuid(7, 0)[2] >>> 3) & 1) === 1;
    expect(cpuid(0xd, 0)).toEqual(keys ? [0x203, 576, 0x988, 0] : [3, 576, 576, 0]);
    expect(cpuid(0xd, 1)).toEqual([0xf, 576, 0, 0]);
    expect(cpuid(0xd, 9)).toEqual(keys ? [8, 0x980, 0, 0] : [0, 0, 0, 0]);
    expect(cpuid(0xd, 2)).toEqual([0, 0, 0, 0]);
  });

  it('repeats the flags of leaf 1 in Fn8000_0001 EDX', () => {
    const shared = 0x0183_f3ff;
    expect(cpuid(0x8000_0001, 0)[3] & shared).toBe(cpuid(1, 0)[3] & shared);
  });
});

it('Fn8000_001F is what published dumps of each generation show', () => {
  const ebx = (name: string): string => processorCpuid(processorModel(name) ?? processorModels[0]!)(0x8000_001f, 0)[1].toString(16);
  expect(['naples', 'rome', 'milan', 'genoa', 'turin'].map(ebx)).toEqual(['16f', '16f', '4133', '41b3', '41b3']);
  expect(hex(processorCpuid(processorModel(DEFAULT_MODEL) ?? processorModels[0]!)(0x8000_001f, 0)).slice(1)).toEqual(['4133', 'fd', 'f']);
});

it('Fn8000_001F EAX claims what is implemented of what the generation has: no SEV-SNP, none of its companions', () => {
  const eax = Object.fromEntries(processorModels.map((model) => [model.name, processorCpuid(model)(0x8000_001f, 0)[0].toString(16)]));
  // SME, SEV, VM_PAGE_FLUSH, SEV-ES; VTE (16) since rome; coherency (10), 64-bit host only (11), debug virtualization (14) since milan; TSC_AUX
  // virtualization (9) since genoa.
  expect(eax).toEqual({ naples: 'f', rome: '1000f', milan: '14c0f', genoa: '14e0f', turin: '14e0f' });
});

it('claims no vector extension and no feature that nobody implements', () => {
  for (const feature of [Feature.AVX, Feature.AVX2, Feature.PCID, Feature.SEV_SNP]) expect(reports(feature)).toBe(false);
});

it('knows no other models', () => {
  expect(processorModel('bulldozer')).toBeUndefined();
});
