import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { spa } from '../../src/util/address.ts';
import { type CpuidFeature, Feature } from '../../src/arch/cpuid.ts';
import { processorModel } from '../../src/cpu/cpuid.ts';
import { build, Guest, HSAVE, VMCB, VMSA_PAGE } from './fixture.ts';

const hex = (n: bigint | number): string => n.toString(16);

describe('VMRUN of a plain guest', () => {
  it('loads registers from raw bytes of the VMCB and leaves at an intercept with nRIP', () => {
    const box = build('none', 'mov rbx, 5\n add rbx, rcx\n cpuid');
    box.registers[1] = 0x1000n;
    expect(box.run()).toBe(ExitCode.CPUID);
    const rip = BigInt(Guest.CODE) + 10n;
    expect(hex(box.save.rip)).toBe(hex(rip));
    expect(hex(box.vmcb.nRip)).toBe(hex(rip + 2n));
    expect(box.registers[3]).toBe(0x1005n);
    expect(box.notes.map(({ kind }) => kind)).toEqual(['vmrun', 'exit']);
  });

  it("gives IOIO the manual's information word and the next RIP", () => {
    const box = build('none', 'mov dx, 0x3f8\n out dx, al');
    expect(box.run()).toBe(ExitCode.IOIO);
    expect(hex(box.vmcb.exitInfo1 >> 16n)).toBe('3f8');
    expect(hex(box.vmcb.exitInfo1 & 0xffn)).toBe('10');
    expect(box.vmcb.exitInfo2).toBe(box.save.rip + 1n);
    expect(box.vmcb.nRip).toBe(box.save.rip + 1n);
  });

  it('leaves with NPF, the guest physical address and the instruction bytes', () => {
    const box = build('none', `mov rax, ${Guest.DEVICE + 8}\n mov [rax], ebx`);
    expect(box.run()).toBe(ExitCode.NPF);
    expect(hex(box.vmcb.exitInfo2)).toBe(hex(Guest.DEVICE + 8));
    expect(box.vmcb.instructionBytesFetched).toBe(15);
    expect([box.page.u8(0xd1), box.page.u8(0xd2)]).toEqual([0x89, 0x18]);
  });

  it('ignores register-write traps', () => {
    const box = build('none', 'mov rax, cr4\n or rax, 0x80\n mov cr4, rax\n cpuid');
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(hex(box.save.cr4)).toBe('a0');
  });

  it('leaves with INTR when the host timer fires, after exactly so many instructions', () => {
    const box = build('none', 'again: inc rbx\n jmp again');
    box.svm.setTimer(1001);
    expect(box.run()).toBe(ExitCode.INTR);
    expect(box.svm.retired).toBe(1001);
    expect(box.registers[3]).toBe(501n);
    box.svm.setTimer(0);
    expect(box.run()).toBe(ExitCode.INTR);
    expect(box.svm.retired).toBe(1001);
  });

  it('injects an exception and clears EVENTINJ.V', () => {
    const box = build('none', 'nop', 'cpuid');
    box.vmcb.eventInj = 0x8000_0b0dn | (0x18n << 32n);
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(hex(box.save.rip)).toBe(hex(Guest.HANDLER));
    expect(box.vmcb.eventInj & 0x8000_0000n).toBe(0n);
    expect(box.vmcb.exitIntInfo).toBe(0n);
    expect(new DataView(box.read(Number(box.save.rsp), 8).buffer).getUint32(0, true)).toBe(0x18);
  });

  it('names an event whose delivery ended in an exit in EXITINTINFO', () => {
    const box = build('none', 'nop');
    box.save.rsp = BigInt(Guest.DEVICE + 0x100);
    box.vmcb.eventInj = 0x8000_0015n;
    expect(box.run()).toBe(ExitCode.NPF);
    expect(hex(box.vmcb.exitIntInfo)).toBe('80000015');
  });

  it('delivers a virtual interrupt when the guest opens its window, and keeps one that V_TPR holds back', () => {
    const box = build('none', 'nop\n nop\n sti\n nop\n nop\n cpuid', 'cpuid');
    box.page.setU32(0x60, (1 << 24) | (8 << 16) | (1 << 8) | 9);
    box.page.setU8(0x64, 0x1f);
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(hex(box.save.rip)).toBe(hex(Guest.CODE + 5));
    expect(box.page.u32(0x60) & 0x100).toBe(0x100);
    box.save.rip = BigInt(Guest.CODE);
    box.save.rflags = 2n;
    box.page.setU32(0x60, (1 << 24) | (8 << 16) | (1 << 8) | 7);
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(hex(box.save.rip)).toBe(hex(Guest.HANDLER));
    expect(box.page.u32(0x60)).toBe((1 << 24) | (8 << 16) | 7);
  });

  it('runs a SEV guest under its key, and one whose ASID has another key finds noise', () => {
    const box = build('sev', 'mov rbx, 5\n cpuid');
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(box.registers[3]).toBe(5n);
    box.vmcb.guestAsid = 16;
    box.svm.setTimer(10_000);
    expect(box.run()).not.toBe(ExitCode.CPUID);
  });
});

