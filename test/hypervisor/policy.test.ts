import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Msr } from '../../src/arch/msr.ts';
import { cr4Bits, eferAfter, refusesControlRegister, shownEfer } from '../../src/hypervisor/control-registers.ts';
import { guestCpuid } from '../../src/hypervisor/cpuid.ts';
import { initialVectors, noIntercepts, parseIntercepts } from '../../src/hypervisor/intercepts.ts';
import { ioPermissionMap, msrPermissionMap, type MsrVcpu, readGuestMsr, writeGuestMsr } from '../../src/hypervisor/msrs.ts';
import { exitStatus } from '../../src/hypervisor/outcome.ts';
import { UserError } from '../../src/util/errors.ts';

const bit = (vectors: Uint32Array, code: number): number => (vectors[code >>> 5]! >>> (code & 31)) & 1;

describe('intercepts', () => {
  it('of an SEV-ES guest are the default set with its write traps', () => {
    const vectors = initialVectors(noIntercepts, { encryptedState: true });
    for (const code of [0x27, 0x37, 0x60, 0x6f, 0x72, 0x76, 0x78, 0x7b, 0x7c, 0x7f, 0x80, 0x81, 0x89, 0x8a, 0x8b, 0x8f, 0x90, 0x94, 0x98])
      expect(bit(vectors, code)).toBe(1);
    for (const code of [0x00, 0x10, 0x14, 0x4d, 0x4e, 0x6e, 0x74, 0x79, 0x87, 0x8d, 0x93]) expect(bit(vectors, code)).toBe(0);
  });

  it('leave DR7 to a guest whose debug registers are swapped, and PAUSE to one that has no other virtual CPU to wait for', () => {
    const swapped = initialVectors(noIntercepts, { encryptedState: true, ownDebugRegisters: true });
    for (const code of [0x27, 0x37, 0x77]) expect(bit(swapped, code)).toBe(0);
    expect(bit(initialVectors(noIntercepts, { encryptedState: true, several: true }), ExitCode.PAUSE)).toBe(1);
  });

  it('of other guests have no write traps, and CR accesses from the start if asked for', () => {
    const vectors = initialVectors({ codes: [ExitCode.RDTSC], controlRegisters: true }, { encryptedState: false });
    for (const code of [0x00, 0x04, 0x08, 0x10, 0x14, 0x18, 0x6e]) expect(bit(vectors, code)).toBe(1);
    for (const code of [0x02, 0x03, 0x12, 0x13, 0x8f, 0x90]) expect(bit(vectors, code)).toBe(0);
    expect(initialVectors({ codes: [], controlRegisters: true }, { encryptedState: true })[0]).toBe(0);
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
  const vcpu = (): MsrVcpu => ({
    tsc: () => 42n,
    setTsc: () => {},
    msrValues: new Map(),
    readEfer: () => 0xd00n,
    writeEfer: (value) => value === 0xd01n,
    physicalBits: 48,
  });

  it('whose state lies in the VMSA are not intercepted, all others are', () => {
    const map = msrPermissionMap(true);
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
    expect((msrPermissionMap(false)[0x0820]! >> 0) & 3).toBe(3); // EFER, without SEV-ES
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

  it('EFER is the vCPU’s', () => {
    expect(readGuestMsr(vcpu(), Msr.EFER)).toBe(0xd00n);
    expect(writeGuestMsr(vcpu(), Msr.EFER, 0xd01n)).toBe(true);
    expect(writeGuestMsr(vcpu(), Msr.EFER, 0xd02n)).toBe(false);
  });

  const PHYS_BASE = Msr.MTRR_PHYS_BASE0;
  it.each([
    ['a base of a reserved type', PHYS_BASE, 0x1000_0002n, false],
    ['a base with bit 8', PHYS_BASE, 0x1000_0106n, false],
    ['a base beyond the physical address', PHYS_BASE, (1n << 48n) | 6n, false],
    ['a base', PHYS_BASE, 0xffff_ffff_f006n, true],
    ['a mask with bit 10', PHYS_BASE + 1, 0x1000_0c00n, false],
    ['a mask beyond the physical address', PHYS_BASE + 15, (1n << 48n) | 0x800n, false],
    ['a mask', PHYS_BASE + 15, 0xffff_ffff_f800n, true],
    ['a ninth range', PHYS_BASE + 16, 0n, false],
    ['a fixed range of a reserved type', Msr.MTRR_FIX64K_00000, 0x0606_0606_0603_0606n, false],
    ['a fixed range of type 7', Msr.MTRR_FIX4K_C0000 + 7, 0x0706_0606_0606_0606n, false],
    ['fixed ranges', Msr.MTRR_FIX16K_A0000, 0x0001_0405_0606_0606n, true],
    ['a default of a reserved type', Msr.MTRR_DEF_TYPE, 0xc02n, false],
    ['a default with bit 9', Msr.MTRR_DEF_TYPE, 0xe06n, false],
    ['a default', Msr.MTRR_DEF_TYPE, 0xc04n, true],
    ['the capabilities', Msr.MTRR_CAP, 0x508n, false],
  ])('of memory types: %s', (_, index, value, taken) => {
    const v = vcpu();
    expect(writeGuestMsr(v, index, value)).toBe(taken);
    if (taken) expect(readGuestMsr(v, index)).toBe(value);
  });
});

describe('CPUID', () => {
  const all = () => [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff] as const;
  const guest = { technology: 'sev-es', cBit: 51, cr4: 0, xcr0: 1n, apic: true, apicFeatures: 0x0120_0000 } as const;

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

  it('mirrors CR4.OSXSAVE and APIC_BASE.AE, and hides SVM', () => {
    expect((guestCpuid(all, guest, 1, 0)[2] >>> 27) & 1).toBe(0);
    expect((guestCpuid(all, { ...guest, cr4: 1 << 18 }, 1, 0)[2] >>> 27) & 1).toBe(1);
    expect((guestCpuid(all, guest, 0x8000_0001, 0)[2] >>> 2) & 1).toBe(0);
    expect((guestCpuid(all, guest, 1, 0)[3] >>> 9) & 1).toBe(1);
    expect((guestCpuid(all, { ...guest, apic: false }, 1, 0)[3] >>> 9) & 1).toBe(0);
  });
});

describe('CPUID of extended state', () => {
  const processor = (leaf: number, subleaf: number) =>
    leaf === 0xd && subleaf === 9
      ? ([8, 0x980, 0, 0] as const)
      : leaf === 0xd
        ? ([0x203, 576, 0x988, 0] as const)
        : ([0, 0, 0, 0] as const);
  it.each([
    [0, 3n, 576],
    [0, 0x203n, 0x988],
    [1, 3n, 576],
    [1, 0x203n, 584],
  ])('sub-leaf %i with XCR0 %i: %i bytes', (subleaf, xcr0, bytes) => {
    const of = { technology: 'none', cBit: 51, cr4: 0, xcr0, apic: true, apicFeatures: 0 } as const;
    expect(guestCpuid(processor, of, 0xd, subleaf)[1]).toBe(bytes);
    expect(guestCpuid(processor, of, 0xd, 9)).toEqual([8, 0x980, 0, 0]);
  });

  it('MONITOR is hidden: it is intercepted', () => {
    const all = () => [-1, -1, -1, -1] as const;
    const of = { technology: 'none', cBit: 51, cr4: 0, xcr0: 1n, apic: true, apicFeatures: 0 } as const;
    expect((guestCpuid(all, of, 1, 0)[2] >>> 3) & 1).toBe(0);
    expect((guestCpuid(all, of, 0x8000_0001, 0)[2] >>> 29) & 1).toBe(0);
    expect(guestCpuid(all, of, 5, 0)).toEqual([0, 0, 0, 0]);
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

describe('EFER', () => {
  const legacy = { cr0: 0x11n, efer: 0x1000n };
  const long = { cr0: 0x8000_0011n, efer: 0x1d00n };
  it.each([
    ['the guest sees no SVME, and may not set it', long, 0x1d00n, null],
    ['LME cannot change while paging is on', long, 0x800n, null],
    ['LMSLE is reserved', long, 0x2d00n, null],
    ['bit 1 is reserved', long, 0xd02n, null],
    ['bit 32 is reserved', long, 0x1_0000_0d00n, null],
    ['LMA stays what it is', long, 0x901n, 0x1d01n],
    ['LMA cannot be set', legacy, 0x500n, 0x1100n],
    ['LME can change without paging', legacy, 0x100n, 0x1100n],
    ['fast FXSAVE and the translation cache', legacy, 0xc000n, 0xd000n],
  ])('%s', (_, now, value, after) => {
    expect(eferAfter(value, now)).toBe(after);
  });

  it('is shown without SVME', () => {
    expect(shownEfer(0x1d01n)).toBe(0xd01n);
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
