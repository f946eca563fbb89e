// The second tier: hot code becomes WebAssembly. The interpreter reports where branches go often; from there regions are formed, and
// batches of them compiled into one module each. A region is entered as if it were an instruction: its number stands in the place of the
// form in the records it begins at, so that stopping a record, which is what happens to code that changes, keeps everybody out.

import type { EngineMemory } from '../../memory/map.ts';
import { Segment, State } from '../../memory/state.ts';
import { Type } from '../../wasm/function.ts';
import { FunctionBuilder } from '../../wasm/function.ts';
import { ModuleBuilder } from '../../wasm/module.ts';
import { emitCompute } from '../../x86/lazy-flags.ts';
import { RECORD_SIZE } from '../../x86/record.ts';
import type { CodeCache, RegionOwner } from '../code-cache.ts';
import { declareImports, type Interpreter } from '../interpreter.ts';
import { RegionEmitter } from './emit.ts';
import { flatSegments } from './flat-segments.ts';
import { type Bounds, discover, type Step } from './graph.ts';
import { type Place, type Region, Regions } from './regions.ts';
import { Steps } from './steps.ts';

export type CompilerSettings = {
  /** Executions of a branch that make its target hot: a power of two. */
  readonly threshold: number;
  /** So many times as often something must be reached that a region covers, before it becomes an entry: all is compiled anew for it. */
  readonly entryFactor: number;
  /** Most instructions of one region. */
  readonly mostInstructions: number;
  /** Regions are compiled when so many wait, or the first has waited for so many instructions. */
  readonly batch: number;
  readonly patience: number;
  /** From so many misses on an instruction calls the slow path itself. */
  readonly manyMisses: number;
  /** So many instructions compiled in all; then everything is dropped. 300,000 are some 35 MB of machine code. */
  readonly mostCompiled: number;
  /** For tests: whatever is run is compiled at once. */
  readonly eager?: boolean;
};

export const compilerDefaults: CompilerSettings = {
  threshold: 1024,
  entryFactor: 16,
  mostInstructions: 500,
  batch: 32,
  patience: 100_000,
  manyMisses: 2000,
  mostCompiled: 300_000,
};

/** A target of computed branches is taken in when it was used this fraction of what makes it hot. */
const OBSERVED = 64;
/** Bodies beyond this are slow to optimise, and slow (Node 20). */
const MOST_BYTES = 32_768;

export class Compiler implements RegionOwner {
  readonly #memory: EngineMemory;
  readonly #interpreter: Interpreter;
  readonly #code: CodeCache;
  readonly #regions: Regions;
  readonly #steps: Steps;
  readonly settings: CompilerSettings;
  /** Records to compile, and the linear page and context that each was reached in. */
  readonly #queue = new Map<number, Place>();
  /** How often records were reported although a region covers them. */
  readonly #covered = new Map<number, number>();
  #compiled = 0;
  /** The state block in force. */
  state = 0;
  /** When the queue is to be compiled, in retired instructions. */
  deadline = Number.POSITIVE_INFINITY;
  /** Guest instructions compiled in all, and regions. */
  instructions = 0;
  regions = 0;

  constructor(memory: EngineMemory, interpreter: Interpreter, code: CodeCache, settings: CompilerSettings) {
    this.#memory = memory;
    this.#interpreter = interpreter;
    this.#code = code;
    this.#regions = new Regions(memory, interpreter, code);
    this.#steps = new Steps(memory, interpreter, code, this.#regions);
    this.settings = settings;
    code.regions = this;
  }

