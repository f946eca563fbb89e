// The MSRs that a hypervisor needs on the host: EFER, SYSCFG, HWCR, VM_CR, VM_HSAVE_PA. APM vol. 2, 15.4, 15.30 and 7.10. After
// reset memory encryption is off and SMM not locked: what a computer's firmware does about it is the hypervisor's here.

import { Msr } from '../arch/msr.ts';
import { Efer } from '../arch/registers.ts';
import { Hwcr, Syscfg } from '../arch/sev-features.ts';
import { PAGE_SIZE } from '../util/address.ts';
import type { HostState } from './host-state.ts';

const EFER_WRITABLE = BigInt(Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE | Efer.SVME);
const EFER_FIXED = BigInt(Efer.LME | Efer.LMA);
/** MtrrFixDramEn to Tom2ForceMemTypeWB, and MemEncryptionModEn. SEV-SNP's bits are reserved without SEV-SNP. */
const SYSCFG_WRITABLE = 0x007c_0000n | BigInt(Syscfg.MEM_ENCRYPTION_MOD_EN);

export class HostMsrs {
  readonly #state: HostState;
  /** Physical addresses end here. */
  readonly #limit: number;
  /** Bits 31:0; the others do not exist. */
  syscfg = 0;
  hwcr = 0;
  #saveArea = 0n;

  constructor(state: HostState, physicalBits: number) {
    this.#state = state;
    this.#limit = 2 ** physicalBits;
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
        return true;
      case Msr.HWCR:
        if (value < 0n || value > 0xffff_ffffn) return false;
        this.hwcr = (Number(value) | (this.hwcr & Hwcr.SMM_LOCK)) >>> 0; // once set it stays until reset
        return true;
      case Msr.VM_HSAVE_PA:
        if (value < 0n || value % BigInt(PAGE_SIZE) !== 0n || value >= BigInt(this.#limit)) return false;
        this.#saveArea = value;
        this.#state.setSaveArea(Number(value));
        return true;
      default:
        return false;
    }
  }
}
