import { describe, expect, it } from 'vitest';
import { hypercall } from '../../src/hypervisor/hypercalls.ts';
import { scripted } from './fake-host.ts';

describe('hypercalls', () => {
  const { apic } = scripted('none').vcpu.interrupts;
  apic.write(0xf0, 4, 0x1ff);
  const call = (number: bigint, values: readonly [bigint, bigint, bigint, bigint], cpl = 0) => hypercall(apic, number, cpl, values, true);

  it('SEND_IPI sends to the APIC IDs of a bitmap, and counts them', () => {
    expect(call(10n, [1n, 0n, 0n, 0x45n])).toBe(1n);
    expect(apic.pending).toBe(0x45);
    expect(call(10n, [2n, ~0n & 0xffffn, 0n, 0x46n])).toBe(0n);
    expect(call(10n, [0xffffn, 0n, 0xffff_ffffn, 0x46n])).toBe(0n);
    expect(apic.pending).toBe(0x45);
  });

  it('SEND_IPI knows neither shorthands nor logical destinations', () => {
    expect(call(10n, [1n, 0n, 0n, 0x4_0045n])).toBe(-22n);
    expect(call(10n, [1n, 0n, 0n, 0x845n])).toBe(-22n);
  });

  it('others do not exist, and outside of ring 0 none is permitted', () => {
    expect(call(1n, [0n, 0n, 0n, 0n])).toBe(-1000n);
    expect(call(10n, [1n, 0n, 0n, 0x45n], 3)).toBe(-1n);
  });
});
