// What the host's system software decides for its processor besides any one guest: its page tables, whether there is memory encryption,
// SmmLock, flushes of single pages. APM vol. 2, 7.10, 15.34.3, 15.34.9.

import { Feature, reportsFeature } from '../arch/cpuid.ts';
import { Hwcr } from '../arch/sev-features.ts';
import { type ProcessorModel, processorCpuid } from '../cpu/cpuid.ts';
import type { Frames } from '../memory/frames.ts';
import { BARE, highAddressMask } from '../mmu/environment.ts';
import type { HostTables } from '../mmu/host-tables.ts';
import type { Asids } from '../sev/asid-ownership.ts';
import { PhysicalAddresses } from '../sev/physical-addresses.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { highHalf, lowHalf } from '../util/halves.ts';
import type { HostConditions } from './consistency.ts';
import type { GuestKind } from './guest-entry.ts';
import { HostMsrs } from './host-msrs.ts';
import type { HostState } from './host-state.ts';

export class HostControl implements HostConditions {
  readonly msrs: HostMsrs;
  readonly addresses: PhysicalAddresses;
  readonly asids: Asids;
  readonly #state: HostState;
  readonly #frames: Frames;
  readonly #tables: HostTables;
  readonly #model: ProcessorModel;
  readonly #wantsLongMode: boolean;

  constructor(state: HostState, frames: Frames, tables: HostTables, asids: Asids, model: ProcessorModel) {
    this.#state = state;
    this.#frames = frames;
    this.#tables = tables;
    this.#model = model;
    this.asids = asids;
    this.#wantsLongMode = reportsFeature(processorCpuid(model), Feature.SEV_64BIT_HOST);
    this.addresses = new PhysicalAddresses(model, frames.encryption.hostKey);
    this.msrs = new HostMsrs(state, this.addresses, {
      encryption: (on) => this.#setEncryption(on),
      flushPage: (linear, asid) => this.#flushPage(linear, asid),
    });
    state.onControl = () => tables.changed();
  }

  get smmLock(): boolean {
    return (this.msrs.hwcr & Hwcr.SMM_LOCK) !== 0;
  }

  get mode(): boolean {
    return !this.#wantsLongMode || this.#state.longMode;
  }

  /** Key slot that C-bits of the host select; 0: they select none. */
  get hostKey(): number {
    return this.addresses.encryption ? this.addresses.hostKey : 0;
  }

  /** MOV CR3. */
  loadCr3(value: bigint): boolean {
    if (!this.addresses.admits(Number(value & ~0xfffn))) return false;
    this.#state.cr3 = value;
    return true;
  }

  /** Bits 63:32 that a guest's CR3 may have: the width of what its tables translate to, and the C-bit where it selects a key. */
  addressMask({ sev, nested }: GuestKind): number {
    const { physicalBits, cBit } = this.#model;
    const onHost = this.addresses.encryption && !nested;
    return highAddressMask(onHost ? this.#reducedBits : physicalBits) | (sev || onHost ? 1 << (cBit - 32) : 0);
  }

  get #reducedBits(): number {
    return this.#model.physicalBits - this.#model.reducedBits;
  }

  /** SYSCFG.MemEncryptionModEn: what the C-bit means from now on. */
  #setEncryption(on: boolean): void {
    if (this.addresses.encryption === on) return;
    this.addresses.encryption = on;
    this.#state.changed(); // VMRUN has something to look at again
    const bits = on ? this.#reducedBits : this.#model.physicalBits;
    this.#tables.select({ ...BARE, hostKey: this.hostKey, cBit: this.#model.cBit, guestPhysicalBits: bits, hostPhysicalBits: bits });
  }

  #flushPage(linear: bigint, asid: number): boolean {
    const page = this.#pageAt(linear);
    if (page < 0 || page >= this.#frames.pageCount) return false;
    if (this.asids.valid(asid)) this.#frames.flushPage(page, asid);
    return true;
  }

  /** Page behind a linear address of the host's, -1: none. */
  #pageAt(linear: bigint): number {
    if (!this.#state.ownTables) return Number(linear) / PAGE_SIZE;
    const found = this.#tables.translate(this.#state.control, lowHalf(linear) | 0, highHalf(linear) | 0, false);
    return found ? this.#tables.page : -1;
  }
}
