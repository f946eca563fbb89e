// The platform: its state machine, and the commands that concern no guest. Publication 55766, platform management commands;
// order of the checks after the published firmware.

import { ASP_API, AspStatus, INIT_FLAG_ES, type InitBuffer, PlatformState, type PlatformStatusBuffer, TMR_SIZE } from '../src/arch/asp.ts';
import { Syscfg } from '../src/arch/sev-features.ts';
import { FlushResult } from '../src/sev/asid-ownership.ts';
import { type Spa, spa } from '../src/util/address.ts';
import type { View } from '../src/util/struct.ts';
import { type GuestContext, GuestTable } from './guest-context.ts';
import type { AspPorts } from './ports.ts';
import { IntegrityValues } from './vmsa-integrity.ts';
import type { Fields, Stateful } from '../src/util/stateful.ts';

/** A piece of DRAM and the key slot under which the host has it. */
export type HostRange = { readonly start: Spa; readonly key: number };

/** What outlives a command. */
export class Platform implements Stateful {
  readonly ports: AspPorts;
  readonly guests = new GuestTable();
  readonly integrity: IntegrityValues;
  state: PlatformState = PlatformState.UNINIT;
  /** Initialised for SEV-ES. */
  es = false;

  constructor(ports: AspPorts) {
    this.ports = ports;
    this.integrity = new IntegrityValues(ports);
  }

  /**
   * A range that the host names, or null unless all of it is DRAM outside the trusted memory region. The C-bit says that the host has
   * it under its own key (Linux states every address of a command as __sme_pa).
   */
  range(stated: bigint, length: number): HostRange | null {
    const { memory, trustedMemory } = this.ports;
    const addresses = this.ports.addresses();
    const start = addresses.place(Number(stated));
    if (start + length > memory.size || trustedMemory.overlaps(start, length)) return null;
    return { start: spa(start), key: addresses.key(Number(stated)) };
  }

  /** Takes a guest's key out of its slot. */
  deactivate(guest: GuestContext): void {
    if (guest.asid === 0) return;
    this.ports.keys.setKey(guest.asid, null);
    this.ports.asids.release(guest.asid);
    guest.asid = 0;
  }

  /** Forgets a guest, erasing its keys. */
  remove(guest: GuestContext): void {
    for (const slot of guest.integritySlots) this.integrity.drop(slot);
    this.guests.remove(guest);
  }

  /** While guests neither come nor go. */
  exchange(fields: Fields): void {
    fields.part(this.guests);
    fields.part(this.integrity);
    this.state = fields.value(this.state);
    this.es = fields.value(this.es);
  }
}

export function init(platform: Platform, buffer: View<typeof InitBuffer.layout>): AspStatus {
  const { asids, memory, syscfg, trustedMemory } = platform.ports;
  if ((syscfg() & Syscfg.MEM_ENCRYPTION_MOD_EN) === 0) return AspStatus.HWERROR_PLATFORM;
  if ((buffer.flags & ~INIT_FLAG_ES) !== 0) return AspStatus.INVALID_CONFIG;
  if ((syscfg() & Syscfg.SECURE_NESTED_PAGING_EN) !== 0) return AspStatus.INVALID_PLATFORM_STATE; // no RMP can be initialised yet
  const es = (buffer.flags & INIT_FLAG_ES) !== 0;
  if (es) {
    const region = platform.range(buffer.tmrPaddr, buffer.tmrLength);
    if (region === null || region.start % TMR_SIZE !== 0 || buffer.tmrLength < TMR_SIZE || buffer.tmrLength % TMR_SIZE !== 0)
      return AspStatus.INVALID_ADDRESS;
    trustedMemory.set(region.start, buffer.tmrLength); // the host's key has no part in it
    memory.fence(region.start, buffer.tmrLength);
  }
  asids.initialise();
  platform.es = es;
  platform.state = PlatformState.INIT;
  return AspStatus.SUCCESS;
}

/** Works in any state: guests that are left, active ones too, are gone with their keys. */
export function shutdown(platform: Platform): AspStatus {
  const { memory, trustedMemory } = platform.ports;
  for (const guest of platform.guests.all()) {
    platform.deactivate(guest);
    platform.remove(guest);
  }
  platform.integrity.dropAll();
  if (trustedMemory.length !== 0) memory.unfence(trustedMemory.start, trustedMemory.length);
  trustedMemory.clear();
  platform.es = false;
  platform.state = PlatformState.UNINIT;
  return AspStatus.SUCCESS;
}

export function platformStatus(platform: Platform, buffer: View<typeof PlatformStatusBuffer.layout>): AspStatus {
  buffer.apiMajor = ASP_API.major;
  buffer.apiMinor = ASP_API.minor;
  buffer.build = ASP_API.build;
  buffer.state = platform.state;
  buffer.owner = 0; // self-owned: there is no PEK_CERT_IMPORT yet
  buffer.config = platform.es ? 1 : 0;
  buffer.guestCount = platform.guests.count;
  return AspStatus.SUCCESS;
}

export function dfFlush(platform: Platform): AspStatus {
  // Before INIT nothing is known to be dirty: there are no guests whose lines a cache could hold.
  if (platform.state === PlatformState.UNINIT) return AspStatus.SUCCESS;
  return platform.ports.asids.dfFlush() === FlushResult.DONE ? AspStatus.SUCCESS : AspStatus.WBINVD_REQUIRED;
}

export function nop(): AspStatus {
  return AspStatus.SUCCESS;
}
