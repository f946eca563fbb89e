import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Msr } from '../../src/arch/msr.ts';
import { cr4Bits, refusesControlRegister } from '../../src/hypervisor/control-registers.ts';
import { guestCpuid } from '../../src/hypervisor/cpuid.ts';
import { initialVectors, noIntercepts, parseIntercepts } from '../../src/hypervisor/intercepts.ts';
import { ioPermissionMap, msrPermissionMap, type MsrVcpu, readGuestMsr, writeGuestMsr } from '../../src/hypervisor/msrs.ts';
import { exitStatus } from '../../src/hypervisor/outcome.ts';
import { UserError } from '../../src/util/errors.ts';

const bit = (vectors: Uint32Array, code: number): number => (vectors[code >>> 5]! >>> (code & 31)) & 1;

describe('intercepts', () => {
  it('of an SEV-ES guest are the default set with its write traps', () => {
    const vectors = initialVectors(noIntercepts, true);
    for (const code of [0x27, 0x37, 0x60, 0x6f, 0x72, 0x76, 0x78, 0x7b, 0x7c, 0x7f, 0x80, 0x81, 0x89, 0x8a, 0x8b, 0x8f, 0x90, 0x94, 0x98])
      expect(bit(vectors, code)).toBe(1);
    for (const code of [0x00, 0x10, 0x14, 0x4d, 0x4e, 0x6e, 0x74, 0x79, 0x87, 0x8d, 0x93]) expect(bit(vectors, code)).toBe(0);
  });

  it('of other guests have no write traps, and CR accesses from the start if asked for', () => {
    const vectors = initialVectors({ codes: [ExitCode.RDTSC], controlRegisters: true }, false);
    for (const code of [0x00, 0x04, 0x08, 0x10, 0x14, 0x18, 0x6e]) expect(bit(vectors, code)).toBe(1);
    for (const code of [0x02, 0x03, 0x12, 0x13, 0x8f, 0x90]) expect(bit(vectors, code)).toBe(0);
    expect(initialVectors({ codes: [], controlRegisters: true }, true)[0]).toBe(0);
  });

  it('are named as exit codes, in any case, or cr', () => {
    expect(parseIntercepts(['rdtsc', 'RDTSCP', 'cr', 'exception_14', 'cr3_write', 'rdtsc'])).toEqual({
      codes: [0x13, 0x4e, 0x6e, 0x87],
      controlRegisters: true,
    });
  });

  it.each(['hlt', 'PAUSE', 'shutdown', 'npf', 'vmgexit', 'cr4_write_trap', 'efer_write_trap', 'invalid', 'intr', 'exception_18'])(
    '%s is automatic and refused',
    (name) => {
      expect(() => parseIntercepts([name])).toThrow(/automatic/);
      expect(() => parseIntercepts([name])).toThrow(UserError);
    },
  );

  it.each(['', 'nonsense', '__proto__', 'crread', 'exception_29'])('%s is refused with the mend', (name) => {
    expect(() => parseIntercepts([name])).toThrow(UserError);
  });
});

describe('MSRs', () => {
  const vcpu = (): MsrVcpu => ({ tsc: () => 42n, setTsc: () => {}, msrValues: new Map() });

  it('whose state lies in the VMSA are not intercepted, all others are', () => {
    const map = msrPermissionMap();
    const both = (at: number, n: number) => (map[at + (n >> 2)]! >> (2 * (n & 3))) & 3;
    expect(both(0x1000, 0x130)).toBe(0);
    expect(both(0x1000, 0x131)).toBe(0);
    expect(both(0x0800, 0x80)).toBe(0);
    expect(both(0x0800, 0x103)).toBe(0);
    expect(both(0x0000, 0x174)).toBe(0);
    expect(both(0x0000, 0x277)).toBe(0);
    expect(both(0x0000, 0xda0)).toBe(0);
    expect(both(0x0000, 0x10)).toBe(3);
    expect(both(0x0000, 0x1b)).toBe(3);
    expect(both(0x1000, 0x010)).toBe(3);
    expect(ioPermissionMap().every((byte) => byte === 0xff)).toBe(true);
  });

  it('that are not in the table do not exist', () => {
    for (const index of [0, 0x12, 0x8000_0000, 0xc000_0090, 0xffff_ffff, Msr.VM_HSAVE_PA]) {
      expect(readGuestMsr(vcpu(), index)).toBeNull();
      expect(writeGuestMsr(vcpu(), index, 0n)).toBe(false);
    }
  });

  it('keep what was written, and refuse bits that do not exist', () => {
    const v = vcpu();
    expect(writeGuestMsr(v, Msr.MTRR_DEF_TYPE, 0xc00n)).toBe(true);
    expect(readGuestMsr(v, Msr.MTRR_DEF_TYPE)).toBe(0xc00n);
    expect(writeGuestMsr(v, Msr.MTRR_DEF_TYPE, 1n << 60n)).toBe(false);
    expect(writeGuestMsr(v, Msr.PATCH_LEVEL, 0n)).toBe(false);
    expect(readGuestMsr(v, Msr.PRED_CMD)).toBeNull();
    expect(writeGuestMsr(v, Msr.PRED_CMD, 1n)).toBe(true);
    expect(readGuestMsr(v, Msr.TSC)).toBe(42n);
  });
});

