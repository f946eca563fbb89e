// INIT: the registers are as after reset, except the floating-point state, CR0.CD and CR0.NW, and the MSRs (APM vol. 2, 14.1.3). The boot
// processor goes on at the reset vector, where without a ROM image nothing is; others wait for a STARTUP message, which says where they begin
// (16.5). The registers of an SEV-ES guest are out of reach: its INIT is dropped, as KVM does.

import { Cr0, Efer, Rflags } from '../arch/registers.ts';
import { Activity } from './activity.ts';
import type { Vcpu } from './vcpu.ts';

const REAL = 0xffff;
const Attributes = { CODE16: 0x09b, DATA16: 0x093, LDT: 0x082, TSS: 0x08b } as const;
const RDX = 2;

export function initialise(vcpu: Vcpu): void {
  if (vcpu.vm.encryptedState) {
    vcpu.warn('INIT dropped: the registers of an SEV-ES guest cannot be reset');
    return;
  }
  const { save } = vcpu;
  for (let n = 0; n < 16; n++) vcpu.setGpr(n, 0n);
  vcpu.setGpr(RDX, BigInt(vcpu.vm.host.cpuid(1, 0)[0] >>> 0));
  for (const name of ['es', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr', 'gdtr', 'idtr', 'cs'] as const) {
    save[`${name}Selector`] = name === 'cs' ? 0xf000 : 0;
    save[`${name}Attributes`] =
      name === 'cs' ? Attributes.CODE16 : name === 'ldtr' ? Attributes.LDT : name === 'tr' ? Attributes.TSS : Attributes.DATA16;
    save[`${name}Limit`] = REAL;
    save[`${name}Base`] = name === 'cs' ? 0xffff_0000n : 0n;
  }
  save.cpl = 0;
  save.cr0 = (save.cr0 & BigInt(Cr0.CD + Cr0.NW)) | BigInt(Cr0.ET);
  save.cr2 = 0n;
  save.cr3 = 0n;
  save.cr4 = 0n;
  save.efer = BigInt(Efer.SVME);
  save.rflags = BigInt(Rflags.ALWAYS_1);
  save.rip = 0xfff0n;
  save.dr6 = 0xffff_0ff0n;
  save.dr7 = 0x400n;
  save.dbgCtl = 0n;
  vcpu.vmcb.interruptState = 0n;
  vcpu.vmcb.eventInj = 0n;
  vcpu.interrupts.reset();
  if (vcpu.number !== 0) vcpu.activity = Activity.WAIT_FOR_SIPI;
}

/** STARTUP: real mode, at the page that the vector names. */
export function beginAt({ save }: Vcpu, vector: number): void {
  save.csSelector = vector << 8;
  save.csBase = BigInt(vector << 12);
  save.rip = 0n;
}
