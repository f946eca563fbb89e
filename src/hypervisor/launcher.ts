// Power-on to the first VMRUN: prepares the processor and the AMD-SP, puts image and boot structures into guest memory, and
// builds the VMCB. Under SEV the AMD-SP encrypts what was loaded and measures it, in ascending address; under SEV-ES the
// register state, too (publication 55766, LAUNCH_*; docs/entry.md; KVM's order).

import { GuestPolicy, TMR_SIZE } from '../arch/asp.ts';
import { Feature } from '../arch/cpuid.ts';
import { Msr } from '../arch/msr.ts';
import { Efer } from '../arch/registers.ts';
import { SaveArea } from '../arch/save-area.ts';
import { Hwcr, Syscfg } from '../arch/sev-features.ts';
import { NestedControl, SAVE_AREA_OFFSET, VirtualizationControl, VmcbControl } from '../arch/vmcb.ts';
import { Vmsa } from '../arch/vmsa.ts';
import { hostMap } from '../machine/memory-map.ts';
import type { HostProcessor } from '../svm/host-processor.ts';
import { PAGE_SIZE, type Spa } from '../util/address.ts';
import { assert, UserError } from '../util/errors.ts';
import type { View } from '../util/struct.ts';
import { AspDriver, type AspResult } from './asp-driver.ts';
import type { BootPlan, InitialState, SegmentState } from './boot-plan.ts';
import { sevInformation } from './ghcb/msr-protocol.ts';
import { ioPermissionMap, msrPermissionMap } from './msrs.ts';
import { buildNestedTables, reservedEntry } from './nested-paging.ts';
import { enterOwnTables } from './own-tables.ts';
import { ShiftedPort } from './shifted-port.ts';
import { Vcpu } from './vcpu.ts';
import { Vm, type VmConfig } from './vm.ts';

/** What CPUID Fn8000_001F says of this processor. */
export type SevCapabilities = {
  readonly cBit: number;
  readonly reducedBits: number;
  readonly asids: number;
  readonly firstPlainSevAsid: number;
};

export function sevCapabilities(host: HostProcessor): SevCapabilities {
  const [, ebx, ecx, edx] = host.cpuid(0x8000_001f, 0);
  return { cBit: ebx & 0x3f, reducedBits: (ebx >>> 6) & 0x3f, asids: ecx, firstPlainSevAsid: edx };
}

/** Physical address bits that page tables may use. */
function addressWidth(host: HostProcessor, { reducedBits }: SevCapabilities): number {
  const [eax] = host.cpuid(0x8000_0008, 0);
  return (eax & 0xff) - reducedBits;
}

/** What software on the host does once: SVM on, memory encryption on, SMM locked (15.4, 15.34.3), page tables and save area of its own. */
function prepareHost(vm: Vm): void {
  const { host } = vm;
  const set = (index: number, bits: number): void => {
    const now = host.rdmsr(index);
    assert(
      now !== null && host.wrmsr(index, now | BigInt(bits)),
      `the host's MSR ${index.toString(16)} takes no bits ${bits.toString(16)}`,
    );
  };
  set(Msr.EFER, Efer.SVME);
  set(Msr.SYSCFG, Syscfg.MEM_ENCRYPTION_MOD_EN);
  set(Msr.HWCR, Hwcr.SMM_LOCK);
  enterOwnTables(host, vm.pages, vm.cMask);
  const saveArea = vm.physical(vm.pages.take());
  assert(host.wrmsr(Msr.VM_HSAVE_PA, BigInt(saveArea)), 'the host save area is refused');
  host.vmsave(saveArea);
}

/** `failure`: what the AMD-SP refused; the guest must not run then. */
export type Launched = { readonly vm: Vm; readonly vcpu: Vcpu; readonly measurement: Uint8Array | null; readonly failure: string | null };

