// What answers at system physical addresses without DRAM, where the processor's own accesses get there: with a hypervisor in between it is
// the hypervisor that asks. Such accesses have no TLB entry; each is one instruction's alone (STOP_DEVICE).

export interface DeviceMemory {
  /** Up to 64 bytes on one page. Where no device is the bytes are all ones. */
  read(address: number, into: Uint8Array): void;
  write(address: number, from: Uint8Array): void;
}