describe('VMRUN refuses', () => {
  it('an EFER without SVME with #UD, a VMCB that is not one with #GP', () => {
    const box = build('none', 'cpuid');
    for (const bad of [0x1010, 0x4000_0000, -4096]) expect(box.svm.vmrun(spa(bad), box.registers)).toBe(13);
    box.svm.wrmsr(0xc000_0080, 0xd01n);
    expect(box.svm.vmrun(VMCB, box.registers)).toBe(6);
    expect(box.svm.vmload(VMCB)).toBe(6);
  });

  type Spoil = (box: ReturnType<typeof build>) => void;
  const general: readonly (readonly [string, Spoil])[] = [
    ['EFER.SVME clear', ({ save }) => (save.efer &= ~0x1000n)],
    ['CR0.NW without CR0.CD', ({ save }) => (save.cr0 |= 1n << 29n)],
    ['CR0 bits 63:32', ({ save }) => (save.cr0 |= 1n << 32n)],
    ['reserved bits of CR3', ({ save }) => (save.cr3 |= 1n << 60n)],
    ['reserved bits of CR4', ({ save }) => (save.cr4 |= 1n << 12n)],
    ['reserved bits of EFER', ({ save }) => (save.efer |= 1n << 20n)],
    ['DR6 bits 63:32', ({ save }) => (save.dr6 |= 1n << 40n)],
    ['DR7 bits 63:32', ({ save }) => (save.dr7 |= 1n << 40n)],
    ['long mode without PAE', ({ save }) => (save.cr4 = 0n)],
    ['long mode without PE', ({ save }) => (save.cr0 &= ~1n)],
    ['CS.L with CS.D', ({ save }) => (save.csAttributes |= 0x400)],
    ['a G_PAT type that does not exist', ({ save }) => (save.gPat = 2n)],
    ['bits 63:52 of CR3', ({ save }) => (save.cr3 |= 1n << 63n)],
    ['CR4 bits 63:32', ({ save }) => (save.cr4 |= 1n << 32n)],
    ['EFER bits 63:32', ({ save }) => (save.efer |= 1n << 32n)],
    ['a G_PAT with reserved bits', ({ save }) => (save.gPat |= 1n << 35n)],
    ['an IOPM whose last page is beyond', ({ vmcb }) => (vmcb.iopmBasePa = (1n << 44n) - 0x2000n)],
    ['an MSRPM whose last page is beyond', ({ vmcb }) => (vmcb.msrpmBasePa = (1n << 44n) - 0x1000n)],
    ['SEV-ES without SEV and without nested paging', ({ vmcb }) => (vmcb.nestedControl = 4n)],
    ['the VMRUN intercept clear', ({ vmcb }) => (vmcb.intercept4 &= ~1)],
    ['ASID 0', ({ vmcb }) => (vmcb.guestAsid = 0)],
    ['an IOPM beyond the physical address space', ({ vmcb }) => (vmcb.iopmBasePa = 1n << 45n)],
    ['an MSRPM beyond the physical address space', ({ vmcb }) => (vmcb.msrpmBasePa = 1n << 45n)],
    ['reserved bits of nCR3', ({ vmcb }) => (vmcb.nCr3 |= 1n << 50n)],
    ...[1, 5, 6, 7].map(
      (type) =>
        [
          `the reserved EVENTINJ type ${type}`,
          ({ vmcb }) => (vmcb.eventInj = BigInt(0x8000_0000 + 256 * type)),
        ] as const satisfies readonly [string, Spoil],
    ),
    ['EVENTINJ of exception 32', ({ vmcb }) => (vmcb.eventInj = 0x8000_0320n)],
    ['EVENTINJ of exception 255', ({ vmcb }) => (vmcb.eventInj = 0x8000_03ffn)],
    ['EVENTINJ of #OF in 64-bit mode', ({ vmcb }) => (vmcb.eventInj = 0x8000_0304n)],
    ['EVENTINJ of NMI as exception', ({ vmcb }) => (vmcb.eventInj = 0x8000_0302n)],
    ['EVENTINJ of #BR in 64-bit mode', ({ vmcb }) => (vmcb.eventInj = 0x8000_0305n)],
    ['SEV-ES without SEV', ({ vmcb }) => (vmcb.nestedControl = 5n)],
    ['SEV without nested paging', ({ vmcb }) => (vmcb.nestedControl = 2n)],
    ['an SEV ASID beyond the last', ({ vmcb }) => ((vmcb.nestedControl = 3n), (vmcb.guestAsid = 254))],
    ['an ASID for SEV-ES under SEV', ({ vmcb }) => (vmcb.nestedControl = 3n)],
  ];
  it.each(general)('%s', (_name, spoil) => {
    const box = build('none', 'cpuid');
    expect(box.run()).toBe(ExitCode.CPUID);
    spoil(box);
    expect(box.run()).toBe(ExitCode.INVALID);
    expect(hex(box.vmcb.exitCode)).toBe('ffffffffffffffff');
    expect(box.vmcb.exitInfo1).toBe(0n);
    expect(box.svm.refusal).not.toBeNull();
  });

  const encrypted: readonly (readonly [string, Spoil])[] = [
    ['no LBR virtualization', ({ vmcb }) => (vmcb.virtualizationControl = 0n)],
    ['an ASID for guests without SEV-ES', ({ vmcb }) => (vmcb.guestAsid = 15)],
    ['an ASID without a guest', ({ vmcb }) => (vmcb.guestAsid = 2)],
    ['a launch that is not finished', ({ asids }) => (asids.release(1), asids.bind(1, 2, true))],
    ['a software interrupt as event', ({ vmcb }) => (vmcb.eventInj = 0x8000_0480n)],
    ['#BP as event', ({ vmcb }) => (vmcb.eventInj = 0x8000_0303n)],
    ['#OF as event', ({ vmcb }) => (vmcb.eventInj = 0x8000_0304n)],
    ['a VMSA outside of memory', ({ vmcb }) => (vmcb.vmsaPointer = 1n << 40n)],
    ['a page that is no VMSA', ({ vmcb }) => (vmcb.vmsaPointer = BigInt(HSAVE))],
    ['an ASID beyond the last', ({ vmcb }) => (vmcb.guestAsid = 254)],
    ['SEV-ES without SEV', ({ vmcb }) => (vmcb.nestedControl = 5n)],
    ['SEV_FEATURES that exclude each other: restricted and alternate injection', (box) => ((box.vmsa.sevFeatures = 0x18n), box.sealVmsa())],
    ['EFER.SVME clear in the VMSA', (box) => ((box.vmsa.efer &= ~0x1000n), box.sealVmsa())],
    ['CR0.NW without CR0.CD in the VMSA', (box) => ((box.vmsa.cr0 |= 1n << 29n), box.sealVmsa())],
    ['reserved bits of CR3 in the VMSA', (box) => ((box.vmsa.cr3 |= 1n << 60n), box.sealVmsa())],
    ['DR7 bits 63:32 in the VMSA', (box) => ((box.vmsa.dr7 |= 1n << 40n), box.sealVmsa())],
    ['a G_PAT type that does not exist in the VMSA', (box) => ((box.vmsa.gPat = 3n), box.sealVmsa())],
    ['long mode without PAE in the VMSA', (box) => ((box.vmsa.cr4 = 0n), box.sealVmsa())],
    ['registers that are not allowed', (box) => ((box.vmsa.cr4 |= 1n << 12n), box.sealVmsa())],
  ];
  it.each(encrypted)('an SEV-ES guest: %s', (_name, spoil) => {
    const box = build('sev-es', 'hlt\n hlt');
    expect(box.run()).toBe(ExitCode.HLT);
    spoil(box);
    expect(box.run()).toBe(ExitCode.INVALID);
  });

  it('every bit of SEV_FEATURES but DEBUG_VIRTUALIZATION', () => {
    const box = build('sev-es', 'hlt');
    const refused = Array.from({ length: 64 }, (_, n) => n).filter((n) => {
      box.vmsa.sevFeatures = 1n << BigInt(n);
      box.sealVmsa();
      return box.run() === ExitCode.INVALID;
    });
    expect(refused).toEqual(Array.from({ length: 64 }, (_, n) => n).filter((n) => n !== 5));
  });

  it('leaves the VMSA alone that it refuses', () => {
    const box = build('sev-es', 'hlt\n hlt');
    box.vmsa.sevFeatures = 8n;
    box.sealVmsa();
    const before = box.vmsaBytes.slice();
    expect(box.run()).toBe(ExitCode.INVALID);
    const after = new Uint8Array(4096);
    box.frames.read(VMSA_PAGE, 1, after);
    expect(after).toEqual(before);
  });

  it('no software interrupt and no #BP of a guest without SEV-ES', () => {
    for (const event of [0x8000_0415n, 0x8000_0303n]) {
      const box = build('none', 'nop', 'cpuid');
      box.vmcb.eventInj = event;
      expect(box.run()).toBe(ExitCode.CPUID);
    }
  });

  const busy = (besides: readonly CpuidFeature[]) => {
    const milan = processorModel('milan');
    const box = build('sev-es', 'hlt\n hlt', 'hlt', 1, true, true, { ...milan!, besides });
    box.vmsa.vIntrCtrl = 1n << 63n;
    box.sealVmsa();
    return box;
  };

  it('a busy VMSA with BUSY, on a processor with Secure AVIC', () => {
    const box = busy([Feature.SECURE_AVIC]);
    expect(box.run()).toBe(ExitCode.BUSY);
    expect(hex(box.vmcb.exitCode)).toBe('fffffffffffffffe');
    expect(box.notes.at(-1)).toMatchObject({ kind: 'exit', exitCode: ExitCode.BUSY });
    // Software of the guest's clears the bit when it is done.
    box.vmsa.vIntrCtrl = 0n;
    box.sealVmsa();
    expect(box.run()).toBe(ExitCode.HLT);
  });

  it('no VMSA for VINTR_CTRL.BUSY on others, and the bit stays', () => {
    const box = busy([]);
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.openVmsa().vIntrCtrl).toBe(1n << 63n);
  });

  it('SEV while HWCR.SmmLock is clear; the bit stays set until reset', () => {
    const box = build('sev', 'cpuid', 'hlt', 15, false);
    expect(box.run()).toBe(ExitCode.INVALID);
    expect(box.svm.wrmsr(0xc001_0015, 1n)).toBe(true);
    expect(box.run()).toBe(ExitCode.CPUID);
    box.svm.wrmsr(0xc001_0015, 0n);
    expect(box.svm.rdmsr(0xc001_0015)).toBe(1n);
  });

  it('nothing on account of SEV bits while memory encryption is off', () => {
    const box = build('none', 'cpuid');
    box.vmcb.nestedControl = 1n | 2n | 4n;
    expect(box.svm.wrmsr(0xc001_0010, 0n)).toBe(true);
    expect(box.run()).toBe(ExitCode.CPUID);
  });
});

