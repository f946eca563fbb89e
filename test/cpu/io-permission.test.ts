// I/O protection: IOPL and the permission bitmap of the TSS. APM vol. 2, 12.2.4.

import { describe, expect, test } from 'vitest';
import { Rflags, SegmentAttribute as A } from '../../src/arch/registers.ts';
import { At, type ModeName, ModeBench, type Setup } from './mode-bench.ts';

const bench = new ModeBench();
const protectedModes: readonly ModeName[] = ['protected16', 'protected32', 'compatibility', 'long'];
const MAP = 0x68;
const LIMIT = MAP + 0x80;
const bitmap = (port: number, bits: string, limit = LIMIT): Setup => ({
  segments: { TR: { limit } },
  memory: { [At.TSS + 0x66]: '68 00', [At.TSS + MAP + (port >> 3)]: bits },
});

describe.each(protectedModes)('%s', (mode) => {
  const user = (source: string, setup: Setup = {}): string => bench.run(mode, source, { cpl: 3, ...setup });

  test('CPL up to IOPL needs no bitmap', () => {
    const none = { segments: { TR: { limit: 0 } } };
    expect(bench.run(mode, 'in al, 0x60', none)).toBe('done');
    expect(user('in al, 0x60', { ...none, flags: Rflags.IOPL })).toBe('done');
    expect(user('in al, 0x60', { ...none, flags: 2 << 12 })).toBe('#GP(0)');
  });

  test.each([
    ['in al, 0x67', '80', '#GP(0)'],
    ['in al, 0x67', '7f', 'done'],
    ['in ax, 0x66', '40', '#GP(0)'],
    ['in ax, 0x66', '3f fe', 'done'],
    ['out 0x67, ax', '7f 01', '#GP(0)'],
    ['out 0x67, ax', '7f fe', 'done'],
    ['out 0x65, eax', '1f 01', '#GP(0)'],
    ['out 0x65, eax', '1f fe', 'done'],
    ['in eax, 0x64', '0f ff', 'done'],
  ])('every port of an access must be clear: %s with %s: %s', (source, bits, ending) => {
    expect(user(source, bitmap(0x60, bits))).toBe(ending);
  });

  test('a bitmap beyond the limit raises #GP(0)', () => {
    expect(user('in al, 0x60', bitmap(0x60, '00', MAP + 0xc))).toBe('#GP(0)');
  });

  test('two bytes are read, so that the limit must hold one more', () => {
    expect(user('in al, 0x60', bitmap(0x60, '00', MAP + 0xd))).toBe('done');
  });

  test('a bitmap of FFFFh is none', () => {
    expect(user('in al, 0x60', { segments: { TR: { limit: LIMIT } }, memory: { [At.TSS + 0x66]: 'ff ff' } })).toBe('#GP(0)');
  });

  test('a TSS too short for the offset of the bitmap has none', () => {
    expect(user('in al, 0x60', { segments: { TR: { limit: 0x66 } } })).toBe('#GP(0)');
  });

  test('INS and OUTS are checked before their memory operand', () => {
    const bx = mode === 'long' ? 'rdi' : mode === 'protected16' ? 'di' : 'edi';
    expect(user(`mov dx, 0x60\nmov ${bx}, -1\ninsw`, bitmap(0x60, '01'))).toBe('#GP(0)');
    const at = mode === 'protected16' ? 0 : At.DATA;
    const registers = { rdx: 0x60, rdi: at, rsi: at };
    expect(user('insb\noutsb', { ...bitmap(0x60, '00'), registers })).toBe('done');
  });
});

test('a 16-bit TSS has no bitmap', () => {
  const TR = { limit: LIMIT, attributes: A.P | 3 };
  expect(bench.run('protected32', 'in al, 0x60', { cpl: 3, segments: { TR } })).toBe('#GP(0)');
});

describe('INS and OUTS go through segments', () => {
  const segments = (attributes: number, limit: number): Setup => ({ segments: { ES: { attributes, limit }, DS: { attributes, limit } } });
  const DATA = A.P | A.S | A.WRITABLE | A.ACCESSED | A.DB;
  const registers = { rdi: At.DATA, rsi: At.DATA, rcx: 2 };

  test('INS needs a writable segment, OUTS a readable one', () => {
    expect(bench.run('protected32', 'insd', { ...segments(DATA & ~A.WRITABLE, 0xffff_ffff), registers })).toBe('#GP(0)');
    expect(bench.run('protected32', 'outsd', { ...segments(DATA & ~A.WRITABLE, 0xffff_ffff), registers })).toBe('done');
  });

  test('an element beyond the limit raises #GP(0) after those before it', () => {
    expect(bench.run('protected32', 'rep insd', { ...segments(DATA, At.DATA + 5), registers })).toBe('#GP(0)');
    expect([bench.register('rcx'), bench.register('rdi'), bench.bytes(At.DATA, 5)]).toEqual([1n, BigInt(At.DATA + 4), 'ff ff ff ff 00']);
  });

  test('OUTS through SS raises #SS(0)', () => {
    const SS = { attributes: DATA, limit: At.DATA };
    expect(bench.run('protected32', 'db 0x36\noutsd', { registers, segments: { SS } })).toBe('#SS(0)');
  });

  test('INS of 32 bits with a 16-bit address writes all 32', () => {
    expect(bench.run('protected16', 'insd', {})).toBe('done');
    expect(bench.bytes(At.DATA, 5)).toBe('ff ff ff ff 00');
  });

  test('non-canonical elements raise #GP(0)', () => {
    for (const source of ['insb', 'outsb'])
      expect(bench.run('long', source, { registers: { rdi: 0x8000_0000_0000n, rsi: 0x8000_0000_0000n } })).toBe('#GP(0)');
  });
});
