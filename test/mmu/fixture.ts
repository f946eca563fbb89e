// A processor without instructions: a state block, guest tables and nested tables that tests build entry by entry.

import { Cr0, Cr4, Efer } from '../../src/arch/registers.ts';
import { VOID_FRAME } from '../../src/memory/frames.ts';
import { Context, type EngineMemory, pageEntry } from '../../src/memory/map.ts';
import { BARE, type Environment } from '../../src/mmu/environment.ts';
import { Mmu } from '../../src/mmu/mmu.ts';
import { spa } from '../../src/util/address.ts';
import { State, STOP_NONE } from '../../src/memory/state.ts';
import { memorySystem, smallMemory } from '../memory/fixture.ts';

export const P = 1n;
export const RW = 2n;
export const US = 4n;
export const A = 0x20n;
export const D = 0x40n;
export const PS = 0x80n;
export const G = 0x100n;
export const NX = 1n << 63n;
export const ALL = P | RW | US;
export const C = 1n << 51n;
export const IMPLICIT = 1;
export const STACK = 2;

const PAGE = 4096;
export const halves = (address: bigint): [number, number] => [
  Number(BigInt.asIntN(32, address)),
  Number(BigInt.asIntN(32, address >> 32n)),
];

export const SEV: Environment = { ...BARE, asid: 1, sev: true, guestKey: 1, cBit: 51 };
/** Nested tables have their root here, in system physical memory. */
export const NESTED_ROOT = 0x20_0000;
export const NESTED: Environment = { ...BARE, nested: true, nCr3: spa(NESTED_ROOT), asid: 1 };
export const NESTED_SEV: Environment = { ...NESTED, sev: true, guestKey: 1, cBit: 51 };

export class Bench {
  readonly system;
  readonly memory: EngineMemory;
  readonly mmu: Mmu;
  readonly state: number;
  /** Next free page of tables, guest physical and system physical alike. */
  #guestTables = 0x10_0000;
  #rootWritten = false;
  #nestedTables = NESTED_ROOT + PAGE;
  tableKey = 0;
  /** What a guest physical address is in system physical memory. */
  place: (gpa: number) => number = (gpa) => gpa;

  constructor(environment: Environment = BARE, memory: EngineMemory = smallMemory()) {
    this.system = memorySystem(8 * 1024 * 1024, memory);
    this.memory = memory;
    this.mmu = new Mmu(memory, this.system.frames);
    this.state = memory.states;
    memory.reset();
    this.set(State.CR0, BigInt(Cr0.PG + Cr0.PE + Cr0.WP));
    this.set(State.CR4, BigInt(Cr4.PAE));
    this.set(State.EFER, BigInt(Efer.LME | Efer.LMA | Efer.NXE));
    this.set(State.CR3, 0x10_0000n);
    this.#guestTables += PAGE;
    this.u32(State.MODE, 64);
    this.clearFaults();
    this.enter(environment);
  }

  enter(environment: Environment): void {
    this.tableKey = environment.guestKey;
    this.mmu.enter(environment);
    this.mmu.selectContext(this.state);
  }

  /** Writes a register of 64 bits and selects the context again. */
  set(offset: number, value: bigint): void {
    this.memory.view.setBigUint64(this.state + offset, BigInt.asUintN(64, value), true);
    this.mmu.selectContext(this.state);
  }

  u32(offset: number, value: number): void {
    this.memory.view.setInt32(this.state + offset, value, true);
    this.mmu.selectContext(this.state);
  }

  get(offset: number): bigint {
    return this.memory.view.getBigUint64(this.state + offset, true);
  }

