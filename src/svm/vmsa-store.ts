// The VMSAs of SEV-ES guests. After an exit the registers stay in their state block; the page in memory is made true (fields
// written, integrity value computed) only when anybody else touches it. VMRUN of a VMSA that nobody touched loads
// nothing; any other one is decrypted, checked against the integrity value and loaded (APM vol. 2, 15.35.8 and 15.35.9).
// While a guest runs, what its VMSA's page holds is not defined; whoever touches it then only costs time.

import { SevFeatures } from '../arch/sev-features.ts';
import { Vmsa, VmsaInterruptControlHigh } from '../arch/vmsa.ts';
import { type Frames, type LazyOwner, Status, VOID_FRAME } from '../memory/frames.ts';
import type { EngineMemory } from '../memory/map.ts';
import type { TrustedMemory } from '../sev/trusted-memory.ts';
import { type IntegrityValue, vmsaIntegrity } from '../sev/vmsa-integrity.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import { State, STATE_SIZE, STOP_NONE } from '../memory/state.ts';
import { canonicaliseBases, debugTransfer, vmsaTransfer } from './transfer.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** The AMD-SP's trusted memory has no key of its own here. */
const TRUSTED_KEY = 0;
const SLOT_BYTES = 8;
const { offset: SLOT } = Vmsa.layout.integritySlot;
const { offset: FEATURES } = Vmsa.layout.sevFeatures;
const { offset: INTERRUPT_CONTROL } = Vmsa.layout.vIntrCtrl;

/** A VMSA whose registers are in a state block. */
export type LoadedVmsa = {
  page: number;
  asid: number;
  readonly state: number;
  /** The state block is what counts: nobody touched the page since. */
  current: boolean;
  /** Where the integrity value is. */
  slot: number;
  /** Low and high half of SEV_FEATURES. */
  features: number;
  featuresHigh: number;
  /** VINTR_CTRL.BUSY: whoever set it, a processor or software of the guest's, has not finished with the page. */
  busy: boolean;
  /** The registers passed the checks of VMRUN since they were loaded. */
  checked: boolean;
  lastUse: number;
};

/** Why VMRUN does not accept a VMSA; the guest is never told. */
export type VmsaProblem = 'the VMSA lies outside of memory' | 'the integrity value of the VMSA does not match';

/** Does the VMSA hold the guest's DR0 to DR3, too (DebugSwap)? */
export const debugSwap = ({ features }: LoadedVmsa): boolean => (features & SevFeatures.DEBUG_VIRTUALIZATION) !== 0;

export class VmsaStore implements LazyOwner, Stateful {
  readonly #memory: EngineMemory;
  readonly #frames: Frames;
  readonly #entries: LoadedVmsa[] = [];
  readonly #byPage = new Map<number, LoadedVmsa>();
  readonly #trusted: TrustedMemory;
  readonly #firstState: number;
  readonly #most: number;
  /** A VMSA as it was decrypted, apart from frames that may go away. */
  readonly #page = new Uint8Array(PAGE_SIZE);
  readonly #block = { i32: new Int32Array(this.#page.buffer), view: new DataView(this.#page.buffer) };
  readonly #slotBytes = new Uint8Array(SLOT_BYTES);
  readonly #slotView = new DataView(this.#slotBytes.buffer);
  readonly #value: IntegrityValue = { low: 0, high: 0 };
  #last: LoadedVmsa | null = null;
  /** Which of several processors executed VMRUN last. */
  user: object | null = null;
  #clock = 0;

  /** `states` blocks from address `firstState` on are the store's. */
  constructor(memory: EngineMemory, frames: Frames, trusted: TrustedMemory, firstState: number, states: number) {
    assert(states >= 1, 'an SEV-ES guest needs a state block');
    this.#memory = memory;
    this.#frames = frames;
    this.#trusted = trusted;
    this.#firstState = firstState;
    this.#most = states;
  }

  /** The VMSA in a page under the key of an ASID, with its registers in its state block. */
  load(page: number, asid: number): LoadedVmsa | VmsaProblem {
    const last = this.#last;
    if (last !== null && last.current && last.page === page && last.asid === asid) return last;
    const known = this.#byPage.get(page);
    if (known?.current && known.asid === asid) {
      known.lastUse = ++this.#clock;
      this.#last = known;
      return known;
    }
    return this.#fetch(page, asid);
  }

  /** #VMEXIT: the registers in the state block are the guest's now. */
  save(vmsa: LoadedVmsa): void {
    if (!vmsa.current) this.#write(vmsa);
  }

  /** VMRUN failed: the page stays as it is. */
  forget(vmsa: LoadedVmsa): void {
    if (!vmsa.current) return;
    vmsa.current = false;
    this.#frames.setLazy(vmsa.page, null);
  }

  /** Frames: somebody touches the page. */
  materialise(page: number): void {
    const vmsa = this.#byPage.get(page);
    if (!vmsa?.current) return;
    vmsa.current = false;
    this.#write(vmsa);
  }

