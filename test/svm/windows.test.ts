// What the hypervisor can tell of an SEV-ES guest's interrupt and NMI windows, and do about them, without a look at its registers: RFLAGS.IF
// and the shadow in VMCB 068h, V_IRQ, virtual NMIs (APM vol. 2, 15.21, 15.35.9; GHCB 4.4). And what HLT and SHUTDOWN leave.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { InterruptState, VirtualInterrupt } from '../../src/arch/vmcb.ts';
import { build, Guest, NESTED, u64 } from './fixture.ts';

const { INTERRUPT_SHADOW, GUEST_INTERRUPT_MASK } = InterruptState;
const VINTR_INTERCEPT = 1 << 4;
const HLT_INTERCEPT = 1 << 24;
const VECTOR = 0x15;
/** No host memory behind it: an automatic NPF. */
const ABSENT = 0x5_0000;

type Box = ReturnType<typeof build>;
const guest = (code: string, handler = 'hlt', model = 'milan'): Box => {
  const box = build('sev-es', code, handler, undefined, true, true, model);
  box.frames.write(NESTED + 3 * 4096 + 8 * (ABSENT >> 12), 0, u64(0n));
  return box;
};
const request = (box: Box): void => {
  box.vmcb.virtualInterrupt = VirtualInterrupt.V_INTR_MASKING | VirtualInterrupt.V_IRQ | (1 << 16);
  box.vmcb.vIntrVector = VECTOR;
};
const state = (box: Box): number => Number(box.vmcb.interruptState);
const rip = (box: Box): number => Number(box.openVmsa().rip);

describe('GUEST_INTERRUPT_MASK and the interrupt shadow', () => {
  it.each([
    ['STI and one instruction', 'sti\n nop\n hlt', GUEST_INTERRUPT_MASK],
    ['CLI', 'sti\n nop\n cli\n hlt', 0],
  ])('after %s', (_, code, expected) => {
    const box = guest(code);
    expect(box.run()).toBe(ExitCode.HLT);
    expect(state(box)).toBe(expected);
  });

  it('are both set at an exit of the instruction behind STI', () => {
    const box = guest(`mov ebx, ${ABSENT}\n sti\n mov [rbx], eax\n hlt`);
    expect(box.run()).toBe(ExitCode.NPF);
    expect(state(box)).toBe(GUEST_INTERRUPT_MASK | INTERRUPT_SHADOW);
  });

  it('the shadow that the hypervisor leaves holds an interrupt off for one instruction; one that it clears does not', () => {
    for (const shadow of [INTERRUPT_SHADOW, 0]) {
      const box = guest(`mov ebx, ${ABSENT}\n sti\n mov [rbx], eax\n nop\n cli\n hlt`);
      expect(box.run()).toBe(ExitCode.NPF);
      const faulting = rip(box);
      box.frames.write(NESTED + 3 * 4096 + 8 * (ABSENT >> 12), 0, u64(0x10_a067n));
      box.vmcb.interruptState = BigInt(shadow);
      request(box);
      expect(box.run()).toBe(ExitCode.HLT);
      expect(rip(box)).toBe(Guest.HANDLER + 1);
      const frame = new DataView(box.read(Number(box.openVmsa().rsp), 8).buffer).getBigUint64(0, true);
      expect(Number(frame)).toBe(shadow === 0 ? faulting : faulting + 2);
    }
  });

  it('GUEST_INTERRUPT_MASK is written by #VMEXIT and not read by VMRUN', () => {
    const box = guest('hlt\n pushfq\n pop rbx\n hlt');
    expect(box.run()).toBe(ExitCode.HLT);
    box.vmcb.interruptState = BigInt(GUEST_INTERRUPT_MASK);
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.openVmsa().rbx & 0x200n).toBe(0n);
    expect(state(box)).toBe(0);
  });
});

describe('VINTR', () => {
  it('is an automatic exit when the guest opens its window, with V_IRQ still requested', () => {
    const box = guest('nop\n sti\n inc rbx\n inc rbx\n hlt');
    box.vmcb.intercept3 |= VINTR_INTERCEPT;
    request(box);
    expect(box.run()).toBe(ExitCode.VINTR);
    expect(rip(box)).toBe(Guest.CODE + 5); // behind NOP, STI and the one instruction in its shadow
    expect(state(box)).toBe(GUEST_INTERRUPT_MASK);
    expect(box.vmcb.virtualInterrupt & VirtualInterrupt.V_IRQ).toBe(VirtualInterrupt.V_IRQ);
    expect([...box.svm.vcCounts]).toEqual([]);
  });

  it('waits while CR8 of the guest masks the priority', () => {
    const box = guest('mov eax, 1\n mov cr8, rax\n sti\n nop\n nop\n hlt');
    box.vmcb.intercept3 |= VINTR_INTERCEPT;
    request(box);
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.vmcb.virtualInterrupt & VirtualInterrupt.V_TPR).toBe(1);
  });
});

