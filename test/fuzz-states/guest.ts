// A state as the guest of a hypervisor without a policy: VMCB, nested tables, permission maps and VMSA as bytes in memory, and a loop
// that steps over whatever was intercepted, or injects something, as the state's choices say.

import { ExitCode } from '../../src/arch/exit-code.ts';
import { IOPM_SIZE, MSRPM_SIZE } from '../../src/arch/permission-maps.ts';
import { Efer } from '../../src/arch/registers.ts';
import { NestedControl, SAVE_AREA_OFFSET, VirtualizationControl, VmcbControl } from '../../src/arch/vmcb.ts';
import { Vmsa } from '../../src/arch/vmsa.ts';
import { SaveArea } from '../../src/arch/save-area.ts';
import { processorCpuid } from '../../src/cpu/cpuid.ts';
import { State } from '../../src/memory/state.ts';
import { Asids } from '../../src/sev/asid-ownership.ts';
import { TrustedMemory } from '../../src/sev/trusted-memory.ts';
import { vmsaIntegrity } from '../../src/sev/vmsa-integrity.ts';
import { Svm } from '../../src/svm/svm.ts';
import { spa } from '../../src/util/address.ts';
import { PartPort } from '../../src/util/part-port.ts';
import { BytesPort } from '../../src/util/struct.ts';
import type { Lab } from './lab.ts';
import { MEMORY, MODEL, PAGE, PAGES } from './layout.ts';
import { type MachineState, randomEvent } from './machine-state.ts';

const VMCB = 0x1000;
const HSAVE = 0x2000;
const VMSA_PAGE = 0x3000;
const IO_MAP = 0x4000; // three pages
const MSR_MAP = 0x7000; // two pages
const NESTED = 0x9000; // four pages
const RAM = MEMORY;
const TRUSTED = 2 * MEMORY;
const TRUSTED_SIZE = 0x4000;
const SLOT = TRUSTED + TRUSTED_SIZE / 2;
export const GUEST_MEMORY = TRUSTED + 0x1_0000;
const SEV_ASID = MODEL.firstAsidWithoutEs;
const ES_ASID = 1;
const MOST_EXITS = 24;
/** MSRs of the host. */
const MSR_EFER = 0xc000_0080;
const MSR_SYSCFG = 0xc001_0010;
const MSR_HWCR = 0xc001_0015;
const MSR_HSAVE = 0xc001_0117;

const noise = new Uint8Array(IOPM_SIZE + MSRPM_SIZE);
for (let n = 0, word = 1; n < noise.length; n++) noise[n] = (word = (Math.imul(word, 1103515245) + 12345) >>> 0) >>> 16;

/** Offsets of the general-purpose registers in a VMSA, in the order that a hypervisor keeps them. */
const registerOffsets = (
  ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const
).map((name) => Vmsa.layout[name].offset);

const asidOf = ({ host }: MachineState): number => (host === 'sev' ? SEV_ASID : ES_ASID);
const keyOf = (state: MachineState): number => (state.host === 'none' ? 0 : asidOf(state));

/** Memory before the first VMRUN, made once for all labs: they have the same keys. */
const image = new Uint8Array(GUEST_MEMORY);
let made: MachineState | null = null;

export class Guest {
  readonly #lab: Lab;
  readonly #image = image;
  readonly #view = new DataView(image.buffer);

  constructor(lab: Lab) {
    this.#lab = lab;
    for (const asid of [SEV_ASID, ES_ASID]) lab.encryption.setKey(asid, new Uint8Array(16).fill(0x5a + asid));
  }

  /** What the chips hold before the first VMRUN. */
  image(state: MachineState): Uint8Array {
    if (made === state) return image;
    made = state;
    const key = keyOf(state);
    image.fill(0, 0, RAM);
    image.set(state.memory, RAM);
    this.#lab.encryption.encrypt(key, RAM, image.subarray(RAM, RAM + MEMORY));
    this.#tables(state);
    this.#maps(state);
    this.#vmcb(state);
    if (state.host === 'sev-es') this.#vmsa(state, key);
    return image;
  }

