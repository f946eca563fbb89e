// #VC on its way to the guest's handler: on stacks that fault, on an IST stack, while another event is delivered (APM vol. 2, 8.2.9 and
// 15.35.5: #VC is contributory), with an exit in the middle. And VMGEXIT, which asks for no privilege and no mode (15.35.6).

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { build, Guest, NESTED, u64 } from './fixture.ts';

const hex = (n: bigint | number): string => n.toString(16);
/** No host memory: an automatic NPF. */
const ABSENT = 0x5_0000;
/** Not mapped by the guest: #PF. */
const UNMAPPED = 0x30_0000;
const IST1 = 0xb000;
const VMGEXIT = 'db 0xf3, 0x0f, 0x01, 0xd9';

type Box = ReturnType<typeof build>;
/** Handlers of their own for some vectors, behind the common one; `ist`: on the first IST stack. */
function guest(code: string, handlers: Readonly<Record<number, { readonly source: string; readonly ist?: boolean }>> = {}): Box {
  const box = build('sev-es', code, 'hlt');
  box.frames.write(NESTED + 3 * 4096 + 8 * (ABSENT >> 12), 0, u64(0n));
  let at: number = Guest.HANDLER;
  for (const [vector, { source, ist }] of Object.entries(handlers)) {
    at += 0x40;
    const { bytes } = assemble(source, { bits: 64, origin: BigInt(at) });
    box.put(at, bytes);
    box.put(Guest.IDT + 16 * Number(vector), u64(BigInt(at & 0xffff) | (8n << 16n) | ((ist === true ? 0x8e01n : 0x8e00n) << 32n)));
  }
  box.put(Guest.DATA + 0x24, u64(BigInt(IST1))); // the TSS
  box.vmsa.trBase = BigInt(Guest.DATA);
  box.vmsa.trLimit = 0x67;
  box.sealVmsa();
  return box;
}
const TOLD = { source: 'pop rax\n pop rbx\n hlt' };

describe('#VC', () => {
  it('with an IST gate goes to that stack whatever RSP is', () => {
    const box = guest(`mov rsp, ${UNMAPPED}\n cpuid`, { 29: { ...TOLD, ist: true } });
    expect(box.run()).toBe(ExitCode.HLT);
    const { rax, rbx, rsp } = box.openVmsa();
    expect([hex(rax), hex(rbx), hex(rsp)]).toEqual(['72', hex(Guest.CODE + 7), hex(IST1 - 48 + 16)]);
  });

  it('on a stack that faults gives way to the page fault', () => {
    const box = guest(`mov rsp, ${UNMAPPED}\n cpuid`, { 14: { source: 'pop rax\n pop rbx\n mov rcx, cr2\n hlt', ist: true } });
    expect(box.run()).toBe(ExitCode.HLT);
    const { rax, rbx, rcx } = box.openVmsa();
    expect([hex(rax), hex(rbx), hex(rcx)]).toEqual(['2', hex(Guest.CODE + 7), hex(UNMAPPED - 48)]);
  });

  it('on a stack that faults without any other is the end', () => {
    expect(guest(`mov rsp, ${UNMAPPED}\n cpuid`).run()).toBe(ExitCode.SHUTDOWN);
  });

  it('while a page fault is delivered gives #DF', () => {
    const box = guest(`mov rsp, ${Guest.DEVICE + 0x100}\n mov eax, ${UNMAPPED}\n mov [rax], ebx`, { 8: { ...TOLD, ist: true } });
    expect(box.run()).toBe(ExitCode.HLT);
    const { rax, rbx } = box.openVmsa();
    expect([rax, hex(rbx)]).toEqual([0n, hex(Guest.CODE + 12)]);
    expect([...box.svm.vcCounts]).toEqual([[ExitCode.NPF, 1]]);
  });

  it('while a benign exception is delivered is delivered itself', () => {
    const box = guest(`mov rsp, ${Guest.DEVICE + 0x100}\n ud2`, { 29: { ...TOLD, ist: true } });
    expect(box.run()).toBe(ExitCode.HLT);
    expect(hex(box.openVmsa().rax)).toBe('400');
  });

  it('while an interrupt is delivered is delivered itself, and the interrupt is lost, as behind any fault', () => {
    const box = guest(`mov rsp, ${Guest.DEVICE + 0x100}\n sti\n nop\n nop\n hlt`, { 29: { ...TOLD, ist: true } });
    box.page.setU32(0x60, (1 << 24) | (8 << 16) | (1 << 8));
    box.page.setU8(0x64, 0x1f);
    expect(box.run()).toBe(ExitCode.HLT);
    expect(hex(box.openVmsa().rax)).toBe('400');
    expect(box.page.u32(0x60) & 0x100).toBe(0);
    expect(box.vmcb.exitIntInfo).toBe(0n);
  });

  it('whose delivery an automatic exit breaks off is named in EXITINTINFO, and can be injected again', () => {
    const box = guest(`mov rsp, ${ABSENT + 0x100}\n cpuid`, { 29: TOLD });
    expect(box.run()).toBe(ExitCode.NPF);
    expect(hex(box.vmcb.exitIntInfo)).toBe('7280000b1d');
    box.frames.write(NESTED + 3 * 4096 + 8 * (ABSENT >> 12), 0, u64(0x10_a067n));
    box.vmcb.eventInj = box.vmcb.exitIntInfo;
    expect(box.run()).toBe(ExitCode.HLT);
    expect(hex(box.openVmsa().rax)).toBe('72');
  });

  it('that the hypervisor makes up reaches the guest with whatever code it likes', () => {
    const box = guest('nop\n hlt', { 29: TOLD });
    box.vmcb.eventInj = (0x7cn << 32n) | 0x8000_0b1dn;
    expect(box.run()).toBe(ExitCode.HLT);
    expect(hex(box.openVmsa().rax)).toBe('7c');
  });

  it('is a fault: RF is set in its frame', () => {
    const box = guest('cpuid', { 29: { source: 'pop rax\n mov rbx, [rsp+16]\n hlt' } });
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.openVmsa().rbx & 0x1_0000n).toBe(0x1_0000n);
  });
});

