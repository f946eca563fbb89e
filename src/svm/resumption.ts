// An SEV-ES guest that leaves and is entered again, with a VMCB that its hypervisor did not change in between: everything that VMRUN would check and
// load is in the processor as #VMEXIT left it. So this keeps the words of the VMCB that VMRUN reads, and tells whether they are still the same. It
// makes no difference but in time: such a guest leaves by VMGEXIT again and again, and what matters is in its GHCB.

import { CleanBits, InterruptState, VirtualInterrupt } from '../arch/vmcb.ts';
import { State } from '../memory/state.ts';
import type { Asids } from '../sev/asid-ownership.ts';
import { startPauseFilter } from './guest-entry.ts';
import type { HostState } from './host-state.ts';
import type { CpuPort } from './ports.ts';
import { Word } from './vmcb-words.ts';
import type { LoadedVmsa, VmsaStore } from './vmsa-store.ts';

/** Bits that stand for the words before the virtual interrupt: the processor has them (15.15). */
const CLEAN = CleanBits.I | CleanBits.IOPM | CleanBits.ASID;
const OFFERED = VirtualInterrupt.V_IRQ | VirtualInterrupt.V_NMI;

export class Resumption {
  readonly #i32: Int32Array;
  readonly #cpu: CpuPort;
  readonly #host: HostState;
  readonly #asids: Asids;
  readonly #vmsas: VmsaStore;
  /** The words from the beginning of a VMCB to the last that VMRUN reads. */
  readonly #words = new Int32Array(Word.VMSA + 2);
  /** The VMCB that they are of; -1: none. */
  #vmcb = -1;

  constructor(i32: Int32Array, cpu: CpuPort, host: HostState, asids: Asids, vmsas: VmsaStore) {
    this.#i32 = i32;
    this.#cpu = cpu;
    this.#host = host;
    this.#asids = asids;
    this.#vmsas = vmsas;
  }

  /** VMRUN begins from the start. */
  forget(): void {
    this.#vmcb = -1;
    this.#vmsas.user = this;
  }

  /** #VMEXIT has written the VMCB. `v`: its word index. */
  left(vmcb: number, v: number): void {
    const i32 = this.#i32;
    const words = this.#words;
    if (vmcb !== this.#vmcb) {
      this.#vmcb = vmcb;
      for (let k = 0; k < words.length; k++) words[k] = i32[v + k]!;
    }
    words[Word.VIRTUAL_INTERRUPT] = i32[v + Word.VIRTUAL_INTERRUPT]!;
    words[Word.INTERRUPT_STATE] = i32[v + Word.INTERRUPT_STATE]!;
    words[Word.GHCB] = i32[v + Word.GHCB]!;
    words[Word.GHCB + 1] = i32[v + Word.GHCB + 1]!;
    words[Word.EVENT_INJ] = i32[v + Word.EVENT_INJ]!;
    // What is offered to the guest must be offered anew.
    if ((words[Word.VIRTUAL_INTERRUPT]! & OFFERED) !== 0) this.#vmcb = -1;
  }

  /** Has nothing happened since the guest of `vmsa` left that VMRUN would have to look at? */
  holds(vmcb: number, v: number, vmsa: LoadedVmsa | null): boolean {
    if (vmcb !== this.#vmcb || vmsa === null || !vmsa.current || this.#vmsas.user !== this || this.#cpu.state !== vmsa.state) return false;
    if (!this.#host.isSettled(vmcb) || !this.#asids.runs(vmsa.asid)) return false;
    const i32 = this.#i32;
    const words = this.#words;
    if ((i32[v + Word.CLEAN]! & CLEAN) !== CLEAN) return false;
    for (let k = Word.VIRTUAL_INTERRUPT; k <= Word.INTERRUPT_STATE; k++) if (words[k] !== i32[v + k]) return false;
    for (let k = Word.NESTED_CONTROL; k <= Word.VIRTUALIZATION; k++) if (words[k] !== i32[v + k]) return false;
    return words[Word.VMSA] === i32[v + Word.VMSA] && words[Word.VMSA + 1] === i32[v + Word.VMSA + 1];
  }

  /** What VMRUN does even then. `s`: the guest's state block >>> 2. */
  enter(s: number): void {
    const i32 = this.#i32;
    i32[s + (State.SHADOW >>> 2)] = i32[s + (State.SHADOW >>> 2)] === 0 ? 0 : InterruptState.INTERRUPT_SHADOW;
    i32[s + (State.EXIT_INT_INFO >>> 2)] = 0;
    i32[s + (State.EXIT_INT_INFO >>> 2) + 1] = 0;
    startPauseFilter(i32, s, this.#cpu.retired);
  }
}
