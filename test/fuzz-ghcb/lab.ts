// A virtual machine whose guest does not run: its GHCB page and MSR are written from outside, and the hypervisor's handler of VMGEXIT is
// called as the exit would call it. Behind it is all that there is: VMCB, memory, devices, MSRs. Whatever the host's software
// reads or writes of memory meanwhile is noted.

import { handleVmgexit } from '../../src/hypervisor/ghcb/vmgexit.ts';
import type { Outcome } from '../../src/hypervisor/outcome.ts';
import { launch, type VirtualMachine } from '../../src/cbit.ts';
import { type Gpa, type Spa, spa } from '../../src/util/address.ts';
import type { Dice } from '../fuzz-states/dice.ts';
import { PAGE } from './protocol.ts';

export type Setting = { readonly ghcbVersion: 1 | 2; readonly intercepts: readonly string[]; readonly cpu: string };
export type Touch = { readonly at: number; readonly length: number; readonly write: boolean };

export const MEMORY = 2 << 20;
const HALT = Uint8Array.of(0xf4);

export class Lab {
  readonly #vm: VirtualMachine;
  readonly #ram: Spa;
  readonly #read: (at: Spa, into: Uint8Array) => void;
  readonly #write: (at: Spa, from: Uint8Array) => void;
  readonly #touches: Touch[] = [];
  readonly #page = new Uint8Array(PAGE);
  #watching = false;

  constructor({ ghcbVersion, intercepts, cpu }: Setting, dice: Dice) {
    this.#vm = launch({ image: { name: 'halt', bytes: HALT }, memory: MEMORY, ghcbVersion, intercepts, cpu });
    const { vm } = this.vcpu;
    this.#ram = vm.locate(0 as Gpa)!;
    const { memory } = vm.host;
    this.#read = memory.read.bind(memory);
    this.#write = memory.write.bind(memory);
    Object.assign(memory, {
      read: (at: Spa, into: Uint8Array) => {
        this.#note(at, into.length, false);
        this.#read(at, into);
      },
      write: (at: Spa, from: Uint8Array) => {
        this.#note(at, from.length, true);
        this.#write(at, from);
      },
    });
    // What devices find that read memory by themselves: addresses, lengths, descriptors.
    const words = new Uint32Array(MEMORY / 16);
    for (let n = 0; n < words.length; n += 1 + dice.below(64)) words[n] = dice.chance(128) ? dice.below(MEMORY) : dice.u32();
    this.#write(this.#ram, new Uint8Array(words.buffer));
  }

  get vcpu() {
    return this.#vm.vcpu;
  }

  /** One VMGEXIT. `page`: what is at the address that the MSR names, if it is RAM. */
  exit(msr: bigint, page: Uint8Array): Outcome | null {
    const { vcpu } = this;
    vcpu.vm.ended = null;
    vcpu.ghcbMsr = msr;
    if (this.#isPage(msr)) this.#write(this.#at(msr), page);
    this.#touches.length = 0;
    this.#watching = true;
    try {
      return handleVmgexit(vcpu);
    } finally {
      this.#watching = false;
    }
  }

  /** The page that the MSR names, after the exit. */
  pageAt(msr: bigint): Uint8Array {
    this.#read(this.#at(msr), this.#page);
    return this.#page;
  }

  get msr(): bigint {
    return this.vcpu.ghcbMsr;
  }

  /** What was read and written during the last exit, by guest physical address; the page's fields do not count. */
  get touches(): readonly Touch[] {
    return this.#touches;
  }

  dispose(): void {
    this.#vm.dispose();
  }

  #isPage(msr: bigint): boolean {
    return (msr & 0xfffn) === 0n && msr <= BigInt(MEMORY - PAGE);
  }

  #at(gpa: bigint): Spa {
    return spa(this.#ram + Number(gpa));
  }

  #note(at: Spa, length: number, write: boolean): void {
    if (this.#watching) this.#touches.push({ at: at - this.#ram, length, write });
  }
}
