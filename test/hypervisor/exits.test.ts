import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Activity } from '../../src/hypervisor/activity.ts';
import { CleanBits } from '../../src/arch/vmcb.ts';
import { TestDevice } from '../../src/devices/test-device.ts';
import type { Vcpu } from '../../src/hypervisor/vcpu.ts';
import { RAM, scripted, VMCB } from './fake-host.ts';

const GP = 0x8000_0b0dn;
const RAX = 0x1111_2222_3333_4444n;
const interceptBit = (host: { bytes: Uint8Array }, code: number): number => (host.bytes[VMCB + (code >> 3)]! >> (code & 7)) & 1;

describe('VMCB clean bits', () => {
  const bits = (host: { bytes: Uint8Array }): number => host.bytes[VMCB + 0xc0]!;
  const CLEAN = CleanBits.I | CleanBits.IOPM | CleanBits.ASID;

  it('are clear at the first VMRUN, and set once the processor has seen the VMCB', () => {
    const { vcpu, exit, host } = scripted('none');
    const seen: number[] = [];
    for (let n = 0; n < 3; n++) exit(ExitCode.PAUSE, 0n, 0n, () => seen.push(bits(host)));
    vcpu.vm.scheduler.run(6);
    expect(seen).toEqual([0, CLEAN, CLEAN]);
  });

  it('are cleared whenever an intercept or the TSC offset changes', () => {
    for (const change of [
      (vcpu: Vcpu) => vcpu.intercept(ExitCode.VINTR, true),
      (vcpu: Vcpu) => vcpu.intercept(ExitCode.VINTR, false),
      (vcpu: Vcpu) => vcpu.stepOver(ExitCode.CPUID),
      (vcpu: Vcpu) => vcpu.setTsc(5n),
    ]) {
      const { vcpu, exit, host } = scripted('none');
      exit(ExitCode.PAUSE);
      vcpu.vm.scheduler.run(1);
      expect(bits(host)).toBe(CLEAN);
      change(vcpu);
      expect(bits(host)).toBe(0);
    }
  });
});

