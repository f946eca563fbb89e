// What leaves the guest with a VMGEXIT because the event asks for it, as the protocol's table has it; and places in guest memory, in words.

import { ExitCode } from '../arch/exit-code.ts';
import { SEV_LEAF } from '../arch/cpuid.ts';
import { GHCB_BUFFER, Ghcb, type GhcbField, GhcbInfo } from '../arch/ghcb.ts';
import type { Processor } from '../cpu/processor.ts';
import type { NaeEvent } from '../hypervisor/ghcb/nae-events.ts';
import { ghcbFields } from '../hypervisor/ghcb/page.ts';
import { type Tables, translateLinear } from '../hypervisor/guest-walk.ts';
import { Gpr, gprAt, Segment, SegmentPart, segmentAt, State } from '../memory/state.ts';
import { valueOf } from '../sanitizer/page-image.ts';
import { concerns, requestOf, rowOf, scratchOf } from '../sanitizer/protocol.ts';
import { gpa as gpaOf, PAGE_SIZE, pageOf } from '../util/address.ts';
import type { VirtualMachine } from '../virtual-machine.ts';

/** Bytes of a page of system physical memory. */
export type Piece = { readonly page: number; readonly offset: number; readonly length: number };
/** `tells`: where the answer will have the position of the C-bit. */
export type Request = { readonly page: number; readonly name: string; readonly asked: readonly Piece[]; readonly tells: Piece | null };

const { layout } = Ghcb;
/** What every request says. */
const ALWAYS: readonly (GhcbField | 'validBitmapLow' | 'validBitmapHigh' | 'protocolVersion' | 'usage')[] = [
  'swExitCode',
  'swScratch',
  'validBitmapLow',
  'validBitmapHigh',
  'protocolVersion',
  'usage',
];
/** A GHCB MSR that names a page has this in its low bits. */
const INFO = 0xfffn;
/** Bits 31:30 of a CPUID request: which register. */
const REGISTER_EBX = 1n;

/** What the tracker asks about the guest's memory. */
export interface HandOver {
  /** What a VMGEXIT with this GHCB MSR hands over; null: no page. */
  at(msr: bigint): Request | null;
  /** Entries of the page tables by which a processor reaches its next instruction and its stack. */
  entries(p: Processor): readonly Piece[];
  /** The page of system physical memory behind a guest physical address; null: it is not RAM. */
  pageOf(gpa: number): number | null;
  /** Bytes of a page, in words. */
  describe(page: number, offset: number, length: number): string;
}

export class GhcbHandOver implements HandOver {
  readonly #vm: VirtualMachine;
  /** Pages that a GHCB MSR named. */
  readonly #ghcbs = new Set<number>();

  constructor(vm: VirtualMachine) {
    this.#vm = vm;
  }