describe('host registers', () => {
  it('type A goes to the host save area at VMRUN', () => {
    const box = build('none', 'cpuid');
    box.run();
    const area = box.svm.memory.page(HSAVE);
    expect(hex(area.u64(0x400 + 0x0d0))).toBe('1d01'); // EFER
    expect(hex(area.u64(0x400 + 0x1f8))).toBe(hex(VMCB)); // RAX
  });

  it('a changed host save area is what #VMEXIT loads', () => {
    const box = build('sev-es', 'hlt\n hlt');
    const area = box.svm.memory.page(HSAVE);
    box.run();
    area.setU64(0x400 + 0x200, 0x1234n); // STAR, type B: as software left it
    box.run();
    box.svm.vmsave(spa(0xd000));
    expect(hex(box.svm.memory.page(spa(0xd000)).u64(0x400 + 0x200))).toBe('1234');
  });

  it('VMLOAD and VMSAVE move what VMRUN does not', () => {
    const box = build('none', 'cpuid');
    const from = box.svm.memory.page(spa(0xd000));
    from.setU64(0x400 + 0x208, 0xffff_8000_0000_1000n);
    from.setU64(0x400 + 0x048, 0x0000_8000_0000_0000n); // FS base, not canonical
    from.setU64(0x400 + 0x1f8, 5n);
    expect(box.svm.vmload(spa(0xd000))).toBeNull();
    expect(box.svm.vmsave(spa(0xe000))).toBeNull();
    const to = box.svm.memory.page(spa(0xe000));
    expect(hex(to.u64(0x400 + 0x208))).toBe('ffff800000001000');
    expect(hex(to.u64(0x400 + 0x048))).toBe('ffff800000000000');
    expect(to.u64(0x400 + 0x1f8)).toBe(0n);
  });

  it('refuses MSR values with #GP', () => {
    const { svm } = build('none', 'cpuid');
    expect(svm.rdmsr(0xc001_0130)).toBeNull();
    expect(svm.wrmsr(0xc001_0117, 0x1001n)).toBe(false);
    expect(svm.wrmsr(0xc001_0117, 1n << 50n)).toBe(false);
    expect(svm.wrmsr(0xc000_0080, 0n)).toBe(false);
    expect(svm.wrmsr(0xc001_0010, 1n << 24n)).toBe(false); // SEV-SNP does not exist yet
  });
});