describe('exits of a guest whose registers the hypervisor can read', () => {
  it('CPUID answers in RAX, RBX, RCX, RDX and goes on behind the instruction', () => {
    const { vcpu, exit } = scripted('none');
    vcpu.save.rip = 0x1000n;
    vcpu.save.rax = 0x4000_0000n;
    vcpu.registers[1] = 0n;
    exit(ExitCode.CPUID);
    expect(vcpu.vm.scheduler.run(1)).toBeNull();
    expect(vcpu.save.rax).toBe(0x4000_0000n);
    expect(vcpu.registers[1]).toBe(0x7469_6263n);
    expect(vcpu.save.rip).toBe(0x1002n);
    expect([...vcpu.exits]).toEqual([[ExitCode.CPUID, 1]]);
  });

  it('RDMSR of an MSR that does not exist is #GP(0) at the instruction', () => {
    const { vcpu, exit } = scripted('sev');
    vcpu.save.rip = 0x1000n;
    vcpu.registers[1] = 0xc000_0fffn;
    exit(ExitCode.MSR);
    vcpu.vm.scheduler.run(1);
    expect(vcpu.vmcb.eventInj).toBe(GP);
    expect(vcpu.save.rip).toBe(0x1000n);
  });

  it('WRMSR and RDMSR move EDX:EAX', () => {
    const { vcpu, exit } = scripted('none');
    vcpu.registers[1] = 0x2ffn;
    vcpu.save.rax = 0xffff_ffff_0000_0c00n;
    vcpu.registers[2] = 0n;
    exit(ExitCode.MSR, 1n);
    exit(ExitCode.MSR, 0n, 0n, (registers) => {
      vcpu.save.rax = RAX;
      registers[2] = RAX;
    });
    vcpu.vm.scheduler.run(3);
    expect(vcpu.save.rax).toBe(0xc00n);
    expect(vcpu.registers[2]).toBe(0n);
  });

  it('IN merges into RAX by its width; an unclaimed port reads all-ones', () => {
    for (const [word, rax] of [
      [0x00e0_0211n, 0x1111_2222_3333_44ffn],
      [0x00e0_0221n, 0x1111_2222_3333_ffffn],
      [0x00e0_0241n, 0x0000_0000_ffff_ffffn],
    ] as const) {
      const { vcpu, exit } = scripted('none');
      vcpu.save.rax = RAX;
      exit(ExitCode.IOIO, word);
      vcpu.vm.scheduler.run(1);
      expect(vcpu.save.rax).toBe(rax);
    }
  });

  it('OUTS reads each element under the host mapping, and goes on behind the last', () => {
    const { vcpu, exit, host, io } = scripted('none');
    const out: number[] = [];
    io.map(0xe9, 1, { name: 'console', width: 1, in: () => 0, out: (_o, _s, value) => out.push(value) });
    host.bytes.set([7, 8, 9], RAM.at + 0x3000);
    vcpu.save.rip = 0x1000n;
    vcpu.registers[1] = 3n;
    vcpu.registers[6] = 0x3000n;
    for (let n = 0n; n < 3n; n++) exit(ExitCode.IOIO, 0x00e9_021cn, 0x3000n + n);
    vcpu.vm.scheduler.run(6);
    expect(out).toEqual([7, 8, 9]);
    expect([vcpu.registers[1], vcpu.registers[6], vcpu.save.rip]).toEqual([0n, 0x3003n, 0x1002n]);
  });

  it('INS goes down with DF set, and wraps in its address size', () => {
    const { vcpu, exit, host } = scripted('none');
    vcpu.save.rflags = 0x402n;
    vcpu.registers[7] = 0xffff_ffff_0000_0000n;
    exit(ExitCode.IOIO, 0x0080_0125n, 0x4000n);
    vcpu.vm.scheduler.run(1);
    expect(vcpu.registers[7]).toBe(0xffff_fffen);
    expect([host.bytes[RAM.at + 0x4000], host.bytes[RAM.at + 0x4001]]).toEqual([0xff, 0xff]);
  });

  it('a repeated string instruction with RCX = 0 does nothing', () => {
    const { vcpu, exit } = scripted('none');
    vcpu.save.rip = 0x1000n;
    exit(ExitCode.IOIO, 0x00e9_021cn);
    vcpu.vm.scheduler.run(1);
    expect(vcpu.save.rip).toBe(0x1002n);
  });

  it('WBINVD, VMMCALL, VMRUN', () => {
    const { vcpu, exit, host } = scripted('none');
    exit(ExitCode.WBINVD);
    exit(ExitCode.VMMCALL);
    vcpu.vm.scheduler.run(3);
    expect(host.writeBacks).toBe(1);
    expect(BigInt.asIntN(64, vcpu.save.rax)).toBe(-1000n);
    exit(ExitCode.VMRUN);
    vcpu.vm.scheduler.run(1);
    expect(vcpu.vmcb.eventInj).toBe(0x8000_0306n);
  });

  it('an intercepted CR access is executed by the guest itself, and intercepted again', () => {
    const { vcpu, exit, host } = scripted('none', { codes: [], controlRegisters: true });
    expect(interceptBit(host, 0x14)).toBe(1);
    exit(ExitCode.CR0_WRITE + 4, 1n << 63n);
    exit(ExitCode.INTR, 0n, 0n, () => {
      expect(interceptBit(host, 0x14)).toBe(0);
      expect(host.timer).toBe(1);
    });
    vcpu.vm.scheduler.run(2);
    expect(interceptBit(host, 0x14)).toBe(1);
  });

  it('an intercepted exception goes on to the guest', () => {
    const { vcpu, exit } = scripted('none', { codes: [0x4e], controlRegisters: false });
    exit(ExitCode.EXCEPTION + 14, 6n, 0xdead_0000n);
    vcpu.vm.scheduler.run(1);
    expect(vcpu.vmcb.eventInj).toBe((6n << 32n) | 0x8000_0b0en);
    expect(vcpu.save.cr2).toBe(0xdead_0000n);
  });

  it.each([
    [0x8000_0b0en, { eventInj: 0x8000_0b08n }, null],
    [0x8000_0b08n, {}, { kind: 'shutdown' }],
    [0x8000_0303n, { eventInj: 0x8000_0b0en }, null],
  ] as const)('an intercepted exception during the delivery of %s is what the processor makes of both', (exitIntInfo, vmcb, outcome) => {
    const { vcpu, exit } = scripted('none', { codes: [0x4e], controlRegisters: false });
    exit(ExitCode.EXCEPTION + 14, 0n, 0n, () => {
      vcpu.vmcb.exitIntInfo = exitIntInfo;
    });
    expect(vcpu.vm.scheduler.run(1)).toEqual(outcome);
    expect(vcpu.vmcb).toMatchObject(vmcb);
  });

  it.each([
    ['an event whose delivery was interrupted is delivered anew', 0x8000_0020n, 0x8000_0020n],
    ['INT n, at which RIP still is, is executed anew', 0x8000_0420n, 0n],
    ['INT3 as well', 0x8000_0303n, 0n],
  ])('%s', (_, interrupted, injected) => {
    const { vcpu, exit } = scripted('none');
    exit(ExitCode.INTR, 0n, 0n, () => {
      vcpu.vmcb.exitIntInfo = interrupted;
    });
    vcpu.vm.scheduler.run(1);
    expect(vcpu.vmcb.eventInj).toBe(injected);
  });

  it('a task switch that an event caused is left to the guest, with the event', () => {
    const { host, vcpu, exit } = scripted('none');
    exit(ExitCode.TASK_SWITCH, 0x20n, 0n, () => {
      vcpu.vmcb.exitIntInfo = 0x8000_00f0n;
    });
    vcpu.vm.scheduler.run(1);
    expect(vcpu.vmcb.eventInj).toBe(0x8000_00f0n);
    expect(interceptBit(host, ExitCode.TASK_SWITCH)).toBe(0);
  });

  it('with TF set, what the hypervisor executes is followed by #DB', () => {
    const { vcpu, exit } = scripted('none');
    vcpu.save.rflags = 0x102n;
    vcpu.save.dr6 = 0xffff_0ff0n;
    exit(ExitCode.CPUID);
    vcpu.vm.scheduler.run(1);
    expect(vcpu.vmcb.eventInj).toBe(0x8000_0301n);
    expect(vcpu.save.dr6).toBe(0xffff_4ff0n);
  });

  it('with DebugCtl.BTF set besides it is not, being no branch; HLT halts', () => {
    const { vcpu, exit } = scripted('none');
    vcpu.save.rflags = 0x102n;
    vcpu.save.dbgCtl = 2n;
    vcpu.save.dr6 = 0xffff_0ff0n;
    exit(ExitCode.CPUID);
    vcpu.vm.scheduler.run(1);
    expect([vcpu.vmcb.eventInj, vcpu.save.dr6]).toEqual([0n, 0xffff_0ff0n]);
    exit(ExitCode.HLT);
    expect(vcpu.vm.scheduler.run(1)).toMatchObject({ kind: 'halted' });
    vcpu.activity = Activity.RUNNING;
    vcpu.save.dbgCtl = 0n;
    exit(ExitCode.HLT);
    expect(vcpu.vm.scheduler.run(1)).toBeNull();
    expect(vcpu.vmcb.eventInj).toBe(0x8000_0301n);
  });

  it.each([
    [ExitCode.SHUTDOWN, 'shutdown'],
    [ExitCode.HLT, 'halted'],
    [ExitCode.INVALID, 'refused'],
    [ExitCode.NPF, 'stopped'],
    [0x999, 'stopped'],
  ])('exit %i ends the run: %s', (code, kind) => {
    const { vcpu, exit } = scripted('none');
    exit(code);
    expect(vcpu.vm.scheduler.run(10)).toMatchObject({ kind });
  });
});

