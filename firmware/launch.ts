// A guest's launch: what the host hands over is measured and encrypted in place under a key that nobody else has.
// Publication 55766, launch commands; order of the checks after the published firmware.

import {
  ASP_API,
  AspStatus,
  DH_CERT_SIZE,
  GuestPolicy,
  GuestState,
  type LaunchRegionBuffer,
  type LaunchStartBuffer,
  MEASUREMENT,
  PlatformState,
  SESSION_SIZE,
} from '../src/arch/asp.ts';
import { PAGE_SIZE, spa } from '../src/util/address.ts';
import type { View } from '../src/util/struct.ts';
import { GuestContext } from './guest-context.ts';
import { launchMeasurement } from './measurement.ts';
import type { HostRange, Platform } from './platform.ts';

type Region = View<typeof LaunchRegionBuffer.layout>;

/** What the memory controller encrypts at a time; addresses and lengths are multiples of it. */
const BLOCK = 16;

/**
 * LAUNCH_START. Without an owner's session (DH_CERT_PADDR = 0) the policy is not validated and the session's keys are zeros,
 * as in the published firmware, so that anybody can compute the measurement. With one: UNSUPPORTED, after the checks of the
 * lengths; sessions are not built yet.
 */
export function launchStart(platform: Platform, buffer: View<typeof LaunchStartBuffer.layout>): AspStatus {
  const { guests, ports } = platform;
  if (buffer.dhCertPaddr !== 0n) {
    if (buffer.sessionLength !== SESSION_SIZE || buffer.dhCertLength !== DH_CERT_SIZE) return AspStatus.INVALID_LEN;
    return AspStatus.UNSUPPORTED;
  }
  const sharing = buffer.handle === 0 ? null : guests.get(buffer.handle);
  if (sharing === undefined) return AspStatus.INVALID_GUEST;
  if (sharing !== null && (sharing.policy !== buffer.policy || (buffer.policy & GuestPolicy.NOKS) !== 0)) return AspStatus.POLICY_FAILURE;
  const handle = guests.free();
  if (handle === 0) return AspStatus.RESOURCE_LIMIT;
  if ((buffer.policy & GuestPolicy.ES) !== 0 && !platform.es) return AspStatus.UNSUPPORTED;

  const vek = new Uint8Array(16);
  if (sharing === null) ports.random(vek);
  else vek.set(sharing.vek);
  guests.add(new GuestContext(handle, buffer.policy, vek));
  platform.state = PlatformState.WORKING;
  buffer.handle = handle;
  return AspStatus.SUCCESS;
}

/** Checks that LAUNCH_UPDATE_DATA and _VMSA have in common. */
function region(platform: Platform, buffer: Region, guest: GuestContext): HostRange | { readonly status: AspStatus } {
  if (guest.asid === 0) return { status: AspStatus.INACTIVE };
  if (buffer.paddr % BigInt(BLOCK) !== 0n) return { status: AspStatus.INVALID_ADDRESS };
  if (buffer.length === 0 || buffer.length % BLOCK !== 0) return { status: AspStatus.INVALID_LEN };
  return platform.range(buffer.paddr, buffer.length) ?? { status: AspStatus.INVALID_ADDRESS };
}

export function launchUpdateData(platform: Platform, buffer: Region, guest: GuestContext): AspStatus {
  const found = region(platform, buffer, guest);
  if ('status' in found) return found.status;
  const { memory } = platform.ports;
  const end = found.start + buffer.length;
  for (let at = found.start; at < end; ) {
    const piece = new Uint8Array(Math.min(PAGE_SIZE - (at % PAGE_SIZE), end - at));
    memory.read(at, found.key, piece);
    guest.digest.update(piece);
    memory.write(at, guest.asid, piece);
    at = spa(at + piece.length);
  }
  return AspStatus.SUCCESS;
}

/** LAUNCH_UPDATE_VMSA compares the length before anything else, the platform's state included. */
export function isVmsaLength(buffer: Region): AspStatus {
  return buffer.length === PAGE_SIZE ? AspStatus.SUCCESS : AspStatus.INVALID_LEN;
}

/** The digest covers the page as the host supplied it; the integrity value and its place come afterwards. */
export function launchUpdateVmsa(platform: Platform, buffer: Region, guest: GuestContext): AspStatus {
  if ((guest.policy & GuestPolicy.ES) === 0) return AspStatus.UNSUPPORTED;
  const found = region(platform, buffer, guest);
  if ('status' in found) return found.status;
  const slot = platform.integrity.take();
  if (slot === null) return AspStatus.RESOURCE_LIMIT;
  guest.integritySlots.push(slot);

  const { memory } = platform.ports;
  const vmsa = new Uint8Array(PAGE_SIZE);
  memory.read(found.start, found.key, vmsa);
  guest.digest.update(vmsa);
  platform.integrity.protect(vmsa, slot);
  memory.write(found.start, guest.asid, vmsa);
  return AspStatus.SUCCESS;
}

/** Ends the updates. A buffer that is too short learns the length that is needed. */
export function launchMeasure(platform: Platform, buffer: Region, guest: GuestContext): AspStatus {
  const { length } = buffer;
  buffer.length = MEASUREMENT.size;
  if (length < MEASUREMENT.size) return AspStatus.INVALID_LEN;
  const range = platform.range(buffer.paddr, MEASUREMENT.size);
  if (range === null) return AspStatus.INVALID_ADDRESS;

  const { memory, random } = platform.ports;
  const out = new Uint8Array(MEASUREMENT.size);
  const nonce = out.subarray(MEASUREMENT.measure);
  random(nonce);
  const { tik, policy } = guest;
  const digest = guest.digest.clone().digest();
  out.set(launchMeasurement({ tik, apiMajor: ASP_API.major, apiMinor: ASP_API.minor, build: ASP_API.build, policy, digest, nonce }));
  memory.write(range.start, range.key, out);
  guest.state = GuestState.LSECRET;
  return AspStatus.SUCCESS;
}

/** From now on VMRUN may enter the guest. */
export function launchFinish(platform: Platform, guest: GuestContext): AspStatus {
  guest.state = GuestState.RUNNING;
  if (guest.asid !== 0) platform.ports.asids.finish(guest.asid);
  return AspStatus.SUCCESS;
}
