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

/** Is it an IOIO word that hardware would give: a size, and at most one address size? */
export function isIoio(bits: number): boolean {
  const size = (bits >>> 4) & 7;
  const address = (bits >>> 7) & 7;
  return (bits & Ioio.RESERVED) === 0 && (size === 1 || size === 2 || size === 4) && (address & (address - 1)) === 0;
}

/** Its port. */
export const ioioPort = (word: number): number => word >>> Ioio.PORT_SHIFT;

/** Bytes of an element, of a word that is one. */
export const ioioSize = (word: number): PortSize => ((word >>> 4) & 7) as PortSize;

/** Takes an IOIO word apart; null if it is none. Bits 63:32 are clear. */
export function decodeIoio(bits: number): PortAccess | null {
  if (!isIoio(bits)) return null;
  return {
    port: ioioPort(bits),
    size: ioioSize(bits),
    input: (bits & Ioio.IN) !== 0,
    string: (bits & Ioio.STRING) !== 0,
    repeat: (bits & Ioio.REP) !== 0,
  };
}
