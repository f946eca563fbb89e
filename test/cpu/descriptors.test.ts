// Instructions that look at descriptors or load system segments. APM vol. 3: LAR, LSL, VERR, VERW, ARPL, LLDT, LTR, SLDT, STR, SMSW, LGDT,
// LIDT, SGDT, SIDT; vol. 2, 4.7.3 and 4.8 (types of system descriptors in legacy and long mode).

import { describe, expect, test } from 'vitest';
import { Rflags, SegmentAttribute as A } from '../../src/arch/registers.ts';
import { Segment } from '../../src/memory/state.ts';
import { At, descriptor, ModeBench, type Setup } from './mode-bench.ts';

const bench = new ModeBench();
const SELECTOR = 0x20;
const BASE = At.DATA;
const { P, S, DPL, CODE, WRITABLE, CONFORMING, G } = A;
const modes = ['protected16', 'protected32', 'compatibility', 'long'] as const;
const isLong = (mode: (typeof modes)[number]): boolean => mode === 'long' || mode === 'compatibility';

/** Runs with a selector in AX and CX and a descriptor behind it; says whether ZF was set. */
function zero(
  mode: (typeof modes)[number],
  source: string,
  attributes: number,
  setup: Setup & { readonly selector?: number } = {},
): boolean {
  const selector = setup.selector ?? SELECTOR;
  const tables = { [selector & 0xfffc]: descriptor(attributes, BASE, 0x12345) };
  const registers = { rax: selector, rcx: selector, rbx: 0x5555_5555 };
  expect(bench.run(mode, source, { registers, tables, ...setup })).toBe('done');
  return (bench.rflags & Rflags.ZF) !== 0;
}

