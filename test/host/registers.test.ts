// Guests of all technologies take turns on the same processors, so short that each loses them some hundred times: every register stays its own.

import { describe, expect, it } from 'vitest';
import { technologies } from '../../src/arch/boot-page.ts';
import type { HostedGuest } from '../../src/host.ts';
import { flat, guestOptions, openHost } from './hosted.ts';
import { GOOD, heldNames, nameOf, registerGuest, RESULT } from './register-guest.ts';

function said({ machine }: ReturnType<typeof openHost>, { guest, technology, asid }: HostedGuest): number {
  const bytes = new Uint8Array(4);
  // What a plain guest wrote is as the host maps it.
  if (technology === 'none') guest.vm.read(BigInt(RESULT), bytes);
  else machine.engine.frames.read(guest.vm.config.ram.at + RESULT, asid, bytes);
  return new DataView(bytes.buffer).getUint32(0, true);
}

describe.each([
  { hostCpus: 1, turn: 97, cpu: 'milan' },
  { hostCpus: 2, turn: 150, cpu: 'genoa', sme: true },
] as const)('on $hostCpus processors of $cpu, in turns of $turn instructions', (options) => {
  it.each(technologies.map((technology) => [technology]))('%s guests keep their registers beside guests of every technology', (first) => {
    const host = openHost(options);
    const kinds = [first, ...technologies, ...technologies];
    const guests = kinds.map((technology, n) => host.create(guestOptions(String(n), flat(registerGuest(n, 40)), { technology })));
    while (!host.advance(100_000));
    for (const guest of guests) {
      const { outcome, exits } = guest.result();
      expect({ technology: guest.technology, outcome: outcome.kind, found: nameOf(said(host, guest)) }).toEqual({
        technology: guest.technology,
        outcome: 'halted',
        found: nameOf(GOOD),
      });
      expect(exits['INTR']).toBeGreaterThan(40);
    }
    host.dispose();
  });
});

it('what a guest with SEV-ES and DebugSwap has in its debug registers is its own, too', () => {
  const host = openHost({ turn: 97, cpu: 'genoa' });
  const swaps = [['debug-swap'], [], ['debug-swap'], []];
  const guests = swaps.map((sevFeatures, n) => host.create(guestOptions(String(n), flat(registerGuest(n, 20)), { sevFeatures })));
  while (!host.advance(100_000));
  expect(guests.map((guest) => nameOf(said(host, guest)))).toEqual(guests.map(() => nameOf(GOOD)));
  host.dispose();
});

it('the test would notice: without what moves them a guest finds another’s', () => {
  const seen = new Set<string>();
  for (const technology of ['none', 'sev'] as const) {
    const host = openHost({ turn: 97 });
    for (const processor of host.machine.processors) {
      processor.storeRegisters = () => {};
      processor.loadRegisters = () => {};
    }
    const guests = [0, 1].map((n) => host.create(guestOptions(String(n), flat(registerGuest(n, 40)), { technology })));
    while (!host.advance(100_000));
    for (const guest of guests) seen.add(nameOf(said(host, guest)));
    host.dispose();
  }
  seen.delete(nameOf(GOOD)); // of one that went on when the other had given up
  expect(seen.size).toBeGreaterThan(0);
  for (const name of seen) expect(heldNames).toContain(name);
});
