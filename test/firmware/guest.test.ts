// Guests, their ASIDs and their states: LAUNCH_START to DECOMMISSION. Publication 55766; order of the checks as the published
// firmware has it.

import { describe, expect, it } from 'vitest';
import { activate } from '../../firmware/activation.ts';
import { GuestContext, MOST_GUESTS } from '../../firmware/guest-context.ts';
import { Platform } from '../../firmware/platform.ts';
import {
  ActivateBuffer,
  aspStatusName,
  GuestPolicy,
  GuestState,
  HandleBuffer,
  LaunchRegionBuffer,
  LaunchStartBuffer,
  PlatformState,
} from '../../src/arch/asp.ts';
import { encryptMemory, publishedTweak } from '../second-implementation.ts';
import { Box, ES_ASID, hex, launching, MEASURE_AT, PAGE, pattern, ready, running, SEV_ASID } from './box.ts';

const { ES, NOKS, NODBG } = GuestPolicy;

/** No command leads to SENT yet, so a platform by itself, with a guest that was put there. Nothing is flushed; ASID 2 is taken. */
function platformWithSentGuest() {
  const box = new Box();
  const platform = new Platform(box.ports);
  const [sent, other] = [1, 2].map((handle) => new GuestContext(handle, ES, new Uint8Array(16))) as [GuestContext, GuestContext];
  sent.state = GuestState.SENT;
  box.asids.bind(2, other.handle);
  return { platform, sent, other, taken: 2 };
}
const start = (box: Box, fields: Parameters<typeof box.call<typeof LaunchStartBuffer.layout>>[2]) =>
  box.call('LAUNCH_START', LaunchStartBuffer, fields);

describe('commands about a guest', () => {
  const names = [
    'DECOMMISSION',
    'ACTIVATE',
    'DEACTIVATE',
    'LAUNCH_UPDATE_DATA',
    'LAUNCH_UPDATE_VMSA',
    'LAUNCH_MEASURE',
    'LAUNCH_FINISH',
  ] as const;
  const call = (box: Box, name: (typeof names)[number], handle: number) =>
    box.call(name, LaunchRegionBuffer, { handle, length: 4096 }).status;

  it.each(names)('%s outside WORKING gives INVALID_PLATFORM_STATE', (name) => {
    expect(call(new Box(), name, 1)).toBe('INVALID_PLATFORM_STATE');
    expect(call(ready(), name, 1)).toBe('INVALID_PLATFORM_STATE');
  });

  it.each(names)('%s with a handle that no guest has gives INVALID_GUEST', (name) => {
    const { box, handle } = launching();
    for (const wrong of [0, handle + 1, 0xffff_ffff]) expect(call(box, name, wrong)).toBe('INVALID_GUEST');
  });

  it.each(['LAUNCH_UPDATE_DATA', 'LAUNCH_UPDATE_VMSA', 'LAUNCH_MEASURE', 'LAUNCH_FINISH'] as const)(
    '%s of a guest that runs gives INVALID_GUEST_STATE',
    (name) => {
      const { box, handle } = running();
      expect(call(box, name, handle)).toBe('INVALID_GUEST_STATE');
    },
  );
});

