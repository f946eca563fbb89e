// VMCB clean bits (APM vol. 2, 15.15): software sets one if it has not changed the fields that the bit stands for since the last #VMEXIT
// of this VMCB. The processor may then use what it kept of them; it may also load them anew.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { CleanBits, SAVE_AREA_OFFSET } from '../../src/arch/vmcb.ts';
import { spa } from '../../src/util/address.ts';
import { build, Guest, VMCB } from './fixture.ts';

const ALL = Object.values(CleanBits).reduce((all, bit) => all | bit, 0);
const CPUID_INTERCEPT = 1 << (ExitCode.CPUID & 31);
const CPUID_THRICE = 'cpuid\n mov ebx, 7\n cpuid\n cpuid\n hlt';

type Box = ReturnType<typeof build>;

/** To behind the intercepted CPUID. */
const skip = (box: Box): void => {
  box.save.rip += 2n;
};
const dropCpuid = (box: Box): void => {
  box.vmcb.intercept3 = (box.vmcb.intercept3 & ~CPUID_INTERCEPT) >>> 0;
};

describe('VMCB clean bits', () => {
  it('change nothing where software has changed nothing', () => {
    const box = build('none', CPUID_THRICE);
    for (let n = 0; n < 3; n++) {
      expect(box.run()).toBe(ExitCode.CPUID);
      skip(box);
      box.vmcb.cleanBits = ALL;
    }
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.vmcb.cleanBits).toBe(ALL); // the processor does not write them
  });

  it('that are clear make the processor load everything from the VMCB', () => {
    const box = build('none', CPUID_THRICE);
    expect(box.run()).toBe(ExitCode.CPUID);
    box.vmcb.cleanBits = ALL & ~CleanBits.I;
    dropCpuid(box);
    expect(box.run()).toBe(ExitCode.HLT);
  });

  it('that are set wrongly leave it open whether a change is seen', () => {
    const box = build('none', CPUID_THRICE);
    expect(box.run()).toBe(ExitCode.CPUID);
    box.vmcb.cleanBits = ALL;
    dropCpuid(box);
    expect([ExitCode.CPUID, ExitCode.HLT]).toContain(box.run());
  });

  it('do not count at the first VMRUN of a VMCB', () => {
    const box = build('none', CPUID_THRICE);
    box.vmcb.cleanBits = ALL;
    expect(box.run()).toBe(ExitCode.CPUID);
  });

  it('do not count where the VMCB lies at another physical address', () => {
    const box = build('none', CPUID_THRICE);
    expect(box.run()).toBe(ExitCode.CPUID);
    dropCpuid(box);
    box.vmcb.cleanBits = ALL;
    const bytes = new Uint8Array(4096);
    box.svm.memory.read(VMCB, bytes);
    const moved = spa(0x8000);
    box.svm.memory.write(moved, bytes);
    expect(box.svm.vmrun(moved, box.registers)).toBeNull();
    expect(box.svm.memory.page(moved).u32(0x70)).toBe(ExitCode.HLT);
  });

  it('do not count where another VMCB was run in between', () => {
    const box = build('none', CPUID_THRICE);
    const bytes = new Uint8Array(4096);
    box.svm.memory.read(VMCB, bytes);
    const second = spa(0x8000);
    box.svm.memory.write(second, bytes);
    expect(box.run()).toBe(ExitCode.CPUID);
    const other = box.svm.memory.page(second);
    other.setU32(0x0c, (other.u32(0x0c) & ~CPUID_INTERCEPT) >>> 0);
    other.setU32(SAVE_AREA_OFFSET + 0x178, Guest.CODE);
    expect(box.svm.vmrun(second, box.registers)).toBeNull();
    expect(other.u32(0x70)).toBe(ExitCode.HLT);
    box.vmcb.cleanBits = ALL;
    expect(box.run()).toBe(ExitCode.CPUID);
  });

  it('are for fields of the VMCB: what permission maps hold is looked up in memory each time', () => {
    const box = build('none', 'mov dx, 0x80\n in al, dx\n in al, dx\n hlt');
    expect(box.run()).toBe(ExitCode.IOIO);
    box.svm.memory.write(spa(Number(box.vmcb.iopmBasePa) + 0x80 / 8), new Uint8Array(1));
    box.vmcb.cleanBits = ALL;
    expect(box.run()).toBe(ExitCode.HLT);
  });

  it('hold for no field without a bit: EVENTINJ is looked at by every VMRUN', () => {
    const box = build('none', CPUID_THRICE, 'mov ecx, 5\n cpuid');
    expect(box.run()).toBe(ExitCode.CPUID);
    box.vmcb.cleanBits = ALL;
    box.vmcb.eventInj = 0x8000_0b0dn;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(box.save.rip).toBe(BigInt(Guest.HANDLER) + 5n);
  });

  it('hold for an SEV-ES guest, and not beyond its VMSA: intercepts belong to the VMCB that names it', () => {
    const box = build('sev-es', 'again: vmgexit\n jmp again', 'hlt');
    expect(box.run()).toBe(ExitCode.VMGEXIT);
    box.vmcb.cleanBits = ALL;
    expect(box.run()).toBe(ExitCode.VMGEXIT);
    box.openVmsa(); // the registers go to memory
    box.sealVmsa(); // others come in their place, which are decrypted, checked and loaded
    box.vmcb.cleanBits = ALL;
    expect(box.run()).toBe(ExitCode.VMGEXIT);
  });
});
