// Power-on to the first VMRUN: prepares the processor and the AMD-SP, puts image and boot structures into guest memory, and
// builds the VMCB. Under SEV the AMD-SP encrypts what was loaded and measures it, in ascending address; under SEV-ES the
// register state, too (publication 55766, LAUNCH_*; docs/entry.md; KVM's order).

import { GuestPolicy } from '../arch/asp.ts';
import { Feature, SEV_LEAF } from '../arch/cpuid.ts';
import { GHCB_VERSIONS } from '../arch/ghcb.ts';
import { SaveArea } from '../arch/save-area.ts';
import { NestedControl, SAVE_AREA_OFFSET, VirtualizationControl, VmcbControl } from '../arch/vmcb.ts';
import { Vmsa } from '../arch/vmsa.ts';
import type { HostProcessor } from '../svm/host-processor.ts';
import { PAGE_SIZE, type Spa } from '../util/address.ts';
import { assert, UserError } from '../util/errors.ts';
import type { View } from '../util/struct.ts';
import type { BootPlan, InitialState, SegmentState } from './boot-plan.ts';
import type { AspDriver } from './asp-driver.ts';
import { sevInformation } from './ghcb/msr-protocol.ts';
import { type HostSystem, refused } from './host-system.ts';
import { initialise } from './init.ts';
import { msrPermissionMap } from './msrs.ts';
import { buildNestedTables, reservedEntry } from './nested-paging.ts';
import { PatientTrace } from './patient-trace.ts';
import { ShiftedPort } from './shifted-port.ts';
import { Vcpu } from './vcpu.ts';
import { Vm, type VmConfig } from './vm.ts';

/** Physical address bits that page tables may use. */
function addressWidth(system: HostSystem): number {
  const [eax] = system.first.cpuid(0x8000_0008, 0);
  return (eax & 0xff) - system.capabilities.reducedBits;
}

export type Launched = {
  readonly vm: Vm;
  readonly measurement: Uint8Array | null;
  /** What the AMD-SP refused; the guest must not run then. */
  readonly failure: string | null;
  /** What the AMD-SP has of the guest; null: nothing. */
  readonly context: GuestContext | null;
};

type GuestContext = {
  readonly asp: AspDriver;
  readonly trace: PatientTrace | null;
  readonly handle: number;
  /** Its key is in the ASID's slot. */
  readonly active: boolean;
};

/** What came of the launch commands. */
type Encrypted = Omit<Launched, 'vm'>;

/** Throws UserError: there is no ASID or no memory left. */
export function launch(system: HostSystem, config: Omit<VmConfig, 'asid' | 'cBit'>, plan: BootPlan): Launched {
  const { technology } = config;
  const { cBit } = system.capabilities;
  const given = system.asids.allocate(technology);
  if ('problem' in given) throw new UserError(given.problem);
  const vm = new Vm(system, { ...config, asid: given.asid, cBit });
  try {
    load(vm, plan);
    for (const text of plan.warnings) vm.warn(text);
    // Whatever may find no memory left comes before the AMD-SP hears of the guest.
    const { vmsas } = place(system, vm, plan);
    if (technology === 'none') return { vm, ...NOT_ENCRYPTED };
    return { vm, ...launchEncrypted(system, vm, plan, vmsas) };
  } catch (error) {
    vm.pages.giveBack();
    system.asids.release(given.asid);
    throw error;
  }
}

const NOT_ENCRYPTED: Encrypted = { measurement: null, failure: null, context: null };

/** The guest is no more: its ASID and its key are taken back, its memory is wiped. A text: what the AMD-SP refused. */
export function retire(system: HostSystem, { vm, context }: Launched): string | null {
  for (const vcpu of vm.vcpus) system.forget(vcpu);
  const { failure, bound } = context === null ? NOTHING_LEFT : forget(system, context);
  const { ram, rom, asid } = vm.config;
  system.giveRam(ram.at, ram.size);
  if (rom !== undefined) system.giveRam(rom.at, rom.size);
  vm.pages.giveBack();
  if (!bound) system.asids.release(asid); // one that the AMD-SP does not let go of is no other guest's
  context?.trace?.settle();
  return failure;
}

/** `failure`: what the AMD-SP refused; `bound`: its ASID still has the guest's key. */
type Forgotten = { readonly failure: string | null; readonly bound: boolean };
const NOTHING_LEFT: Forgotten = { failure: null, bound: false };

