// Processors with features taken away: CPUID no longer reports them, and what they bring is not there (APM vol. 2, 3.1.3).

import { describe, expect, it } from 'vitest';
import { Feature, reportsFeature } from '../../src/arch/cpuid.ts';
import { Cr4 } from '../../src/arch/registers.ts';
import { cr4Implemented } from '../../src/cpu/control-registers.ts';
import { processorCpuid, processorModel } from '../../src/cpu/cpuid.ts';
import { apicFeatureNames, featureNames } from '../../src/cpu/feature-names.ts';
import { chooseModel, modelChoiceHelp } from '../../src/cpu/model-choice.ts';
import { UserError } from '../../src/util/errors.ts';

const cpuidOf = (text: string) => processorCpuid(chooseModel(text).model);

describe('a model', () => {
  it('by itself is what the table says', () => {
    expect(chooseModel('Genoa').model).toBe(processorModel('genoa'));
    expect(chooseModel('milan').withheld).toEqual([]);
  });

  it.each([
    ['pcid', Feature.PCID, Cr4.PCIDE],
    ['smap', Feature.SMAP, Cr4.SMAP],
    ['smep', Feature.SMEP, Cr4.SMEP],
    ['pku', Feature.PKU, Cr4.PKE],
    ['umip', Feature.UMIP, Cr4.UMIP],
    ['fsgsbase', Feature.FSGSBASE, Cr4.FSGSBASE],
    ['xsave', Feature.XSAVE, Cr4.OSXSAVE],
  ])('without %s neither reports it nor has its bit of CR4', (name, feature, bit) => {
    expect(reportsFeature(cpuidOf('milan'), feature)).toBe(true);
    expect(cr4Implemented(cpuidOf('milan')) & bit).toBe(bit);
    expect(reportsFeature(cpuidOf(`milan,-${name}`), feature)).toBe(false);
    expect(cr4Implemented(cpuidOf(`milan,-${name}`)) & bit).toBe(0);
  });

  it('keeps everything else', () => {
    const cpuid = cpuidOf('turin,-rdrand');
    const whole = cpuidOf('turin');
    expect(cpuid(1, 0)[2]).toBe((whole(1, 0)[2] & ~(1 << 30)) >>> 0);
    for (const leaf of [0, 1, 7, 0x8000_0001, 0x8000_0008, 0x8000_001f])
      for (const register of [0, 1, 3] as const) expect(cpuid(leaf, 0)[register]).toBe(whole(leaf, 0)[register]);
  });

  it('is given back what was taken away, in order', () => {
    expect(reportsFeature(cpuidOf('milan,-pcid,+pcid'), Feature.PCID)).toBe(true);
    expect(reportsFeature(cpuidOf('milan,+pcid,-pcid'), Feature.PCID)).toBe(false);
  });

  it('may lack what the local APIC is able to', () => {
    expect(chooseModel('milan,-x2apic,-tsc-deadline').withheld).toEqual([Feature.X2APIC, Feature.TSC_DEADLINE]);
    expect(chooseModel('milan,-x2apic,+x2apic').withheld).toEqual([]);
  });

  it("takes Linux's names and QEMU's", () => {
    expect(chooseModel('milan,-sse4_2').model.without).toEqual([Feature.SSE42]);
    expect(chooseModel('milan,-SSE4.2, -sse3').model.without).toEqual([Feature.SSE42, Feature.SSE3]);
    expect(chooseModel('milan,-tsc_deadline_timer').withheld).toEqual([Feature.TSC_DEADLINE]);
  });
});

describe('refused in one line:', () => {
  it.each([
    ['pentium', /give one of naples, .*turin/],
    ['milan,pcid', /'pcid' has no sign: write -NAME/],
    ['milan,-', /has no sign/],
    ['milan,-turbo', /no feature is called 'turbo': --cpu help/],
    ['milan,-__proto__', /no feature is called '__proto__'/],
    ['milan,-svm', /no feature is called 'svm'/],
    ['rome,+pcid', /rome has no pcid: the first model that has it is milan/],
    ['naples,-umip,+umip', /naples has no umip/],
  ])('%s', (text, message) => {
    expect(() => chooseModel(text)).toThrow(UserError);
    expect(() => chooseModel(text)).toThrow(message);
  });
});

it('the list of names has all of them', () => {
  for (const name of [...Object.keys(featureNames), ...Object.keys(apicFeatureNames), 'naples', 'turin'])
    expect(modelChoiceHelp()).toContain(name);
});

it('every name stands for a feature that some model has', () => {
  for (const name of Object.keys(featureNames)) expect(() => chooseModel(`turin,+${name}`)).not.toThrow();
});
