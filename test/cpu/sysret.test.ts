// What SYSRET restores. APM vol. 3, SYSRET; single step: APM vol. 2, 13.1.4.

import { describe, expect, test } from 'vitest';
import { Rflags } from '../../src/arch/registers.ts';
import { Gpr, State } from '../../src/memory/state.ts';
import { At, Sel, TransferBench } from './transfer-bench.ts';

const b = new TransferBench();
const { HANDLER, STACK } = At;
const ONE = Rflags.ALWAYS_1;
const hex = (n: number): string => n.toString(16);

describe('SYSRET in 64-bit mode', () => {
  const from = (r11: bigint): void => {
    b.start('long', 'sysretq');
    b.setU64(State.STAR, BigInt(Sel.DATA) << 48n);
    b.setGpr(Gpr.RCX, BigInt(HANDLER));
    b.setGpr(11, r11);
  };

  test('takes from R11 the bits of RFLAGS that exist, without RF and VM; bit 1 is set', () => {
    from(0xffff_ffff_ffff_ffffn & ~BigInt(Rflags.TF));
    expect(b.go()).toBe('');
    expect(b.rflags).toBe(0x3c_7ed7);
    from(0n);
    expect(b.go()).toBe('');
    expect(b.rflags).toBe(ONE);
  });

  test('with TF in R11 traps before the first instruction at CPL 3', () => {
    from(BigInt(Rflags.TF));
    expect(b.go(5)).toBe('#DB');
    expect(b.place).toBe(`23:${hex(HANDLER)} 1b:${hex(STACK)}`);
    expect(b.u32(State.DR6) & 0x4000).toBe(0x4000);
  });
});
