// Memory encryption as VMRUN, the host's registers and its page tables have it. APM vol. 2, 7.10, 15.34.

import { describe, expect, it, vi } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Msr } from '../../src/arch/msr.ts';
import { NestedControl } from '../../src/arch/vmcb.ts';
import { spa } from '../../src/util/address.ts';
import { build, Guest, HSAVE, type Technology, u64, VMCB } from './fixture.ts';

type Box = ReturnType<typeof build>;
const C_BIT = 51;
const C = 1n << BigInt(C_BIT);
const c = Number(C);
const RAM = 0x10_0000;
const PAGE = 4096;
const technologies: readonly Technology[] = ['none', 'sev', 'sev-es'];

const bytesAt = (box: Box, at: number, key: number, length = PAGE): Buffer => {
  const bytes = Buffer.alloc(length);
  box.frames.read(at, key, bytes);
  return bytes;
};
/** Puts pages that are there without a key under another one. */
function encrypt(box: Box, from: number, pages: number, key: number): void {
  for (let at = from; at < from + pages * PAGE; at += PAGE) box.frames.write(at, key, bytesAt(box, at, 0));
}

describe('system physical addresses with the C-bit', () => {
  it.each(technologies)('are under the host key: VMCB, save area, permission maps and nested tables of a guest (%s)', (technology) => {
    const box = build(technology, 'cpuid\n rdmsr', 'vmgexit');
    const { hostKey } = box.encryption;
    const { vmcb } = box;
    vmcb.iopmBasePa |= C;
    vmcb.msrpmBasePa |= C;
    vmcb.nCr3 |= C;
    // Tables point to tables under the host's key, too; the pages of the guest stay as they are.
    for (let level = 0; level < 3; level++) {
      const entry = bytesAt(box, 0x9000 + PAGE * level, 0, 8).readBigUInt64LE();
      box.frames.write(0x9000 + PAGE * level, 0, u64(entry | C));
    }
    encrypt(box, VMCB, 2, hostKey); // VMCB, host save area
    encrypt(box, 0x4000, 9, hostKey); // maps and tables
    expect(box.svm.wrmsr(Msr.VM_HSAVE_PA, BigInt(HSAVE) | C)).toBe(true);
    expect(box.svm.rdmsr(Msr.VM_HSAVE_PA)).toBe(BigInt(HSAVE) | C);
    expect(box.svm.vmrun(spa(VMCB + c), box.registers)).toBe(null);
    const seen = bytesAt(box, VMCB, hostKey);
    expect(seen.readUInt32LE(0x70)).toBe(technology === 'sev-es' ? ExitCode.VMGEXIT : ExitCode.CPUID);
    expect(box.svm.refusal).toBe(null);
    expect(bytesAt(box, VMCB, 0).equals(seen)).toBe(false);
    // The host's CR4 stands in the save area.
    expect(bytesAt(box, HSAVE + 0x400 + 0x148, hostKey, 8).readBigUInt64LE() & 0x20n).toBe(0x20n);
  });

  it('without the C-bit find noise there, and VMRUN refuses what it reads', () => {
    const box = build('none', 'cpuid');
    encrypt(box, VMCB, 1, box.encryption.hostKey);
    expect(box.run()).not.toBe(ExitCode.CPUID);
  });

  it('have no C-bit while SYSCFG.MemEncryptionModEn is clear: the bit is beyond the address space', () => {
    const box = build('none', 'cpuid');
    box.svm.wrmsr(Msr.SYSCFG, 0n);
    expect(box.svm.wrmsr(Msr.VM_HSAVE_PA, BigInt(HSAVE) | C)).toBe(false);
    expect(box.svm.vmrun(spa(VMCB + c), box.registers)).toBe(13);
    for (const field of ['iopmBasePa', 'msrpmBasePa', 'nCr3'] as const) {
      box.vmcb[field] |= C;
      expect(box.run()).toBe(ExitCode.INVALID);
      box.vmcb[field] &= ~C;
    }
    expect(box.run()).toBe(ExitCode.CPUID);
  });

  it.each(['iopmBasePa', 'msrpmBasePa', 'nCr3'] as const)(
    '%s: bits that memory encryption takes away are refused, and are there without it',
    (field) => {
      const box = build('none', 'cpuid');
      const beyond = 1n << 44n; // 48 bits, of which 4 go
      box.vmcb[field] |= beyond;
      expect(box.run()).toBe(ExitCode.INVALID);
      box.svm.wrmsr(Msr.SYSCFG, 0n);
      expect(box.run()).not.toBe(ExitCode.INVALID); // no memory is there: a permission map reads as ones, tables as not usable
    },
  );

  it('VM_HSAVE_PA takes no bits that memory encryption takes away', () => {
    const box = build('none', 'cpuid');
    expect(box.svm.wrmsr(Msr.VM_HSAVE_PA, 1n << 44n)).toBe(false);
    expect(box.svm.wrmsr(Msr.VM_HSAVE_PA, (1n << 44n) | C)).toBe(false);
    box.svm.wrmsr(Msr.SYSCFG, 0n);
    expect(box.svm.wrmsr(Msr.VM_HSAVE_PA, 1n << 44n)).toBe(true);
  });
});

