// Guests that come and go at random (test/fuzz-hosts), and what is broken on purpose to see whether the campaign notices.

import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Host } from '../../src/host.ts';
import { Asids } from '../../src/sev/asid-ownership.ts';
import { campaign } from '../fuzz-hosts/campaign.ts';
import { settings } from '../fuzz-hosts/settings.ts';

/** Of all settings together; `npm run fuzz:hosts` makes more. */
const STEPS = 10_000;

afterEach(() => void vi.restoreAllMocks());

describe.each(Object.entries(settings))('%s: guests that come and go at random', (name, host) => {
  it('keep their plaintext, give back all they had, and get ASIDs only after WBINVD on all processors and DF_FLUSH', () => {
    const report = campaign({ seed: name, steps: STEPS / Object.keys(settings).length, host });
    expect(report.faults).toEqual([]);
    expect(report.created).toBeGreaterThan(300);
    expect(report.destroyed).toBe(report.created);
    expect(report.reused).toBeGreaterThan(50);
    expect(report.flushes).toBeGreaterThan(5);
    expect(report.looks).toBeGreaterThan(10_000);
  });
});

describe('it is noticed', () => {
  const sabotaged = (sabotage: (host: Host) => void, host = settings['naples']!) =>
    campaign({ seed: '1', steps: 3000, host, sabotage }).faults;

  it('when DF_FLUSH is left out', () => {
    const faults = sabotaged(({ system }) => {
      if (system.asp !== null) system.asp.dfFlush = () => ({ ok: true });
    });
    expect(faults.join('\n')).toMatch(/ACTIVATE with DFFLUSH_REQUIRED/);
  });

  it('when WBINVD is left out on one of the processors', () => {
    const faults = sabotaged(({ machine }) => {
      machine.processors[1]!.wbinvd = () => {};
    });
    expect(faults.join('\n')).toMatch(/DF_FLUSH, which the AMD-SP answers with WBINVD_REQUIRED/);
  });

  it('when the AMD-SP does not insist on either', () => {
    const faults = sabotaged(({ machine, system }) => {
      for (const processor of machine.processors) processor.wbinvd = () => {};
      const { asp } = system;
      if (asp !== null) asp.dfFlush = () => ({ ok: true });
      vi.spyOn(Asids.prototype, 'needsFlush').mockReturnValue(false);
    });
    expect(faults.join('\n')).toMatch(/another guest without WBINVD on all processors and DF_FLUSH/);
  });

  it('when WBINVD leaves lines in caches', () => {
    const faults = sabotaged(({ machine }) => {
      machine.engine.frames.wbinvd = () => {};
    });
    expect(faults.join('\n')).toMatch(/plaintext|something in it/);
  });

  it.each(['naples', 'milan'])('when on %s two guests get the same key', (name) => {
    const faults = sabotaged(({ machine: { encryption } }) => {
      const setKey = encryption.setKey.bind(encryption);
      encryption.setKey = (slot, key) => setKey(slot, key === null ? null : new Uint8Array(16));
    }, settings[name]);
    expect(faults.join('\n')).toMatch(/decrypts a page of|plaintext/);
  });
});
