import { beforeEach, describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Ghcb, GhcbEvent, type GhcbField } from '../../src/arch/ghcb.ts';
import { naeEvents } from '../../src/hypervisor/ghcb/nae-events.ts';
import { handleVmgexit } from '../../src/hypervisor/ghcb/vmgexit.ts';
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
const GP = 0x8000_0b0dn;

describe('a GHCB page', () => {
  it('is answered with exactly the fields of the event marked valid', () => {
    expect(exit(ExitCode.CPUID, { rax: 0x8000_001fn, rcx: 2n })).toBeNull();
    expect(vcpu.valid()).toEqual(['rax', 'rbx', 'rcx', 'rdx', 'swExitInfo1', 'swExitInfo2']);
    expect(info()).toEqual([0n, 0n]);
    expect(vcpu.field('rax')).toBe(0x8000_001fn);
    expect(vcpu.field('rdx')).toBe(0xdddd_ddddn);
    expect(vcpu.log).toEqual(['cpuid 8000001f 2 1']);
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
    vcpu.ghcb.capture(gpa(GHCB_GPA), spa(RAM_AT + GHCB_GPA));
    expect(() => vcpu.ghcb.get(Ghcb.layout.rax)).toThrow(/rax/);
  });

  it('appears in the trace with the fields of both sides', () => {
    exit(ExitCode.RDTSC);
    expect(vcpu.notes).toEqual([
      { kind: 'ghcb', from: 'guest', gpa: GHCB_GPA, fields: { swExitCode: 0x6en, swExitInfo1: 0n, swExitInfo2: 0n } },
      { kind: 'ghcb', from: 'hypervisor', gpa: GHCB_GPA, fields: { rax: 6n, rdx: 5n, swExitInfo1: 0n, swExitInfo2: 0n } },
    ]);
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

describe('malformed requests', () => {
  const reason = (n: bigint) => {
    expect(info()).toEqual([2n, n]);
    expect(vcpu.valid()).toEqual(['swExitInfo1', 'swExitInfo2']);
  };

  it('2/2: usage is not 0', () => {
    vcpu.fill({ swExitCode: 0x72n, swExitInfo1: 0n, swExitInfo2: 0n, rax: 0n, rcx: 0n }, 2, 1);
    handleVmgexit(vcpu);
    reason(2n);
  });

  it.each([
    [0x4fffn, 16n, 'a range that runs into the page'],
    [0x5000n, 1n, 'the save area'],
    [0x57ffn, 2n, 'before the buffer'],
    [0x5fefn, 2n, 'behind the buffer'],
    [0x5ff0n, 1n, 'the trailer'],
    [0x6000n, 1n, 'outside the page (version 2)'],
    [0n, 1n, 'address 0'],
    [0xffff_ffff_ffff_ffffn, 4n, 'a range that wraps'],
    [0x5800n, 0x7f1n, 'more than the buffer holds'],
  ])('2/3: SW_SCRATCH %s for %i bytes: %s', (swScratch, swExitInfo2) => {
    exit(ExitCode.IOIO, { swExitInfo1: 0x00e9_0214n, swExitInfo2, swScratch });
    reason(3n);
    expect(vcpu.log).toEqual([]);
  });

  it('2/3: version 1 may use other shared memory, but nothing of this page except the buffer, and no more than 64 KiB', () => {
    exit(ExitCode.IOIO, { swExitInfo1: 0x00e9_0214n, swExitInfo2: 1n, swScratch: 0x6000n }, 1);
    expect(info()).toEqual([0n, 0n]);
    for (const [swScratch, swExitInfo2] of [
      [0x4fffn, 2n],
      [0x1_ffffn, 2n],
      [0x6000n, 0x1_0001n],
    ] as const) {
      exit(ExitCode.IOIO, { swExitInfo1: 0x00e9_0214n, swExitInfo2, swScratch }, 1);
      reason(3n);
    }
  });

  it('2/4: a field that every event has is missing', () => {
    for (const missing of ['swExitCode', 'swExitInfo1', 'swExitInfo2'] as const) {
      const fields: Fields = { swExitCode: 0x89n, swExitInfo1: 0n, swExitInfo2: 0n };
      delete fields[missing];
      vcpu.fill(fields);
      handleVmgexit(vcpu);
      reason(4n);
    }
  });

  const needs = naeEvents.flatMap((event) => event.needs.map((field) => [event.name, field, event] as const));
  it.each(needs)('2/4: %s without %s', (_name, missing, event) => {
    vcpu.controlRegisters = true;
    const info1 = [0n, 1n, 0x00e9_0211n, 0x00e9_0210n, 0x00e9_0215n, 0x00e9_0214n].find(
      (value) => event.when === undefined || event.when(Number(value), 0),
    );
    const fields: Fields = Object.fromEntries(event.needs.filter((field) => field !== missing).map((field) => [field, 1n]));
    exit(event.code, { ...fields, swExitInfo1: info1! });
    reason(4n);
  });

  it('2/4: CPUID leaf 0xd without XCR0', () => {
    exit(ExitCode.CPUID, { rax: 0xdn, rcx: 0n });
    reason(4n);
    exit(ExitCode.CPUID, { rax: 0xdn, rcx: 1n, xcr0: 7n });
    expect(vcpu.log).toEqual(['cpuid d 1 7']);
  });

  it.each([
    [ExitCode.MSR, { rcx: 0n, rax: 0n, rdx: 0n, swExitInfo1: 2n }, 'neither read nor write'],
    [ExitCode.IOIO, { rax: 0n, swExitInfo1: 0x00e9_0200n }, 'no operand size'],
    [ExitCode.IOIO, { rax: 0n, swExitInfo1: 0x00e9_0230n }, 'two operand sizes'],
    [ExitCode.IOIO, { rax: 0n, swExitInfo1: 0x00e9_2210n }, 'a reserved bit'],
    [ExitCode.IOIO, { rax: 0n, swExitInfo1: 0x1_00e9_0210n }, 'more than 32 bits'],
    [ExitCode.IOIO, { swScratch: 0x5800n, swExitInfo1: 0x00e9_0214n, swExitInfo2: 0x8000_0000n }, 'too many elements'],
    [ExitCode.DR0_WRITE + 7, { rax: 0x400n, swExitInfo1: 3n }, 'another register than RAX'],
    [GhcbEvent.MMIO_READ, { swScratch: 0x5800n, swExitInfo1: 0xfee0_0000n, swExitInfo2: 9n }, 'more than 8 bytes'],
    [GhcbEvent.MMIO_WRITE, { swScratch: 0x5800n, swExitInfo1: 0xfee0_0000n, swExitInfo2: 0n }, 'no bytes'],
  ] as const)('2/5: event %s', (code: number, fields: Fields, _what: string) => {
    exit(code, fields);
    reason(5n);
  });

  it.each([0x403n, 0x400n, 0x60n, 0x1_0000_0072n, 0x8000_0010n, 0x8000_0013n, 0xffff_ffff_ffff_ffffn, 0x00n, 0x13n])(
    '2/6: event %s',
    (code) => {
      exit(code, { rax: 0n, rcx: 0n });
      reason(6n);
    },
  );
});

describe('events', () => {
  it('RDMSR and WRMSR move EDX:EAX, and raise #GP for an MSR that does not exist', () => {
    exit(ExitCode.MSR, { rcx: 0x10n });
    expect([vcpu.field('rax'), vcpu.field('rdx')]).toEqual([0x3333_4444n, 0x1111_2222n]);
    exit(ExitCode.MSR, { rcx: 0x10n, rax: 0xffff_ffff_0000_0001n, rdx: 2n, swExitInfo1: 1n });
    expect(vcpu.log).toEqual(['wrmsr 10 200000001']);
    exit(ExitCode.MSR, { rcx: 0x11n });
    expect(info()).toEqual([1n, GP]);
    expect(vcpu.valid()).toEqual(['swExitInfo1', 'swExitInfo2']);
    exit(ExitCode.MSR, { rcx: 0x11n, rax: 0n, rdx: 0n, swExitInfo1: 1n });
    expect(info()).toEqual([1n, GP]);
  });

  it('IN and OUT go to the bus in their width', () => {
    exit(ExitCode.IOIO, { swExitInfo1: 0x03f8_0221n });
    expect(vcpu.field('rax')).toBe(0x8765n);
    exit(ExitCode.IOIO, { swExitInfo1: 0x03f8_0210n, rax: 0x1234_5678_9abc_def0n });
    exit(ExitCode.IOIO, { swExitInfo1: 0xffff_0240n, rax: 0x1234_5678_9abc_def0n });
    expect(vcpu.log).toEqual(['in 3f8 2', 'out 3f8 1 f0', 'out ffff 4 9abcdef0']);
  });

  it('INS and OUTS move elements through the buffer; SW_EXITINFO2 counts elements', () => {
    request(ExitCode.IOIO, { swExitInfo1: 0x00e9_022cn, swExitInfo2: 2n, swScratch: BigInt(GHCB_GPA + 0x800) });
    vcpu.page.set([1, 2, 3, 4], 0x800);
    handleVmgexit(vcpu);
    expect(vcpu.log).toEqual(['out e9 2 201', 'out e9 2 403']);
    exit(ExitCode.IOIO, { swExitInfo1: 0x00e9_024dn, swExitInfo2: 2n, swScratch: BigInt(GHCB_GPA + 0x800) });
    expect([...vcpu.page.subarray(0x800, 0x808)]).toEqual([0x21, 0x43, 0x65, 0x87, 0x21, 0x43, 0x65, 0x87]);
    exit(ExitCode.IOIO, { swExitInfo1: 0x00e9_022cn, swExitInfo2: 0n, swScratch: 0n });
    expect(info()).toEqual([0n, 0n]);
  });

  it('RDTSC, RDTSCP, WBINVD, VMMCALL, hypervisor features', () => {
    exit(ExitCode.RDTSCP);
    expect([vcpu.field('rax'), vcpu.field('rcx'), vcpu.field('rdx')]).toEqual([6n, 7n, 5n]);
    exit(ExitCode.WBINVD);
    expect(vcpu.log).toEqual(['wbinvd']);
    exit(ExitCode.VMMCALL, { rax: 0x100n, cpl: 3n });
    expect(vcpu.field('rax')).toBe(0x103n);
    exit(GhcbEvent.HYPERVISOR_FEATURES);
    expect(info()).toEqual([0n, 0n]);
  });

  it('MMIO of addresses that nobody claims', () => {
    exit(GhcbEvent.MMIO_READ, { swScratch: 0x5810n, swExitInfo1: 0xfee0_0020n, swExitInfo2: 4n });
    expect([...vcpu.page.subarray(0x810, 0x814)]).toEqual([0xff, 0xff, 0xff, 0xff]);
    expect(vcpu.log).toEqual(['mmio read fee00020 4']);
  });

  it('DR7 is remembered, and #GP if its upper half is not zero', () => {
    exit(ExitCode.DR0_WRITE + 7, { rax: 0x401n });
    expect(vcpu.debugControl).toBe(0x401n);
    exit(ExitCode.DR0_WRITE + 7, { rax: 0x1_0000_0400n });
    expect(info()).toEqual([1n, GP]);
  });

  it('CR accesses, in a run that has them: read from the view, write allowed or refused', () => {
    exit(ExitCode.CR0_READ + 4);
    expect(info()).toEqual([2n, 6n]);
    vcpu.controlRegisters = true;
    exit(ExitCode.CR0_READ + 4);
    expect(vcpu.field('rax')).toBe(0x84n);
    exit(ExitCode.CR0_WRITE + 0, { rax: 0x8001_0031n });
    expect(info()).toEqual([0n, 0n]);
    exit(ExitCode.CR0_WRITE + 0, { rax: 0xbadn });
    expect(info()).toEqual([1n, GP]);
    exit(ExitCode.CR0_READ + 3);
    expect(info()).toEqual([2n, 6n]);
  });

  it('termination and unsupported event end the run', () => {
    expect(exit(GhcbEvent.TERMINATION, { swExitInfo1: 0x121n, swExitInfo2: 9n })).toEqual({
      kind: 'terminated',
      set: 1,
      code: 0x12,
      info: 9n,
    });
    expect(exit(GhcbEvent.UNSUPPORTED_EVENT, { swExitInfo1: 0x74n })).toMatchObject({
      kind: 'stopped',
      reason: expect.stringContaining('IRET'),
    });
  });
});

describe('the GHCB MSR protocol', () => {
  const ask = (value: bigint) => {
    vcpu.ghcbMsr = value;
    const outcome = handleVmgexit(vcpu);
    return [vcpu.ghcbMsr, outcome] as const;
  };

  it('SEV information: versions 1 to 2 and the C-bit', () => {
    expect(ask(0x002n)).toEqual([0x0002_0001_3300_0001n, null]);
  });

  it.each([
    [0n, 0x0000_0001n],
    [1n, 0x0000_000bn],
    [2n, 0x0000_000cn],
    [3n, 0xdddd_ddddn],
  ])('CPUID: register %i of leaf 1, and nothing of the request echoed', (register, value) => {
    expect(ask((1n << 32n) | (register << 30n) | 0x004n)[0]).toBe((value << 32n) | (register << 30n) | 0x005n);
  });

  it('hypervisor features: none', () => {
    expect(ask(0x080n)[0]).toBe(0x081n);
  });

  it('termination with reason set and code', () => {
    expect(ask(0x12_1100n)[1]).toEqual({ kind: 'terminated', set: 1, code: 0x12, info: 0n });
  });

  it.each([0x001n, 0x003n, 0x005n, 0x006n, 0x010n, 0x012n, 0x014n, 0xf00n, (0xdn << 32n) | 4n, (1n << 32n) | 0x1000n | 4n])(
    'leaves what is no request of this hypervisor as it is: %s',
    (value) => {
      expect(ask(value)).toEqual([value, null]);
    },
  );
});
