// DebugCtl across world switches: the guest's own with LBR virtualization, else that of the processor. APM vol. 2, 15.23; SEV-ES: table B-4.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { build } from './fixture.ts';

const WRITE =
  'mov ecx, 0x1d9\n rdmsr\n mov rbx, rax\n mov eax, 2\n xor edx, edx\n wrmsr\n cpuid\n mov rax, 0\n rdmsr\n mov rbx, rax\n cpuid';

describe('DebugCtl', () => {
  it('of a plain guest is loaded from the VMCB and saved there, with LBR virtualization', () => {
    const box = build('none', WRITE);
    box.vmcb.virtualizationControl = 1n;
    box.save.dbgCtl = 0x14n;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect([box.registers[3], box.save.dbgCtl]).toEqual([0x14n, 2n]);
    // Another guest's is another.
    box.save.dbgCtl = 8n;
    box.save.rip = box.vmcb.nRip;
    box.registers[1] = 0x1d9n;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(box.registers[3]).toBe(8n);
  });

  it('without LBR virtualization is the processor’s: nothing is loaded, nothing is saved', () => {
    const box = build('none', WRITE);
    box.save.dbgCtl = 0x14n;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect([box.registers[3], box.save.dbgCtl]).toEqual([0n, 0x14n]);
    box.save.rip = box.vmcb.nRip;
    box.registers[1] = 0x1d9n;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(box.registers[3]).toBe(2n);
  });

  it('of a guest with LBR virtualization is gone when one without it runs', () => {
    const box = build('none', WRITE);
    box.vmcb.virtualizationControl = 1n;
    expect(box.run()).toBe(ExitCode.CPUID);
    box.vmcb.virtualizationControl = 0n;
    box.save.rip = box.vmcb.nRip;
    box.registers[1] = 0x1d9n;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(box.registers[3]).toBe(0n);
  });

  it('of an SEV-ES guest is in its VMSA', () => {
    const box = build('sev-es', 'mov ecx, 0x1d9\n rdmsr\n mov rbx, rax\n mov eax, 2\n xor edx, edx\n wrmsr\n hlt');
    box.vmsa.dbgCtl = 0x14n;
    box.sealVmsa();
    expect(box.run()).toBe(ExitCode.HLT);
    expect([box.openVmsa().rbx, box.openVmsa().dbgCtl]).toEqual([0x14n, 2n]);
  });
});