describe('LAUNCH_START', () => {
  it('outside INIT and WORKING gives INVALID_PLATFORM_STATE', () => {
    expect(start(new Box(), {}).status).toBe('INVALID_PLATFORM_STATE');
  });

  it('makes a guest in LUPDATE and takes the platform to WORKING', () => {
    const box = ready();
    const { status, out } = start(box, { policy: ES | NODBG });
    expect(status).toBe('SUCCESS');
    expect(out.handle).not.toBe(0);
    expect(box.guestStatus(out.handle)).toMatchObject({ policy: ES | NODBG, asid: 0, state: GuestState.LUPDATE });
    expect(box.platformStatus()).toMatchObject({ state: PlatformState.WORKING, guestCount: 1 });
  });

  it("without an owner's session does not validate the policy", () => {
    expect(start(ready(), { policy: 0xffff_ffc0 }).status).toBe('SUCCESS');
  });

  it("with an owner's session checks the lengths, then says UNSUPPORTED", () => {
    const session = { dhCertPaddr: 0x4000n, dhCertLength: 0x824, sessionPaddr: 0x5000n, sessionLength: 0x80 };
    expect(start(ready(), { ...session, sessionLength: 0x7f }).status).toBe('INVALID_LEN');
    expect(start(ready(), { ...session, dhCertLength: 0x823 }).status).toBe('INVALID_LEN');
    expect(start(ready(), session).status).toBe('UNSUPPORTED');
  });

  it('of an SEV-ES guest on a platform initialised without SEV-ES gives UNSUPPORTED', () => {
    const box = new Box();
    box.init({ flags: 0 });
    expect(start(box, { policy: ES }).status).toBe('UNSUPPORTED');
    expect(start(box, { policy: 0 }).status).toBe('SUCCESS');
  });

  it('sharing a key with a handle that no guest has gives INVALID_GUEST', () => {
    expect(start(ready(), { handle: 3 }).status).toBe('INVALID_GUEST');
  });

  it('sharing a key under another policy, or with NOKS, gives POLICY_FAILURE', () => {
    const box = ready();
    expect(start(box, { handle: box.start(NODBG), policy: 0 }).status).toBe('POLICY_FAILURE');
    expect(start(box, { handle: box.start(NOKS), policy: NOKS }).status).toBe('POLICY_FAILURE');
  });

  it('sharing a key gives both guests one: what one encrypts, the other reads', () => {
    const box = ready();
    const first = box.start(0);
    const second = start(box, { handle: first }).out.handle;
    expect(second).not.toBe(first);
    box.activate(first, SEV_ASID);
    box.activate(second, SEV_ASID + 1);
    box.write(PAGE, pattern(4096));
    box.region('LAUNCH_UPDATE_DATA', first, PAGE, 4096);
    const seen = new Uint8Array(4096);
    box.frames.read(PAGE, SEV_ASID + 1, seen);
    expect(hex(seen)).toBe(hex(pattern(4096)));
  });

  it('draws a key of its own for every guest', () => {
    const box = ready();
    box.start(0);
    box.start(0);
    expect(box.drawn.map((key) => key.length)).toEqual([16, 16]);
    expect(hex(box.drawn[0]!)).not.toBe(hex(box.drawn[1]!));
  });

  it('with every handle in use gives RESOURCE_LIMIT', () => {
    const box = ready();
    for (let n = 0; n < MOST_GUESTS; n++) box.start(0);
    expect(start(box, {}).status).toBe('RESOURCE_LIMIT');
    expect(box.forGuest('DECOMMISSION', 7)).toBe('SUCCESS');
    expect(start(box, {}).out.handle).toBe(7);
  });
});

