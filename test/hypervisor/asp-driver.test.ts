// The host's driver of the AMD-SP: a launch through the mailbox registers, and everything that can be wrong with the other end.

import { describe, expect, it } from 'vitest';
import { AspRegister, aspCommandName, aspStatusName, GuestPolicy, GuestState, PlatformState } from '../../src/arch/asp.ts';
import { AspDriver, NO_FIRMWARE_CALL } from '../../src/hypervisor/asp-driver.ts';
import type { Mailbox } from '../../src/svm/host-processor.ts';
import { spa } from '../../src/util/address.ts';
import type { TraceNote } from '../../src/util/trace.ts';
import { Box, ES_ASID, hex, PAGE, pattern, TMR } from '../firmware/box.ts';
import { launchDigest, measureLaunch } from '../second-implementation.ts';

const DRIVER_PAGE = spa(0x2000);
const trusted = { at: spa(TMR), size: 0x10_0000 };

function driver(mailbox?: Mailbox) {
  const box = new Box();
  const notes: TraceNote[] = [];
  const asp = new AspDriver({ memory: box.memory, mailbox: mailbox ?? box.mailbox }, DRIVER_PAGE, { emit: (note) => notes.push(note) });
  return { box, asp, notes };
}

/** Initialised, flushed, with an active SEV-ES guest. */
function launching() {
  const made = driver();
  const { asp, box } = made;
  asp.init(trusted);
  box.asids.wbinvd();
  asp.dfFlush();
  const started = asp.launchStart(GuestPolicy.ES);
  const handle = started.ok ? started.handle : 0;
  asp.activate(handle, ES_ASID);
  return { ...made, handle };
}

describe('the driver', () => {
  it('launches a guest from INIT to RUNNING', () => {
    const { asp, box, handle } = launching();
    const [image, vmsa] = [pattern(4096, 1), pattern(4096, 2)];
    box.write(PAGE, image);
    box.write(PAGE + 4096, vmsa);
    expect(asp.launchUpdateData(handle, spa(PAGE), 4096)).toEqual({ ok: true });
    expect(asp.launchUpdateVmsa(handle, spa(PAGE + 4096))).toEqual({ ok: true });
    const measured = asp.launchMeasure(handle);
    if (!measured.ok) throw new Error(measured.name);
    const nonce = measured.measurement.subarray(32);
    expect(hex(measured.measurement.subarray(0, 32))).toBe(
      hex(measureLaunch([0, 24, 16], GuestPolicy.ES, launchDigest(image, vmsa), nonce)),
    );
    expect(asp.launchFinish(handle)).toEqual({ ok: true });
    expect(asp.guestStatus(handle)).toEqual({ ok: true, policy: GuestPolicy.ES, asid: ES_ASID, state: GuestState.RUNNING });
  });

  it('ends a guest and the platform', () => {
    const { asp, handle } = launching();
    expect(asp.deactivate(handle)).toEqual({ ok: true });
    expect(asp.decommission(handle)).toEqual({ ok: true });
    expect(asp.platformStatus()).toEqual({
      ok: true,
      apiMajor: 0,
      apiMinor: 24,
      build: 16,
      state: PlatformState.INIT,
      es: true,
      guestCount: 0,
    });
    expect(asp.nop()).toEqual({ ok: true });
    expect(asp.shutdown()).toEqual({ ok: true });
    expect(asp.platformStatus()).toMatchObject({ state: PlatformState.UNINIT, es: false });
  });

  it('starts a guest that shares the key of another', () => {
    const { asp, handle } = launching();
    expect(asp.launchStart(GuestPolicy.ES, handle)).toEqual({ ok: true, handle: handle + 1 });
  });

  it('initialises without SEV-ES', () => {
    const { asp } = driver();
    expect(asp.init(null)).toEqual({ ok: true });
    expect(asp.platformStatus()).toMatchObject({ es: false });
  });

  it("gives refusals as values with the manual's name, for every command", () => {
    const { asp } = driver();
    const refused = { ok: false, status: 1, name: 'INVALID_PLATFORM_STATE' };
    expect(asp.launchStart(0)).toEqual(refused);
    expect(asp.activate(1, 1)).toEqual(refused);
    expect(asp.guestStatus(1)).toEqual(refused);
    expect(asp.launchMeasure(1)).toEqual(refused);
    asp.init(null);
    expect(asp.init(null)).toEqual(refused);
    expect(asp.dfFlush()).toEqual({ ok: false, status: 0x0e, name: 'WBINVD_REQUIRED' });
    asp.launchStart(0);
    expect(asp.deactivate(1)).toEqual({ ok: false, status: 0x08, name: 'INACTIVE' });
  });

  it('writes Lo, Hi, CmdResp in this order and then reads CmdResp', () => {
    const accesses: string[] = [];
    const box = new Box();
    const register = (offset: number) => Object.entries(AspRegister).find(([, at]) => at === offset)?.[0] ?? '?';
    const mailbox: Mailbox = {
      read: (offset) => {
        accesses.push(`read ${register(offset)}`);
        return box.mailbox.read(offset);
      },
      write: (offset, value) => {
        accesses.push(`write ${register(offset)} ${value.toString(16)}`);
        box.mailbox.write(offset, value);
      },
    };
    const asp = new AspDriver({ memory: box.memory, mailbox }, DRIVER_PAGE, null);
    asp.init(null);
    expect(accesses).toEqual([
      'read FEATURE',
      'write CMD_BUF_ADDR_LO 2000',
      'write CMD_BUF_ADDR_HI 0',
      'write CMD_RESP 10000',
      'read CMD_RESP',
    ]);
  });

  it('puts every command into the trace, with its status and what it was about', () => {
    const { asp, notes, handle } = launching();
    const measured = asp.launchMeasure(handle);
    asp.launchMeasure(handle);
    expect(notes).toEqual([
      { kind: 'asp', command: 'INIT', status: 'SUCCESS', detail: { es: 1 } },
      { kind: 'asp', command: 'DF_FLUSH', status: 'SUCCESS', detail: {} },
      { kind: 'asp', command: 'LAUNCH_START', status: 'SUCCESS', detail: { policy: GuestPolicy.ES, handle } },
      { kind: 'asp', command: 'ACTIVATE', status: 'SUCCESS', detail: { handle, asid: ES_ASID } },
      {
        kind: 'asp',
        command: 'LAUNCH_MEASURE',
        status: 'SUCCESS',
        detail: { handle, measurement: measured.ok ? hex(measured.measurement) : '' },
      },
      { kind: 'asp', command: 'LAUNCH_MEASURE', status: 'INVALID_GUEST_STATE', detail: { handle } },
    ]);
  });
});