describe('an exception of EVENTINJ', () => {
  it.each([
    ['with EV pushes its error code', 0x8000_0b0dn, '18'],
    ['with EV pushes one also for a vector that has none', 0x8000_0b06n, '18'],
  ])('%s', (_, event, code) => {
    const box = guest('nop\n hlt', { 13: TOLD, 6: TOLD });
    box.vmcb.eventInj = (0x18n << 32n) | event;
    expect(box.run()).toBe(ExitCode.HLT);
    expect(hex(box.openVmsa().rax)).toBe(code);
  });

  it('without EV pushes none, also for a vector that has one', () => {
    const box = guest('nop\n hlt', { 13: TOLD });
    box.vmcb.eventInj = 0x8000_030dn;
    expect(box.run()).toBe(ExitCode.HLT);
    expect(hex(box.openVmsa().rax)).toBe(hex(Guest.CODE));
  });

  it('EV of an interrupt means nothing', () => {
    const box = guest('nop\n hlt', { 13: TOLD });
    box.vmcb.eventInj = 0x8000_080dn;
    expect(box.run()).toBe(ExitCode.HLT);
    expect(hex(box.openVmsa().rax)).toBe(hex(Guest.CODE));
  });
});

describe('VMGEXIT', () => {
  it('leaves at CPL 3', () => {
    const box = build('sev-es', `${VMGEXIT}\n nop`);
    box.vmsa.cpl = 3;
    box.vmsa.csAttributes = 0xafb;
    box.vmsa.csSelector = 0x1b;
    box.vmsa.ssAttributes = 0xcf3;
    box.vmsa.ssSelector = 0x23;
    box.sealVmsa();
    expect(box.run()).toBe(ExitCode.VMGEXIT);
    expect(hex(box.openVmsa().rip)).toBe(hex(Guest.CODE + 4));
  });

  it('leaves in real mode', () => {
    const box = build('sev-es', `${VMGEXIT}\n hlt`);
    box.vmsa.cr0 = 0x10n;
    box.vmsa.efer = 0x1000n;
    box.vmsa.cr4 = 0n;
    box.vmsa.csSelector = 0x600;
    box.vmsa.csBase = 0x6000n;
    box.vmsa.csAttributes = 0x9b;
    box.vmsa.rip = 0n;
    box.sealVmsa();
    expect(box.run()).toBe(ExitCode.VMGEXIT);
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.openVmsa().rip).toBe(5n);
  });

  it('is VMMCALL in a guest without SEV-ES', () => {
    const box = build('none', `${VMGEXIT}\n hlt`);
    expect(box.run()).toBe(ExitCode.VMMCALL);
    box.vmcb.intercept4 &= ~2;
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.save.rip).toBe(BigInt(Guest.HANDLER)); // #UD
  });
});