describe('ACTIVATE', () => {
  it.each([0, 16, 0xffff_ffff])('of ASID %i gives INVALID_ASID', (asid) => {
    const box = ready();
    expect(box.activate(box.start(0), asid)).toBe('INVALID_ASID');
  });

  it("of another guest's ASID gives ASID_OWNED", () => {
    const { box, asid } = launching();
    expect(box.activate(box.start(ES), asid)).toBe('ASID_OWNED');
  });

  it('of an active guest gives ACTIVE, on its ASID and on another', () => {
    const { box, handle, asid } = launching();
    expect(box.activate(handle, asid)).toBe('ACTIVE');
    expect(box.activate(handle, asid + 1)).toBe('ACTIVE');
  });

  it('before the first DF_FLUSH gives DFFLUSH_REQUIRED', () => {
    const box = new Box();
    box.init();
    expect(box.activate(box.start(ES), ES_ASID)).toBe('DFFLUSH_REQUIRED');
    box.asids.wbinvd();
    expect(box.activate(1, ES_ASID)).toBe('DFFLUSH_REQUIRED');
    box.plain('DF_FLUSH');
    expect(box.activate(1, ES_ASID)).toBe('SUCCESS');
  });

  it('of a guest that was sent away gives INVALID_GUEST_STATE, after the ASID and before the flush', () => {
    const { platform, ...guests } = platformWithSentGuest();
    const status = (guest: GuestContext, asid: number): string => {
      const { view } = ActivateBuffer.create();
      view.asid = asid;
      return aspStatusName(activate(platform, view, guest));
    };
    expect(status(guests.sent, 16)).toBe('INVALID_ASID');
    expect(status(guests.sent, guests.taken)).toBe('ASID_OWNED');
    expect(status(guests.sent, ES_ASID)).toBe('INVALID_GUEST_STATE');
    expect(status(guests.other, ES_ASID)).toBe('DFFLUSH_REQUIRED');
  });

  it('checks ASID, owner, activity, flush and limit in this order', () => {
    const box = ready();
    const [es, plain, late] = [box.start(ES), box.start(0), box.start(ES)];
    box.activate(es, 1);
    box.activate(plain, 5);
    expect(box.activate(es, 99)).toBe('INVALID_ASID'); // active, too
    expect(box.activate(es, 5)).toBe('ASID_OWNED'); // active, too, and the ASID on the wrong side
    expect(box.activate(es, 6)).toBe('ACTIVE'); // on the wrong side, too
    for (const asid of [2, 6]) box.asids.entered(asid);
    expect(box.activate(es, 2)).toBe('ACTIVE'); // dirty, too
    expect(box.activate(late, 6)).toBe('DFFLUSH_REQUIRED'); // on the wrong side, too
    expect(box.activate(late, 7)).toBe('INVALID_ASID');
    expect(box.guestStatus(late).asid).toBe(0);
  });

  it('of an ASID on the wrong side of the SEV-ES limit gives INVALID_ASID', () => {
    const box = ready();
    expect(box.activate(box.start(ES), 5)).toBe('INVALID_ASID');
    expect(box.activate(box.start(0), 4)).toBe('INVALID_ASID');
    expect(box.activate(1, 4)).toBe('SUCCESS');
    expect(box.activate(2, 5)).toBe('SUCCESS');
  });

  it('leaves the guest pending, so that VMRUN fails, until LAUNCH_FINISH', () => {
    const { box, handle, asid } = launching();
    expect(box.asids.pending(asid)).toBe(true);
    box.region('LAUNCH_MEASURE', handle, MEASURE_AT, 48);
    expect(box.asids.pending(asid)).toBe(true);
    box.forGuest('LAUNCH_FINISH', handle);
    expect(box.asids.pending(asid)).toBe(false);
    box.forGuest('DEACTIVATE', handle);
    box.activate(handle, asid);
    expect(box.asids.pending(asid)).toBe(false);
  });

  it("puts the guest's key into the slot of its ASID", () => {
    const { box, asid } = launching();
    box.frames.write(PAGE, asid, pattern(64));
    const stored = encryptMemory({ mode: 'xe', constants: publishedTweak }, box.drawn[0]!, PAGE, pattern(64));
    expect(hex(box.read(PAGE, 64))).toBe(hex(stored));
  });
});

describe('DEACTIVATE', () => {
  it('of a guest that is not active gives INACTIVE', () => {
    const box = ready();
    expect(box.forGuest('DEACTIVATE', box.start(0))).toBe('INACTIVE');
  });

  it('takes the key out and frees the ASID', () => {
    const { box, handle, asid } = launching();
    box.frames.write(PAGE, asid, pattern(64));
    expect(box.forGuest('DEACTIVATE', handle)).toBe('SUCCESS');
    const seen = new Uint8Array(64);
    box.frames.read(PAGE, asid, seen);
    expect(hex(seen)).not.toBe(hex(pattern(64)));
    expect(box.guestStatus(handle).asid).toBe(0);
    expect(box.asids.owner(asid)).toBe(0);
  });

  it('leaves the ASID clean if the launch was not finished, whoever gets it next', () => {
    const { box, handle, asid } = launching();
    box.region('LAUNCH_MEASURE', handle, MEASURE_AT, 48);
    box.forGuest('DEACTIVATE', handle);
    expect(box.activate(box.start(ES), asid)).toBe('SUCCESS');
  });

  it('leaves it dirty if it was, for the same guest, too', () => {
    const { box, handle, asid } = running();
    box.forGuest('DEACTIVATE', handle);
    expect(box.activate(handle, asid)).toBe('DFFLUSH_REQUIRED');
    expect(box.plain('DF_FLUSH')).toBe('WBINVD_REQUIRED');
    expect(box.flush()).toBe('SUCCESS');
    expect(box.activate(handle, asid)).toBe('SUCCESS');
  });

  it('a second time gives INACTIVE, and does not touch the one who has the ASID now', () => {
    const { box, handle, asid } = launching();
    box.forGuest('DEACTIVATE', handle);
    const next = box.start(ES);
    box.activate(next, asid);
    expect(box.forGuest('DEACTIVATE', handle)).toBe('INACTIVE');
    expect([box.asids.owner(asid), box.guestStatus(next).asid]).toEqual([next, asid]);
  });

  it('leaves the guest where it was in its launch: it goes on under another ASID', () => {
    const { box, handle, asid } = launching();
    box.region('LAUNCH_MEASURE', handle, MEASURE_AT, 48);
    box.forGuest('DEACTIVATE', handle);
    expect(box.guestStatus(handle)).toMatchObject({ asid: 0, state: GuestState.LSECRET });
    expect(box.forGuest('LAUNCH_FINISH', handle)).toBe('SUCCESS');
    expect(box.activate(handle, asid + 1)).toBe('SUCCESS');
    expect(box.asids.pending(asid + 1)).toBe(false);
  });
});

