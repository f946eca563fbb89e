// The port map of the box, as one literal. A device knows its register offsets; only this table knows where they are.

export type PortRange = { readonly base: number; readonly ports: number };

export const portMap = {
  realTimeClock: { base: 0x0070, ports: 2 },
  echoPorts: { base: 0x00e0, ports: 4 },
  debugConsole: { base: 0x00e9, ports: 1 },
  testText: { base: 0x00f1, ports: 1 },
  testDevice: { base: 0x00f4, ports: 4 },
  com1: { base: 0x03f8, ports: 8 },
  fwCfg: { base: 0x0510, ports: 12 },
  pmTimer: { base: 0x0608, ports: 4 },
  interruptLines: { base: 0x2000, ports: 24 },
} as const satisfies Record<string, PortRange>;
