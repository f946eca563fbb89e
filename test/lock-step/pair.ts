// Two processors with the same program, one that interprets and one that compiles: they run the same budgets, and after each of them
// everything that a program can see must be equal.

import { type CompilerSettings, compilerDefaults } from '../../src/cpu/compiler/compiler.ts';
import { gprAt, Gpr, Segment, State } from '../../src/memory/state.ts';
import { Bench, type Ending, Flat, Permission } from '../instructions/bench.ts';
import { Layout } from './random-programs.ts';

const { CODE, CODE_SIZE, ALIAS, DATA, DATA_SIZE, LATE, STACK } = Layout;
const FLAT = 0xffff_ffff;
const { WRITE } = Permission;
/** Where they lie in physical memory. */
const PHYSICAL = { code: 0x10_0000, data: 0x20_0000, stack: 0x30_0000 } as const;

/** Compiles early, alone and with few instructions at a time, so that all ways in and out of regions are taken. */
export const impatient = (mostInstructions: number): CompilerSettings => ({
  ...compilerDefaults,
  threshold: 2,
  entryFactor: 2,
  batch: 1,
  patience: 0,
  manyMisses: 3,
  mostInstructions,
  mostCompiled: 20_000,
});

/** Each instruction becomes a region of its own the first time it is met. */
export const eachAlone: CompilerSettings = { ...compilerDefaults, mostInstructions: 1, mostCompiled: 1000, eager: true };

export type Program = {
  readonly code: Uint8Array;
  readonly data: Uint8Array;
  readonly registers: readonly bigint[];
  readonly bits: 64 | 32;
  /** Where the data segments begin. */
  readonly base: number;
};

class Side {
  readonly bench: Bench;

  constructor(compiler: CompilerSettings | null, watchAll: boolean) {
    this.bench = new Bench(undefined, undefined, compiler);
    this.bench.cpu.processor.mmu.watchAll = watchAll;
  }

  load({ code, data, registers, bits, base }: Program): void {
    const { bench } = this;
    bench.write(PHYSICAL.code, new Uint8Array(CODE_SIZE).fill(0xf4));
    bench.write(PHYSICAL.code, code);
    bench.write(PHYSICAL.data, data);
    bench.write(PHYSICAL.stack - 0x1000, new Uint8Array(0x1000));
    for (let at = 0; at < CODE_SIZE; at += 0x1000) {
      bench.map(CODE + at, PHYSICAL.code + at, 0);
      bench.map(ALIAS + at, PHYSICAL.code + at, WRITE);
    }
    for (let at = 0; at < DATA_SIZE; at += 0x1000) bench.map(DATA + at, PHYSICAL.data + at, WRITE);
    bench.map(STACK - 0x1000, PHYSICAL.stack - 0x1000, WRITE);
    bench.unmap(LATE);
    bench.reset();
    bench.setSegment(Segment.CS, 8, bits === 64 ? Flat.code64(0) : Flat.code32(0), FLAT, 0);
    for (const s of [Segment.ES, Segment.SS, Segment.DS, Segment.FS, Segment.GS])
      bench.setSegment(s, 16, Flat.data32(0), FLAT, s === Segment.SS ? 0 : base);
    registers.forEach((value, n) => bench.setGpr(n, bits === 64 ? value : BigInt.asUintN(32, value)));
    bench.setGpr(Gpr.RBX, BigInt(DATA - base));
    bench.setGpr(Gpr.RSP, BigInt(STACK - 64));
    bench.setU64(State.RIP, BigInt(CODE));
    bench.settle();
  }

  mapLate(): void {
    this.bench.map(LATE, PHYSICAL.data + (LATE - DATA), WRITE);
  }

  get state(): Record<string, string> {
    const { bench } = this;
    const shown: Record<string, string> = {
      rip: bench.rip.toString(16),
      rflags: bench.rflags.toString(16),
      retired: String(bench.cpu.retired),
    };
    for (let n = 0; n < 16; n++) shown[`r${n}`] = bench.u64(gprAt(n)).toString(16);
    for (let n = 0; n < 16; n++)
      shown[`xmm${n}`] = `${bench.u64(State.XMM + 16 * n + 8).toString(16)}:${bench.u64(State.XMM + 16 * n).toString(16)}`;
    shown['mxcsr'] = bench.u32(State.MXCSR).toString(16);
    return shown;
  }

  get memory(): Buffer {
    const { bench } = this;
    return Buffer.concat([
      bench.read(PHYSICAL.code, CODE_SIZE),
      bench.read(PHYSICAL.data, DATA_SIZE),
      bench.read(PHYSICAL.stack - 0x1000, 0x1000),
    ]);
  }
}

export class Pair {
  readonly #interpreted = new Side(null, false);
  readonly #compiled: Side;

  /** `watchAll`: on the compiling side no store takes the fast path. */
  constructor(compiler: CompilerSettings, watchAll = false) {
    this.#compiled = new Side(compiler, watchAll);
  }

  get compiled(): number {
    return this.#compiled.bench.cpu.compiled.instructions;
  }

  get regions(): number {
    return this.#compiled.bench.cpu.compiled.regions;
  }

  get retired(): number {
    return this.#compiled.bench.cpu.retired;
  }

  /** Null if both sides agree to the end, or until so many instructions were retired; else what differs. */
  run(program: Program, budget: () => number, most: number): string | null {
    const sides = [this.#interpreted, this.#compiled] as const;
    for (const side of sides) side.load(program);
    const start = this.#interpreted.bench.cpu.retired;
    for (;;) {
      const given = budget();
      const [a, b] = sides.map((side) => side.bench.run(given)) as [Ending, Ending];
      if (describe(a) !== describe(b)) return `${describe(b)} instead of ${describe(a)}`;
      const [x, y] = [this.#interpreted.state, this.#compiled.state];
      for (const name of Object.keys(x))
        if (x[name] !== y[name]) return `after ${x['retired']} at ${x['rip']}: ${name} ${y[name]} instead of ${x[name]}`;
      const [m, n] = [this.#interpreted.memory, this.#compiled.memory];
      const at = m.equals(n) ? -1 : m.findIndex((byte, k) => byte !== n[k]);
      if (at >= 0) return `after ${x['retired']} at ${x['rip']}: memory at ${at.toString(16)} is ${n[at]} instead of ${m[at]}`;
      if (a.kind === 'exception' && a.address >= BigInt(LATE) && a.address < BigInt(LATE + 0x1000))
        for (const side of sides) side.mapLate();
      else if (a.kind !== 'limit') return null;
      if (this.#interpreted.bench.cpu.retired - start > most) return null;
    }
  }
}

const describe = (ending: Ending): string => Object.values(ending).map(String).join(' ');
