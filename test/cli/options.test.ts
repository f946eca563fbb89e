import { describe, expect, it } from 'vitest';
import {
  parseAddress,
  parseCount,
  parseDate,
  parseList,
  parseMemory,
  parseMode,
  parseModel,
  parseRegisters,
  parseTechnology,
} from '../../src/cli/options.ts';
import { parseSeed } from '../../src/cli/seed.ts';
import { UserError } from '../../src/util/errors.ts';

const MIB = 2 ** 20;

describe('--memory', () => {
  it.each([
    ['64M', 64 * MIB],
    ['64m', 64 * MIB],
    ['1MiB', MIB],
    ['2048K', 2 * MIB],
    ['3G', 3072 * MIB],
    ['1048576', MIB],
    ['0x100000', MIB],
  ])('%s', (text, bytes) => expect(parseMemory(text)).toBe(bytes));
  it.each(['', '64X', '-1', '1.5G', '64 M M', '512K', '4G', '1048577', '999999999999G', '0x', 'M'])(
    '%j is refused with the mend',
    (text) => {
      expect(() => parseMemory(text)).toThrow(UserError);
      expect(() => parseMemory(text)).toThrow(/give /);
    },
  );
});

describe('addresses', () => {
  it.each([
    ['0x100000', 0x10_0000],
    ['0X7C00', 0x7c00],
    ['0', 0],
    ['31744', 0x7c00],
  ])('%s', (text, address) => expect(parseAddress('--load', text)).toBe(address));
  it.each(['', '0x', '7c00h', '-1', '1e3', '0xfffffffffffffffff', '0x10000000000000', '1M'])('%j is refused, naming the option', (text) => {
    expect(() => parseAddress('--entry', text)).toThrow(/^--entry/);
  });
});

describe('--max-instructions', () => {
  it.each([
    ['1', 1],
    ['1_000_000', 1e6],
    ['5M', 5e6],
    ['2G', 2e9],
    ['10k', 1e4],
  ])('%s', (text, count) => expect(parseCount('--max-instructions', text)).toBe(count));
  it.each(['', '0', '-5', 'M', '1e9', '99999999999999999999', '9007199254740993'])('%j is refused', (text) => {
    expect(() => parseCount('--max-instructions', text)).toThrow(UserError);
  });
});

describe('--rtc', () => {
  it.each([
    ['2026-01-31', Date.UTC(2026, 0, 31)],
    ['2026-01-31T12:00', Date.UTC(2026, 0, 31, 12)],
    ['2026-01-31T12:34:56Z', Date.UTC(2026, 0, 31, 12, 34, 56)],
    ['2026-01-31 12:34:56', Date.UTC(2026, 0, 31, 12, 34, 56)],
    ['2024-02-29', Date.UTC(2024, 1, 29)],
  ])('%s', (text, milliseconds) => expect(parseDate(text)).toBe(milliseconds));
  it.each(['', 'today', '2026-02-30', '2026-13-01', '2026-1-1', '31.01.2026', '2026-01-31T25:00', '2026-01-31T12:00+02:00'])(
    '%j is refused',
    (text) => {
      expect(() => parseDate(text)).toThrow(UserError);
    },
  );
});

describe('names', () => {
  it('are taken in any case', () => {
    expect(parseTechnology('SEV-ES')).toBe('sev-es');
    expect(parseModel('Milan')).toBe('milan');
    expect(parseMode('16')).toBe(16);
    expect(parseMode('PVH')).toBe('pvh');
    expect(parseMode('multiboot')).toBe('multiboot');
    expect(parseRegisters('JSON')).toBe('json');
  });
  it('that are unknown are refused with those that are known', () => {
    expect(() => parseTechnology('sev-snp')).toThrow('give one of none, sev, sev-es');
    expect(() => parseModel('pentium')).toThrow(/naples.*turin/);
    expect(() => parseMode('48')).toThrow(UserError);
    expect(() => parseRegisters('text')).toThrow(/--registers text: give json/);
  });
  it('in lists are separated by commas', () => {
    expect(parseList('rdtsc, cr,,rdtscp ')).toEqual(['rdtsc', 'cr', 'rdtscp']);
  });
});

describe('--seed', () => {
  it.each([
    ['0', '0'],
    ['0x10', '16'],
    ['18446744073709551615', '18446744073709551615'],
    ['007', '7'],
  ])('%s', (text, value) => expect(parseSeed(text)).toEqual({ value, drawn: false }));
  it('random draws one that can be given again', () => {
    const { value, drawn } = parseSeed('random');
    expect(drawn).toBe(true);
    expect(parseSeed(value)).toEqual({ value, drawn: false });
  });
  it.each(['', '-1', 'x', '18446744073709551616', '1.5'])('%j is refused', (text) => expect(() => parseSeed(text)).toThrow(UserError));
});