/** The AMD-SP forgets a guest. */
function forget(system: HostSystem, { asp, handle, active }: GuestContext): Forgotten {
  // Lines that the guest left in caches would some time overwrite what the next owner of its pages writes (15.34.9; KVM's sev_vm_destroy).
  if (!coherent(system.first)) system.wbinvd();
  const failure = active ? refused('DEACTIVATE', asp.deactivate(handle)) : null;
  if (failure !== null) return { failure, bound: true };
  return { failure: refused('DECOMMISSION', asp.decommission(handle)), bound: false };
}

/** How a virtual CPU begins. */
const stateOf = ({ state, apState }: BootPlan, number: number): InitialState => (number === 0 ? state : (apState?.(number) ?? state));

/** Virtual CPUs with VMCBs and VMSAs, nested tables and permission maps into the host's pages. */
function place(system: HostSystem, vm: Vm, plan: BootPlan): { readonly vmsas: readonly Spa[] } {
  const { memory, capabilities } = system;
  const { technology, asid, ghcbVersion, vcpus } = vm.config;
  const encryptedState = technology === 'sev-es';
  const vmsas: Spa[] = [];
  const msrPermissions = system.place(msrPermissionMap(encryptedState), vm.pages);
  const trap = encryptedState ? reservedEntry(addressWidth(system), capabilities.cBit) : 0n;
  const tables = buildNestedTables(memory, vm.pages, vm.regions, trap, vm.cMask);
  for (let number = 0; number < vcpus; number++) {
    const at = vm.pages.take();
    const state = stateOf(plan, number);
    const vmcb = VmcbControl(memory.page(at));
    vmcb.iopmBasePa = BigInt(vm.physical(system.ioPermissions));
    vmcb.msrpmBasePa = BigInt(vm.physical(msrPermissions));
    vmcb.guestAsid = asid;
    vmcb.nCr3 = BigInt(vm.physical(tables));
    vmcb.nestedControl = BigInt(
      NestedControl.NP_ENABLE | (technology === 'none' ? 0 : NestedControl.SEV) | (encryptedState ? NestedControl.SEV_ES : 0),
    );
    // The guest has a DebugCtl of its own (15.23); SEV-ES demands it.
    vmcb.virtualizationControl = BigInt(VirtualizationControl.LBR);
    if (encryptedState) {
      const vmsa = system.place(vmsaImage(state, vm.config.sevFeatures), vm.pages);
      vmsas.push(vmsa);
      vmcb.vmsaPointer = BigInt(vmsa); // without a C-bit: the ASID's key applies
      vmcb.ghcb = sevInformation(capabilities.cBit, ghcbVersion ?? GHCB_VERSIONS.most);
    }
    vm.vcpus.push(virtualCpu(vm, number, at, state));
  }
  return { vmsas };
}

function virtualCpu(vm: Vm, number: number, vmcb: Spa, state: InitialState): Vcpu {
  const { memory } = vm.host;
  const registers = vm.pages.take();
  memory.write(registers, vmsaImage(state));
  const vcpu = new Vcpu(vm, number, { vmcb, registers }, state);
  if (vm.encryptedState) return vcpu;
  setCommon(SaveArea(new ShiftedPort(memory.page(vmcb), SAVE_AREA_OFFSET)), state);
  vcpu.registers[2] = state.rdx;
  vcpu.registers[3] = state.rbx;
  vcpu.registers[6] = state.rsi ?? 0n;
  vcpu.registers[7] = state.rdi;
  if (number > 0) initialise(vcpu);
  return vcpu;
}

/** Zeros for every page of the plan, then its contents: under the host's mapping, as plaintext. */
function load(vm: Vm, { ranges, contents }: BootPlan): void {
  const zeros = new Uint8Array(0x1_0000);
  for (const { start, end } of ranges) {
    for (let at = start; at < end; at += zeros.length) vm.install(at, zeros.subarray(0, Math.min(zeros.length, end - at)));
  }
  for (const { start, bytes } of contents) assert(vm.install(start, bytes), 'the plan names memory that the guest has not');
}

/**
 * The AMD-SP encrypts in place, in DRAM. Lines that the host wrote as plaintext must be out of its caches by then, or what is left of
 * them overwrites the guest's pages some time later (15.34.9).
 */
function flushUnlessCoherent(host: HostProcessor, at: Spa, size: number): void {
  if (!coherent(host)) host.memory.flush(at, size);
}

/** Are the views of a page under different keys kept coherent (CPUID Fn8000_001F EAX[10])? */
const coherent = (host: HostProcessor): boolean => (host.cpuid(SEV_LEAF, 0)[0] & (1 << Feature.HW_CACHE_COHERENCY.bit)) !== 0;