describe('CPUID', () => {
  const all = () => [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff] as const;
  const guest = { technology: 'sev-es', cBit: 51, cr4: 0n, xcr0: 1n } as const;

  it('says that there is a hypervisor, and which', () => {
    expect(guestCpuid(() => [0, 0, 0, 0], guest, 1, 0)[2] >>> 31).toBe(1);
    const [, ...signature] = guestCpuid(all, guest, 0x4000_0000, 0);
    expect(new TextDecoder().decode(new Uint32Array(signature))).toBe('cbitcbitcbit');
  });

  it('Fn8000_001F says what protects the guest', () => {
    const leaf = (technology: 'none' | 'sev' | 'sev-es') => guestCpuid(all, { ...guest, technology }, 0x8000_001f, 0);
    expect(leaf('none')).toEqual([0, 0, 0, 0]);
    expect(leaf('sev')).toEqual([0x402, (1 << 6) | 51, 0, 0]);
    expect(leaf('sev-es')).toEqual([0x40a, (1 << 6) | 51, 0, 0]);
  });

  it('mirrors CR4.OSXSAVE, and hides SVM and the APIC', () => {
    expect((guestCpuid(all, guest, 1, 0)[2] >>> 27) & 1).toBe(0);
    expect((guestCpuid(all, { ...guest, cr4: 1n << 18n }, 1, 0)[2] >>> 27) & 1).toBe(1);
    expect((guestCpuid(all, guest, 0x8000_0001, 0)[2] >>> 2) & 1).toBe(0);
    expect((guestCpuid(all, guest, 1, 0)[3] >>> 9) & 1).toBe(0);
  });
});

describe('control registers', () => {
  const now = { cr0: 0x8001_0033n, cr4: 0x620n, efer: 0x1d00n };
  it.each([
    [0, '80010033', false],
    [0, '80010032', true], // PG without PE
    [0, 'a0010033', true], // NW without CD
    [0, '180010033', true],
    [4, '620', false],
    [4, '600', true], // PAE in long mode
    [4, '1620', true], // LA57: not offered
    [4, '80000620', true],
    [4, '100620', false], // SMEP: reported
    [4, '200620', true], // SMAP: not reported
    [8, 'f', false],
    [8, '10', true],
    [2, '0', true],
  ])('CR%i = %sh is refused: %s', (n, value, refused) => {
    expect(
      refusesControlRegister(
        n,
        BigInt(`0x${value}`),
        now,
        cr4Bits(() => [0, 1 << 7, 1 << 2, 0]),
      ),
    ).toBe(refused);
  });
});

describe('exit status', () => {
  it.each([
    [{ kind: 'ended', value: 0 } as const, false, 0],
    [{ kind: 'ended', value: 5 } as const, false, 1],
    [{ kind: 'halted', interruptsEnabled: true } as const, false, 1],
    [{ kind: 'halted', interruptsEnabled: true } as const, true, 0],
    [{ kind: 'shutdown' } as const, true, 1],
    [{ kind: 'limit', instructions: 1 } as const, true, 3],
    [{ kind: 'interrupted' } as const, true, 130],
  ])('%j with --halt-ok %s is %i', (outcome, haltOk, status) => {
    expect(exitStatus(outcome, haltOk)).toBe(status);
  });
});
