// A processor with memory and one guest, set up as a hypervisor and the AMD-SP would: VMCB, nested tables, host save area and (for
// SEV-ES) a VMSA with its integrity value, all as bytes in memory. The guest is 64-bit code at GPA 6000h.

import { assemble } from '../../src/asm/assemble.ts';
import { Cr0, Cr4, Efer } from '../../src/arch/registers.ts';
import { SaveArea } from '../../src/arch/save-area.ts';
import { NestedControl, SAVE_AREA_OFFSET, VirtualizationControl, VmcbControl } from '../../src/arch/vmcb.ts';
import { Vmsa } from '../../src/arch/vmsa.ts';
import { Cpu } from '../../src/cpu/cpu.ts';
import { processorCpuid, processorModel, type ProcessorModel } from '../../src/cpu/cpuid.ts';
import { nobleAes } from '../../src/memory/aes-noble.ts';
import { Dram } from '../../src/memory/dram.ts';
import { EncryptionEngine } from '../../src/memory/encryption.ts';
import { Frames } from '../../src/memory/frames.ts';
import { EngineMemory } from '../../src/memory/map.ts';
import { Mmu } from '../../src/mmu/mmu.ts';
import { Asids } from '../../src/sev/asid-ownership.ts';
import { TrustedMemory } from '../../src/sev/trusted-memory.ts';
import { vmsaIntegrity } from '../../src/sev/vmsa-integrity.ts';
import { Svm } from '../../src/svm/svm.ts';
import { spa } from '../../src/util/address.ts';
import { PartPort } from '../../src/util/part-port.ts';
import { BytesPort } from '../../src/util/struct.ts';
import type { TraceNote } from '../../src/util/trace.ts';

export const VMCB = spa(0x1000);
export const HSAVE = spa(0x2000);
export const VMSA_PAGE = spa(0x3000);
const IO_MAP = 0x4000; // three pages
const MSR_MAP = 0x7000; // two pages
/** The nested tables: four pages. */
export const NESTED = 0x9000;
/** Where the guest's memory lies. */
export const RAM = 0x10_0000;
export const RAM_PAGES = 64;
const TRUSTED = 0x20_0000;
const TRUSTED_SIZE = 0x4000;
export const SLOT = TRUSTED + TRUSTED_SIZE / 2;
export const ASID = 1;

/** Guest physical places. */
export const Guest = {
  TABLES: 0x1000,
  IDT: 0x4000,
  GDT: 0x5000,
  CODE: 0x6000,
  HANDLER: 0x7000,
  STACK: 0x9000,
  DATA: 0xa000,
  DEVICE: 0xf_0000,
} as const;

const MAP = { states: 6, contexts: 16, recordBytes: 1 << 20, pages: [288] };

export type Technology = 'none' | 'sev' | 'sev-es';

