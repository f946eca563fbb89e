// The regions that exist: which records are entered as which region, which records each covers, and how a region ends.

import type { EngineMemory } from '../../memory/map.ts';
import { Record, RECORD_SIZE, Steering } from '../../x86/record.ts';
import type { CodeCache } from '../code-cache.ts';
import { END_OF_REGIONS, FIRST_REGION, type Interpreter } from '../interpreter.ts';
import type { Graph } from './graph.ts';

/** Where a record was reached. */
export type Place = { readonly page: bigint; readonly context: number };

export type Region = {
  readonly place: Place;
  readonly frames: ReadonlySet<number>;
  readonly firstForm: number;
  readonly entries: readonly number[];
  readonly instructions: number;
  /** Runs of records that it covers: first and end of each, in turn. */
  readonly runs: Int32Array;
};

/** A record at which a region is or was entered: the form of its instruction, and the record beside it that holds this. */
type Head = { readonly form: number; readonly twin: number; region: Region | null };

export class Regions {
  readonly #memory: EngineMemory;
  readonly #interpreter: Interpreter;
  readonly #code: CodeCache;
  readonly #byFrame = new Map<number, Set<Region>>();
  readonly #heads = new Map<number, Head>();
  /** The record beside which each twin stands. */
  readonly #beside = new Map<number, number>();
  /** Entries of each region that still lead into it. */
  readonly #live = new Map<Region, number>();
  #nextForm = FIRST_REGION;

  constructor(memory: EngineMemory, interpreter: Interpreter, code: CodeCache) {
    this.#memory = memory;
    this.#interpreter = interpreter;
    this.#code = code;
  }

  /** Are there form numbers for so many more entries? */
  hasRoom(entries: number): boolean {
    return this.#nextForm + entries <= END_OF_REGIONS && this.#code.hasRoom(2 * entries);
  }

  isEntry(record: number): boolean {
    return this.#memory.view.getUint16(record + Record.FORM, true) >= FIRST_REGION;
  }

  /** The region that is entered at a record. */
  enteredAt(record: number): Region | null {
    return this.#heads.get(record)?.region ?? null;
  }

  /** The regions that execute a record. */
  covering(record: number): Region[] {
    const known = this.#byFrame.get(this.#code.frameOf(record));
    return known ? [...known].filter((region) => covers(region, record, record + RECORD_SIZE)) : [];
  }

  /** The form of a record's instruction, whether a region is entered there or not. */
  formOf(record: number): number {
    const form = this.#memory.view.getUint16(record + Record.FORM, true);
    return form < FIRST_REGION ? form : (this.#heads.get(record)?.form ?? Steering.STOP);
  }

  /** The record that holds the instruction of one at which a region is to be entered. */
  twinOf(record: number): number {
    let head = this.#heads.get(record);
    if (!head) {
      this.#heads.set(record, (head = { form: this.formOf(record), twin: this.#code.twin(record), region: null }));
      this.#beside.set(head.twin, record);
    }
    return head.twin;
  }

  /** The record of which this is the twin, or the record itself. */
  recordOf(record: number): number {
    return this.#beside.get(record) ?? record;
  }

  takeTwin(record: number): number {
    const twin = this.#heads.get(record)?.twin ?? 0;
    if (twin !== 0) this.#heads.delete(record);
    this.#beside.delete(twin);
    return twin;
  }

  describe(graph: Graph, place: Place): Region {
    const records = graph.blocks.flatMap((block) => block.steps.map((step) => step.record)).sort((a, b) => a - b);
    const runs: number[] = [];
    for (const record of records) {
      if (runs.at(-1) === record) runs[runs.length - 1] = record + RECORD_SIZE;
      else runs.push(record, record + RECORD_SIZE);
    }
    const entries = graph.entries.map((block) => block.steps[0]?.record ?? 0);
    const firstForm = this.#nextForm;
    this.#nextForm += entries.length;
    return {
      place,
      frames: new Set(records.map((at) => this.#code.frameOf(at))),
      firstForm,
      entries,
      instructions: graph.instructions,
      runs: Int32Array.from(runs),
    };
  }

  /** From now on control that arrives at its entries goes into it. No region may be executing. */
  enter(region: Region): void {
    for (const frame of region.frames) {
      const known = this.#byFrame.get(frame);
      if (known) known.add(region);
      else this.#byFrame.set(frame, new Set([region]));
    }
    this.#live.set(region, region.entries.length);
    region.entries.forEach((record, k) => {
      const head = this.#heads.get(record);
      if (!head) return;
      const before = head.region;
      head.region = region;
      this.#memory.view.setUint16(record + Record.FORM, region.firstForm + k, true);
      if (before) this.#leave(before);
    });
  }

  /** One way in less. */
  #leave(region: Region): void {
    const left = (this.#live.get(region) ?? 0) - 1;
    if (left > 0) this.#live.set(region, left);
    else this.#forget(region);
  }

  /** Nobody enters it any more. */
  drop(region: Region): void {
    region.entries.forEach((record, k) => {
      const head = this.#heads.get(record);
      this.#code.stopped.replaceForm(record, region.firstForm + k, head?.form ?? Steering.STOP);
      if (head?.region === region) head.region = null;
    });
    this.#forget(region);
  }

  #forget(region: Region): void {
    this.#live.delete(region);
    for (const frame of region.frames) this.#byFrame.get(frame)?.delete(region);
    this.#interpreter.dropRegions(region.firstForm, region.entries.length);
  }

  /** Drops those that execute one of so many records. */
  dropCovering(frame: number, first: number, count: number): boolean {
    const end = first + count * RECORD_SIZE;
    const found = [...(this.#byFrame.get(frame) ?? [])].filter((region) => covers(region, first, end));
    for (const region of found) this.drop(region);
    return found.length > 0;
  }

  dropAll(): void {
    for (const region of [...this.#live.keys()]) this.drop(region);
    this.#byFrame.clear();
    this.#nextForm = FIRST_REGION;
  }

  /** Records are void: there is nothing to put back into them. */
  reset(): void {
    for (const region of this.#live.keys()) this.#interpreter.dropRegions(region.firstForm, region.entries.length);
    this.#live.clear();
    this.#byFrame.clear();
    this.#heads.clear();
    this.#beside.clear();
    this.#nextForm = FIRST_REGION;
  }
}

function covers({ runs }: Region, first: number, end: number): boolean {
  for (let k = 0; k < runs.length; k += 2) if ((runs[k] as number) < end && first < (runs[k + 1] as number)) return true;
  return false;
}
