// The registers of a guest as its owner sees them, for `--registers json`: out of the processor and, for a guest whose state the
// hypervisor keeps, out of its VMCB. Under SEV-ES no hypervisor could have this; we stand outside of the machine. docs/json.md
// states the format.

import { SAVE_AREA_OFFSET } from '../arch/vmcb.ts';
import { gprAt, Segment, SegmentPart, segmentAt, State, STATE_SIZE } from '../memory/state.ts';
import { rflagsOf, vmrunTransfer } from '../svm/transfer.ts';
import { PAGE_SIZE } from '../util/address.ts';
import type { VirtualMachine } from '../virtual-machine.ts';

const gprNames = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;
/** In the order of the report. */
const segmentNames = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'ldtr', 'tr', 'gdtr', 'idtr'] as const;
const RAX = 0;
const RSP = 4;
const XMM_REGISTERS = 16;
const X87_REGISTERS = 8;

type Hex = `0x${string}`;
type Segments = Record<(typeof segmentNames)[number], { selector: Hex; base: Hex; limit: Hex; attributes: Hex }>;
export type Registers = Record<
  (typeof gprNames)[number] | 'rip' | 'rflags' | 'cpl' | 'cr0' | 'cr2' | 'cr3' | 'cr4' | 'efer' | 'mxcsr',
  Hex
> & {
  readonly segments: Segments;
  readonly x87: Readonly<Record<string, Hex>>;
} & Readonly<Record<`xmm${number}`, Hex>>;

const hex = (value: bigint | number): Hex => `0x${value.toString(16)}`;

export function registersOf(vm: VirtualMachine): Registers {
  const view = stateOf(vm);
  const u64 = (at: number): bigint => view.getBigUint64(at, true);
  const u16 = (at: number): number => view.getUint16(at, true);
  const wide = (at: number, high: bigint): Hex => hex((high << 64n) | u64(at));
  const segment = (name: (typeof segmentNames)[number]) => {
    const at = segmentAt(Segment[name.toUpperCase() as keyof typeof Segment]);
    return {
      selector: hex(u16(at + SegmentPart.SELECTOR)),
      base: hex(u64(at + SegmentPart.BASE)),
      limit: hex(view.getUint32(at + SegmentPart.LIMIT, true)),
      attributes: hex(u16(at + SegmentPart.ATTRIBUTES)),
    };
  };
  const list = (count: number, each: (n: number) => readonly [string, Hex]): Record<string, Hex> =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => each(n)));
  const gprs = Object.fromEntries(gprNames.map((name, n) => [name, hex(u64(gprAt(n)))])) as Record<(typeof gprNames)[number], Hex>;
  return {
    ...gprs,
    rip: hex(u64(State.RIP)),
    rflags: hex(rflagsOf(new Int32Array(view.buffer), 0) >>> 0),
    cpl: hex(view.getUint32(State.CPL, true)),
    cr0: hex(u64(State.CR0)),
    cr2: hex(u64(State.CR2)),
    cr3: hex(u64(State.CR3)),
    cr4: hex(u64(State.CR4)),
    efer: hex(u64(State.EFER)),
    segments: Object.fromEntries(segmentNames.map((name) => [name, segment(name)])) as Segments,
    mxcsr: hex(view.getUint32(State.MXCSR, true)),
    ...list(XMM_REGISTERS, (n) => [`xmm${n}`, wide(State.XMM + 16 * n, u64(State.XMM + 16 * n + 8))]),
    x87: {
      control: hex(u16(State.FCW)),
      status: hex(u16(State.FSW)),
      tags: hex(u16(State.FTW)),
      ...list(X87_REGISTERS, (n) => [`r${n}`, wide(State.X87 + 16 * n, BigInt(u16(State.X87 + 16 * n + 8)))]),
    },
  };
}

/** A state block of the guest's as it would be at the next VMRUN; of a bare machine, the processor's. */
function stateOf(vm: VirtualMachine): DataView {
  const { machine } = vm;
  const { guestState } = machine;
  const bytes = machine.engine.memory.u8.slice(guestState, guestState + STATE_SIZE);
  const view = new DataView(bytes.buffer);
  if (vm.bare !== null) return view;
  const { vcpu } = vm;
  if (vcpu.vm.encryptedState) return view;
  const block = (of: Uint8Array<ArrayBuffer>) => ({ i32: new Int32Array(of.buffer), view: new DataView(of.buffer) });
  const vmcb = new Uint8Array(PAGE_SIZE);
  machine.host.memory.read(vcpu.vmcbAddress, vmcb);
  vmrunTransfer.load(block(vmcb), SAVE_AREA_OFFSET, block(bytes), 0);
  vcpu.registers.forEach((value, n) => {
    if (n !== RAX && n !== RSP) view.setBigUint64(gprAt(n), value, true);
  });
  return view;
}