describe('CR3 of a guest', () => {
  it.each([
    ['sev', ExitCode.CPUID],
    ['none', ExitCode.INVALID],
  ] as const)('may have the C-bit under %s: exit %i', (technology, exit) => {
    const box = build(technology, 'cpuid');
    box.save.cr3 |= C;
    expect(box.run()).toBe(exit);
  });

  it.each([
    ['sev', ExitCode.CPUID],
    ['none', ExitCode.SHUTDOWN], // #GP through a handler that cannot be found
  ] as const)('takes the C-bit by MOV under %s: exit %i', (technology, exit) => {
    const box = build(technology, `mov rax, ${C | BigInt(Guest.TABLES)}\n mov cr3, rax\n cpuid`, 'ud2');
    box.save.idtrLimit = 0;
    expect(box.run()).toBe(exit);
  });

  it('reads back as it was written', () => {
    const box = build('sev', `mov rax, ${C | BigInt(Guest.TABLES)}\n mov cr3, rax\n mov rbx, cr3\n cpuid`);
    expect(box.run()).toBe(ExitCode.CPUID);
    expect(box.registers[3]).toBe(C | BigInt(Guest.TABLES));
  });
});

describe('VMRUN of a SEV guest', () => {
  it('wants the host in 64-bit mode where Fn8000_001F EAX[11] says so', () => {
    for (const [model, exit] of [
      ['milan', ExitCode.INVALID],
      ['rome', ExitCode.CPUID],
    ] as const) {
      // The guest shares a page with the host save area: EFER without LMA is what #VMEXIT then loads.
      const box = build('sev', 'mov dword [0x23f000 + 0x4d0], 0x1901\n cpuid', 'hlt', model === 'rome' ? 100 : 15, true, true, model);
      box.put(Guest.TABLES + 0x2000 + 8, u64(0x87n));
      box.frames.write(0xc000 + 8 * 63, 0, u64(BigInt(HSAVE) | 0x67n));
      expect(box.run()).toBe(ExitCode.CPUID);
      box.save.rip = BigInt(Guest.CODE);
      expect(box.run()).toBe(exit);
    }
  });
});

describe('a page mapped into two guests', () => {
  it('is noise to each where the other wrote it, and nobody faults', () => {
    const second = { asid: 16, ram: RAM + 0x4_0000, tables: 0xd000 };
    // Each writes its mark if RCX is not 0, and reads what it finds.
    const box = build('sev', `mov rdx, ${Guest.DATA}\n test rcx, rcx\n jz read\n mov [rdx], rcx\n read: mov rbx, [rdx]\n cpuid`);
    box.encryption.setKey(second.asid, new Uint8Array(16).fill(0xa5));
    box.asids.bind(second.asid, 2);
    for (let n = 0; n < 64; n++) box.frames.write(second.ram + PAGE * n, second.asid, bytesAt(box, RAM + PAGE * n, 15));
    const start = { ...registersOf(box) };
    for (let level = 0; level < 3; level++)
      box.frames.write(second.tables + PAGE * level, 0, u64(BigInt(second.tables + PAGE * (level + 1)) | 7n));
    for (let n = 0; n < 64; n++) {
      const shared = n === Guest.DATA / PAGE;
      box.frames.write(second.tables + PAGE * 3 + 8 * n, 0, u64(BigInt((shared ? RAM : second.ram) + PAGE * n) | 0x67n));
    }
    const enter = (asid: number, nCr3: number, mark: bigint): bigint => {
      Object.assign(box.save, start);
      box.vmcb.guestAsid = asid;
      box.vmcb.nCr3 = BigInt(nCr3);
      box.registers[1] = mark;
      expect(box.run()).toBe(ExitCode.CPUID);
      return box.registers[3]!;
    };
    const first = (mark: bigint): bigint => enter(15, 0x9000, mark);
    const other = (mark: bigint): bigint => enter(second.asid, second.tables, mark);
    expect(first(0x1111n)).toBe(0x1111n);
    expect(other(0n)).not.toBe(0x1111n);
    expect(first(0n)).toBe(0x1111n);
    expect(other(0x2222n)).toBe(0x2222n);
    expect(first(0n)).not.toBe(0x1111n);
    expect(first(0n)).not.toBe(0x2222n);
  });
});