  /** A record that was reached often. `now`: instructions retired. */
  note(record: number, now: number, state: number): void {
    if (this.#regions.isEntry(record)) return;
    // What a region covers was often reached before that was there; only if it still is, it needs an entry.
    if (!this.settings.eager && this.#regions.covering(record).length > 0) {
      const times = (this.#covered.get(record) ?? 0) + 1;
      this.#covered.set(record, times);
      if (times < this.settings.entryFactor) return;
    }
    this.#covered.delete(record);
    const { view } = this.#memory;
    this.#enqueue(record, { page: view.getBigUint64(state + State.PAGE, true), context: view.getUint32(state + State.CONTEXT, true) }, now);
    if (this.#queue.size >= this.settings.batch) this.deadline = now;
  }

  #enqueue(record: number, place: Place, now: number): void {
    if (this.#queue.size === 0) this.deadline = now + this.settings.patience;
    this.#queue.set(record, place);
  }

  /** Compiles what waits. No region may be executing. */
  compile(): void {
    this.deadline = Number.POSITIVE_INFINITY;
    if (this.#compiled > this.settings.mostCompiled || !this.#regions.hasRoom(this.settings.mostInstructions)) this.#dropAll();
    const module = new ModuleBuilder();
    const imports = declareImports(module);
    const { I32, I64 } = Type;
    const compute = new FunctionBuilder(3);
    emitCompute(compute);
    const computeIndex = module.function(module.type([I32, I64, I64], [I64]), compute);
    const type = module.type([I32, I32], [I32]);
    const flat = flatSegments(this.#memory.view, this.state);
    const made: Region[] = [];
    const claimed = new Set<number>();
    for (const [record, place] of this.#queue) {
      if (claimed.has(record) || this.#regions.isEntry(record)) continue;
      const frame = this.#code.frameOf(record);
      if (!(this.settings.eager || this.#code.isStable(frame)) || !this.#code.isKnown(record)) continue;
      for (let most = this.settings.mostInstructions; most > 0; most >>= 1) {
        const pages = new Map([[frame, place.page]]);
        const graph = discover(record, this.#steps.source(place, pages, flat.has(Segment.CS)), this.#bounds(most, claimed, pages, place));
        if (!graph || !this.#regions.hasRoom(graph.entries.length)) break;
        const region = this.#regions.describe(graph, place);
        const twins = new Map(region.entries.map((at) => [at, this.#regions.twinOf(at)]));
        const plan = {
          graph,
          firstForm: region.firstForm,
          insteadOf: (at: number) => twins.get(at) ?? at,
          misses: (at: number) => this.#misses(at) + this.#misses(twins.get(at) ?? at),
          records: this.#memory.records,
          missesAt: this.#memory.misses,
          manyMisses: this.settings.manyMisses,
          flat,
          threshold: this.settings.threshold,
        };
        const body = new RegionEmitter(this.#memory.view, plan, imports, computeIndex).emit();
        if (body.code.length > MOST_BYTES && most > 1) continue;
        module.function(type, body, String(region.firstForm));
        for (const at of region.entries) claimed.add(at);
        made.push(region);
        this.#compiled += graph.instructions;
        this.instructions += graph.instructions;
        break;
      }
    }
    this.#queue.clear();
    if (made.length === 0) return;
    this.#interpreter.addRegions(module.build(), new Map(made.map((region) => [region.firstForm, region.entries.length])));
    this.regions += made.length;
    for (const region of made) this.#regions.enter(region);
  }

  /** `pages`: the linear pages of the frames that the region is on. */
  #bounds(most: number, claimed: ReadonlySet<number>, pages: ReadonlyMap<number, bigint>, { context }: Place): Bounds {
    const taken = new Set<Region>();
    let observed = false;
    const waits = (at: number): boolean => this.#queue.has(at) && !claimed.has(at);
    const related = ({ record, form, info }: Step): readonly number[] => {
      const region = this.#regions.enteredAt(record);
      const places: number[] = [];
      // A region that is reached is taken in as a whole: it came to here, too.
      if (region && !taken.has(region)) {
        taken.add(region);
        places.push(...region.entries);
      }
      if (info.indirect && !observed) {
        observed = true;
        places.push(...this.#steps.observed(context, this.settings.threshold / OBSERVED));
      }
      return places.filter(
        (at) =>
          at !== record &&
          !claimed.has(at) &&
          pages.has(this.#code.frameOf(at)) &&
          this.#code.isKnown(at) &&
          this.#interpreter.form(this.#regions.formOf(at))?.mode === form.mode,
      );
    };
    return { most, wanted: waits, related };
  }

  /** Compiled code has left very often at a record: what covers it is compiled anew. No region may be executing. */
  noteMisses(standing: number, now: number): void {
    const record = this.#regions.recordOf(standing);
    for (const region of this.#regions.covering(record)) {
      const head = region.entries.find((at) => this.#regions.enteredAt(at) === region);
      this.#regions.drop(region);
      if (head !== undefined) this.#enqueue(head, region.place, now);
    }
  }

  #misses(record: number): number {
    return this.#memory.view.getUint32(this.#memory.misses + (record - this.#memory.records) / (RECORD_SIZE / 4), true);
  }

  // --- RegionOwner ---

  onStop(frame: number, first: number, count: number): void {
    if (this.#regions.dropCovering(frame, first, count)) this.onHalt();
  }

  onHalt(): void {
    this.#memory.view.setUint32(this.state + State.DROPPED, 1, true);
  }

  formOf(record: number): number {
    return this.#regions.formOf(record);
  }

  takeTwin(record: number): number {
    return this.#regions.takeTwin(record);
  }

  onReset(): void {
    this.#queue.clear();
    this.#covered.clear();
    this.deadline = Number.POSITIVE_INFINITY;
    this.#regions.reset();
    this.#compiled = 0;
  }

  #dropAll(): void {
    this.#regions.dropAll();
    this.#covered.clear();
    this.#compiled = 0;
  }
}
