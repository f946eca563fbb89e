// What bundles bring along is what would be emitted without it, and changes nothing else.

import { describe, expect, it } from 'vitest';
import { FormSet, prepareCore } from '../../src/cpu/interpreter.ts';
import { preparedCore } from '../../src/cpu/prepared-core.ts';
import { InstructionDecoder } from '../../src/x86/decode.ts';
import type { Form } from '../../src/x86/form.ts';

const THRESHOLD = 1024;

/** ADC RCX, RDX; RDTSC; and NOP, which is a hot form. */
const examples = ['4811d1', '0f31', '90'];

function decoded(): Form[] {
  const decoder = new InstructionDecoder();
  const forms: Form[] = [];
  for (const example of examples)
    decoder.decode(Uint8Array.from(Buffer.from(example, 'hex')), 0, 64, ({ form }) => {
      forms.push(form);
      return false;
    });
  return forms;
}

const names = (set: FormSet): (string | undefined)[] => set.forms.map((form) => form?.name);

describe('the prepared core', () => {
  it('is not there where the sources run as they are', () => expect(preparedCore).toBeNull());

  it('has a module of hot and one of common forms for each threshold', () => {
    const { modules } = prepareCore([0, THRESHOLD], decoded());
    expect([...modules.keys()]).toEqual([0, THRESHOLD]);
    for (const { hot, common } of modules.values()) {
      expect(WebAssembly.Module.exports(new WebAssembly.Module(hot)).map(({ name }) => name)).toEqual(['run']);
      expect(WebAssembly.Module.exports(new WebAssembly.Module(common))).toHaveLength(2);
    }
  });

  it('leaves out of the common forms what is hot, and what is there already', () => {
    const { common } = prepareCore([0], [...decoded(), ...decoded()]);
    expect(common.map(({ name }) => name)).toEqual(['Adc_rm64_r64', 'Rdtsc']);
  });

  it('numbers hot forms as a set does that emits its own, and common ones behind them', () => {
    const prepared = prepareCore([THRESHOLD], decoded());
    const without = new FormSet(prepared.hot, THRESHOLD);
    const set = new FormSet(prepared.hot, THRESHOLD, prepared);
    expect(set.hot).toBe(without.hot);
    expect(names(set)).toEqual([...names(without), 'Adc_rm64_r64', 'Rdtsc']);
    expect(
      decoded()
        .map((form) => set.indexOf(form))
        .slice(0, 2),
    ).toEqual([set.hot, set.hot + 1]);
  });

  it('has handlers for its common forms, so that none is made for them', () => {
    const prepared = prepareCore([THRESHOLD], decoded());
    const set = new FormSet(prepared.hot, THRESHOLD, prepared);
    for (const form of decoded()) set.indexOf(form);
    set.compile();
    expect(set.modules).toHaveLength(1);
  });

  it('is not used for another threshold', () => {
    const prepared = prepareCore([0], decoded());
    const set = new FormSet(prepared.hot, THRESHOLD, prepared);
    expect(set.forms).toHaveLength(set.hot);
    expect(set.modules).toHaveLength(0);
  });
});
