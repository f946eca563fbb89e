// The ways out of a region, all of which end in one: with the record to go on at, 0 if RIP must be looked up, and the budget that is left. There are
// very many places to leave at, so each only names its record and the fuel to give back in one constant; what they share stands once behind the loop.

import { Leave, State } from '../../memory/state.ts';
import type { I32, Label, Local } from '../../wasm/function.ts';
import { Type } from '../../wasm/function.ts';
import type { FilledBuilder } from '../../x86/filled-builder.ts';
import { Record, RECORD_SIZE } from '../../x86/record.ts';
import type { RegionPlan } from './emit.ts';

/** Of a packed exit: number of the record below, fuel to give back above. */
const UNDONE_SHIFT = 21;

export class WaysOut {
  readonly #f: FilledBuilder;
  readonly #plan: RegionPlan;
  readonly #fuel: Local<I32>;
  /** The record to go on at. */
  readonly exit: Local<I32>;
  // With exit and fuel as they should be; with exit packed; the same for want of a TLB entry, and with a fault.
  #leave: Label = { depth: 0 };
  #packed: Label = { depth: 0 };
  #missed: Label = { depth: 0 };
  #faulted: Label = { depth: 0 };

  constructor(f: FilledBuilder, plan: RegionPlan, fuel: Local<I32>) {
    this.#f = f;
    this.#plan = plan;
    this.#fuel = fuel;
    this.exit = f.fixed<I32>(Type.I32);
  }

  /** Emits what leaves by them, and behind it the ways out. */
  around(body: () => void): void {
    const f = this.#f;
    f.plainBlock((leave) => {
      this.#leave = leave;
      f.plainBlock((packed) => {
        this.#packed = packed;
        f.plainBlock((missed) => {
          this.#missed = missed;
          f.plainBlock((faulted) => {
            this.#faulted = faulted;
            body();
          });
          this.#leaveFaulting();
        });
        this.#countMiss();
      });
      this.#unpack();
    });
  }

  /** For a record, with fuel given back for what was not done of the block. */
  to(record: number, undone: number): void {
    this.#pack(record, undone, this.#packed);
  }

  /** The same: the instruction has no TLB entry. */
  missed(record: number, undone: number): void {
    this.#pack(record, undone, this.#missed);
  }

  /** With the fault of the record's instruction, which the state has. */
  faulted(record: number, undone: number): void {
    this.#pack(record, undone, this.#faulted);
  }

  /** For a record that is computed; 0: RIP is to be looked up. */
  toComputed(record: I32, undone: number): void {
    const f = this.#f;
    f.set(this.exit, record);
    if (undone !== 0) f.set(this.#fuel, f.i32.add(this.#fuel.get, f.const32(undone)));
    f.br(this.#leave);
  }

  #pack(record: number, undone: number, way: Label): void {
    const f = this.#f;
    f.set(this.exit, f.const32(((record - this.#plan.records) / RECORD_SIZE) | (undone << UNDONE_SHIFT)));
    f.br(way);
  }

  #unpack(): void {
    const f = this.#f;
    f.set(this.#fuel, f.i32.add(this.#fuel.get, f.i32.shrU(this.exit.get, f.const32(UNDONE_SHIFT))));
    const index = f.i32.and(this.exit.get, f.const32((1 << UNDONE_SHIFT) - 1));
    f.set(this.exit, f.i32.add(f.i32.mul(index, f.const32(RECORD_SIZE)), f.const32(this.#plan.records)));
  }

  #leaveFaulting(): void {
    const f = this.#f;
    this.#unpack();
    const place = f.i32.and(f.loadU16(this.exit.get, Record.PLACE), f.const32(0xfff));
    f.store64(f.state, f.i64.add(f.page.get, f.extendU(place)), State.RIP);
    f.store32(f.state, f.const32(Leave.FAULT), State.LEAVE);
    f.set(this.exit, f.const32(0));
    f.br(this.#leave);
  }

  /** In a word for each record; when it has happened often, that is reported. */
  #countMiss(): void {
    const f = this.#f;
    const index = f.let32(f.i32.and(this.exit.get, f.const32((1 << UNDONE_SHIFT) - 1)));
    const at = f.let32(f.i32.add(f.i32.shl(index, f.const32(2)), f.const32(this.#plan.missesAt)));
    const n = f.let32(f.i32.add(f.load32(at), f.const32(1)));
    f.store32(at, n);
    f.plainIf(f.i32.eq(n, f.const32(this.#plan.manyMisses)), () => {
      f.store32(f.state, f.i32.add(f.i32.mul(index, f.const32(RECORD_SIZE)), f.const32(this.#plan.records)), State.MISSED);
    });
  }
}