export function build(
  technology: Technology,
  code: string,
  handler = 'hlt',
  asid = technology === 'sev' ? 15 : ASID,
  smmLock = true,
  traced = true,
  chosen: string | ProcessorModel = 'milan',
) {
  const model = typeof chosen === 'string' ? processorModel(chosen) : chosen;
  if (!model) throw new Error(String(chosen));
  const memory = new EngineMemory(MAP);
  const dram = new Dram(4 << 20);
  let seed = 1;
  const random = (into: Uint8Array): void => {
    for (let i = 0; i < into.length; i++) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      into[i] = seed >>> 16;
    }
  };
  const encryption = new EncryptionEngine(nobleAes, model.lastAsid + 1, model.tweak, random);
  const frames = new Frames(memory, dram, encryption);
  const mmu = new Mmu(memory, frames);
  const notes: TraceNote[] = [];
  const trace = { emit: (note: TraceNote) => void notes.push(note) };
  const cpuid = processorCpuid(model);
  const cpu = new Cpu(memory, frames, mmu, { cpuid, random64: () => 7n, trace: traced ? trace : null, tscPerInstruction: 32 });
  const asids = new Asids(model.lastAsid, model.firstAsidWithoutEs);
  const trustedMemory = new TrustedMemory();
  trustedMemory.set(spa(TRUSTED), TRUSTED_SIZE);
  frames.fence(TRUSTED / 4096, TRUSTED_SIZE / 4096);
  const mailbox = { read: () => 0, write: () => {} };
  const svm = new Svm({ memory, frames, mmu, cpu, asids, trustedMemory, model, cpuid, mailbox, trace: traced ? trace : null });
  const key = new Uint8Array(16).fill(0x5a);
  encryption.setKey(asid, key);
  asids.bind(asid, 1);

  // Nested tables: RAM in 4 KiB pages, one device page that is present with reserved bits.
  const write64 = (at: number, value: bigint): void => frames.write(at, 0, u64(value));
  const table = (n: number): number => NESTED + 4096 * n;
  for (let level = 0; level < 3; level++) write64(table(level), BigInt(table(level + 1)) | 7n);
  for (let n = 0; n < RAM_PAGES; n++) write64(table(3) + 8 * n, BigInt(RAM + 4096 * n) | 0x67n);
  write64(table(3) + 8 * (Guest.DEVICE >> 12), (1n << 46n) | 7n);

  const guestKey = technology === 'none' ? 0 : asid;
  const put = (gpa: number, bytes: Uint8Array): void => frames.write(RAM + gpa, guestKey, bytes);
  const cBit = technology === 'none' ? 0n : 1n << BigInt(model.cBit);
  const zeros = new Uint8Array(4096);
  for (let n = 0; n < RAM_PAGES; n++) put(4096 * n, zeros);
  put(Guest.TABLES, u64(0x2000n | 7n | cBit));
  put(Guest.TABLES + 0x1000, u64(0x3000n | 7n | cBit));
  put(Guest.TABLES + 0x2000, u64(0x87n | cBit));
  put(Guest.GDT, concat(u64(0n), u64(0x00af_9b00_0000_ffffn), u64(0x00cf_9300_0000_ffffn)));
  for (let vector = 0; vector < 32; vector++) {
    const target = BigInt(Guest.HANDLER);
    put(Guest.IDT + 16 * vector, concat(u64((target & 0xffffn) | (8n << 16n) | (0x8e00n << 32n)), u64(0n)));
  }
  put(Guest.CODE, assemble(code, { bits: 64, origin: BigInt(Guest.CODE) }).bytes);
  put(Guest.HANDLER, assemble(handler, { bits: 64, origin: BigInt(Guest.HANDLER) }).bytes);
  frames.write(IO_MAP, 0, new Uint8Array(0x3000).fill(0xff));
  frames.write(MSR_MAP, 0, new Uint8Array(0x2000));

  const page = svm.memory.page(VMCB);
  const vmcb = VmcbControl(page);
  const save = SaveArea(new PartPort(page, SAVE_AREA_OFFSET));
  const image = Vmsa.create();
  for (const view of [save, image.view]) setRegisters(view);
  image.view.xcr0 = 1n;
  image.view.mxcsr = 0x1f80;
  image.view.rbx = 0x1122_3344_5566_7788n;
  vmcb.interceptCr = 0;
  vmcb.interceptException = 0;
  vmcb.intercept3 = (1 << 0) | (1 << 18) | (1 << 24) | (1 << 27) | (1 << 28) | (1 << 31); // INTR CPUID HLT IOIO MSR SHUTDOWN
  vmcb.intercept4 = (1 << 0) | (1 << 1) | (1 << 20); // VMRUN VMMCALL, CR4 write trap
  vmcb.iopmBasePa = BigInt(IO_MAP);
  vmcb.msrpmBasePa = BigInt(MSR_MAP);
  vmcb.guestAsid = asid;
  vmcb.nCr3 = BigInt(NESTED);
  vmcb.nestedControl = BigInt(
    NestedControl.NP_ENABLE | (technology === 'none' ? 0 : NestedControl.SEV) | (technology === 'sev-es' ? NestedControl.SEV_ES : 0),
  );
  if (technology === 'sev-es') {
    vmcb.virtualizationControl = BigInt(VirtualizationControl.LBR);
    vmcb.vmsaPointer = BigInt(VMSA_PAGE);
  }
  svm.wrmsr(0xc000_0080, (svm.rdmsr(0xc000_0080) ?? 0n) | BigInt(Efer.SVME));
  svm.wrmsr(0xc001_0117, BigInt(HSAVE));
  svm.wrmsr(0xc001_0010, 1n << 23n);
  if (smmLock) svm.wrmsr(0xc001_0015, 1n);

  /** What LAUNCH_UPDATE_VMSA does. */
  const sealVmsa = (): void => {
    image.view.integritySlot = BigInt(SLOT);
    const value = { low: 0, high: 0 };
    vmsaIntegrity(image.bytes, 0, value);
    const slot = new Uint8Array(8);
    const port = new BytesPort(slot);
    port.setU32(0, value.low);
    port.setU32(4, value.high);
    frames.writeSecure(SLOT, 0, slot);
    frames.write(VMSA_PAGE, asid, image.bytes);
  };
  if (technology === 'sev-es') sealVmsa();

  const registers = new BigUint64Array(16);
  return {
    svm,
    vmcb,
    save,
    page,
    registers,
    memory,
    frames,
    mmu,
    cpu,
    asids,
    encryption,
    notes,
    vmsa: image.view,
    vmsaBytes: image.bytes,
    sealVmsa,
    put,
    run(): number {
      const fault = svm.vmrun(VMCB, registers);
      if (fault !== null) throw new Error(`VMRUN: fault ${fault}`);
      return Number(BigInt.asIntN(64, vmcb.exitCode));
    },
    /** The guest's bytes, as the guest sees them. */
    read(gpa: number, length: number): Uint8Array {
      const into = new Uint8Array(length);
      frames.read(RAM + gpa, guestKey, into);
      return into;
    },
    /** Registers as they stand in the VMSA. */
    openVmsa(): typeof image.view {
      const bytes = new Uint8Array(4096);
      frames.read(VMSA_PAGE, asid, bytes);
      return Vmsa(new BytesPort(bytes));
    },
  };
}