const registersOf = ({ save }: Box) => ({ rip: save.rip, rsp: save.rsp, rflags: save.rflags, cr3: save.cr3 });

describe('transparent encryption', () => {
  const writes = `mov rax, 0x1122334455667788\n mov [${Guest.DATA}], rax\n cpuid`;
  const shared = (technology: Technology, control: number, model = 'milan', asid?: number): boolean => {
    const box = build(technology, writes, 'vmgexit', asid, true, true, model);
    box.put(Guest.TABLES + 0x2000, u64(0x87n)); // data without a C-bit
    box.vmcb.nestedControl |= BigInt(control);
    box.run();
    return bytesAt(box, RAM + Guest.DATA, 0, 8).readBigUInt64LE() === 0x1122_3344_5566_7788n;
  };

  it('makes data without a C-bit private', () => {
    expect(shared('sev', 0)).toBe(true);
    expect(shared('sev', NestedControl.VTE)).toBe(false);
  });

  it('counts for nothing under SEV-ES, without SEV, and on a model without it', () => {
    expect(shared('sev-es', NestedControl.VTE)).toBe(true);
    expect(shared('none', NestedControl.VTE)).toBe(true);
    expect(shared('sev', NestedControl.VTE, 'naples', 5)).toBe(true);
  });
});

describe('VM_PAGE_FLUSH', () => {
  it('flushes the lines of the ASID in the page at a linear address', () => {
    const box = build('sev', 'cpuid');
    const flush = vi.spyOn(box.frames, 'flushPage');
    expect(box.svm.wrmsr(Msr.VM_PAGE_FLUSH, BigInt(RAM) | 15n)).toBe(true);
    expect(flush.mock.calls).toEqual([[RAM / PAGE, 15]]);
  });

  it.each([
    ['ASID 0', BigInt(RAM)],
    ['an address that is not mapped', (1n << 40n) | 15n],
    ['an address that is not canonical', (1n << 60n) | 15n],
  ])('with %s gives #GP', (_, value) => {
    expect(build('sev', 'cpuid').svm.wrmsr(Msr.VM_PAGE_FLUSH, value)).toBe(false);
  });

  it('is write-only', () => {
    expect(build('sev', 'cpuid').svm.rdmsr(Msr.VM_PAGE_FLUSH)).toBe(null);
  });
});

describe('SEV_STATUS', () => {
  it('is 0 on the host and read-only', () => {
    const { svm } = build('none', 'cpuid');
    expect(svm.rdmsr(Msr.SEV_STATUS)).toBe(0n);
    expect(svm.wrmsr(Msr.SEV_STATUS, 1n)).toBe(false);
  });

  it.each(technologies)('is never intercepted, and a write is #GP in the guest (%s)', (technology) => {
    const box = build(technology, `mov ecx, ${Msr.SEV_STATUS}\n rdmsr\n mov ebx, eax\n wrmsr\n ud2`, 'mov rdx, rbx\n hlt');
    box.frames.write(0x7000, 0, new Uint8Array(0x2000).fill(0xff)); // every MSR is intercepted
    expect(box.run()).toBe(ExitCode.HLT);
    const found = technology === 'sev-es' ? box.openVmsa().rbx : box.registers[3];
    expect(Number(found)).toBe({ none: 0, sev: 1, 'sev-es': 3 }[technology]);
  });
});

