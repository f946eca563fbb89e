// One processor with one guest, used for many cases: everything a case may have changed is put back before the next. The guest has 64
// pages, of which it may write its page tables, its stack and a page of data; its code is a shelf of short sequences.

import { processorModel } from '../../src/cpu/cpuid.ts';
import { State } from '../../src/memory/state.ts';
import { vmsaIntegrity } from '../../src/sev/vmsa-integrity.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { ASID, build, Guest, NESTED, RAM, RAM_PAGES, SLOT, type Technology, u64, VMCB, VMSA_PAGE } from '../svm/fixture.ts';
import type { Box } from './oracle.ts';

const PAGE = 4096;
const SHELF = 32;
const VMGEXIT = 'db 0xf3, 0x0f, 0x01, 0xd9';

/** What a guest executes, from RIP = Guest.CODE + 32 n on. */
const shelf: readonly string[] = [
  'cpuid\n hlt',
  `${VMGEXIT}\n ${VMGEXIT}\n hlt`,
  'hlt\n hlt',
  'pause\n pause\n pause\n pause\n hlt',
  'mov rax, cr4\n xor eax, 0x80\n mov cr4, rax\n hlt',
  'mov rax, cr0\n xor eax, 2\n mov cr0, rax\n mov rcx, cr8\n hlt',
  'mov ecx, 0xc0000080\n rdmsr\n xor eax, 1\n wrmsr\n hlt',
  'mov ecx, 0xc0010130\n mov eax, 2\n wrmsr\n hlt',
  'mov edx, 0x80\n in al, dx\n out dx, eax\n hlt',
  'sti\n nop\n hlt',
  'cli\n int3\n hlt',
  'ud2',
  'int 0x15\n hlt',
  'iretq',
  `mov ebx, ${Guest.DEVICE}\n mov [rbx], eax\n hlt`,
  'mov rax, dr7\n mov dr7, rax\n mov dr0, rax\n hlt',
  'vmmcall\n hlt',
  'mov eax, 0x10\n mov ss, eax\n inc ebx\n hlt',
  'again: inc rbx\n jmp again',
  `mov ebx, ${Guest.DATA}\n inc dword [rbx]\n hlt`,
  'push rax\n popfq\n pushfq\n hlt',
  'rdtsc\n rdtscp\n rdpmc\n hlt',
  'wbinvd\n invd\n hlt',
  'xor eax, eax\n div eax\n hlt',
  'xor eax, eax\n mov [rax], eax\n hlt',
  'mov ebx, 0x50000\n mov [rbx], eax\n hlt',
  'syscall\n hlt',
  'mov rax, cr3\n mov cr3, rax\n invlpg [rax]\n hlt',
];

const writable = [0x1000, 0x2000, 0x3000, 0x8000, Guest.DATA] as const;
/** Registers in a state block; what lies between follows from them. */
const registerRanges = [
  [State.GPR, State.RIP + 8],
  [State.SEGMENTS, State.SEGMENTS + 160],
  [State.CR0, State.INTERCEPTS],
  [State.XMM, State.FDS + 2],
] as const;

export class Lab {
  readonly technology: Technology;
  readonly box: Box;
  readonly machine: ReturnType<typeof build>;
  /** Valid pages to start from. */
  readonly vmcb: Uint8Array;
  readonly vmsa: Uint8Array;
  readonly sequences = shelf.length;
  readonly #live: Uint8Array;
  readonly #liveAt: number;
  readonly #kept: readonly { readonly gpa: number; readonly bytes: Uint8Array }[];
  readonly #all: Uint8Array[];
  readonly #page = new Uint8Array(PAGE);
  readonly #value = { low: 0, high: 0 };
  readonly #slot = new Uint8Array(8);
  readonly #slotView = new DataView(this.#slot.buffer);
  #encryption = true;

