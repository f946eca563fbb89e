// The MSRs that a hypervisor needs on the host: EFER, SYSCFG, HWCR, VM_CR, VM_HSAVE_PA, VM_PAGE_FLUSH. APM vol. 2, 15.4, 15.30, 15.34.9 and 7.10. After
// reset memory encryption is off and SMM not locked: what a computer's firmware does about it is the hypervisor's here.

import { Msr } from '../arch/msr.ts';
import { Efer } from '../arch/registers.ts';
import { Hwcr, Syscfg } from '../arch/sev-features.ts';
import { PAGE_SIZE } from '../util/address.ts';
import type { PhysicalAddresses } from '../sev/physical-addresses.ts';
import type { HostState } from './host-state.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const EFER_WRITABLE = BigInt(Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE | Efer.SVME);
const EFER_FIXED = BigInt(Efer.LME | Efer.LMA);
/** MtrrFixDramEn to Tom2ForceMemTypeWB, and MemEncryptionModEn. SEV-SNP's bits are reserved without SEV-SNP. */
const SYSCFG_WRITABLE = 0x007c_0000n | BigInt(Syscfg.MEM_ENCRYPTION_MOD_EN);

/** What a write of them brings about. */
export type MsrEffects = {
  /** SYSCFG.MemEncryptionModEn was written. */
  readonly encryption: (on: boolean) => void;
  /** Writes back and invalidates the lines of an ASID in a page, by its linear address. False: the page is not mapped. */
  readonly flushPage: (linear: bigint, asid: number) => boolean;
};

export class HostMsrs implements Stateful {
  readonly #state: HostState;
  readonly #addresses: PhysicalAddresses;
  readonly #effects: MsrEffects;
  /** Bits 31:0; the others do not exist. */
  syscfg = 0;
  hwcr = 0;
  #saveArea = 0n;

  constructor(state: HostState, addresses: PhysicalAddresses, effects: MsrEffects) {
    this.#state = state;
    this.#addresses = addresses;
    this.#effects = effects;
  }

  /** null: #GP. */
  read(index: number): bigint | null {
    switch (index) {
      case Msr.EFER:
        return this.#state.efer;
      case Msr.SYSCFG:
        return BigInt(this.syscfg);
      case Msr.HWCR:
        return BigInt(this.hwcr);
      case Msr.VM_CR:
        return 0n;
      case Msr.VM_HSAVE_PA:
        return this.#saveArea;
      case Msr.SEV_STATUS:
        return 0n; // the host is no guest (15.34.10)
      default:
        return null;
    }
  }

  /** false: #GP. */
  write(index: number, value: bigint): boolean {
    switch (index) {
      case Msr.EFER:
        // The host runs in long mode: LME cannot change while paging is on, and LMA is read-only.
        if ((value & ~EFER_WRITABLE) !== 0n || (value & BigInt(Efer.LME)) === 0n) return false;
        this.#state.efer = value | EFER_FIXED;
        return true;
      case Msr.SYSCFG:
        if ((value & ~SYSCFG_WRITABLE) !== 0n) return false;
        this.syscfg = Number(value);
        this.#effects.encryption((this.syscfg & Syscfg.MEM_ENCRYPTION_MOD_EN) !== 0);
        return true;
      case Msr.HWCR:
        if (value < 0n || value > 0xffff_ffffn) return false;
        this.hwcr = (Number(value) | (this.hwcr & Hwcr.SMM_LOCK)) >>> 0; // once set it stays until reset
        return true;
      case Msr.VM_HSAVE_PA:
        if (value % BigInt(PAGE_SIZE) !== 0n || !this.#addresses.admits(Number(value), PAGE_SIZE)) return false;
        this.#saveArea = value;
        this.#state.setSaveArea(this.#addresses.place(Number(value)), this.#addresses.key(Number(value)));
        return true;
      case Msr.VM_PAGE_FLUSH: {
        // Bits 63:12 are a linear address of the host's, 11:0 the ASID whose lines go (15.34.9).
        const asid = Number(value & 0xfffn);
        return asid !== 0 && this.#effects.flushPage(BigInt.asIntN(64, value & ~0xfffn), asid);
      }
      default:
        return false;
    }
  }

  exchange(fields: Fields): void {
    this.hwcr = fields.value(this.hwcr);
    this.#saveArea = fields.value(this.#saveArea);
    const syscfg = fields.value(this.syscfg);
    if (syscfg === this.syscfg) return;
    this.syscfg = syscfg;
    this.#effects.encryption((syscfg & Syscfg.MEM_ENCRYPTION_MOD_EN) !== 0);
  }
}
