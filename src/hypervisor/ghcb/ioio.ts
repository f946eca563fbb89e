// The IOIO word, as exits and the GHCB event share it (APM 15.10.2).

import { Ioio } from '../../arch/ghcb.ts';
import type { PortSize } from '../../devices/device.ts';

export type PortAccess = {
  readonly port: number;
  readonly size: PortSize;
  readonly input: boolean;
  readonly string: boolean;
  readonly repeat: boolean;
};

/** Takes an IOIO word apart; null if it is not one that hardware would give. */
export function decodeIoio(word: bigint): PortAccess | null {
  if (word > 0xffff_ffffn) return null;
  const bits = Number(word);
  if ((bits & Ioio.RESERVED) !== 0) return null;
  const size = (bits >>> 4) & 7;
  if (size !== 1 && size !== 2 && size !== 4) return null;
  const address = (bits >>> 7) & 7;
  if ((address & (address - 1)) !== 0) return null; // at most one address size
  return {
    port: bits >>> Ioio.PORT_SHIFT,
    size,
    input: (bits & Ioio.IN) !== 0,
    string: (bits & Ioio.STRING) !== 0,
    repeat: (bits & Ioio.REP) !== 0,
  };
}