describe('the driver survives an AMD-SP that', () => {
  /** Answers every read of CmdResp with the same value. */
  const answering = (response: number, feature = 1): Mailbox & { writes: number } => ({
    writes: 0,
    read: (offset) => (offset === AspRegister.FEATURE ? feature : response),
    write() {
      this.writes++;
    },
  });
  const noCall = (name: string) => ({ ok: false, status: NO_FIRMWARE_CALL, name });

  it('is absent: all registers read as ones, and nothing is written', () => {
    const mailbox = answering(0xffff_ffff, 0xffff_ffff);
    const { asp, notes } = driver(mailbox);
    expect(asp.present).toBe(false);
    expect(asp.init(null)).toEqual(noCall('NO RESPONSE'));
    expect(mailbox.writes).toBe(0);
    expect(notes).toEqual([{ kind: 'asp', command: 'INIT', status: 'NO RESPONSE', detail: { es: 0 } }]);
  });

  it('reads as ones in signed arithmetic', () => {
    expect(driver(answering(-1, -1)).asp.present).toBe(false);
  });

  it('does not know SEV', () => {
    const { asp } = driver(answering(0, 2));
    expect(asp.present).toBe(false);
    expect(asp.nop()).toEqual(noCall('NO RESPONSE'));
  });

  it('dies in a command: CmdResp reads as ones', () => {
    expect(driver(answering(0xffff_ffff)).asp.nop()).toEqual(noCall('NO RESPONSE'));
  });

  it('never completes: after the time-out it counts as dead and is left alone', () => {
    const mailbox = answering(0);
    const { asp } = driver(mailbox);
    expect(asp.nop()).toEqual(noCall('TIMED OUT'));
    const { writes } = mailbox;
    expect(asp.present).toBe(false);
    expect(asp.launchMeasure(1)).toEqual(noCall('NO RESPONSE'));
    expect(mailbox.writes).toBe(writes);
  });

  it.each([
    [0x8000_001e, 0x1e, 'STATUS 1Eh'],
    [0x8000_ffff, 0xffff, 'STATUS FFFFh'],
    [0xffff_0000, 0, null],
  ])('answers %i', (response, status, name) => {
    const { asp } = driver(answering(response));
    expect(asp.nop()).toEqual(name === null ? { ok: true } : { ok: false, status, name });
    expect(asp.present).toBe(true);
  });

  it('claims success without having written anything', () => {
    const { asp } = driver(answering(0x8000_0000));
    expect(asp.launchStart(0)).toEqual({ ok: true, handle: 0 });
    expect(asp.launchMeasure(1)).toMatchObject({ ok: true });
  });
});

it('unknown numbers have names, too', () => {
  expect([aspStatusName(0x09), aspStatusName(0x40), aspCommandName(0x33), aspCommandName(0x99)]).toEqual([
    'INVALID_ADDRESS',
    'STATUS 40h',
    'LAUNCH_MEASURE',
    'COMMAND 99h',
  ]);
});