describe.each(modes)('%s', (mode) => {
  const types = Array.from({ length: 16 }, (_, n) => n);

  test('LAR knows LDTs, TSSs, call gates and task gates; of long mode those that it has', () => {
    const seen = types.filter((type) => zero(mode, 'lar ebx, ecx', P | DPL | type));
    expect(seen).toEqual(isLong(mode) ? [2, 9, 0xb, 0xc] : [1, 2, 3, 4, 5, 9, 0xb, 0xc]);
  });

  test('LSL knows LDTs and TSSs', () => {
    const seen = types.filter((type) => zero(mode, 'lsl ebx, ecx', P | DPL | type));
    expect(seen).toEqual(isLong(mode) ? [2, 9, 0xb] : [1, 2, 3, 9, 0xb]);
  });

  test('LAR and LSL know every code and data segment, present or not', () => {
    for (const source of ['lar ebx, ecx', 'lsl ebx, ecx'])
      for (const present of [0, P]) expect(types.every((type) => zero(mode, source, present | S | DPL | type))).toBe(true);
  });

  test('VERR takes data and readable code, VERW writable data, neither a system segment', () => {
    expect(types.filter((type) => zero(mode, 'verr ax', P | S | DPL | type))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 0xa, 0xb, 0xe, 0xf]);
    expect(types.filter((type) => zero(mode, 'verw ax', P | S | DPL | type))).toEqual([2, 3, 6, 7]);
    for (const source of ['verr ax', 'verw ax']) expect(types.some((type) => zero(mode, source, P | DPL | type))).toBe(false);
  });

  test.each(['lar ebx, ecx', 'lsl ebx, ecx', 'verr ax', 'verw ax'])('%s: DPL must be at least CPL and RPL', (source) => {
    const data = P | S | WRITABLE;
    expect(zero(mode, source, data)).toBe(true);
    expect(zero(mode, source, data, { selector: SELECTOR | 1 })).toBe(false);
    expect(zero(mode, source, data | (1 << 5), { selector: SELECTOR | 1 })).toBe(true);
    expect(zero(mode, source, data | (2 << 5), { cpl: 3 })).toBe(false);
    expect(zero(mode, source, data | DPL, { cpl: 3 })).toBe(true);
  });

  test.each(['lar ebx, ecx', 'lsl ebx, ecx', 'verr ax'])('%s: conforming code is seen from everywhere', (source) => {
    expect(zero(mode, source, P | S | CODE | CONFORMING | WRITABLE, { cpl: 3, selector: SELECTOR | 3 })).toBe(true);
  });

  test.each(['lar ebx, ecx', 'lsl ebx, ecx', 'verr ax', 'verw ax'])('%s: null, beyond the table or without an LDT clears ZF', (source) => {
    const flags = Rflags.ZF;
    for (const selector of [0, 3, 0x80, 0x84]) expect(zero(mode, source, P | S | WRITABLE, { selector, flags })).toBe(false);
    expect(bench.register('rbx')).toBe(0x5555_5555n);
    expect(zero(mode, source, P | S | WRITABLE, { selector: 0x24 })).toBe(true);
    expect(zero(mode, source, P | S | WRITABLE, { selector: 0x24, segments: { LDTR: { attributes: 0 } }, flags })).toBe(false);
  });

  test('LAR gives bits 23:8 of the upper half, LSL the limit in bytes', () => {
    zero(mode, 'lar ebx, ecx', P | S | WRITABLE | G);
    expect(bench.register('rbx')).toBe(0x0081_9200n);
    zero(mode, 'lar bx, cx', P | S | WRITABLE | G);
    expect(bench.register('rbx')).toBe(0x5555_9200n);
    zero(mode, 'lsl ebx, ecx', P | S | WRITABLE | G);
    expect(bench.register('rbx')).toBe(0x1234_5fffn);
    zero(mode, 'lsl ebx, ecx', P | S | WRITABLE);
    expect(bench.register('rbx')).toBe(0x12345n);
    zero(mode, 'lsl bx, cx', P | S | WRITABLE);
    expect(bench.register('rbx')).toBe(0x5555_2345n);
  });

  const load = (
    source: 'ltr ax' | 'lldt ax',
    type: number,
    setup: Setup & { readonly upper?: bigint; readonly selector?: number } = {},
  ): string => {
    const tables = { [SELECTOR]: descriptor(P | type, BASE, 0x67), [SELECTOR + 8]: setup.upper ?? 0n };
    return bench.run(mode, source, { registers: { rax: setup.selector ?? SELECTOR }, tables, ...setup });
  };

  test('LTR takes a TSS that is not busy and marks it busy', () => {
    const accepted = types.filter((type) => load('ltr ax', type) === 'done');
    expect(accepted).toEqual(isLong(mode) ? [9] : [1, 9]);
    expect(load('ltr ax', 0xb)).toBe('#GP(20)');
    expect(load('ltr ax', 9)).toBe('done');
    expect(bench.segment(Segment.TR)).toEqual({ selector: SELECTOR, attributes: P | 0xb, limit: 0x67, base: BASE });
    expect(bench.bytes(At.GDT + SELECTOR + 5, 1)).toBe('8b');
  });

  test('LLDT takes an LDT', () => {
    expect(types.filter((type) => load('lldt ax', type) === 'done')).toEqual([2]);
    expect(load('lldt ax', 2)).toBe('done');
    expect(bench.segment(Segment.LDTR)).toEqual({ selector: SELECTOR, attributes: P | 2, limit: 0x67, base: BASE });
    expect(load('lldt ax', S | 2)).toBe('#GP(20)');
  });

  test.each([
    ['ltr ax', 9],
    ['lldt ax', 2],
  ] as const)('%s: what it refuses, and with which error code', (source, type) => {
    expect(load(source, type, { cpl: 3 })).toBe('#GP(0)');
    expect(load(source, type, { tables: { [SELECTOR]: descriptor(type, BASE, 0x67) } })).toBe('#NP(20)');
    expect(load(source, type, { selector: 0x24 })).toBe('#GP(24)');
    expect(load(source, type, { selector: 0x83 })).toBe('#GP(80)');
    expect(load(source, type, { selector: SELECTOR | 3 })).toBe('done');
    expect(load(source, type, { segments: { GDTR: { limit: SELECTOR + 6 } } })).toBe('#GP(20)');
    expect(load(source, type, { segments: { GDTR: { limit: SELECTOR + 7 } } })).toBe(isLong(mode) ? '#GP(20)' : 'done');
    expect(load(source, type, { segments: { GDTR: { limit: SELECTOR + 15 } } })).toBe('done');
  });

  test('a null selector makes the LDT unusable; TR does not take one', () => {
    expect(load('ltr ax', 9, { selector: 3 })).toBe('#GP(0)');
    expect(load('lldt ax', 2, { selector: 3 })).toBe('done');
    expect(
      bench.run(mode, 'lldt ax\nmov ds, cx', {
        registers: { rax: 0, rcx: 0x24 },
        tables: { 0x24: descriptor(P | S | WRITABLE, 0, 0xffff) },
      }),
    ).toBe('#GP(24)');
  });

  test('in long mode a system descriptor has 16 bytes: 64 bits of base, and a type of 0 in the upper half', () => {
    if (!isLong(mode)) return;
    expect(load('lldt ax', 2, { upper: 0xffff_8000n })).toBe('done');
    expect(bench.segment(Segment.LDTR).base).toBe(Number(0xffff_8000_0002_0000n));
    expect(load('lldt ax', 2, { upper: 0x8000n })).toBe('#GP(20)');
    expect(load('ltr ax', 9, { upper: 0x0000_0100_0000_0000n })).toBe('#GP(20)');
    expect(load('ltr ax', 9, { upper: 0x0000_1000_0000_0000n })).toBe('#GP(20)');
    expect(load('ltr ax', 9, { upper: 0xffff_e0ff_0000_0000n })).toBe('done');
  });

  test('SLDT, STR and SMSW fill a register of the operand size; of memory 16 bits', () => {
    const registers = { rax: -1n, rbx: -1n, rcx: -1n };
    expect(bench.run(mode, 'sldt ax\nstr ebx', { registers })).toBe('done');
    expect([bench.register('rax') & 0xffff_ffffn, bench.register('rbx')]).toEqual([0xffff_0058n, 0x60n]);
    const memory = { [At.DATA]: 'ff ff ff ff' };
    const place = mode === 'protected16' ? '[0]' : `[${At.DATA}]`;
    expect(bench.run(mode, `sldt ${place}`, { memory })).toBe('done');
    expect(bench.bytes(At.DATA, 4)).toBe('58 00 ff ff');
    expect(bench.run(mode, `str ${place}`, { memory })).toBe('done');
    expect(bench.bytes(At.DATA, 4)).toBe('60 00 ff ff');
    expect(bench.run(mode, `smsw ${place}`, { memory })).toBe('done');
    expect(bench.bytes(At.DATA + 2, 2)).toBe('ff ff');
    expect(bench.run(mode, 'smsw ecx', { registers })).toBe('done');
    expect(bench.register('rcx')).toBe(isLong(mode) ? 0x8005_0033n : 0x31n);
  });
});

