import { expect, it } from 'vitest';
import { VMSA_PROTECTED } from '../../src/arch/vmsa.ts';
import { vmsaIntegrity } from '../../src/sev/vmsa-integrity.ts';

const valueOf = (bytes: Uint8Array, at = 0): string => {
  const out = { low: 0, high: 0 };
  vmsaIntegrity(bytes, at, out);
  return ((BigInt(out.high) << 32n) | BigInt(out.low)).toString(16);
};

it('gives the integrity value of published vectors', () => {
  expect(valueOf(new Uint8Array(4096))).toBe('74887af2b7a19c8f');
  expect(valueOf(Uint8Array.from({ length: 4096 }, (_, i) => 7 * i + 3))).toBe('331e072c1a76d748');
});

it('covers every byte up to FC0h and none behind it', () => {
  const bytes = new Uint8Array(8192);
  const zeros = valueOf(bytes, 4096);
  for (const at of [0, 0x388, VMSA_PROTECTED - 1]) {
    bytes[4096 + at] = 1;
    expect(valueOf(bytes, 4096)).not.toBe(zeros);
    bytes[4096 + at] = 0;
  }
  bytes[4096 + VMSA_PROTECTED] = 1;
  bytes[4095] = 1;
  expect(valueOf(bytes, 4096)).toBe(zeros);
});
