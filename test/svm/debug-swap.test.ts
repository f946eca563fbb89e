// Debug registers across the world switch of an SEV-ES guest: DR0 to DR3 are the processor's, whoever runs, unless SEV_FEATURES has
// DEBUG_VIRTUALIZATION, which makes them type B (APM vol. 2, 15.35.10 and table B-4; the models since Milan).

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { SevFeatures } from '../../src/arch/sev-features.ts';
import { State } from '../../src/memory/state.ts';
import { build, Guest, HSAVE } from './fixture.ts';

const DR0 = State.DR0;
const SAVE_DR0 = 0x400 + 0x180;

type Box = ReturnType<typeof build>;
const guest = (code: string, swapped: boolean, model = 'milan', handler = 'hlt'): Box => {
  const box = build('sev-es', code, handler, undefined, true, true, model);
  box.vmsa.dr0 = 0x1111n;
  box.vmsa.dr3 = 0x4444n;
  if (swapped) box.vmsa.sevFeatures = BigInt(SevFeatures.DEBUG_VIRTUALIZATION);
  box.sealVmsa();
  return box;
};
const READ = 'mov rax, dr0\n mov rbx, dr3\n mov rcx, 0x7777\n mov dr1, rcx\n hlt\n hlt';

describe('DebugSwap', () => {
  it('loads DR0 to DR3 from the VMSA, and saves them there', () => {
    const box = guest(READ, true);
    expect(box.run()).toBe(ExitCode.HLT);
    const { rax, rbx, dr0, dr1, dr3 } = box.openVmsa();
    expect([rax, rbx, dr0, dr1, dr3]).toEqual([0x1111n, 0x4444n, 0x1111n, 0x7777n, 0x4444n]);
  });

  it('gives the host what software put into its save area', () => {
    const box = guest(READ, true);
    const live = box.svm.guestState;
    box.svm.memory.page(HSAVE).setU64(SAVE_DR0, 0xabcdn);
    box.run();
    expect(box.memory.view.getBigUint64(live + DR0, true)).toBe(0xabcdn);
    box.svm.memory.page(HSAVE).setU64(SAVE_DR0, 0xdcban);
    box.run();
    expect(box.memory.view.getBigUint64(live + DR0, true)).toBe(0xdcban);
  });

  it('off: the guest has the processor’s, leaves its own there, and the VMSA keeps its bytes', () => {
    const box = guest(READ, false);
    const live = box.svm.guestState;
    box.memory.view.setBigUint64(live + DR0, 0x5555n, true);
    expect(box.run()).toBe(ExitCode.HLT);
    const { rax, rbx, dr0, dr1, dr3 } = box.openVmsa();
    expect([rax, rbx, dr0, dr1, dr3]).toEqual([0x5555n, 0n, 0x1111n, 0n, 0x4444n]);
    expect(box.memory.view.getBigUint64(live + DR0 + 8, true)).toBe(0x7777n);
  });

  it('shows in SEV_STATUS', () => {
    const box = guest('mov ecx, 0xc0010131\n rdmsr\n hlt', true);
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.openVmsa().rax).toBe(0x83n);
  });

  it('lets a breakpoint of the VMSA work', () => {
    const box = guest('inc rbx\n inc rbx\n hlt', true, 'milan', 'mov rax, dr6\n hlt');
    box.vmsa.dr0 = BigInt(Guest.CODE + 3);
    box.vmsa.dr7 = 0x402n;
    box.sealVmsa();
    expect(box.run()).toBe(ExitCode.HLT);
    const { rip, rax } = box.openVmsa();
    expect([rip, rax & 0xfn]).toEqual([BigInt(Guest.HANDLER) + 4n, 1n]);
  });

  it.each(['naples', 'rome'])('is unknown to %s: INVALID', (model) => {
    expect(guest(READ, true, model).run()).toBe(ExitCode.INVALID);
  });

  it.each(['milan', 'genoa', 'turin'])('is known to %s', (model) => {
    expect(guest(READ, true, model).run()).toBe(ExitCode.HLT);
  });
});
