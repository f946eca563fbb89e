// What lies around a processor that no hypervisor keeps from it: ports, model-specific registers beyond its own, the interrupt
// controller. A processor of a guest has none of it: there an intercept comes first. Addresses without DRAM are the mmu's DeviceMemory.

export interface Board {
  /** What IN of so many bytes gives; unsigned. */
  in(port: number, size: 1 | 2 | 4): number;
  out(port: number, size: 1 | 2 | 4, value: number): void;
  /** A register that the processor does not keep itself; null: #GP. */
  readMsr(index: number): bigint | null;
  /** false: #GP. */
  writeMsr(index: number, value: bigint): boolean;
  /** The time-stamp counter was set. */
  retime(): void;
  /** Is the local APIC enabled (APIC_BASE.AE)? CPUID shows it. */
  readonly apicEnabled: boolean;
  /** INTR is acknowledged: gives the vector to deliver, and tells the processor what waits behind it. */
  acknowledge(): number;
}