  capture(): ReadonlySet<number> {
    return new Set(this.#ghcbs);
  }

  restore(ghcbs: ReadonlySet<number>): void {
    this.#ghcbs.clear();
    for (const page of ghcbs) this.#ghcbs.add(page);
  }

  at(msr: bigint): Request | null {
    if ((msr & INFO) !== 0n) return null;
    const page = this.pageOf(Number(msr));
    if (page === null) return null;
    this.#ghcbs.add(page);
    const { frames, memory } = this.#vm.machine.engine;
    const { cMask } = this.#vm.guest.vm;
    const at = frames.address(frames.glimpse(page, cMask === 0n ? 0 : this.#vm.machine.encryption.hostKey));
    const image = memory.u8.slice(at, at + PAGE_SIZE);
    const request = requestOf(image);
    const event = rowOf(request);
    const asked = [...fieldsOf(event)].map((field) => ({ page, offset: layout[field].offset, length: layout[field].bytes }));
    const scratch = scratchOf(request, image);
    const pieces: Piece[] = asked;
    if (scratch !== null && !scratch.toGuest && scratch.bytes <= BigInt(PAGE_SIZE))
      pieces.push(...this.#pieces(Number(scratch.start), Number(scratch.bytes)));
    const position = event?.code === ExitCode.CPUID && (valueOf(image, 'rax') & 0xffff_ffffn) === BigInt(SEV_LEAF);
    const tells = position ? { page, offset: layout.rbx.offset, length: layout.rbx.bytes } : null;
    return { page, name: request.name, asked: pieces, tells };
  }

  pageOf(gpa: number): number | null {
    const spa = this.#vm.guest.vm.locate(gpaOf(gpa - (gpa % PAGE_SIZE)), true);
    return spa === null ? null : pageOf(spa);
  }

  entries(p: Processor): Piece[] {
    const { engine } = this.#vm.machine;
    const { config } = this.#vm.guest.vm;
    const cMask = 1n << BigInt(config.cBit);
    const found: Piece[] = [];
    const tables: Tables = {
      read: (entry, size) => {
        const gpa = Number(entry & ~cMask);
        const page = this.pageOf(gpa);
        if (page === null) return null;
        const offset = gpa % PAGE_SIZE;
        found.push({ page, offset, length: size });
        const at = engine.frames.address(engine.frames.glimpse(page, config.asid)) + offset;
        return size === 8 ? engine.memory.view.getBigUint64(at, true) : BigInt(engine.memory.view.getUint32(at, true));
      },
      write: () => undefined,
    };
    const paging = { cr0: p.u64(State.CR0), cr3: p.u64(State.CR3), cr4: p.u64(State.CR4), efer: p.u64(State.EFER) };
    const access = { write: false, user: p.cpl === 3, userPages: true };
    for (const [segment, offset] of [
      [Segment.CS, p.u64(State.RIP)],
      [Segment.SS, p.u64(gprAt(Gpr.RSP))],
    ] as const) {
      const linear = p.mode === 64 ? offset : (p.u64(segmentAt(segment) + SegmentPart.BASE) + offset) & 0xffff_ffffn;
      translateLinear(paging, linear, access, tables);
    }
    return found;
  }

  describe(page: number, offset: number, length: number): string {
    if (this.#ghcbs.has(page)) {
      const field = ghcbFields.find((name) => offset >= layout[name].offset && offset < layout[name].offset + layout[name].bytes);
      if (field !== undefined) return `${spelled(field)} of the GHCB`;
      if (offset >= GHCB_BUFFER.start && offset < GHCB_BUFFER.end) return `the shared buffer of the GHCB, from ${offset.toString(16)}h on`;
      return `the GHCB, from ${offset.toString(16)}h on`;
    }
    for (const { start, size, at } of this.#vm.guest.vm.regions) {
      const first = pageOf(at);
      if (page >= first && page < first + size / PAGE_SIZE)
        return `shared memory at guest physical address 0x${(start + (page - first) * PAGE_SIZE + offset).toString(16)}`;
    }
    return `shared memory (${length} bytes)`;
  }

  #pieces(gpa: number, length: number): Piece[] {
    const found: Piece[] = [];
    for (let done = 0; done < length; ) {
      const offset = (gpa + done) % PAGE_SIZE;
      const piece = Math.min(PAGE_SIZE - offset, length - done);
      const page = this.pageOf(gpa + done);
      if (page !== null) found.push({ page, offset, length: piece });
      done += piece;
    }
    return found;
  }
}

/** Does the answer to a request of the MSR protocol tell where the C-bit is? */
export function tellsCBit(request: bigint): boolean {
  const info = Number(request & INFO);
  if (info === GhcbInfo.SEV_INFORMATION_REQUEST) return true;
  return info === GhcbInfo.CPUID_REQUEST && request >> 30n === ((BigInt(SEV_LEAF) << 2n) | REGISTER_EBX);
}

function fieldsOf(event: NaeEvent | undefined): ReadonlySet<GhcbField | (typeof ALWAYS)[number]> {
  if (event === undefined) return new Set([...ALWAYS, 'swExitInfo1', 'swExitInfo2']);
  const named = concerns(event);
  return new Set([...ALWAYS, ...(named === 'any' ? ghcbFields : named), ...(event.code === ExitCode.IOIO ? (['rax'] as const) : [])]);
}

const spelled = (field: string): string => (field.startsWith('sw') ? `SW_${field.slice(2).toUpperCase()}` : field.toUpperCase());
