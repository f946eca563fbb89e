// The port map of the box, as one literal. A device knows its register offsets; only this table knows where they are.

export type PortRange = { readonly base: number; readonly ports: number };

export const portMap = {
  pic: { base: 0x0020, ports: 2 },
  pit: { base: 0x0040, ports: 4 },
  keyboardData: { base: 0x0060, ports: 1 },
  systemControlB: { base: 0x0061, ports: 1 },
  keyboardCommand: { base: 0x0064, ports: 1 },
  realTimeClock: { base: 0x0070, ports: 2 },
  systemControlA: { base: 0x0092, ports: 1 },
  slavePic: { base: 0x00a0, ports: 2 },
  apm: { base: 0x00b2, ports: 2 },
  echoPorts: { base: 0x00e0, ports: 4 },
  debugConsole: { base: 0x00e9, ports: 1 },
  testText: { base: 0x00f1, ports: 1 },
  testDevice: { base: 0x00f4, ports: 4 },
  com1: { base: 0x03f8, ports: 8 },
  levelControl: { base: 0x04d0, ports: 2 },
  fwCfg: { base: 0x0510, ports: 12 },
  pmTimer: { base: 0x0608, ports: 4 },
  pciConfiguration: { base: 0x0cf8, ports: 8 },
  interruptLines: { base: 0x2000, ports: 24 },
} as const satisfies Record<string, PortRange>;

/** Interrupt lines of a PC: COM1's input of the 8259A and pin of the I/O APIC are the same, those of OUT of the 8254's counter 0 are not. */
export const COM1_LINE = 4;
export const DMA_LINE = 10;
export const timerLines = { irq: 0, pin: 2 } as const;

export const KEYBOARD_LINE = 1;
/** Of virtio devices that are not on the PCI bus, in order: lines that no other device of a PC must have here. */
export const virtioMmioLines = [5, 6, 7, 11, 12, 14, 15] as const;

/** What firmware would choose: where the ACPI registers are, and the lines of PIRQA to PIRQD. */
export const ACPI_BASE = 0xb000;
export const pirqLines = [10, 10, 11, 11] as const;
/** The chip set has devices 0 and 1 of the PCI bus, and a graphics adapter would have 2. */
export const FIRST_SLOT = 3;

/** DeviceID of the DMA engine on its bus: device 2, function 0. */
export const DMA_DEVICE = 0x10;
