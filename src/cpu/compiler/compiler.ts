// The second tier: hot code becomes WebAssembly. The interpreter reports where branches go often; from there regions are formed, and
// batches of them compiled into one module each. A region is entered as if it were an instruction: its number stands in the place of the
// form in the records it begins at, so that stopping a record, which is what happens to code that changes, keeps everybody out.

import { Context, type EngineMemory, jumpEntry } from '../../memory/map.ts';
import { State } from '../../memory/state.ts';
import { Type } from '../../wasm/function.ts';
import { FunctionBuilder } from '../../wasm/function.ts';
import { ModuleBuilder } from '../../wasm/module.ts';
import type { Form } from '../../x86/form.ts';
import { emitCompute } from '../../x86/lazy-flags.ts';
import { Record, RECORD_SIZE, Steering } from '../../x86/record.ts';
import type { CodeCache, RegionOwner } from '../code-cache.ts';
import { declareImports, END_OF_REGIONS, FIRST_REGION, type Interpreter } from '../interpreter.ts';
import { RegionEmitter } from './emit.ts';
import { discover, type Graph, type Step, type StepSource } from './graph.ts';
import { type FormInfo, probe } from './probe.ts';

export type CompilerSettings = {
  /** Executions of a branch that make its target hot. */
  readonly threshold: number;
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
  threshold: 1500,
  mostInstructions: 500,
  batch: 32,
  patience: 100_000,
  manyMisses: 2000,
  mostCompiled: 300_000,
};

/** Bodies beyond this are slow to optimise, and slow (Node 20). */
const MOST_BYTES = 32_768;

type Region = {
  readonly place: Place;
  readonly frames: ReadonlySet<number>;
  readonly firstForm: number;
  readonly entries: readonly number[];
  /** Runs of records that it covers: first and end of each, in turn. */
  readonly runs: Int32Array;
};

/** Where a record was reached. */
type Place = { readonly page: bigint; readonly context: number };

/** A record at which a region is or was entered. */
type Head = { readonly form: number; readonly twin: number };