export function launch(host: HostProcessor, config: Omit<VmConfig, 'asid' | 'cBit'>, plan: BootPlan): Launched {
  const { technology } = config;
  const capabilities = sevCapabilities(host);
  const asid = technology === 'sev' ? capabilities.firstPlainSevAsid : 1;
  if (technology === 'sev-es' && capabilities.firstPlainSevAsid <= 1)
    throw new UserError('this processor model has no ASID for SEV-ES guests: choose another with --cpu');
  const vm = new Vm(host, { ...config, asid, cBit: capabilities.cBit });
  prepareHost(vm);
  load(vm, plan);
  for (const text of plan.warnings) vm.warn(text);

  const vmcbAddress = vm.pages.take();
  const vmcb = VmcbControl(host.memory.page(vmcbAddress));
  const maps = { io: place(vm, ioPermissionMap()), msr: place(vm, msrPermissionMap(vm.encryptedState)) };
  const trap = technology === 'sev-es' ? reservedEntry(addressWidth(host, capabilities), capabilities.cBit) : 0n;
  vmcb.iopmBasePa = BigInt(vm.physical(maps.io));
  vmcb.msrpmBasePa = BigInt(vm.physical(maps.msr));
  vmcb.guestAsid = asid;
  vmcb.nCr3 = BigInt(vm.physical(buildNestedTables(host.memory, vm.pages, vm.regions, trap, vm.cMask)));
  vmcb.nestedControl = BigInt(
    NestedControl.NP_ENABLE | (technology === 'none' ? 0 : NestedControl.SEV) | (technology === 'sev-es' ? NestedControl.SEV_ES : 0),
  );
  // The guest has a DebugCtl of its own (15.23); SEV-ES demands it.
  vmcb.virtualizationControl = BigInt(VirtualizationControl.LBR);
  const { state } = plan;
  let vmsa: Spa | null = null;
  if (technology === 'sev-es') {
    vmsa = vm.pages.take();
    host.memory.write(vmsa, vmsaImage(state));
    vmcb.vmsaPointer = BigInt(vmsa); // without a C-bit: the ASID's key applies
    vmcb.ghcb = sevInformation(capabilities.cBit);
  }
  const launched = technology === 'none' ? null : launchEncrypted(vm, asid, plan, vmsa);
  const vcpu = new Vcpu(vm, vmcbAddress, state);
  if (technology !== 'sev-es') {
    setCommon(SaveArea(new ShiftedPort(host.memory.page(vmcbAddress), SAVE_AREA_OFFSET)), state);
    vcpu.registers[2] = state.rdx;
    vcpu.registers[3] = state.rbx;
    vcpu.registers[7] = state.rdi;
    host.vmload(vcpu.vmcbPhysical); // FS, GS, LDTR and TR, which VMRUN leaves alone, stay in the processor from here on
  }
  return { vm, vcpu, measurement: launched?.measurement ?? null, failure: launched?.failure ?? null };
}

/** Bytes as whole pages of the host's. */
function place(vm: Vm, bytes: Uint8Array): Spa {
  const at = vm.pages.take(Math.ceil(bytes.length / PAGE_SIZE));
  vm.host.memory.write(at, bytes);
  return at;
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
  const [eax] = host.cpuid(0x8000_001f, 0);
  if ((eax & (1 << Feature.HW_CACHE_COHERENCY.bit)) === 0) host.memory.flush(at, size);
}

/** The launch commands, up to the first that fails. The measurement: 32 bytes, then 16 of nonce. */
function launchEncrypted(
  vm: Vm,
  asid: number,
  { ranges }: BootPlan,
  vmsa: Spa | null,
): { measurement: Uint8Array | null; failure: string | null } {
  const { host, config } = vm;
  const asp = new AspDriver(host, vm.pages.take(), config.trace, (at) => vm.physical(at));
  const encryptedState = vmsa !== null;
  let failure: string | null = null;
  const succeeds = <T>(command: string, result: AspResult<T>): result is { readonly ok: true } & T => {
    if (!result.ok) failure = `the AMD-SP answers ${command} with ${result.name}`;
    return result.ok;
  };
  const conclude = (measurement: Uint8Array | null = null) => ({ measurement, failure });
  if (!succeeds('INIT', asp.init(encryptedState ? { at: hostMap.trustedMemory.start, size: TMR_SIZE } : null))) return conclude();
  host.wbinvd(); // nothing of an earlier guest may be left in caches when an ASID is bound (15.34.9)
  if (!succeeds('DF_FLUSH', asp.dfFlush())) return conclude();
  const started = asp.launchStart(GuestPolicy.NODBG | (encryptedState ? GuestPolicy.ES : 0));
  if (!succeeds('LAUNCH_START', started)) return conclude();
  const { handle } = started;
  if (!succeeds('ACTIVATE', asp.activate(handle, asid))) return conclude();
  for (const { start, end } of ranges) {
    for (const { at, size } of vm.find(start, end - start)) {
      flushUnlessCoherent(host, at, size);
      if (!succeeds('LAUNCH_UPDATE_DATA', asp.launchUpdateData(handle, at, size))) return conclude();
    }
  }
  if (vmsa !== null) flushUnlessCoherent(host, vmsa, PAGE_SIZE);
  if (vmsa !== null && !succeeds('LAUNCH_UPDATE_VMSA', asp.launchUpdateVmsa(handle, vmsa))) return conclude();
  const measured = asp.launchMeasure(handle);
  if (!succeeds('LAUNCH_MEASURE', measured)) return conclude();
  succeeds('LAUNCH_FINISH', asp.launchFinish(handle));
  return conclude(measured.measurement);
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
export function vmsaImage(state: InitialState): Uint8Array {
  const { view, bytes } = Vmsa.create();
  setCommon(view, state);
  view.rdx = state.rdx;
  view.rbx = state.rbx;
  view.rdi = state.rdi;
  view.xcr0 = AFTER_RESET.xcr0;
  view.mxcsr = AFTER_RESET.mxcsr;
  view.x87Fcw = AFTER_RESET.fcw;
  view.x87Ftw = AFTER_RESET.emptyTags;
  return bytes;
}
