// The model-specific registers of a processor without a hypervisor that it does not keep itself, as firmware leaves them: memory
// encryption off and open to software, SMM locked, SVM disabled and locked (APM vol. 2, 7.10, 15.31 and 15.34.3). A register that does
// not stand here does not exist: #GP.

import { Msr } from '../arch/msr.ts';
import { Hwcr, Syscfg, VmCr } from '../arch/sev-features.ts';
import { command, constant, isAddress, type MsrOwner, type MsrRow, passiveRows, ruled, storage } from '../machine/msr-rows.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const PATCH_LEVEL = 0x0a00_1173n; // no public meaning: any value that does not change
/** MtrrFixDramEn to Tom2ForceMemTypeWB, and MemEncryptionModEn. SEV-SNP's bits are reserved without SEV-SNP. */
const SYSCFG_WRITABLE = 0x007c_0000n | BigInt(Syscfg.MEM_ENCRYPTION_MOD_EN);
/** TscFreqSel, and what firmware has locked. */
const HWCR_RESET = 0x0100_0010n | BigInt(Hwcr.SMM_LOCK);
/** CpbDis and its neighbours, INVDWBINVD, TlbCacheDis. */
const HWCR_WRITABLE = 0x4100_0018n;
const VM_CR = BigInt(VmCr.SVM_LOCK | VmCr.SVME_DISABLE);

export class BareMsrs implements MsrOwner, Stateful {
  readonly msrValues = new Map<number, bigint>();
  readonly physicalBits: number;
  readonly #encryption: boolean;
  readonly #changed: () => void;
  readonly #rows: ReadonlyMap<number, MsrRow>;

  /** `memory`: bytes of DRAM, all below 4 GiB. `encryption`: does the processor have SME? `changed`: SYSCFG was written. */
  constructor(physicalBits: number, memory: number, encryption: boolean, changed: () => void) {
    this.physicalBits = physicalBits;
    this.#encryption = encryption;
    this.#changed = changed;
    this.#rows = new Map<number, MsrRow>([
      ...passiveRows,
      [Msr.PRED_CMD, command(0x1n)],
      [Msr.PATCH_LEVEL, constant(PATCH_LEVEL)],
      [Msr.HWCR, storage(Msr.HWCR, HWCR_RESET, HWCR_WRITABLE)],
      [Msr.VM_CR, storage(Msr.VM_CR, VM_CR, 0n)],
      [Msr.TOP_MEM, ruled(Msr.TOP_MEM, BigInt(memory), (value, owner) => isAddress(owner, value))],
      [Msr.TOP_MEM2, ruled(Msr.TOP_MEM2, 0n, (value, owner) => isAddress(owner, value))],
    ]);
  }

  /** Is memory encryption enabled (SYSCFG.MemEncryptionModEn)? */
  get encrypts(): boolean {
    return (this.#syscfg & BigInt(Syscfg.MEM_ENCRYPTION_MOD_EN)) !== 0n;
  }

  get #syscfg(): bigint {
    return this.msrValues.get(Msr.SYSCFG) ?? 0n;
  }

  /** null: #GP. */
  read(index: number): bigint | null {
    return index === Msr.SYSCFG ? this.#syscfg : (this.#rows.get(index)?.read?.(this) ?? null);
  }

  /** false: #GP. */
  write(index: number, value: bigint): boolean {
    if (index !== Msr.SYSCFG) return this.#rows.get(index)?.write?.(this, value) ?? false;
    const writable = this.#encryption ? SYSCFG_WRITABLE : SYSCFG_WRITABLE & ~BigInt(Syscfg.MEM_ENCRYPTION_MOD_EN);
    if ((value & ~writable) !== 0n) return false;
    this.msrValues.set(Msr.SYSCFG, value);
    this.#changed();
    return true;
  }

  exchange(fields: Fields): void {
    fields.map(this.msrValues);
  }
}