  /** Decrypts, checks and loads. */
  #fetch(page: number, asid: number): LoadedVmsa | VmsaProblem {
    const frames = this.#frames;
    const frame = page < frames.pageCount ? frames.view(page, asid) : VOID_FRAME;
    if (frame === VOID_FRAME) return 'the VMSA lies outside of memory';
    frames.loaded(frame, 0, PAGE_SIZE);
    const at = frames.address(frame);
    this.#page.set(this.#memory.u8.subarray(at, at + PAGE_SIZE));
    const slot = this.#block.view.getUint32(SLOT, true) + this.#block.view.getUint32(SLOT + 4, true) * 0x1_0000_0000;
    if (!this.#trusted.isSlot(slot)) return 'the integrity value of the VMSA does not match';
    frames.readSecure(slot, TRUSTED_KEY, this.#slotBytes);
    vmsaIntegrity(this.#page, 0, this.#value);
    const { low, high } = this.#value;
    if (this.#slotView.getUint32(0, true) !== low || this.#slotView.getUint32(4, true) !== high)
      return 'the integrity value of the VMSA does not match';
    const vmsa = this.#entry(page);
    vmsa.asid = asid;
    vmsa.slot = slot;
    vmsa.features = this.#block.i32[FEATURES >>> 2]!;
    vmsa.featuresHigh = this.#block.i32[(FEATURES >>> 2) + 1]!;
    vmsa.busy = (this.#block.i32[(INTERRUPT_CONTROL + 4) >>> 2]! & VmsaInterruptControlHigh.BUSY) !== 0;
    vmsaTransfer.load(this.#block, 0, this.#memory, vmsa.state);
    if (debugSwap(vmsa)) debugTransfer.load(this.#block, 0, this.#memory, vmsa.state);
    canonicaliseBases(this.#memory.i32, vmsa.state >>> 2);
    vmsa.current = true;
    vmsa.checked = false;
    frames.setLazy(page, this);
    this.#last = vmsa;
    return vmsa;
  }

  /** Puts the registers into the page, and the integrity value where it belongs. */
  #write(vmsa: LoadedVmsa): void {
    const frames = this.#frames;
    const memory = this.#memory;
    const frame = frames.own(vmsa.page, vmsa.asid);
    if (frame === VOID_FRAME) return;
    if (frames.table.status[frame] !== Status.DIRTY) frames.stored(frame, 0, PAGE_SIZE);
    const at = frames.address(frame);
    vmsaTransfer.store(memory, vmsa.state, memory, at);
    if (debugSwap(vmsa)) debugTransfer.store(memory, vmsa.state, memory, at);
    vmsaIntegrity(memory.u8, at, this.#value);
    this.#slotView.setUint32(0, this.#value.low, true);
    this.#slotView.setUint32(4, this.#value.high, true);
    frames.writeSecure(vmsa.slot, TRUSTED_KEY, this.#slotBytes);
  }

  /** The entry of a page, with a state block that no other VMSA has. */
  #entry(page: number): LoadedVmsa {
    let vmsa = this.#byPage.get(page);
    if (vmsa === undefined) {
      if (this.#entries.length < this.#most) {
        const state = this.#firstState + this.#entries.length * STATE_SIZE;
        vmsa = { page, asid: 0, state, current: false, slot: 0, features: 0, featuresHigh: 0, busy: false, checked: false, lastUse: 0 };
        this.#entries.push(vmsa);
      } else {
        vmsa = this.#entries.reduce((oldest, other) => (other.lastUse < oldest.lastUse ? other : oldest));
        if (vmsa.current) this.#frames.view(vmsa.page, vmsa.asid); // makes it real
        this.#byPage.delete(vmsa.page);
        vmsa.page = page;
      }
      this.#byPage.set(page, vmsa);
      this.#clear(vmsa.state);
    }
    vmsa.lastUse = ++this.#clock;
    return vmsa;
  }

  #clear(state: number): void {
    this.#memory.u8.fill(0, state, state + STATE_SIZE);
    this.#memory.view.setInt32(state + State.STOP, STOP_NONE, true);
    this.#memory.view.setInt32(state + State.FAULT_VECTOR, -1, true);
  }

  exchange(fields: Fields): void {
    this.#clock = fields.value(this.#clock);
    const entries = fields.value<readonly LoadedVmsa[]>(fields.restoring ? [] : this.#entries.map((vmsa) => ({ ...vmsa })));
    if (fields.restoring) {
      this.#entries.length = Math.min(this.#entries.length, entries.length);
      entries.forEach((vmsa, n) => (this.#entries[n] = Object.assign(this.#entries[n] ?? { ...vmsa }, vmsa)));
      this.#byPage.clear();
      for (const vmsa of this.#entries) this.#byPage.set(vmsa.page, vmsa);
      this.#last = null;
    }
    for (const { state } of this.#entries) this.#memory.exchangeState(fields, state);
  }
}