describe('DECOMMISSION', () => {
  it('of an active guest gives ACTIVE', () => {
    const { box, handle } = launching();
    expect(box.forGuest('DECOMMISSION', handle)).toBe('ACTIVE');
    expect(box.guestStatus(handle).state).toBe(GuestState.LUPDATE);
  });

  it("ends a guest in any state, and its handle is nobody's then", () => {
    for (const { box, handle } of [launching(), running()]) {
      box.start(0); // somebody stays
      box.forGuest('DEACTIVATE', handle);
      expect(box.forGuest('DECOMMISSION', handle)).toBe('SUCCESS');
      expect(box.guestStatus(handle)).toMatchObject({ policy: 0, asid: 0, state: GuestState.UNINIT });
      for (const name of ['DECOMMISSION', 'DEACTIVATE', 'LAUNCH_FINISH'] as const) expect(box.forGuest(name, handle)).toBe('INVALID_GUEST');
      expect(box.activate(handle, ES_ASID)).toBe('INVALID_GUEST');
    }
  });

  it('does not make an ASID clean: its next owner needs the flush', () => {
    const { box, handle, asid } = running();
    box.forGuest('DEACTIVATE', handle);
    box.forGuest('DECOMMISSION', handle);
    const next = box.start(ES);
    expect(box.activate(next, asid)).toBe('DFFLUSH_REQUIRED');
    expect(box.activate(next, asid + 1)).toBe('SUCCESS'); // another one is clean
  });

  it('of the last guest takes the platform back to INIT', () => {
    const box = ready();
    const [a, b] = [box.start(0), box.start(0)];
    expect(box.forGuest('DECOMMISSION', a)).toBe('SUCCESS');
    expect(box.platformStatus().state).toBe(PlatformState.WORKING);
    expect(box.forGuest('DECOMMISSION', b)).toBe('SUCCESS');
    expect(box.platformStatus()).toMatchObject({ state: PlatformState.INIT, guestCount: 0 });
  });
});

describe('GUEST_STATUS', () => {
  it('follows the launch: LUPDATE, LSECRET, RUNNING', () => {
    const { box, handle, asid } = launching();
    expect(box.guestStatus(handle)).toMatchObject({ policy: ES, asid, state: GuestState.LUPDATE });
    box.region('LAUNCH_MEASURE', handle, MEASURE_AT, 48);
    expect(box.guestStatus(handle).state).toBe(GuestState.LSECRET);
    box.forGuest('LAUNCH_FINISH', handle);
    expect(box.guestStatus(handle).state).toBe(GuestState.RUNNING);
  });

  it('of a handle that no guest has is SUCCESS with state UNINIT', () => {
    const box = ready();
    const { status, out } = box.call('GUEST_STATUS', HandleBuffer, { handle: 77 });
    expect(status).toBe('SUCCESS');
    expect(out.handle).toBe(77);
    expect(box.guestStatus(77)).toMatchObject({ policy: 0, asid: 0, state: GuestState.UNINIT });
  });

  it('in UNINIT gives INVALID_PLATFORM_STATE', () => {
    expect(new Box().call('GUEST_STATUS', HandleBuffer, {}).status).toBe('INVALID_PLATFORM_STATE');
  });
});
