import { describe, expect, it } from 'vitest';
import { Asids } from '../../src/sev/asids.ts';

describe('ASIDs', () => {
  it('after INIT need a WBINVD and a DF_FLUSH before ACTIVATE', () => {
    const asids = new Asids(15, 5);
    expect(asids.needsFlush(1)).toBe(true);
    expect(asids.dfFlush()).toBe('wbinvd-required');
    asids.wbinvd();
    expect(asids.dfFlush()).toBe('done');
    expect(asids.needsFlush(1)).toBe(false);
  });

  it('are dirty after DEACTIVATE only if the guest ran', () => {
    const asids = new Asids(15, 5);
    asids.wbinvd();
    asids.dfFlush();
    asids.bind(3, 42);
    expect([asids.owner(3), asids.of(42), asids.of(43)]).toEqual([42, 3, 0]);
    asids.release(3);
    expect(asids.needsFlush(3)).toBe(false);
    asids.bind(3, 43);
    asids.entered(3);
    asids.release(3);
    expect(asids.needsFlush(3)).toBe(true);
    expect(asids.dfFlush()).toBe('wbinvd-required');
  });

  it('range from 1 to the count', () => {
    const asids = new Asids(15, 5);
    expect([-1, 0, 1, 15, 16, 1.5].map((asid) => asids.valid(asid))).toEqual([false, false, true, true, false, false]);
    asids.release(99);
    expect(asids.owner(99)).toBe(0);
  });
});