  entry(spaOfEntry: number, key: number): bigint {
    const bytes = new Uint8Array(8);
    this.system.frames.read(spaOfEntry, key, bytes);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  setEntry(spaOfEntry: number, key: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
    this.system.frames.write(spaOfEntry, key, bytes);
  }

  /** Maps in the guest's tables; `level` 1, 2 or 3. Returns the system physical address of the entry. */
  map(va: bigint, gpa: number, flags: bigint, level = 1, tables = ALL): number {
    let table = Number(this.get(State.CR3)) & ~0xfff;
    // Under a key, a root that nobody wrote is noise.
    if (!this.#rootWritten) this.system.frames.write(this.place(table), this.tableKey, new Uint8Array(PAGE));
    this.#rootWritten = true;
    for (let l = 4; ; l--) {
      const at = this.place(table) + Number((va >> BigInt(12 + 9 * (l - 1))) & 0x1ffn) * 8;
      if (l === level) {
        this.setEntry(at, this.tableKey, BigInt(gpa) | flags | (level > 1 ? PS : 0n));
        return at;
      }
      const present = this.entry(at, this.tableKey);
      if ((present & P) === 0n) {
        this.setEntry(at, this.tableKey, BigInt(this.#guestTables) | tables);
        table = this.#guestTables;
        this.#guestTables += PAGE;
        this.system.frames.write(this.place(table), this.tableKey, new Uint8Array(PAGE));
      } else table = Number(present & 0xffff_ffff_f000n);
    }
  }

  /** Maps in the nested tables. Returns the address of the entry. */
  nest(gpa: number, to: number, flags = ALL, level = 1): number {
    let table = NESTED_ROOT;
    for (let l = 4; ; l--) {
      const at = table + (Math.floor(gpa / 2 ** (12 + 9 * (l - 1))) % 512) * 8;
      if (l === level) {
        this.setEntry(at, 0, BigInt(to) | flags | (level > 1 ? PS : 0n));
        return at;
      }
      const present = this.entry(at, 0);
      if ((present & P) === 0n) {
        this.setEntry(at, 0, BigInt(this.#nestedTables) | ALL);
        table = this.#nestedTables;
        this.#nestedTables += PAGE;
      } else table = Number(present & 0xffff_ffff_f000n);
    }
  }

  nestRange(gpa: number, to: number, length: number): void {
    for (let at = 0; at < length; at += PAGE) this.nest(gpa + at, to + at);
  }

  load(va: bigint, size = 1, flags = 0): number {
    return this.mmu.load(this.state, ...halves(va), size, flags);
  }

  /** Bytes read, or null with the fault recorded. */
  read(va: bigint, size = 1, flags = 0): Uint8Array | null {
    const at = this.load(va, size, flags);
    return at === 0 ? null : this.memory.u8.slice(at, at + size);
  }

  write(va: bigint, bytes: Uint8Array, flags = 0): boolean {
    const at = this.mmu.store(this.state, ...halves(va), bytes.length, flags);
    if (at === 0) return false;
    this.memory.u8.set(bytes, at);
    if (at === this.state + State.SCRATCH) this.mmu.commit(this.state);
    return true;
  }

  fetch(va: bigint): number {
    return this.mmu.fetch(this.state, ...halves(va));
  }

  /** First bytes that a fetch of the page gets. */
  fetched(va: bigint, length: number): Uint8Array {
    const at = this.memory.frames + this.fetch(va) * PAGE;
    return this.memory.u8.slice(at, at + length);
  }

  clearFaults(): void {
    this.u32(State.FAULT_VECTOR, -1);
    this.u32(State.STOP, STOP_NONE);
  }

  /** [vector, error code, address] of the recorded fault, then forgotten. */
  fault(): [number, number, bigint] {
    const { view } = this.memory;
    const fault: [number, number, bigint] = [
      view.getInt32(this.state + State.FAULT_VECTOR, true),
      view.getInt32(this.state + State.FAULT_CODE, true),
      this.get(State.FAULT_ADDRESS),
    ];
    this.clearFaults();
    return fault;
  }

  /** [exit code, EXITINFO1, EXITINFO2] of the recorded exit, then forgotten. */
  exit(): [number, bigint, bigint] {
    const exit: [number, bigint, bigint] = [
      this.memory.view.getInt32(this.state + State.STOP, true),
      this.get(State.STOP_INFO1),
      this.get(State.STOP_INFO2),
    ];
    this.clearFaults();
    return exit;
  }

  /** Does the fast path of generated code hit? */
  hits(va: bigint, array: 'read' | 'write'): boolean {
    const context = this.memory.view.getUint32(this.state + State.CONTEXT, true);
    const at = context + (array === 'read' ? Context.READ : Context.WRITE) + pageEntry(Number(va & 0xffff_ffffn));
    return this.memory.view.getBigUint64(at, true) === BigInt.asUintN(64, va | 0xfffn);
  }
}

export const isVoid = (frame: number): boolean => frame === VOID_FRAME;