export class Compiler implements RegionOwner {
  readonly #memory: EngineMemory;
  readonly #interpreter: Interpreter;
  readonly #code: CodeCache;
  readonly settings: CompilerSettings;
  readonly #infos: (FormInfo | undefined)[] = [];
  readonly #regions = new Map<number, Set<Region>>();
  readonly #heads = new Map<number, Head>();
  /** Records to compile, and the linear page and context that each was reached in. */
  readonly #queue = new Map<number, Place>();
  #nextForm = FIRST_REGION;
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
    this.settings = settings;
    code.regions = this;
  }

  /** A record that was reached often. `now`: instructions retired. */
  note(record: number, now: number, state: number): void {
    if (this.#memory.view.getUint16(record + Record.FORM, true) >= FIRST_REGION) return;
    if (this.#queue.size === 0) this.deadline = now + this.settings.patience;
    const { view } = this.#memory;
    this.#queue.set(record, { page: view.getBigUint64(state + State.PAGE, true), context: view.getUint32(state + State.CONTEXT, true) });
    if (this.#queue.size >= this.settings.batch) this.deadline = now;
  }

  /** Compiles what waits. No region may be executing. */
  compile(): void {
    this.deadline = Number.POSITIVE_INFINITY;
    if (this.#compiled > this.settings.mostCompiled) this.#dropAll();
    const module = new ModuleBuilder();
    const imports = declareImports(module);
    const { I32, I64 } = Type;
    const compute = new FunctionBuilder(3);
    emitCompute(compute);
    const computeIndex = module.function(module.type([I32, I64, I64], [I64]), compute);
    const type = module.type([I32, I32], [I32]);
    const made: Region[] = [];
    const claimed = new Set<number>();
    for (const [record, place] of this.#queue) {
      if (claimed.has(record) || this.#isRegion(record)) continue;
      const frame = this.#code.frameOf(record);
      if (!(this.settings.eager || this.#code.isStable(frame)) || !this.#code.isKnown(record)) continue;
      for (let most = this.settings.mostInstructions; most > 0; most >>= 1) {
        const graph = discover(record, most, this.#source(frame, place), (at) => this.#queue.has(at) && !claimed.has(at));
        if (!graph || this.#nextForm + graph.entries.length > END_OF_REGIONS || !this.#code.hasRoom(2 * graph.entries.length)) break;
        const region = this.#describe(graph, place);
        const twins = new Map(region.entries.map((at) => [at, this.#head(at).twin]));
        const plan = {
          graph,
          firstForm: region.firstForm,
          insteadOf: (at: number) => twins.get(at) ?? at,
          misses: (at: number) => this.#memory.view.getUint32(this.#missesAt(at), true),
          missesAt: (at: number) => this.#missesAt(at),
          manyMisses: this.settings.manyMisses,
        };
        const body = new RegionEmitter(this.#memory.view, plan, imports, computeIndex).emit();
        if (body.code.length > MOST_BYTES && most > 1) continue;
        module.function(type, body, String(region.firstForm));
        this.#nextForm += region.entries.length;
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
    for (const region of made) this.#enter(region);
  }

  /** Compiled code has left very often at a record: what covers it is compiled anew. No region may be executing. */
  noteMisses(record: number, now: number): void {
    const regions = [...(this.#regions.get(this.#code.frameOf(record)) ?? [])].filter((region) =>
      covers(region, record, record + RECORD_SIZE),
    );
    for (const region of regions) {
      const [head] = region.entries;
      if (head === undefined || !this.#isRegion(head)) continue;
      this.#drop(region);
      if (this.#queue.size === 0) this.deadline = now + this.settings.patience;
      this.#queue.set(head, region.place);
    }
  }

  #missesAt(record: number): number {
    return this.#memory.misses + (record - this.#memory.records) / 8;
  }

  // --- RegionOwner ---

  onStop(frame: number, first: number, count: number): void {
    const end = first + count * RECORD_SIZE;
    for (const region of this.#regions.get(frame) ?? []) if (covers(region, first, end)) this.#drop(region);
  }

  onHalt(): void {
    this.#memory.view.setUint32(this.state + State.DROPPED, 1, true);
  }

  takeTwin(record: number): number {
    const twin = this.#heads.get(record)?.twin ?? 0;
    if (twin !== 0) this.#heads.delete(record);
    return twin;
  }

  onReset(): void {
    this.#queue.clear();
    this.deadline = Number.POSITIVE_INFINITY;
    this.#regions.clear();
    this.#heads.clear();
    this.#forget();
  }

  // --- inside ---

  #isRegion(record: number): boolean {
    return this.#memory.view.getUint16(record + Record.FORM, true) >= FIRST_REGION;
  }

  #formOf(record: number): number {
    const form = this.#memory.view.getUint16(record + Record.FORM, true);
    return form < FIRST_REGION ? form : (this.#heads.get(record)?.form ?? Steering.STOP);
  }

  /** Steps of a region that begins in a frame, at a place. Other pages are those that the jump cache knows. */
  #source(first: number, { page, context }: Place): StepSource {
    const pages = new Map([[first, page]]);
    const { view } = this.#memory;
    return (record) => {
      const frame = this.#code.frameOf(record);
      const step = this.#step(record, frame);
      const from = pages.get(frame);
      if (!step || step.form.mode !== 64 || from === undefined) return step;
      const branches = step.form.branch === 'cross' && step.form.operandSize === 8;
      if (!branches && step.crossing === 0) return step;
      const distance = branches ? view.getBigInt64(record + Record.DISPLACEMENT, true) : BigInt(step.crossing);
      const target = BigInt.asUintN(64, from + distance);
      const entry = context + Context.JUMP + jumpEntry(Number(target & 0xffff_ffffn));
      if (view.getBigUint64(entry + Context.TARGET, true) !== target) return step;
      const across = view.getUint32(entry + Context.RECORD, true);
      const frameThere = this.#code.frameOf(across);
      if (this.#formOf(across) === Steering.STOP || !this.#code.isKnown(across) || !this.#code.isStable(frameThere)) return step;
      if (!pages.has(frameThere)) pages.set(frameThere, target - BigInt(view.getUint16(across + Record.PLACE, true) & 0xfff));
      return { ...step, across };
    };
  }

  #step(record: number, frame: number): Step | undefined {
    const number = this.#formOf(record);
    const form = this.#interpreter.form(number);
    if (!form) return undefined;
    const info = (this.#infos[number] ??= probe(form));
    if (info.leaves) return undefined;
    const behind = record + RECORD_SIZE;
    const steering = this.#formOf(behind);
    const next =
      steering === Steering.LINK ? this.#linked(behind, frame, form) : this.#interpreter.form(steering) === undefined ? 0 : behind;
    const crossing =
      info.falls && steering === Steering.CROSS && form.mode === 64
        ? Number(this.#memory.view.getBigInt64(behind + Record.DISPLACEMENT, true))
        : 0;
    return {
      record,
      form,
      info,
      target: info.direct && 8 * form.operandSize === form.mode ? this.#linked(record, frame, form) : 0,
      next,
      exit: behind,
      across: 0,
      crossing,
    };
  }

  /** The record that a branch or steering record leads to. */
  #linked(record: number, frame: number, { mode }: Form): number {
    const { view } = this.#memory;
    const link = view.getUint32(record + Record.LINK, true);
    if (link !== 0 && this.#formOf(link) !== Steering.STOP) return link;
    return this.#code.known(frame, Number(view.getBigInt64(record + Record.DISPLACEMENT, true)), mode);
  }

  #describe(graph: Graph, place: Place): Region {
    const records = graph.blocks.flatMap((block) => block.steps.map((step) => step.record)).sort((a, b) => a - b);
    const runs: number[] = [];
    for (const record of records) {
      if (runs.at(-1) === record) runs[runs.length - 1] = record + RECORD_SIZE;
      else runs.push(record, record + RECORD_SIZE);
    }
    const entries = graph.entries.map((block) => block.steps[0]?.record ?? 0);
    return {
      place,
      frames: new Set(records.map((at) => this.#code.frameOf(at))),
      firstForm: this.#nextForm,
      entries,
      runs: Int32Array.from(runs),
    };
  }

  #head(record: number): Head {
    let head = this.#heads.get(record);
    if (!head) this.#heads.set(record, (head = { form: this.#formOf(record), twin: this.#code.twin(record) }));
    return head;
  }

  #enter(region: Region): void {
    for (const frame of region.frames) {
      const known = this.#regions.get(frame);
      if (known) known.add(region);
      else this.#regions.set(frame, new Set([region]));
    }
    region.entries.forEach((record, k) => {
      this.#memory.view.setUint16(record + Record.FORM, region.firstForm + k, true);
    });
  }

  /** Nobody enters it any more. */
  #drop(region: Region): void {
    this.onHalt();
    region.entries.forEach((record, k) => {
      this.#code.replaceForm(record, region.firstForm + k, this.#heads.get(record)?.form ?? Steering.STOP);
    });
    for (const frame of region.frames) this.#regions.get(frame)?.delete(region);
  }

  #dropAll(): void {
    for (const regions of this.#regions.values()) for (const region of regions) this.#drop(region);
    this.#regions.clear();
    this.#forget();
  }

  #forget(): void {
    this.#interpreter.dropRegions(this.#nextForm);
    this.#nextForm = FIRST_REGION;
    this.#compiled = 0;
  }
}

function covers({ runs }: Region, first: number, end: number): boolean {
  for (let k = 0; k < runs.length; k += 2) if ((runs[k] as number) < end && first < (runs[k + 1] as number)) return true;
  return false;
}