function launchEncrypted(system: HostSystem, vm: Vm, plan: BootPlan, vmsas: readonly Spa[]): Encrypted {
  const { trace: sink } = vm.config;
  const trace = sink === null ? null : new PatientTrace(sink);
  const encrypted = launchCommands(system, vm, plan, vmsas, trace);
  try {
    trace?.settle();
  } catch (error) {
    if (encrypted.context !== null) forget(system, encrypted.context);
    throw error;
  }
  return encrypted;
}

/** Up to the first that fails. The measurement: 32 bytes, then 16 of nonce. */
function launchCommands(system: HostSystem, vm: Vm, { ranges }: BootPlan, vmsas: readonly Spa[], trace: PatientTrace | null): Encrypted {
  const { host, config } = vm;
  const notReady = system.initialiseAsp();
  if (notReady !== null) return { ...NOT_ENCRYPTED, failure: notReady };
  const asp = system.driver(vm.pages.take(), trace);
  const started = asp.launchStart(GuestPolicy.NODBG | (vmsas.length > 0 ? GuestPolicy.ES : 0));
  if (!started.ok) return { ...NOT_ENCRYPTED, failure: refused('LAUNCH_START', started) };
  const { handle } = started;
  let failure = refused('ACTIVATE', asp.activate(handle, config.asid));
  const context = { asp, trace, handle, active: failure === null };
  const failed = (why: string | null): Encrypted => ({ measurement: null, failure: why, context });
  for (const { start, end } of ranges)
    for (const { at, size } of vm.find(start, end - start)) {
      if (failure !== null) return failed(failure);
      flushUnlessCoherent(host, at, size);
      failure = refused('LAUNCH_UPDATE_DATA', asp.launchUpdateData(handle, at, size));
    }
  for (const vmsa of vmsas) {
    if (failure !== null) return failed(failure);
    flushUnlessCoherent(host, vmsa, PAGE_SIZE);
    failure = refused('LAUNCH_UPDATE_VMSA', asp.launchUpdateVmsa(handle, vmsa));
  }
  if (failure !== null) return failed(failure);
  const measured = asp.launchMeasure(handle);
  if (!measured.ok) return failed(refused('LAUNCH_MEASURE', measured));
  return { measurement: measured.measurement, failure: refused('LAUNCH_FINISH', asp.launchFinish(handle)), context };
}

const AFTER_RESET = {
  dr6: 0xffff_0ff0n,
  dr7: 0x400n,
  pat: 0x0007_0406_0007_0406n,
  mxcsr: 0x1f80,
  fcw: 0x37f,
  emptyTags: 0xffff,
  xcr0: 1n,
} as const;

type CommonView = View<typeof SaveArea.layout>;

/** What VMCB save area and VMSA have in common. */
function setCommon(save: CommonView, state: InitialState): void {
  const set = (
    name: 'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs' | 'gdtr' | 'idtr' | 'ldtr' | 'tr',
    { selector, attributes, limit, base }: SegmentState,
  ): void => {
    save[`${name}Selector`] = selector;
    save[`${name}Attributes`] = attributes;
    save[`${name}Limit`] = limit;
    save[`${name}Base`] = base;
  };
  set('cs', state.cs);
  set('ss', state.ss);
  for (const name of ['ds', 'es', 'fs', 'gs'] as const) set(name, state.data);
  set('gdtr', state.gdtr);
  set('idtr', state.idtr);
  set('ldtr', state.ldtr);
  set('tr', state.tr);
  save.cr0 = state.cr0;
  save.cr3 = state.cr3;
  save.cr4 = state.cr4;
  save.efer = state.efer;
  save.rflags = state.rflags;
  save.rip = state.rip;
  save.rsp = state.rsp;
  save.rax = state.rax;
  save.dr6 = AFTER_RESET.dr6;
  save.dr7 = AFTER_RESET.dr7;
  save.gPat = AFTER_RESET.pat;
}

/** The page that LAUNCH_UPDATE_VMSA measures and encrypts. */
export function vmsaImage(state: InitialState, sevFeatures = 0): Uint8Array {
  const { view, bytes } = Vmsa.create();
  setCommon(view, state);
  view.rdx = state.rdx;
  view.rbx = state.rbx;
  view.rdi = state.rdi;
  view.rsi = state.rsi ?? 0n;
  view.xcr0 = AFTER_RESET.xcr0;
  view.mxcsr = AFTER_RESET.mxcsr;
  view.x87Fcw = AFTER_RESET.fcw;
  view.x87Ftw = state.x87Tags ?? AFTER_RESET.emptyTags;
  view.sevFeatures = BigInt(sevFeatures);
  return bytes;
}
