// What a device on the I/O bus is. A device knows offsets into its own registers, never its address; it sees no processor,
// raises lines that are handed to it, and answers whatever a guest does to it.

/** Bytes that one IN or OUT moves. */
export type PortSize = 1 | 2 | 4;

export interface PortDevice {
  /** For messages and the port map. */
  readonly name: string;
  /** Widest access that the device decodes, in bytes (4 if left out). The bus splits wider ones, low byte first. */
  readonly width?: PortSize;
  /** Reads `size` bytes at `offset`; unsigned. */
  in(offset: number, size: PortSize): number;
  /** Writes the low `size` bytes of `value` at `offset`; `value` is unsigned. */
  out(offset: number, size: PortSize, value: number): void;
}

/** An interrupt line, level-triggered as the pin is: true while the device asks for service. */
export type Line = (level: boolean) => void;

/** Memory as a bus master reaches it; false: not all of the range can be reached. */
export interface DmaMemory {
  read(address: bigint, into: Uint8Array): boolean;
  write(address: bigint, from: Uint8Array): boolean;
}