type Common = ReturnType<typeof SaveArea>;

function setRegisters(view: Common): void {
  for (const name of ['es', 'ss', 'ds', 'fs', 'gs'] as const) {
    view[`${name}Selector`] = 0x10;
    view[`${name}Attributes`] = 0xc93;
    view[`${name}Limit`] = 0xffff_ffff;
  }
  view.csSelector = 8;
  view.csAttributes = 0xa9b;
  view.csLimit = 0xffff_ffff;
  view.gdtrLimit = 23;
  view.gdtrBase = BigInt(Guest.GDT);
  view.idtrLimit = 0xfff;
  view.idtrBase = BigInt(Guest.IDT);
  view.trAttributes = 0x8b;
  view.ldtrAttributes = 0x82;
  view.efer = BigInt(Efer.LME | Efer.LMA | Efer.NXE | Efer.SVME);
  view.cr0 = BigInt(Cr0.PE | Cr0.ET | Cr0.NE | Cr0.WP) | BigInt(Cr0.PG);
  view.cr3 = BigInt(Guest.TABLES);
  view.cr4 = BigInt(Cr4.PAE);
  view.rflags = 2n;
  view.rip = BigInt(Guest.CODE);
  view.rsp = BigInt(Guest.STACK);
  view.dr6 = 0xffff_0ff0n;
  view.dr7 = 0x400n;
  view.gPat = 0x0007_0406_0007_0406n;
}

export function u64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new BytesPort(bytes).setU64(0, value);
  return bytes;
}

function concat(...parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
