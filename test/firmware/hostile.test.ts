// A host that sends the AMD-SP anything in any order: every command gets a status that the manual names, and the platform's
// own books stay consistent.

import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { AspCommand, aspStatusName, GuestState, PlatformState } from '../../src/arch/asp.ts';
import { Box, BUFFER, DRAM_SIZE, PAGE, TMR } from './box.ts';

const word = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 16, 48, 4096, 0x10_0000, PAGE, TMR, TMR - 16, DRAM_SIZE - 16, 0xffff_ffff),
  fc.nat(0xffff_ffff),
);
const command = fc.record({
  id: fc.oneof(fc.constantFrom(...Object.values(AspCommand)), fc.nat(0x7fff)),
  words: fc.array(word, { minLength: 9, maxLength: 9 }),
  address: fc.oneof(
    { weight: 9, arbitrary: fc.constant(BigInt(BUFFER)) },
    { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }) },
  ),
  wbinvd: fc.boolean(),
});

it('any commands in any order are answered with a status, and never with an exception', () => {
  fc.assert(
    fc.property(fc.array(command, { minLength: 20, maxLength: 60 }), (commands) => {
      const box = new Box();
      box.init();
      box.flush();
      for (const policy of [4, 4, 0]) box.start(policy);
      box.activate(1, 1);
      for (const { id, words, address, wbinvd } of commands) {
        const bytes = new Uint8Array(Uint32Array.from(words).buffer);
        if (id === AspCommand.LAUNCH_UPDATE_DATA) bytes.fill(0, 0x11, 0x14); // short regions: speed
        box.write(BUFFER, bytes);
        if (wbinvd) box.asids.wbinvd();
        expect(aspStatusName(box.asp.execute(id, address))).not.toMatch(/^STATUS/);
      }
      const { state, guestCount } = box.platformStatus();
      expect(state === PlatformState.WORKING).toBe(guestCount > 0);
      if (state !== PlatformState.WORKING) return;
      for (let asid = 1; asid <= 15; asid++) {
        const owner = box.asids.owner(asid);
        if (owner !== 0) expect(box.guestStatus(owner)).toMatchObject({ asid });
        if (box.asids.pending(asid)) expect(box.guestStatus(owner).state).not.toBe(GuestState.RUNNING);
      }
    }),
    { numRuns: 60, seed: 24 },
  );
});
