// The integrity value of a VMSA: what the AMD-SP computes at LAUNCH_UPDATE_VMSA and the processor at every automatic exit
// and VMRUN. It stands in the AMD-SP's trusted memory, at the address that VMSA 388h holds. Algorithm and place as published in
// AMD's firmware source for Genoa; used on every model.

import { VMSA_PROTECTED } from '../arch/vmsa.ts';

/** CRC-32C (Castagnoli), reflected. */
const POLYNOMIAL = 0x82f6_3b78;

/** Tables for eight bytes at a time: entry [k][b] is byte b followed by k zero bytes. */
const tables = ((): Uint32Array[] => {
  const first = new Uint32Array(256);
  for (let b = 0; b < 256; b++) {
    let c = b;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ POLYNOMIAL : c >>> 1;
    first[b] = c;
  }
  const all = [first];
  for (let k = 1; k < 8; k++) {
    const before = all[k - 1] as Uint32Array;
    all.push(before.map((c) => (first[c & 0xff] as number) ^ (c >>> 8)));
  }
  return all;
})();
const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as unknown as readonly [
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
];

/** Continues a CRC over two words of the message. */
function eight(crc: number, low: number, high: number): number {
  const c = crc ^ low;
  // biome-ignore format: a table
  return (
    t7[c & 0xff]! ^
    t6[(c >>> 8) & 0xff]! ^
    t5[(c >>> 16) & 0xff]! ^
    t4[c >>> 24]! ^
    t3[high & 0xff]! ^
    t2[(high >>> 8) & 0xff]! ^
    t1[(high >>> 16) & 0xff]! ^
    t0[high >>> 24]!
  );
}

/** The value as its two halves, low first: no 64-bit integer on the way of a world switch. */
export type IntegrityValue = { low: number; high: number };

/**
 * Computes the value of the VMSA at byte offset `at` of `bytes`, into `out`. Three CRC streams take 8 bytes each in turn; the
 * low half is the CRC of the three results, the high half their exclusive or.
 */
export function vmsaIntegrity(bytes: Uint8Array, at: number, out: IntegrityValue): void {
  const words = new DataView(bytes.buffer, bytes.byteOffset + at, VMSA_PROTECTED);
  let a = -1;
  let b = -1;
  let c = -1;
  for (let i = 0; i < VMSA_PROTECTED; i += 24) {
    a = eight(a, words.getInt32(i, true), words.getInt32(i + 4, true));
    b = eight(b, words.getInt32(i + 8, true), words.getInt32(i + 12, true));
    c = eight(c, words.getInt32(i + 16, true), words.getInt32(i + 20, true));
  }
  a = ~a;
  b = ~b;
  c = ~c;
  const last = eight(-1, a, b) ^ c;
  const crc = t3[last & 0xff]! ^ t2[(last >>> 8) & 0xff]! ^ t1[(last >>> 16) & 0xff]! ^ t0[last >>> 24]!;
  out.low = ~crc >>> 0;
  out.high = (a ^ b ^ c) >>> 0;
}
