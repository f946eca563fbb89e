// Dirty ASIDs on several processors: who makes them so, and what it takes until they are clean. APM 15.34.9; publication 55766, DF_FLUSH.

import { beforeEach, describe, expect, it } from 'vitest';
import { Asids } from '../../src/sev/asid-ownership.ts';

let asids: Asids;
const flush = (...processors: readonly number[]): string => {
  for (const processor of processors) asids.wbinvd(processor);
  return asids.dfFlush();
};

beforeEach(() => {
  asids = new Asids(15, 5, 3);
});

describe('ASIDs', () => {
  it('after INIT need a WBINVD on every processor and a DF_FLUSH before ACTIVATE', () => {
    expect(asids.needsFlush(1)).toBe(true);
    expect([flush(), flush(0), flush(2)]).toEqual(['wbinvd-required', 'wbinvd-required', 'wbinvd-required']);
    expect(asids.needsFlush(1)).toBe(true);
    expect(flush(1)).toBe('done');
    expect(asids.needsFlush(1)).toBe(false);
  });

  it('have an owner from ACTIVATE to DEACTIVATE', () => {
    asids.bind(3, 42);
    expect([asids.owner(3), asids.of(42), asids.of(43), asids.of(0)]).toEqual([42, 3, 0, 0]);
    asids.release(3);
    expect([asids.owner(3), asids.of(42)]).toEqual([0, 0]);
    expect(() => (asids.bind(4, 1), asids.bind(4, 2))).toThrow('ASID bound twice');
  });

  it('range from 1 to the count', () => {
    expect([-1, 0, 1, 15, 16, 1.5].map((asid) => asids.valid(asid))).toEqual([false, false, true, true, false, false]);
    asids.release(99);
    expect(asids.owner(99)).toBe(0);
    for (const asid of [0, 16, 99]) asids.entered(asid);
    expect(asids.needsFlush(16)).toBe(false);
  });
});

describe('an ASID that was taken from its guest', () => {
  beforeEach(() => {
    flush(0, 1, 2);
  });

  it('is clean if the launch was never finished', () => {
    asids.bind(3, 42, true);
    asids.release(3);
    expect(asids.needsFlush(3)).toBe(false);
    expect(flush()).toBe('done');
  });

  it.each([
    ['was finished', () => (asids.bind(3, 42, true), asids.finish(3))],
    ['had been finished under another ASID', () => asids.bind(3, 42)],
  ])('is dirty on every processor if the launch %s', (_, bound) => {
    bound();
    expect(asids.needsFlush(3)).toBe(false);
    asids.release(3);
    expect(asids.needsFlush(3)).toBe(true);
    expect(flush(0, 1)).toBe('wbinvd-required');
    expect(asids.needsFlush(3)).toBe(true);
    expect(flush(2)).toBe('done');
    expect(asids.needsFlush(3)).toBe(false);
  });

  it('is not made clean by a WBINVD from before', () => {
    asids.bind(3, 42);
    for (const processor of [0, 1, 2]) asids.wbinvd(processor);
    asids.release(3);
    expect(flush()).toBe('wbinvd-required');
    expect(asids.needsFlush(3)).toBe(true);
  });

  it('becomes clean processor by processor, also when DF_FLUSH is refused', () => {
    asids.bind(3, 42);
    asids.release(3);
    expect(flush(0, 1)).toBe('wbinvd-required');
    asids.bind(4, 43);
    asids.release(4); // every processor has to write back once more
    expect(flush(2)).toBe('wbinvd-required');
    expect([asids.needsFlush(3), asids.needsFlush(4)]).toEqual([false, true]);
    expect(flush(0, 1)).toBe('done');
    expect(asids.needsFlush(4)).toBe(false);
  });

  it('and in which VMRUN enters a guest all the same is dirty there', () => {
    asids.entered(7, 1);
    expect(asids.needsFlush(7)).toBe(true);
    expect([flush(0, 2), flush(1)]).toEqual(['wbinvd-required', 'done']);
    asids.bind(7, 42);
    asids.entered(7, 1);
    expect([asids.needsFlush(7), flush()]).toEqual([false, 'done']);
  });
});