  constructor(technology: Technology, modelName: string, smmLock = true) {
    const model = processorModel(modelName);
    if (!model) throw new Error(modelName);
    const asid = technology === 'sev' ? model.firstAsidWithoutEs : ASID;
    const machine = build(technology, 'hlt', 'hlt', asid, smmLock, false, modelName);
    this.technology = technology;
    this.machine = machine;
    this.box = {
      model,
      lastAsid: model.lastAsid,
      firstAsidWithoutEs: model.firstAsidWithoutEs,
      asid,
      vmsaPage: VMSA_PAGE / PAGE,
      smmLock,
    };
    shelf.forEach((source, n) => {
      const origin = Guest.CODE + SHELF * n;
      const { bytes } = assemble(source, { bits: 64, origin: BigInt(origin) });
      if (bytes.length > SHELF) throw new Error(`sequence ${n} is too long`);
      machine.put(origin, bytes);
    });
    // #VC goes on behind instructions of two bytes; everything else halts.
    const vc = Guest.HANDLER + 16;
    machine.put(vc, assemble(`pop rax\n add qword [rsp], 2\n ${VMGEXIT}\n iretq`, { bits: 64, origin: BigInt(vc) }).bytes);
    machine.put(Guest.IDT + 16 * 29, u64(BigInt(vc & 0xffff) | (8n << 16n) | (0x8e00n << 32n)));
    const cBit = technology === 'none' ? 0n : 1n << BigInt(model.cBit);
    for (const [at, entry] of [
      [0x1000, 0x2067n],
      [0x2000, 0x3067n],
      [0x3000, 0xe7n],
    ] as const)
      machine.put(at, u64(entry | cBit));
    for (let n = 0; n < RAM_PAGES; n++) {
      const free = writable.some((gpa) => gpa === n * PAGE);
      machine.frames.write(NESTED + 3 * PAGE + 8 * n, 0, u64(BigInt(RAM + PAGE * n) | (free ? 0x67n : 0x65n)));
    }
    machine.frames.write(NESTED + 3 * PAGE + 8 * 0x50, 0, u64(0n));
    machine.frames.write(NESTED + 3 * PAGE + 8 * (Guest.DEVICE / PAGE), 0, u64((1n << 46n) | 0x67n));
    for (let level = 0; level < 3; level++)
      machine.frames.write(NESTED + level * PAGE, 0, u64(BigInt(NESTED + (level + 1) * PAGE) | 0x67n));
    this.vmcb = new Uint8Array(PAGE);
    machine.svm.memory.read(VMCB, this.vmcb);
    this.vmsa = machine.vmsaBytes.slice();
    this.#liveAt = machine.svm.guestState;
    this.#live = machine.memory.u8.slice(this.#liveAt, this.#liveAt + PAGE);
    this.#kept = writable.map((gpa) => ({ gpa, bytes: machine.read(gpa, PAGE) }));
    this.#all = this.#readable();
  }

  /** Puts a case in place: its pages, and everything around them as at first. */
  prepare(vmcb: Uint8Array, vmsa: Uint8Array, tamper: number, encryption: boolean): void {
    const { machine } = this;
    const { u8 } = machine.memory;
    for (const [from, to] of registerRanges) u8.set(this.#live.subarray(from, to), this.#liveAt + from);
    if (encryption !== this.#encryption) {
      this.#encryption = encryption;
      machine.svm.wrmsr(0xc001_0010, encryption ? 1n << 23n : 0n);
    }
    machine.frames.write(VMCB, 0, vmcb);
    if (this.technology === 'sev-es') {
      this.#seal(vmsa);
      if (tamper >= 0) vmsa[tamper] = vmsa[tamper]! ^ 0x10;
      // The last case's registers go to the page first, and their value to the slot.
      machine.frames.write(VMSA_PAGE, this.box.asid, vmsa);
      machine.frames.writeSecure(SLOT, 0, this.#slot);
    }
    machine.svm.vmload(VMCB);
  }

  /** After a case: what the guest wrote is undone. */
  restore(): void {
    const { frames, put } = this.machine;
    const key = this.technology === 'none' ? 0 : this.box.asid;
    for (const { gpa, bytes } of this.#kept) {
      frames.read(RAM + gpa, key, this.#page);
      if (!equal(this.#page, bytes)) put(gpa, bytes);
    }
  }

  /** A page of the host's that nobody had any reason to write was written; null: none was. */
  intrusion(): string | null {
    const now = this.#readable();
    const n = now.findIndex((bytes, k) => !equal(bytes, this.#all[k]!));
    return n < 0
      ? null
      : n < RAM_PAGES
        ? `page ${n} of the guest's memory was written`
        : `page ${n - RAM_PAGES} of the host's memory was written`;
  }

  /** The VMSA as the guest's key shows it. */
  vmsaNow(): Uint8Array {
    this.machine.frames.read(VMSA_PAGE, this.box.asid, this.#page);
    return this.#page;
  }

  /** VMCB and save area. */
  vmcbNow(into: Uint8Array): Uint8Array {
    this.machine.svm.memory.read(VMCB, into);
    return into;
  }

  /** The integrity value of a VMSA, for its slot. */
  #seal(vmsa: Uint8Array): void {
    const view = new DataView(vmsa.buffer, vmsa.byteOffset);
    view.setUint32(0x388, SLOT, true);
    view.setUint32(0x38c, 0, true);
    vmsaIntegrity(vmsa, 0, this.#value);
    this.#slotView.setUint32(0, this.#value.low, true);
    this.#slotView.setUint32(4, this.#value.high, true);
  }

  /** All of the guest's pages, and the host's but for VMCB, host save area and VMSA. */
  #readable(): Uint8Array[] {
    const pages: Uint8Array[] = [];
    for (let n = 0; n < RAM_PAGES; n++) pages.push(this.machine.read(n * PAGE, PAGE).slice());
    for (let n = 4; n < 16; n++) {
      const page = new Uint8Array(PAGE);
      this.machine.frames.read(n * PAGE, 0, page);
      pages.push(page);
    }
    return pages;
  }
}

const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
