// Many guests side by side in one process, each with a key of its own.

import { expect, it } from 'vitest';
import { technologies } from '../../src/arch/boot-page.ts';
import { guestOptions, kernel, openHost } from './hosted.ts';

const GUESTS = 24;

it(`${GUESTS} guests of 16 MiB run to their end, and each says the same`, () => {
  const host = openHost({ hostCpus: 3, esAsids: GUESTS, turn: 10_000 });
  const image = kernel('hello');
  const outputs = Array.from({ length: GUESTS }, (): number[] => []);
  const guests = outputs.map((sent, n) => host.create(guestOptions(`guest ${n}`, image, { memory: 16 << 20 }, sent)));
  expect(new Set(guests.map(({ asid }) => asid)).size).toBe(GUESTS);
  expect(host.info().asp?.guests).toBe(GUESTS);
  while (!host.advance(1_000_000));
  for (const guest of guests) expect(guest.result().outcome).toEqual({ kind: 'ended', value: 0 });
  const said = new Set(outputs.map((sent) => String.fromCharCode(...sent)));
  expect(said.size).toBe(1);
  expect([...said][0]).toContain('SEV-ES');
  // Equal plaintext under keys and at addresses of their own: no two have a page in common.
  const pages = new Set<string>();
  let written = 0;
  const bytes = new Uint8Array(0x1000);
  for (const { dram } of guests) {
    for (let page = 0x100; page < 0x110; page++) {
      if (!dram.read(page, bytes)) continue;
      written++;
      pages.add(Buffer.from(bytes).toString('latin1'));
    }
  }
  expect(written).toBeGreaterThan(GUESTS);
  expect(pages.size).toBe(written);
  for (const guest of guests) expect(guest.destroy()).toBeNull();
  expect(host.info().asp?.guests).toBe(0);
  host.dispose();
});

it('guests of all technologies run side by side', () => {
  const host = openHost({ hostCpus: 2, turn: 10_000 });
  const image = kernel('hello');
  const guests = Array.from({ length: 12 }, (_, n) => host.create(guestOptions(String(n), image, { technology: technologies[n % 3]! })));
  while (!host.advance(1_000_000));
  expect(guests.map((guest) => guest.result().status)).toEqual(guests.map(() => 0));
  host.dispose();
});
