// System physical addresses as software states them: in registers, in a VMCB, in commands to the AMD-SP. While memory encryption is on
// (SYSCFG.MemEncryptionModEn) the C-bit selects the host's key and the address space is smaller by the bits that encryption takes
// (CPUID Fn8000_001F EBX[11:6]); else the C-bit is an address bit like any other. APM vol. 2, 7.10.1 and 15.34.6.

export type AddressModel = { readonly cBit: number; readonly physicalBits: number; readonly reducedBits: number };

export class PhysicalAddresses {
  /** Key slot that the C-bit selects. */
  readonly hostKey: number;
  /** SYSCFG.MemEncryptionModEn. */
  encryption = false;
  readonly #c: number;
  readonly #full: number;
  readonly #reduced: number;

  constructor({ cBit, physicalBits, reducedBits }: AddressModel, hostKey: number) {
    this.hostKey = hostKey;
    this.#c = 2 ** cBit;
    this.#full = 2 ** physicalBits;
    this.#reduced = 2 ** (physicalBits - reducedBits);
  }

  /** First address that does not exist. */
  get limit(): number {
    return this.encryption ? this.#reduced : this.#full;
  }

  /** The address without its C-bit. Reserved bits stay: what comes out is then beyond `limit`. */
  place(stated: number): number {
    return this.#encrypted(stated) ? stated - this.#c : stated;
  }

  /** Key slot for what lies there: the host's, or 0. */
  key(stated: number): number {
    return this.#encrypted(stated) ? this.hostKey : 0;
  }

  /** Does a structure of so many bytes lie within the address space? */
  admits(stated: number, bytes = 1): boolean {
    return this.place(stated) + bytes <= this.limit;
  }

  #encrypted(stated: number): boolean {
    return stated >= this.#c && this.encryption && Math.floor(stated / this.#c) % 2 === 1;
  }
}
