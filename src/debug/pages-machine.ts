// What of a virtual machine can be looked at: its memory, who owns which key slot, the guest's memory and the host's own, with names for
// what the processor's structures point at. Everything is read from copies; no view is made and the VMSA stays where it is.

import { Msr } from '../arch/msr.ts';
import { SaveArea } from '../arch/save-area.ts';
import { SAVE_AREA_OFFSET, VmcbControl } from '../arch/vmcb.ts';
import { Vmsa } from '../arch/vmsa.ts';
import type { Paging } from '../hypervisor/guest-walk.ts';
import { hostMap } from '../machine/memory-map.ts';
import { PAGE_SIZE, pageOf } from '../util/address.ts';
import { BytesPort, type View } from '../util/struct.ts';
import type { VirtualMachine } from '../virtual-machine.ts';
import {
  type GuestAccess,
  joinedMarks,
  type Keys,
  locate,
  type Mark,
  type PageMemory,
  readUnder,
  type Region,
  type Scene,
} from './pages.ts';
import { bareScene, livePaging, memoryOf } from './pages-bare.ts';
import { GuestTables, hasCBit } from './pages-mappings.ts';

/** Sizes of the permission maps (APM vol. 2, 15.10.1 and 15.11). */
const IO_MAP = 3 * PAGE_SIZE;
const MSR_MAP = 2 * PAGE_SIZE;

type Control = View<typeof VmcbControl.layout>;

/** The moment's scene: what it names and how the guest pages is taken now. */
export const sceneOf = (vm: VirtualMachine): Scene =>
  vm.bare === null ? guestScene(vm) : bareScene(vm.machine, vm.bare.msrs.encrypts, imageMarks(vm));

const imageMarks = ({ image }: VirtualMachine): Mark[] =>
  image.segments.filter(({ bytes }) => bytes.length > 0).map(({ start, bytes }) => ({ start, size: bytes.length, name: 'image' }));

function guestScene(vm: VirtualMachine): Scene {
  const { machine, vcpu } = vm;
  const { technology, asid } = vcpu.vm.config;
  const memory = memoryOf(machine);
  const vmcbPage = pageOf(vcpu.vmcbAddress);
  const keys: Keys = {
    guest: technology === 'none' ? null : asid,
    // The hypervisor wrote the VMCB through its mapping, with or without the C-bit.
    hypervisor: memory.writtenUnder(vmcbPage) ?? 0,
    host: machine.encryption.hostKey,
    transparent: machine.encryption.transparent,
    lastAsid: machine.encryption.slots - 1,
  };
  const vmcb = readUnder(memory, vmcbPage, keys.hypervisor).bytes;
  const control = VmcbControl(new BytesPort(vmcb));
  const paging = pagingOf(vm, memory, keys, vmcb, control);
  const { cBit } = vcpu.vm.config;
  const address = (value: bigint): number => Number(value & ~(1n << BigInt(cBit)));
  const ram: Region[] = vcpu.vm.regions.map(({ start, size, at }) => ({ start, size, at }));
  const guest = { name: 'guest', title: 'Guest physical memory', regions: ram } as const;
  const tables = new GuestTables(paging, keys.guest === null ? -1 : cBit, (gpa) => {
    const spa = locate({ ...guest, marks: [] }, gpa);
    // Under SEV table walks are private always (15.34.6).
    return spa === null ? null : new DataView(readUnder(memory, pageOf(spa), keys.guest ?? keys.hypervisor).bytes.buffer);
  });
  return {
    memory,
    keys,
    spaces: [
      { ...guest, marks: guestMarks(vm, control, tables) },
      {
        name: 'host',
        title: "The host's own memory (system physical)",
        regions: [{ start: 0, size: hostMap.guest, at: 0 }],
        marks: hostMarks(vm, memory, keys, control, address),
      },
    ],
    sides: ['guest', 'hypervisor'],
    access: (gpa, key) => access(keys, paging, tables, gpa, key),
  };
}

