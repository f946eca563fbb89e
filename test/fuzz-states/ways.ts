// The ways to execute a state, which must all come to the same end. Another tier of execution is one more entry of `ways`.

import { type CompilerSettings, compilerDefaults } from '../../src/cpu/compiler/compiler.ts';
import { FormSet } from '../../src/cpu/interpreter.ts';
import type { Frames } from '../../src/memory/frames.ts';
import type { EngineMemory } from '../../src/memory/map.ts';
import { Mmu } from '../../src/mmu/mmu.ts';

export type Way = {
  readonly name: string;
  readonly mmu: (memory: EngineMemory, frames: Frames) => Mmu;
  /** Forms of its own. */
  readonly forms?: () => FormSet;
  /** Most instructions of one entry of generated code. */
  readonly longestEntry?: number;
  /** How code is compiled; left out: it is interpreted. */
  readonly compiler?: CompilerSettings;
  /** 64 KiB pages of the engine's memory; fewer means fewer frames, which are then evicted all the time. */
  readonly pages: number;
};

/** The parts of a memory map below the frames take 175 of these pages (lab.ts). */
const AMPLE = 198;
const SCARCE = 186;

/** Nothing stays cached: no translation outlives its access, and now and then everything derived is dropped before a fetch. */
export class ForgetfulMmu extends Mmu {
  #noise = 1;

  #draw(): number {
    this.#noise ^= this.#noise << 13;
    this.#noise ^= this.#noise >>> 17;
    this.#noise ^= this.#noise << 5;
    return this.#noise & 0xff;
  }

  override reset(): void {
    this.#noise = 0x2545_f491;
    super.reset();
  }

  override load(state: number, lo: number, hi: number, size: number, flags: number): number {
    const at = super.load(state, lo, hi, size, flags);
    this.invalidatePage(lo, hi);
    return at;
  }

  override store(state: number, lo: number, hi: number, size: number, flags: number): number {
    const at = super.store(state, lo, hi, size, flags);
    this.invalidatePage(lo, hi);
    return at;
  }

  override fetch(state: number, lo: number, hi: number): number {
    // The second page of an instruction must leave the first where it is.
    if ((lo & 0xfff) !== 0) {
      const drop = this.#draw();
      if (drop < 24) this.frames.evictAll();
      else if (drop < 48) this.flush();
      else if (drop < 100) this.clearJumps();
    }
    return super.fetch(state, lo, hi);
  }
}

const ordinary = (memory: EngineMemory, frames: Frames): Mmu => new Mmu(memory, frames);

const watchful = (memory: EngineMemory, frames: Frames): Mmu => {
  const mmu = new Mmu(memory, frames);
  mmu.watchAll = true;
  return mmu;
};

/** States are too short for anything to become hot. */
const atOnce: CompilerSettings = {
  ...compilerDefaults,
  threshold: 2,
  entryFactor: 1,
  mostInstructions: 40,
  manyMisses: 2,
  mostCompiled: 2000,
  eager: true,
};

export const ways: readonly Way[] = [
  { name: 'interpreter', mmu: ordinary, pages: AMPLE },
  { name: 'one instruction an entry', mmu: ordinary, longestEntry: 1, pages: AMPLE },
  { name: 'nothing cached', mmu: (memory, frames) => new ForgetfulMmu(memory, frames), pages: SCARCE },
  { name: 'compiled', mmu: ordinary, compiler: atOnce, pages: AMPLE },
  { name: 'compiled, every frame watched', mmu: watchful, compiler: { ...atOnce, mostInstructions: 3 }, pages: AMPLE },
  { name: 'all forms cold', mmu: ordinary, forms: () => new FormSet([]), longestEntry: 7, pages: AMPLE },
];