describe('the loop around VMRUN', () => {
  it('returns when its budget is used up', () => {
    const { vcpu, host } = scripted('none');
    expect(vcpu.vm.scheduler.run(1000)).toBeNull();
    expect(host.retired).toBe(1000);
  });

  it('ends when the guest writes to the test device', () => {
    const { vcpu, exit, io, vm } = scripted('none');
    io.map(
      0xf4,
      4,
      new TestDevice((value) => {
        vm.ended = { kind: 'ended', value };
      }),
    );
    vcpu.save.rax = 3n;
    exit(ExitCode.IOIO, 0x00f4_0210n);
    expect(vcpu.vm.scheduler.run(10)).toEqual({ kind: 'ended', value: 3 });
  });

  it('gives up on a guest that never gets anywhere', () => {
    const { vcpu, host } = scripted('sev-es');
    host.script = Array.from({ length: 20_000 }, () => () => {
      vcpu.vmcb.exitCode = 0x61n;
    });
    expect(vcpu.vm.scheduler.run(10)).toMatchObject({ kind: 'stopped' });
  });
});

describe('exits of an SEV-ES guest', () => {
  it('write traps update what the hypervisor knows of the control registers', () => {
    const { vcpu, exit } = scripted('sev-es');
    expect(vcpu.readControlRegister(0)).toBe(0x8001_0033n);
    exit(ExitCode.CR0_WRITE_TRAP + 0, 0x8001_003bn);
    exit(ExitCode.CR0_WRITE_TRAP + 4, 0x6a0n);
    exit(ExitCode.CR0_WRITE_TRAP + 8, 5n);
    vcpu.vm.scheduler.run(3);
    expect([0, 4, 8].map((n) => vcpu.readControlRegister(n))).toEqual([0x8001_003bn, 0x6a0n, 5n]);
  });

  it('with --intercept cr: from the first named GHCB page on, lifted for one allowed write, armed again by the trap', () => {
    const { vcpu, exit, host } = scripted('sev-es', { codes: [], controlRegisters: true });
    const armed = () => [0x00, 0x04, 0x08, 0x10, 0x14, 0x18].map((code) => interceptBit(host, code));
    expect(armed()).toEqual([0, 0, 0, 0, 0, 0]);
    vcpu.ghcbMsr = 0x002n;
    exit(ExitCode.VMGEXIT);
    vcpu.vm.scheduler.run(1);
    expect(armed()).toEqual([0, 0, 0, 0, 0, 0]);
    vcpu.ghcbMsr = 0x5000n;
    exit(ExitCode.VMGEXIT);
    vcpu.vm.scheduler.run(1);
    expect(armed()).toEqual([1, 1, 1, 1, 1, 1]);
    expect(vcpu.allowControlRegister(4, 0x6a0n)).toBe(true);
    expect(armed()).toEqual([1, 1, 1, 1, 0, 1]);
    exit(ExitCode.CR0_WRITE_TRAP + 4, 0x6a0n);
    vcpu.vm.scheduler.run(1);
    expect(armed()).toEqual([1, 1, 1, 1, 1, 1]);
    expect(vcpu.allowControlRegister(0, 0n)).toBe(true);
    expect(vcpu.allowControlRegister(0, 0x8000_0000n)).toBe(false);
  });

  it('HLT tells whether interrupts were enabled', () => {
    const { vcpu, exit } = scripted('sev-es');
    exit(ExitCode.HLT, 0n, 0n, () => {
      vcpu.vmcb.interruptState = 2n;
    });
    expect(vcpu.vm.scheduler.run(1)).toEqual({ kind: 'halted', interruptsEnabled: true });
  });

  it('an instruction intercept cannot arrive', () => {
    const { vcpu, exit } = scripted('sev-es');
    exit(ExitCode.CPUID);
    expect(vcpu.vm.scheduler.run(1)).toMatchObject({ kind: 'stopped' });
  });
});
