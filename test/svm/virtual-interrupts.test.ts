// Virtual interrupts and NMIs: which the guest takes, and when. APM vol. 2, 15.21.1 (V_IRQ, V_TPR), 15.21.10 (virtual NMIs).

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { VirtualInterrupt } from '../../src/arch/vmcb.ts';
import { build, Guest, u64 } from './fixture.ts';

const { V_IRQ, V_NMI, V_NMI_MASK, V_NMI_ENABLE, V_IGN_TPR, V_INTR_MASKING } = VirtualInterrupt;
const priority = (n: number): number => n << 16;
const NMI_INTERCEPT = 1 << 1;
const VINTR_INTERCEPT = 1 << 4;
const VECTOR = 0x15;

type Box = ReturnType<typeof build>;
/** `handler` serves every vector. */
const guest = (code: string, handler = 'cpuid', model = 'genoa', technology: 'none' | 'sev-es' = 'none'): Box => {
  const box = build(technology, code, handler, undefined, true, true, model);
  box.vmcb.intercept3 |= NMI_INTERCEPT;
  return box;
};
const offer = (box: Box, bits: number): void => {
  box.vmcb.virtualInterrupt = bits >>> 0;
  box.vmcb.vIntrVector = VECTOR;
};
const inHandler = (box: Box): boolean => box.save.rip === BigInt(Guest.HANDLER);

describe('a virtual interrupt', () => {
  it('waits for RFLAGS.IF, and then for one more instruction', () => {
    const box = guest('nop\n sti\n inc rbx\n cpuid');
    offer(box, V_IRQ | priority(1));
    expect(box.run()).toBe(ExitCode.CPUID);
    expect([inHandler(box), box.registers[3]]).toEqual([true, 1n]);
    expect(box.vmcb.virtualInterrupt & V_IRQ).toBe(0);
  });

  it.each([
    ['above V_TPR is taken', priority(5), 4, true],
    ['not above V_TPR waits', priority(4), 4, false],
    ['of priority 0 waits', priority(0), 0, false],
    ['is taken whatever V_TPR says with V_IGN_TPR', priority(0) | V_IGN_TPR, 15, true],
  ])('%s', (_, bits, tpr, taken) => {
    const box = guest('sti\n nop\n nop\n cpuid');
    offer(box, V_IRQ | V_INTR_MASKING | bits | tpr);
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(inHandler(box)).toBe(taken);
    expect((box.vmcb.virtualInterrupt & V_IRQ) === 0).toBe(taken);
  });

  it('is taken as soon as the guest lowers CR8, and V_TPR shows it', () => {
    const box = guest('sti\n nop\n inc rbx\n mov rax, 2\n mov cr8, rax\n inc rbx\n cpuid');
    offer(box, V_IRQ | V_INTR_MASKING | priority(3) | 9);
    expect(box.run()).toBe(ExitCode.CPUID);
    expect([inHandler(box), box.registers[3]]).toEqual([true, 1n]);
    expect(box.vmcb.virtualInterrupt & 0xf).toBe(2);
  });

  it('with the VINTR intercept leaves instead, and stays requested', () => {
    const box = guest('sti\n nop\n cpuid');
    box.vmcb.intercept3 |= VINTR_INTERCEPT;
    offer(box, V_IRQ | priority(1));
    expect(box.run()).toBe(ExitCode.VINTR);
    expect(box.vmcb.virtualInterrupt & V_IRQ).toBe(V_IRQ);
  });

  it('waits behind MOV SS', () => {
    const box = guest('mov eax, 16\n sti\n mov ss, eax\n inc rbx\n cpuid');
    offer(box, V_IRQ | priority(1));
    box.save.rflags |= 0x200n;
    box.vmcb.interruptState = 1n;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(inHandler(box)).toBe(true);
  });

  it('that an exit breaks off is named in EXITINTINFO', () => {
    const box = guest('sti\n nop\n cpuid');
    offer(box, V_IRQ | priority(1));
    box.save.rsp = BigInt(Guest.DEVICE) + 0x800n;
    expect(box.run()).toBe(ExitCode.NPF);
    expect(box.vmcb.exitIntInfo).toBe(BigInt(0x8000_0000 + VECTOR));
  });
});