describe('HLT', () => {
  it('right behind STI leaves with the interrupt still pending, and it is taken behind HLT', () => {
    const box = guest('sti\n hlt\n inc rbx\n hlt', 'hlt');
    request(box);
    expect(box.run()).toBe(ExitCode.HLT);
    expect(rip(box)).toBe(Guest.CODE + 2);
    expect(box.vmcb.virtualInterrupt & VirtualInterrupt.V_IRQ).toBe(VirtualInterrupt.V_IRQ);
    expect(state(box)).toBe(GUEST_INTERRUPT_MASK);
    expect(box.run()).toBe(ExitCode.HLT);
    expect(rip(box)).toBe(Guest.HANDLER + 1);
    const frame = new DataView(box.read(Number(box.openVmsa().rsp), 8).buffer).getBigUint64(0, true);
    expect(Number(frame)).toBe(Guest.CODE + 2);
  });

  it('that is not intercepted ends with a virtual interrupt', () => {
    const box = guest('sti\n hlt\n inc rbx\n jmp $', 'inc rbx\n vmgexit');
    box.vmcb.intercept3 = (box.vmcb.intercept3 & ~HLT_INTERCEPT) >>> 0;
    request(box);
    expect(box.run()).toBe(ExitCode.VMGEXIT);
    const frame = new DataView(box.read(Number(box.openVmsa().rsp), 8).buffer).getBigUint64(0, true);
    expect(Number(frame)).toBe(Guest.CODE + 2);
  });
});

describe('NMI', () => {
  const NMI = 0x8000_0202n;

  it('injected without virtual NMIs blocks nothing: that is the hypervisor’s to remember until NMI complete', () => {
    const box = guest('nop\n hlt');
    box.vmcb.eventInj = NMI;
    expect(box.run()).toBe(ExitCode.HLT);
    const { rsp } = box.openVmsa();
    box.vmcb.eventInj = NMI;
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.openVmsa().rsp).toBe(rsp - 48n); // a frame of 40 bytes, aligned to 16
  });

  it('virtual: pending, blocked and unblocked by IRET show in the VMCB, and no register is needed', () => {
    const { V_NMI, V_NMI_MASK, V_NMI_ENABLE } = VirtualInterrupt;
    const box = guest('nop\n vmgexit\n hlt', 'vmgexit\n iretq', 'genoa');
    box.vmcb.intercept3 |= 1 << 1;
    box.vmcb.virtualInterrupt = V_NMI_ENABLE | V_NMI;
    expect(box.run()).toBe(ExitCode.VMGEXIT);
    expect(box.vmcb.virtualInterrupt & (V_NMI | V_NMI_MASK)).toBe(V_NMI_MASK);
    box.vmcb.virtualInterrupt |= V_NMI; // the next one waits
    expect(box.run()).toBe(ExitCode.VMGEXIT);
    expect(box.vmcb.virtualInterrupt & (V_NMI | V_NMI_MASK)).toBe(V_NMI_MASK);
    expect(box.run()).toBe(ExitCode.VMGEXIT);
    expect(box.vmcb.virtualInterrupt & (V_NMI | V_NMI_MASK)).toBe(0);
    expect(rip(box)).toBe(Guest.CODE + 5);
  });
});

describe('SHUTDOWN', () => {
  it('is an automatic exit; the registers in the VMSA are undefined, but VMRUN takes it', () => {
    const box = guest('ud2');
    box.vmsa.idtrLimit = 0;
    box.sealVmsa();
    expect(box.run()).toBe(ExitCode.SHUTDOWN);
    expect([box.vmcb.exitInfo1, box.vmcb.exitInfo2]).toEqual([0n, 0n]);
    expect([...box.svm.vcCounts]).toEqual([]);
    box.openVmsa();
    expect(box.run()).toBe(ExitCode.SHUTDOWN);
  });
});