/** How the guest pages: from its state block, or before its first VMRUN from what VMRUN will load. */
function pagingOf({ machine, vcpu }: VirtualMachine, memory: PageMemory, keys: Keys, vmcb: Uint8Array, control: Control): Paging {
  if (machine.retired > 0) return livePaging(machine);
  if (!vcpu.vm.encryptedState) return SaveArea(new BytesPort(vmcb.subarray(SAVE_AREA_OFFSET)));
  return Vmsa(new BytesPort(readUnder(memory, pageOf(Number(control.vmsaPointer)), keys.guest ?? 0).bytes));
}

/** What the guest reads of a page: by its own tables; where those say nothing, as the page was last written. */
function access(keys: Keys, paging: Paging, tables: GuestTables, gpa: number, key: number | null): GuestAccess {
  const mappings = tables.of(gpa);
  const given = (chosen: number, why: string): GuestAccess => ({ key: chosen, why, mappings });
  if (keys.guest === null) return given(keys.hypervisor, 'the guest has no key of its own');
  if (!hasCBit(paging)) return given(keys.guest, 'all memory is private while the guest has no paging with a C-bit');
  const kinds = new Set(mappings.map((mapping) => mapping.private));
  if (kinds.size === 2) return given(keys.guest, 'the guest maps it both private and shared; shown is the private view');
  if (kinds.size === 1)
    return kinds.has(true) ? given(keys.guest, 'the guest maps it private') : given(keys.hypervisor, 'the guest maps it shared');
  const shared = key === 0 || key === keys.host;
  return given(shared ? keys.hypervisor : keys.guest, 'the guest does not map it now; shown as it was last written');
}

function guestMarks(vm: VirtualMachine, { ghcb }: Control, tables: GuestTables): Mark[] {
  const { vcpu } = vm;
  const marks = [...imageMarks(vm), ...tables.marks];
  for (const { start, size, writable } of vcpu.vm.regions) if (!writable) marks.push({ start, size, name: 'ROM' });
  if (vcpu.vm.encryptedState && ghcb !== 0n && ghcb % BigInt(PAGE_SIZE) === 0n)
    marks.push({ start: Number(ghcb), size: PAGE_SIZE, name: 'GHCB' });
  return joinedMarks(marks);
}

function hostMarks(
  { machine, vcpu }: VirtualMachine,
  memory: PageMemory,
  keys: Keys,
  control: Control,
  address: (value: bigint) => number,
): Mark[] {
  const marks: Mark[] = [{ start: vcpu.vmcbAddress, size: PAGE_SIZE, name: 'VMCB' }];
  const mark = (value: bigint, size: number, name: string): void => {
    if (value !== 0n) marks.push({ start: address(value), size, name });
  };
  mark(machine.host.rdmsr(Msr.VM_HSAVE_PA) ?? 0n, PAGE_SIZE, 'host save area');
  mark(control.iopmBasePa, IO_MAP, 'I/O permission map');
  mark(control.msrpmBasePa, MSR_MAP, 'MSR permission map');
  if (vcpu.vm.encryptedState) {
    mark(control.vmsaPointer, PAGE_SIZE, 'VMSA');
    marks.push({ start: hostMap.trustedMemory.start, size: hostMap.trustedMemory.size, name: "AMD-SP's trusted memory" });
  }
  const nested = (table: number, level: number): void => {
    marks.push({ start: table, size: PAGE_SIZE, name: 'nested page tables' });
    const entries = new DataView(readUnder(memory, pageOf(table), keys.hypervisor).bytes.buffer);
    for (let at = 0; level > 1 && at < PAGE_SIZE; at += 8) {
      const entry = entries.getBigUint64(at, true);
      const below = address(entry & 0x000f_ffff_ffff_f000n);
      if ((entry & 1n) !== 0n && (entry & (1n << 7n)) === 0n && below < hostMap.guest) nested(below, level - 1);
    }
  };
  if (control.nCr3 !== 0n) nested(address(control.nCr3), 4);
  return joinedMarks(marks);
}