describe('pseudo-descriptors', () => {
  const memory = { [At.DATA]: 'ff 7f 88 77 66 55 44 33 00 00 aa' };
  test.each([
    ['real', '[0]', 0x66_7788n, 0x5566_7788n],
    ['protected16', '[0]', 0x66_7788n, 0x5566_7788n],
    ['protected32', '[0x20000]', 0x5566_7788n, 0x66_7788n],
    ['compatibility', '[0x20000]', 0x5566_7788n, 0x66_7788n],
    ['long', '[0x20000]', 0x3344_5566_7788n, 0x3344_5566_7788n],
  ] as const)('LGDT and LIDT in %s', (mode, place, usual, prefixed) => {
    for (const [name, segment] of [
      ['lgdt', Segment.GDTR],
      ['lidt', Segment.IDTR],
    ] as const) {
      expect(bench.run(mode, `${name} ${place}`, { memory })).toBe('done');
      expect(bench.segment(segment)).toMatchObject({ limit: 0x7fff, base: Number(usual) });
      expect(bench.run(mode, `db 0x66\n${name} ${place}`, { memory })).toBe('done');
      expect(bench.segment(segment)).toMatchObject({ limit: 0x7fff, base: Number(prefixed) });
    }
  });

  test.each([
    ['real', '[0]', 'ff 7f 88 77 66 55 aa'],
    ['protected32', '[0x20000]', 'ff 7f 88 77 66 55 aa'],
    ['long', '[0x20000]', 'ff 7f 88 77 66 55 00 00 00 00 aa'],
  ] as const)('SGDT and SIDT in %s store the whole base, whatever the operand size', (mode, place, stored) => {
    const table = { limit: 0x7fff, base: 0x5566_7788 };
    const filled = { [At.DATA]: Array.from({ length: 11 }, () => 'aa').join(' ') };
    for (const source of [`sgdt ${place}`, `sidt ${place}`, `db 0x66\nsgdt ${place}`]) {
      expect(bench.run(mode, source, { memory: filled, segments: { GDTR: table, IDTR: table } })).toBe('done');
      expect(bench.bytes(At.DATA, stored.split(' ').length)).toBe(stored);
    }
  });

  test.each(['lgdt [ebx]', 'lidt [ebx]'])('%s at CPL 3 raises #GP(0), whatever its operand is', (source) => {
    expect(bench.run('protected32', source, { cpl: 3 })).toBe('#GP(0)');
    expect(bench.run('protected32', 'lgdt [ebp]', { cpl: 3, segments: { SS: { limit: 0 } } })).toBe('#GP(0)');
  });
});
