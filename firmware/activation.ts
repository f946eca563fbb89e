// Guests and ASIDs: ACTIVATE puts a guest's key into the memory controller, DEACTIVATE takes it out, DECOMMISSION ends the
// guest. Publication 55766, guest management commands; order of the checks after the published firmware.

import { type ActivateBuffer, AspStatus, GuestPolicy, GuestState, type GuestStatusBuffer, PlatformState } from '../src/arch/asp.ts';
import type { View } from '../src/util/struct.ts';
import type { GuestContext } from './guest-context.ts';
import type { Platform } from './platform.ts';

export function activate(platform: Platform, buffer: View<typeof ActivateBuffer.layout>, guest: GuestContext): AspStatus {
  const { asids, keys } = platform.ports;
  const { asid } = buffer;
  if (!asids.valid(asid)) return AspStatus.INVALID_ASID;
  const owner = asids.owner(asid);
  if (owner !== 0 && owner !== guest.handle) return AspStatus.ASID_OWNED;
  if (guest.asid !== 0) return AspStatus.ACTIVE;
  if (guest.state === GuestState.SENT) return AspStatus.INVALID_GUEST_STATE;
  if (asids.needsFlush(asid)) return AspStatus.DFFLUSH_REQUIRED;
  // The low ASIDs are for guests with SEV-ES only, the others for guests without.
  if (((guest.policy & GuestPolicy.ES) !== 0) !== asid < asids.firstWithoutEs) return AspStatus.INVALID_ASID;
  asids.bind(asid, guest.handle, guest.state !== GuestState.RUNNING);
  keys.setKey(asid, guest.vek);
  guest.asid = asid;
  return AspStatus.SUCCESS;
}

export function deactivate(platform: Platform, guest: GuestContext): AspStatus {
  if (guest.asid === 0) return AspStatus.INACTIVE;
  platform.deactivate(guest);
  return AspStatus.SUCCESS;
}

export function decommission(platform: Platform, guest: GuestContext): AspStatus {
  if (guest.asid !== 0) return AspStatus.ACTIVE;
  platform.remove(guest);
  if (platform.guests.count === 0) platform.state = PlatformState.INIT;
  return AspStatus.SUCCESS;
}

/** A handle that nobody has is no error: its guest is UNINIT. */
export function guestStatus(platform: Platform, buffer: View<typeof GuestStatusBuffer.layout>): AspStatus {
  const guest = platform.guests.get(buffer.handle);
  buffer.policy = guest?.policy ?? 0;
  buffer.asid = guest?.asid ?? 0;
  buffer.state = guest?.state ?? GuestState.UNINIT;
  return AspStatus.SUCCESS;
}