describe("the host's own page tables", () => {
  const TABLES = 0x30_0000;
  const DATA = 0x31_0000;
  const LINEAR = 0x4000_0000;

  /** Four tables that map one page; `tables` and `leaf`: the C-bit or nothing. */
  function mapped(tables: bigint, leaf: bigint) {
    const box = build('none', 'cpuid');
    const key = tables === 0n ? 0 : box.encryption.hostKey;
    for (let level = 0; level < 4; level++) {
      const at = TABLES + PAGE * level;
      box.frames.write(at, key, new Uint8Array(PAGE));
      const index = level === 1 ? 1 : 0; // bits 38:30 of the linear address
      box.frames.write(at + 8 * index, key, u64(level === 3 ? BigInt(DATA) | 0x63n | leaf : BigInt(at + PAGE) | 0x23n | tables));
    }
    expect(box.svm.loadCr3(BigInt(TABLES) | tables)).toBe(true);
    return { box, key };
  }

  it.each([
    [0n, 0n],
    [0n, C],
    [C, 0n],
    [C, C],
  ])('give page and key by the C-bits of tables (%i) and entry (%i)', (tables, leaf) => {
    const { box } = mapped(tables, leaf);
    box.svm.memory.write(spa(LINEAR + 8), Uint8Array.of(1, 2, 3, 4));
    expect([...bytesAt(box, DATA + 8, leaf === 0n ? 0 : box.encryption.hostKey, 4)]).toEqual([1, 2, 3, 4]);
    expect(box.svm.memory.page(spa(LINEAR)).u32(8)).toBe(0x0403_0201);
  });

  it('map nothing else: it reads as all ones and keeps nothing', () => {
    const { box } = mapped(0n, 0n);
    const into = new Uint8Array(4);
    box.svm.memory.write(spa(DATA), Uint8Array.of(9));
    box.svm.memory.read(spa(DATA), into);
    expect([...into]).toEqual([0xff, 0xff, 0xff, 0xff]);
    expect(box.svm.memory.page(spa(VMCB)).u32(0)).toBe(0xffff_ffff);
    expect(bytesAt(box, DATA, 0, 1)[0]).toBe(0);
  });

  it('count as they are at each access: a page that was handed out follows an entry that changes', () => {
    const { box, key } = mapped(0n, 0n);
    const page = box.svm.memory.page(spa(LINEAR));
    page.setU32(0, 0xabcd);
    expect(page.u32(0)).toBe(0xabcd);
    box.frames.write(TABLES + PAGE * 3, key, u64(BigInt(DATA) | 0x63n | C));
    expect(page.u32(0)).not.toBe(0xabcd);
    page.setU32(0, 0x1234);
    expect(bytesAt(box, DATA, box.encryption.hostKey, 4).readUInt32LE()).toBe(0x1234);
    box.frames.write(TABLES + PAGE * 3, key, u64(0n));
    expect(page.u32(0)).toBe(0xffff_ffff);
  });

  it('are refused with #GP where CR3 has reserved bits', () => {
    const { svm } = build('none', 'cpuid');
    for (const value of [1n << 44n, (1n << 44n) | C, 1n << 60n]) expect(svm.loadCr3(value)).toBe(false);
    svm.wrmsr(Msr.SYSCFG, 0n);
    expect(svm.loadCr3(C)).toBe(false);
  });

  it('are what VM_PAGE_FLUSH goes by', () => {
    const { box } = mapped(0n, 0n);
    const flush = vi.spyOn(box.frames, 'flushPage');
    expect(box.svm.wrmsr(Msr.VM_PAGE_FLUSH, BigInt(LINEAR) | 15n)).toBe(true);
    expect(flush.mock.calls).toEqual([[DATA / PAGE, 15]]);
    expect(box.svm.wrmsr(Msr.VM_PAGE_FLUSH, BigInt(DATA) | 15n)).toBe(false);
  });

  it("CR3 is in the host save area while a guest runs, and what stands there then is the host's afterwards", () => {
    const { box } = mapped(0n, 0n);
    box.run();
    const cr3 = HSAVE + 0x400 + 0x150;
    expect(bytesAt(box, cr3, 0, 8).readBigUInt64LE()).toBe(BigInt(TABLES));
  });
});
