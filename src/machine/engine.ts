// What executes guests, apart from any one machine: the WebAssembly memory, its frames, translation and the processor's code.
// Engines are kept for the next machine of the process: a WebAssembly memory of gigabytes is given back only when the
// garbage collector feels like it, and ten thousand machines must not wait for that.

import { Cpu } from '../cpu/cpu.ts';
import { type CompilerSettings, compilerDefaults } from '../cpu/compiler/compiler.ts';
import { InstructionEmulator } from '../cpu/emulator.ts';
import type { Dram } from '../memory/dram.ts';
import type { EncryptionEngine } from '../memory/encryption.ts';
import { Frames } from '../memory/frames.ts';
import { EngineMemory, FULL_MAP } from '../memory/map.ts';
import { Mmu } from '../mmu/mmu.ts';
import { NotingMmu } from '../mmu/noting-mmu.ts';
import type { TraceSink } from '../util/trace.ts';
import { TICKS } from './time.ts';

/** How far code is taken: it is only ever interpreted, or compiled where it is hot. No guest can tell. */
export const tiers = ['interpreter', 'compiler'] as const;
export type Tier = (typeof tiers)[number];
/**
 * A tier, or the compiler with other settings than its own: for tests that want all ways in and out of regions taken. `labels`: the interpreter, and where
 * every value comes from is followed besides.
 */
export type Execution = Tier | 'labels' | CompilerSettings;

/** What the machine of the moment gives its processor. */
export type EngineUser = {
  readonly cpuid: (leaf: number, subleaf: number) => readonly [number, number, number, number];
  readonly random64: () => bigint;
  readonly trace: TraceSink | null;
  /** Views of a page under different keys are coherent. */
  readonly coherent: boolean;
};

const nobody: EngineUser = { cpuid: () => [0, 0, 0, 0], random64: () => 0n, trace: null, coherent: true };

export class Engine {
  readonly memory: EngineMemory;
  readonly frames: Frames;
  readonly mmu: Mmu;
  readonly cpu: Cpu;
  readonly tier: Execution;
  #user: EngineUser = nobody;
  #emulator: InstructionEmulator | null = null;

  constructor(dram: Dram, encryption: EncryptionEngine, tier: Execution) {
    this.tier = tier;
    const labels = tier === 'labels';
    this.memory = new EngineMemory({ ...FULL_MAP, labels });
    this.frames = new Frames(this.memory, dram, encryption);
    this.mmu = labels ? new NotingMmu(this.memory, this.frames) : new Mmu(this.memory, this.frames);
    const user = (): EngineUser => this.#user;
    this.cpu = new Cpu(this.memory, this.frames, this.mmu, {
      cpuid: (leaf, subleaf) => user().cpuid(leaf, subleaf),
      random64: () => user().random64(),
      get trace() {
        return user().trace;
      },
      tscPerInstruction: TICKS,
      labels,
      compiler: tier === 'interpreter' || tier === 'labels' ? null : tier === 'compiler' ? compilerDefaults : tier,
    });
  }

  /** Begins anew for another machine. */
  begin(dram: Dram, encryption: EncryptionEngine, user: EngineUser): void {
    this.#user = user;
    const { memory } = this;
    memory.u8.fill(0, memory.states, memory.contexts);
    this.frames.reset(dram, encryption, user.coherent);
    this.mmu.reset();
    this.cpu.reset();
  }

  /** For software on the host that executes a guest's instruction itself: an interpreter apart, which sees nothing of this one's memory. */
  get emulator(): InstructionEmulator {
    this.#emulator ??= new InstructionEmulator();
    return this.#emulator;
  }

  /** Lets go of everything that belongs to the last machine. */
  end(): void {
    this.#user = nobody;
  }
}

/** Engines that no machine uses at the moment. */
const idle: Engine[] = [];
/**
 * Idle engines keep at most so many touched frames (160 MiB): the platform never gets touched memory back otherwise. A new engine costs more than its
 * making, some 0.1 s until V8 has optimised what runs in it, so that machines of the default size find one.
 */
const MOST_IDLE_FRAMES = 40_960;

export function takeEngine(dram: Dram, encryption: EncryptionEngine, user: EngineUser, tier: Execution): Engine {
  const at = idle.findIndex((engine) => engine.tier === tier);
  const engine = at >= 0 ? (idle.splice(at, 1)[0] as Engine) : new Engine(dram, encryption, tier);
  engine.begin(dram, encryption, user);
  return engine;
}

export function returnEngine(engine: Engine): void {
  engine.end();
  const touched = idle.reduce((sum, { frames }) => sum + frames.table.touched, engine.frames.table.touched);
  if (touched <= MOST_IDLE_FRAMES) idle.push(engine);
}