  #tables({ controls }: MachineState): void {
    for (let level = 0; level < 3; level++) this.#view.setBigUint64(NESTED + PAGE * level, BigInt(NESTED + PAGE * (level + 1)) | 7n, true);
    const leaf = NESTED + 3 * PAGE;
    for (let n = 0; n < PAGES; n++) this.#view.setBigUint64(leaf + 8 * n, BigInt(RAM + PAGE * n) | 0x67n, true);
    for (const [page, mask] of controls.nested)
      this.#view.setBigUint64(leaf + 8 * page, this.#view.getBigUint64(leaf + 8 * page, true) ^ mask, true);
  }

  #maps({ controls }: MachineState): void {
    const fill = (at: number, length: number, value: number): void => {
      if (value < 0) this.#image.set(noise.subarray(0, length), at);
      else this.#image.fill(value, at, at + length);
    };
    fill(IO_MAP, IOPM_SIZE, controls.ports);
    fill(MSR_MAP, MSRPM_SIZE, controls.msrs);
  }

  #vmcb(state: MachineState): void {
    const { controls, host } = state;
    const vmcb = VmcbControl(new BytesPort(this.#image.subarray(VMCB, VMCB + PAGE)));
    const view = this.#view;
    controls.intercepts.forEach((word, n) => view.setInt32(VMCB + 4 * n, word, true));
    vmcb.iopmBasePa = BigInt(IO_MAP);
    vmcb.msrpmBasePa = BigInt(MSR_MAP);
    vmcb.tscOffset = controls.tscOffset;
    vmcb.guestAsid = asidOf(state);
    vmcb.virtualInterrupt = controls.virtualInterrupt;
    vmcb.vIntrVector = controls.vector;
    vmcb.interruptState = BigInt(controls.shadow);
    vmcb.eventInj = controls.eventInj;
    vmcb.nCr3 = BigInt(NESTED);
    vmcb.nestedControl = BigInt(
      NestedControl.NP_ENABLE | (host === 'none' ? 0 : NestedControl.SEV) | (host === 'sev-es' ? NestedControl.SEV_ES : 0),
    );
    vmcb.virtualizationControl = BigInt(VirtualizationControl.LBR);
    if (host === 'sev-es') {
      vmcb.vmsaPointer = BigInt(VMSA_PAGE);
    } else this.#image.set(state.save.subarray(0, 0x2e8), VMCB + SAVE_AREA_OFFSET);
  }

  /** What LAUNCH_UPDATE_VMSA does. */
  #vmsa(state: MachineState, key: number): void {
    const page = this.#image.subarray(VMSA_PAGE, VMSA_PAGE + PAGE);
    page.set(state.save);
    Vmsa(new BytesPort(page)).integritySlot = BigInt(SLOT);
    const value = { low: 0, high: 0 };
    vmsaIntegrity(page.slice(), 0, value);
    this.#view.setUint32(SLOT, value.low, true);
    this.#view.setUint32(SLOT + 4, value.high, true);
    this.#lab.encryption.encrypt(key, VMSA_PAGE, page);
  }

  run(state: MachineState, budget: number): { log: string; problem: string | null; block: number } {
    const { memory, frames, mmu, cpu } = this.#lab;
    const asids = new Asids(MODEL.lastAsid, MODEL.firstAsidWithoutEs);
    const trustedMemory = new TrustedMemory();
    trustedMemory.set(spa(TRUSTED), TRUSTED_SIZE);
    frames.fence(TRUSTED / PAGE, TRUSTED_SIZE / PAGE);
    const mailbox = { read: () => 0, write: () => {} };
    const svm = new Svm({
      memory,
      frames,
      mmu,
      cpu,
      asids,
      trustedMemory,
      model: MODEL,
      cpuid: processorCpuid(MODEL),
      mailbox,
      trace: null,
    });
    if (state.host !== 'none') asids.bind(asidOf(state), 1);
    svm.wrmsr(MSR_EFER, (svm.rdmsr(MSR_EFER) ?? 0n) | BigInt(Efer.SVME));
    svm.wrmsr(MSR_HSAVE, BigInt(HSAVE));
    svm.wrmsr(MSR_SYSCFG, 1n << 23n);
    svm.wrmsr(MSR_HWCR, 1n);
    const page = svm.memory.page(spa(VMCB));
    const vmcb = VmcbControl(page);
    const save = SaveArea(new PartPort(page, SAVE_AREA_OFFSET));
    const registers = new BigUint64Array(registerOffsets.map((at) => new DataView(state.save.buffer).getBigUint64(at, true)));
    const live = memory.states;
    for (let n = 0; n < 4; n++) memory.view.setBigUint64(live + State.DR0 + 8 * n, state.live[n]!, true);
    const log: string[] = [];
    let problem: string | null = null;
    let ran = false;
    for (let exit = 0; exit < MOST_EXITS && svm.retired < budget; exit++) {
      svm.setTimer(budget - svm.retired);
      const injected = vmcb.eventInj;
      const fault = svm.vmrun(spa(VMCB), registers);
      const code = Number(BigInt.asIntN(64, vmcb.exitCode));
      log.push(
        `${fault ?? ''}${code.toString(16)} ${vmcb.exitInfo1.toString(16)} ${vmcb.exitInfo2.toString(16)} ${vmcb.exitIntInfo.toString(16)} ${vmcb.nRip.toString(16)} ${svm.retired}`,
      );
      if (fault !== null || code === ExitCode.BUSY) break;
      if (code === ExitCode.INVALID) {
        log.push(svm.refusal ?? '');
        // An event that does not exist is refused; a guest that ran is not.
        if (injected === 0n) {
          if (ran) problem = `VMRUN refuses what #VMEXIT left: ${svm.refusal}`;
          break;
        }
        vmcb.eventInj = 0n;
        continue;
      }
      ran = true;
      problem ??= this.#lab.impossible(svm.guestState);
      if (code === ExitCode.INTR || code === ExitCode.SHUTDOWN) break;
      if (!this.#answer(state, exit, code, vmcb, save)) break;
    }
    svm.setTimer(Number.POSITIVE_INFINITY);
    log.push(String(svm.retired));
    return { log: log.join('\n'), problem, block: svm.guestState };
  }

  /** What the hypervisor does about an exit: false, nothing. */
  #answer(
    state: MachineState,
    exit: number,
    code: number,
    vmcb: ReturnType<typeof VmcbControl>,
    save: ReturnType<typeof SaveArea>,
  ): boolean {
    const choice = state.choices[exit]!;
    vmcb.eventInj = 0n;
    if (vmcb.exitIntInfo !== 0n && (choice & 3) !== 0) vmcb.eventInj = vmcb.exitIntInfo;
    else if ((choice & 0x1c) === 0) vmcb.eventInj = randomEvent(choice >>> 5, choice >>> 16);
    if ((choice & 0xf00) === 0) {
      vmcb.virtualInterrupt |= 1 << 8;
      vmcb.vIntrVector = 32 + (choice >>> 28);
    }
    if (state.host === 'sev-es') return code !== ExitCode.NPF || (choice & 0x1000) !== 0;
    if (vmcb.nRip !== 0n && code !== ExitCode.VINTR) save.rip = vmcb.nRip;
    else if (vmcb.eventInj === 0n) {
      if (code === ExitCode.NPF) return false;
      if (code >= ExitCode.EXCEPTION && code < ExitCode.EXCEPTION + 32) {
        const vector = code - ExitCode.EXCEPTION;
        const withCode = [8, 10, 11, 12, 13, 14, 17].includes(vector);
        if (vector !== 2) vmcb.eventInj = 0x8000_0300n | BigInt(vector) | (withCode ? 0x800n | ((vmcb.exitInfo1 & 0xffffn) << 32n) : 0n);
      } else if (code === ExitCode.VINTR) vmcb.virtualInterrupt &= ~(1 << 8);
    }
    return true;
  }
}