describe('a virtual NMI', () => {
  const NMI = V_NMI_ENABLE | V_NMI;

  it('is delivered whatever RFLAGS.IF says, blocks further ones, and is no longer pending', () => {
    const box = guest('nop\n hlt');
    offer(box, NMI);
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(inHandler(box)).toBe(true);
    expect(box.vmcb.virtualInterrupt & (V_NMI | V_NMI_MASK)).toBe(V_NMI_MASK);
    expect(box.notes.filter(({ kind }) => kind === 'exception')).toMatchObject([{ vector: 2 }]);
  });

  it('waits while NMIs are blocked, until IRET', () => {
    // The frame of an NMI: IRET goes on at the label behind it.
    const box = guest('iretq', 'cpuid');
    offer(box, NMI | V_NMI_MASK);
    const frame = [BigInt(Guest.CODE + 0x20), 8n, 2n, BigInt(Guest.STACK), 0x10n];
    frame.forEach((value, n) => {
      box.put(Guest.STACK - 0x40 + 8 * n, u64(value));
    });
    box.save.rsp = BigInt(Guest.STACK - 0x40);
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(inHandler(box)).toBe(true);
    expect(new DataView(box.read(Guest.STACK - 40, 8).buffer).getBigUint64(0, true)).toBe(BigInt(Guest.CODE + 0x20));
  });

  it('stays pending behind a blocked one', () => {
    const box = guest('inc rbx\n cpuid');
    offer(box, NMI | V_NMI_MASK);
    expect(box.run()).toBe(ExitCode.CPUID);
    expect([inHandler(box), box.registers[3]]).toEqual([false, 1n]);
    expect(box.vmcb.virtualInterrupt & (V_NMI | V_NMI_MASK)).toBe(V_NMI | V_NMI_MASK);
  });

  it('waits for the end of an interrupt shadow', () => {
    const box = guest('inc rbx\n inc rbx\n cpuid');
    offer(box, NMI);
    box.vmcb.interruptState = 1n;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect([inHandler(box), box.registers[3]]).toEqual([true, 1n]);
  });

  it('goes before a virtual interrupt', () => {
    const box = guest('nop\n cpuid');
    offer(box, NMI | V_IRQ | priority(1));
    box.save.rflags |= 0x200n;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(box.notes.filter(({ kind }) => kind === 'exception')).toMatchObject([{ vector: 2 }]);
    expect(box.vmcb.virtualInterrupt & V_IRQ).toBe(V_IRQ);
  });

  it('whose gate leaves RFLAGS.IF set is followed at once by a virtual interrupt', () => {
    const box = guest('nop\n hlt', 'inc rbx\n cpuid');
    box.put(Guest.IDT + 16 * 2 + 5, Uint8Array.of(0x8f)); // a trap gate
    offer(box, NMI | V_IRQ | priority(1));
    box.save.rflags |= 0x200n;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(box.notes.filter(({ kind }) => kind === 'exception')).toMatchObject([
      { vector: 2 },
      { vector: VECTOR, rip: BigInt(Guest.HANDLER) },
    ]);
    expect(box.registers[3]).toBe(1n);
    expect(box.vmcb.virtualInterrupt & (V_IRQ | V_NMI)).toBe(0);
  });

  it('injected by EVENTINJ blocks further ones', () => {
    const box = guest('nop\n hlt');
    offer(box, V_NMI_ENABLE);
    box.vmcb.eventInj = 0x8000_0202n;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(box.vmcb.virtualInterrupt & (V_NMI | V_NMI_MASK)).toBe(V_NMI_MASK);
  });

  it('without the NMI intercept is INVALID', () => {
    const box = guest('cpuid');
    offer(box, V_NMI_ENABLE);
    box.vmcb.intercept3 &= ~NMI_INTERCEPT;
    expect(box.run()).toBe(ExitCode.INVALID);
  });

  it('does not exist on a model without it', () => {
    const box = guest('inc rbx\n cpuid', 'cpuid', 'milan');
    offer(box, NMI);
    box.vmcb.intercept3 &= ~NMI_INTERCEPT;
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(inHandler(box)).toBe(false);
  });

  it('reaches an SEV-ES guest', () => {
    const box = guest('nop\n hlt', 'hlt', 'genoa', 'sev-es');
    offer(box, NMI);
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.openVmsa().rip).toBe(BigInt(Guest.HANDLER) + 1n);
    expect(box.vmcb.virtualInterrupt & (V_NMI | V_NMI_MASK)).toBe(V_NMI_MASK);
  });
});

describe('VMRUN', () => {
  it.each([
    ['PCIDE', 17, 'rome'],
    ['PKE', 22, 'naples'],
    ['UMIP', 11, 'naples'],
    ['LA57', 12, 'turin'],
    ['CET', 23, 'turin'],
  ])('refuses CR4.%s where the processor lacks it', (_, bit, model) => {
    const box = guest('cpuid', 'cpuid', model);
    box.save.cr4 |= 1n << BigInt(bit);
    expect(box.run()).toBe(ExitCode.INVALID);
  });

  it('takes CR4.PCIDE and PKE where the processor has them', () => {
    const box = guest('cpuid', 'cpuid', 'milan');
    box.save.cr4 |= (1n << 17n) | (1n << 22n);
    expect(box.run()).toBe(ExitCode.CPUID);
  });

  it('refuses LMSLE', () => {
    const box = guest('cpuid');
    box.save.efer |= 1n << 13n;
    expect(box.run()).toBe(ExitCode.INVALID);
  });
});
