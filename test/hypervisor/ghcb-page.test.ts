import { beforeEach, describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Ghcb, GhcbEvent, type GhcbField } from '../../src/arch/ghcb.ts';
import { handleVmgexit } from '../../src/hypervisor/ghcb/vmgexit.ts';
import { locatePage, memoryRegions } from '../../src/hypervisor/guest-memory.ts';
import { describeOutcome } from '../../src/hypervisor/outcome.ts';
import { gpa, spa } from '../../src/util/address.ts';
import { FakeVcpu, GHCB_GPA, RAM_AT } from './fake-vcpu.ts';

let vcpu: FakeVcpu;
beforeEach(() => {
  vcpu = new FakeVcpu();
});

type Fields = Partial<Record<GhcbField, bigint>>;
const request = (code: number | bigint, fields: Fields = {}, version = 2): void =>
  vcpu.fill({ swExitCode: BigInt(code), swExitInfo1: 0n, swExitInfo2: 0n, ...fields }, version);
const exit = (code: number | bigint, fields: Fields = {}, version = 2) => {
  request(code, fields, version);
  return handleVmgexit(vcpu);
};
const info = (): [bigint, bigint] => [vcpu.field('swExitInfo1'), vcpu.field('swExitInfo2')];

describe('a GHCB page', () => {
  it('is answered with exactly the fields of the event marked valid', () => {
    expect(exit(ExitCode.CPUID, { rax: 0x8000_001fn, rcx: 2n })).toBeNull();
    expect(vcpu.valid()).toEqual(['rax', 'rbx', 'rcx', 'rdx', 'swExitInfo1', 'swExitInfo2']);
    expect(info()).toEqual([0n, 0n]);
    expect(vcpu.field('rax')).toBe(0x8000_001fn);
    expect(vcpu.field('rdx')).toBe(0xdddd_ddddn);
    expect(vcpu.log).toEqual(['cpuid 8000001f 2 1 0']);
  });

  it('is read once: every byte of it at most one time', () => {
    exit(ExitCode.CPUID, { rax: 1n, rcx: 0n });
    const seen = new Set<number>();
    for (const [at, length] of vcpu.reads) {
      for (let i = at; i < at + length; i++) {
        expect(seen.has(i)).toBe(false);
        seen.add(i);
      }
    }
  });

  it('of which bits 126 and 127 are set, the bitmap itself, is as valid as any', () => {
    request(ExitCode.WBINVD);
    vcpu.mark(126);
    vcpu.mark(127);
    handleVmgexit(vcpu);
    expect(info()).toEqual([0n, 0n]);
    expect(vcpu.valid()).toEqual(['swExitInfo1', 'swExitInfo2']);
  });

  it('refuses its own hypervisor a field that the guest did not mark valid', () => {
    request(ExitCode.CPUID);
    vcpu.ghcb.capture(gpa(GHCB_GPA), spa(RAM_AT + GHCB_GPA), 2);
    expect(() => vcpu.ghcb.get(Ghcb.layout.rax)).toThrow(/rax/);
  });

  it('appears in the trace with the fields of both sides', () => {
    exit(ExitCode.RDTSC);
    expect(vcpu.notes).toEqual([
      { kind: 'ghcb', from: 'guest', gpa: GHCB_GPA, fields: { swExitCode: 0x6en, swExitInfo1: 0n, swExitInfo2: 0n } },
      { kind: 'ghcb', from: 'hypervisor', gpa: GHCB_GPA, fields: { rax: 6n, rdx: 5n, swExitInfo1: 0n, swExitInfo2: 0n } },
    ]);
  });

  it('that lies in ROM is none', () => {
    const regions = memoryRegions({ at: spa(0), size: 0x20_0000 }, { at: spa(0x20_0000), size: 0x1_0000 });
    expect([locatePage(regions, 0xf_f000), locatePage(regions, 0xf_f000, true)]).toEqual([0x20_f000, null]);
    expect(locatePage(regions, 0x1000, true)).toBe(0x1000);
  });

  it('that is no page of the guest is ignored', () => {
    for (const value of [0n, 0x2_0000n, 0xffff_ffff_ffff_f000n]) {
      vcpu.ghcbMsr = value;
      expect(handleVmgexit(vcpu)).toBeNull();
    }
    expect(vcpu.named).toBe(0);
    expect(vcpu.log).toHaveLength(3);
  });
});

describe('events', () => {
  it('INVD and WBINVD write caches back', () => {
    exit(ExitCode.WBINVD);
    exit(ExitCode.INVD);
    expect(vcpu.log).toEqual(['wbinvd', 'wbinvd']);
  });

  it('MWAIT lets others go first', () => {
    exit(ExitCode.MWAIT, { rax: 0n, rcx: 0n });
    expect(vcpu.log).toEqual(['yield']);
  });

  it('AP reset hold by page and by MSR are told apart', () => {
    exit(GhcbEvent.AP_RESET_HOLD);
    vcpu.ghcbMsr = 0x006n;
    expect(handleVmgexit(vcpu)).toBeNull();
    expect(vcpu.log).toEqual(['AP reset hold by ghcb', 'AP reset hold by msr']);
  });

  it('the APIC ID list has as many pages as there are processors for, and names them all', () => {
    vcpu.apicIds = Array.from({ length: 1024 }, (_, n) => 2 * n);
    exit(GhcbEvent.APIC_ID_LIST, { rax: 1n, swExitInfo1: 0x8000n });
    expect(vcpu.field('rax')).toBe(2n);
    exit(GhcbEvent.APIC_ID_LIST, { rax: 5n, swExitInfo1: 0x8000n });
    expect([...info(), vcpu.field('rax')]).toEqual([0n, 0n, 5n]);
    const list = new DataView(vcpu.bytes.buffer, RAM_AT + 0x8000);
    expect([list.getUint32(0, true), list.getUint32(4, true), list.getUint32(4 * 1024, true)]).toEqual([1024, 0, 2046]);
    // Its second page would be behind the end of memory.
    exit(GhcbEvent.APIC_ID_LIST, { rax: 2n, swExitInfo1: BigInt(vcpu.memorySize - 4096) });
    expect(info()).toEqual([2n, 5n]);
  });

  it('a string of ports stops when somebody ends the run', () => {
    vcpu.ended = { kind: 'ended', value: 0 };
    exit(ExitCode.IOIO, { swExitInfo1: 0x00e9_021cn, swExitInfo2: 100n, swScratch: BigInt(GHCB_GPA + 0x800) });
    expect(vcpu.log).toEqual([]);
  });

  it('termination in words', () => {
    const words = (set: number, code: number, more = 0n) => describeOutcome({ kind: 'terminated', set, code, info: more });
    expect(words(0, 1)).toBe('the guest asked for termination: protocol version not supported (reason set 0, code 1)');
    expect(words(0, 2, 0x28n)).toBe(
      'the guest asked for termination: SEV-SNP features not supported (reason set 0, code 2, SEV_STATUS bits 0x28)',
    );
    expect(words(1, 4)).toContain('Linux: the CPUID table is invalid (reason set 1, code 4)');
    expect(words(15, 255)).toContain('for a reason of its own (reason set 15, code 255)');
  });
});
