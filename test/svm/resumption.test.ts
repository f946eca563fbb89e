// An SEV-ES guest that is entered again while its VMCB says by its clean bits, and by everything else, that nothing has changed goes on where it
// left. Whatever did change between #VMEXIT and VMRUN counts all the same (APM vol. 2, 15.5.1, 15.15, 15.35.8).

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Msr } from '../../src/arch/msr.ts';
import { CleanBits, EventInjection, EventType, NestedControl } from '../../src/arch/vmcb.ts';
import { ASID, build, Guest, VMSA_PAGE } from './fixture.ts';

const ALL = Object.values(CleanBits).reduce((all, bit) => all | bit, 0);
const INVALID_OPCODE = 6;

type Box = ReturnType<typeof build>;

/** A guest that has left twice; nobody traces it, as in any run where speed counts. */
function entered(code = 'again: hlt\n inc rbx\n jmp again', handler = 'vmmcall'): Box {
  const box = build('sev-es', code, handler, ASID, true, false);
  for (let n = 0; n < 2; n++) {
    expect(box.run()).toBe(ExitCode.HLT);
    box.vmcb.cleanBits = ALL;
  }
  return box;
}

describe('an SEV-ES guest that is entered again', () => {
  it('goes on where it left', () => {
    const box = entered();
    for (let n = 0; n < 5; n++) expect(box.run()).toBe(ExitCode.HLT);
    expect(box.openVmsa().rbx).toBe(0x1122_3344_5566_7788n + 6n);
  });

  it('is seen by whoever looks on, each time', () => {
    const box = entered();
    const seen: string[] = [];
    box.svm.observer = {
      entered: (vmsa) => void seen.push(`entered ${vmsa === VMSA_PAGE / 0x1000}`),
      left: (_, code) => void seen.push(`left ${code}`),
      vc: () => {},
    };
    for (let n = 0; n < 2; n++) expect(box.run()).toBe(ExitCode.HLT);
    expect(seen).toEqual(['entered true', `left ${ExitCode.HLT}`, 'entered true', `left ${ExitCode.HLT}`]);
  });

  it('takes the event that was injected meanwhile', () => {
    const box = entered('again: hlt\n inc rbx\n jmp again', 'db 0xf3, 0x0f, 0x01, 0xd9');
    box.vmcb.eventInj = BigInt(EventInjection.V + (EventType.EXCEPTION << 8) + INVALID_OPCODE);
    expect(box.run()).toBe(ExitCode.VMGEXIT);
    expect(box.openVmsa().rip).toBe(BigInt(Guest.HANDLER + 4));
  });

  it.each<[string, (box: Box) => void]>([
    ['the VMCB no longer says SEV-ES', ({ vmcb }) => void (vmcb.nestedControl &= ~BigInt(NestedControl.SEV_ES))],
    ['the nested page tables lie beyond memory', ({ vmcb }) => void (vmcb.nCr3 = 1n << 60n)],
    ['LBR virtualization is off', ({ vmcb }) => void (vmcb.virtualizationControl = 0n)],
    ['the VMSA is another one', ({ vmcb }) => void (vmcb.vmsaPointer += 0x1000n)],
    ['somebody wrote to the VMSA', ({ svm }) => svm.memory.write(VMSA_PAGE, new Uint8Array(16))],
    ['the ASID was taken away', ({ asids }) => asids.release(ASID)],
  ])('is refused where %s', (_, change) => {
    const box = entered();
    change(box);
    expect(box.run()).toBe(ExitCode.INVALID);
  });

  it('is none where memory encryption was turned off: the registers are those of the save area, the memory is ciphertext (15.34.3)', () => {
    const box = entered();
    box.svm.wrmsr(Msr.SYSCFG, 0n);
    expect(box.run()).toBe(ExitCode.SHUTDOWN);
    expect(box.openVmsa().rbx).toBe(0x1122_3344_5566_7788n + 1n);
  });

  it('executes nothing where the timer has fired, and no event is named that an earlier exit broke off', () => {
    const box = entered();
    box.svm.setTimer(0);
    expect(box.run()).toBe(ExitCode.INTR);
    expect(box.vmcb.exitIntInfo).toBe(0n);
    expect(box.openVmsa().rbx).toBe(0x1122_3344_5566_7788n + 1n);
  });
});
