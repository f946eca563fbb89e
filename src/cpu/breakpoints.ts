// Hardware breakpoints: DR0 to DR3 under DR7. APM vol. 2, 13.1. An instruction breakpoint is a fault before the instruction (unless
// RFLAGS.RF is set), a data breakpoint a trap behind it. Code of a page with an instruction breakpoint runs one instruction at a
// time and has no entry in a jump cache; pages with a data breakpoint have no TLB entry (mmu/watchpoints.ts).

import { Cr4 } from '../arch/registers.ts';
import { State } from '../memory/state.ts';
import type { Mmu } from '../mmu/mmu.ts';
import type { Watchpoint } from '../mmu/watchpoints.ts';

/** Bits of DR6. */
export const Dr6 = { B0: 1 << 0, BD: 1 << 13, BS: 1 << 14, BT: 1 << 15 } as const;
/** B3 to B0. */
export const DR6_BREAKPOINTS = 0xf;
/** DR7.GD: any access to a debug register is #DB. */
export const DR7_GD = 1 << 13;
const ENABLED = 0xff;
/** R/W fields of DR7. */
const On = { EXECUTE: 0, WRITE: 1, IO: 2, ACCESS: 3 } as const;
/** LEN fields of DR7. */
const lengths = [1, 2, 8, 4] as const;

type Place = { readonly bit: number; readonly address: bigint; readonly length: number };

export class Breakpoints {
  readonly #mmu: Mmu;
  readonly #view: DataView;
  #known: bigint[] = [];
  #code: readonly Place[] = [];
  #ports: readonly Place[] = [];
  /** Bits of DR6 for the #DB that follows the instruction under way. */
  pending = 0;

  constructor(mmu: Mmu, view: DataView) {
    this.#mmu = mmu;
    this.#view = view;
  }

  /** Is there any instruction breakpoint? */
  get ofCode(): boolean {
    return this.#code.length > 0;
  }

  /** Follows the debug registers of a state block, CR4.DE among them. */
  settle(state: number): void {
    const dr7 = this.#view.getUint32(state + State.DR7, true);
    if ((dr7 & ENABLED) === 0 && this.#known.length === 0) return;
    const debugging = this.#view.getUint32(state + State.CR4, true) & Cr4.DE;
    const now =
      (dr7 & ENABLED) === 0
        ? []
        : [BigInt(dr7), BigInt(debugging), ...[0, 1, 2, 3].map((n) => this.#view.getBigUint64(state + State.DR0 + 8 * n, true))];
    if (now.length === this.#known.length && now.every((value, n) => value === this.#known[n])) return;
    this.#known = now;
    const code: Place[] = [];
    const ports: Place[] = [];
    const data: Watchpoint[] = [];
    for (let n = 0; n < 4; n++) {
      if (((dr7 >>> (2 * n)) & 3) === 0) continue;
      const kind = (dr7 >>> (16 + 4 * n)) & 3;
      const length = lengths[((dr7 >>> (18 + 4 * n)) & 3) as 0 | 1 | 2 | 3];
      const address = this.#view.getBigUint64(state + State.DR0 + 8 * n, true) & ~BigInt(length - 1);
      const place: Place = { bit: Dr6.B0 << n, address, length };
      if (kind === On.EXECUTE) code.push(place);
      else if (kind === On.IO) ports.push(place);
      else
        data.push({
          number: n,
          low: Number(address & 0xffff_ffffn) | 0,
          high: Number(address >> 32n) | 0,
          length,
          reads: kind === On.ACCESS,
        });
    }
    this.#code = code;
    this.#ports = debugging ? ports : [];
    this.#mmu.watch(data);
    this.#mmu.clearJumps();
  }

  /** Does the page of a linear address have an instruction breakpoint? */
  onPage(linear: bigint): boolean {
    return this.#code.some(({ address }) => address >> 12n === linear >> 12n);
  }

  /** Bits of DR6 for an instruction at a linear address. */
  at(linear: bigint): number {
    return this.#code.reduce((bits, { address, bit }) => (address === linear ? bits | bit : bits), 0);
  }

  /** Ports are about to be accessed. True: a breakpoint watches them. */
  notePorts(port: number, size: number): boolean {
    const touched = this.#ports.filter(({ address, length }) => port + size > Number(address) && port < Number(address) + length);
    for (const { bit } of touched) this.pending |= bit;
    return touched.length > 0;
  }
}
