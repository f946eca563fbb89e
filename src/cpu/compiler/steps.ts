// Steps of regions, read from records: what an instruction is, and where control goes from it as far as records know.

import { Context, type EngineMemory, jumpEntry } from '../../memory/map.ts';
import type { Form } from '../../x86/form.ts';
import { Record, RECORD_SIZE, Steering } from '../../x86/record.ts';
import type { CodeCache } from '../code-cache.ts';
import type { Interpreter } from '../interpreter.ts';
import type { Step, StepSource } from './graph.ts';
import { type FormInfo, probe } from './probe.ts';
import type { Place, Regions } from './regions.ts';

export class Steps {
  readonly #memory: EngineMemory;
  readonly #interpreter: Interpreter;
  readonly #code: CodeCache;
  readonly #regions: Regions;
  readonly #infos: (FormInfo | undefined)[] = [];

  constructor(memory: EngineMemory, interpreter: Interpreter, code: CodeCache, regions: Regions) {
    this.#memory = memory;
    this.#interpreter = interpreter;
    this.#code = code;
    this.#regions = regions;
  }

  /** Steps of a region that begins in a frame, at a place; `pages` gets the linear page of each frame; `flat`: the code segment covers all of 32 bits. Other pages are those that the jump cache knows. */
  source({ context }: Place, pages: Map<number, bigint>, flat: boolean): StepSource {
    const { view } = this.#memory;
    return (record) => {
      const frame = this.#code.frameOf(record);
      const step = this.#step(record, frame, flat);
      const from = pages.get(frame);
      if (!step || from === undefined) return step;
      const { mode } = step.form;
      if (mode !== 64 && !(mode === 32 && flat)) return step;
      const branches = step.form.branch === 'cross' && 8 * step.form.operandSize === mode;
      if (!branches && step.crossing === 0) return step;
      const distance = branches ? view.getBigInt64(record + Record.DISPLACEMENT, true) : BigInt(step.crossing);
      const target = BigInt.asUintN(mode, from + distance);
      const entry = context + Context.JUMP + jumpEntry(Number(target & 0xffff_ffffn));
      if (view.getBigUint64(entry + Context.TARGET, true) !== target) return step;
      const across = view.getUint32(entry + Context.RECORD, true);
      const frameThere = this.#code.frameOf(across);
      if (this.#regions.formOf(across) === Steering.STOP || !this.#code.isKnown(across) || !this.#code.isStable(frameThere)) return step;
      if (!pages.has(frameThere)) pages.set(frameThere, target - BigInt(view.getUint16(across + Record.PLACE, true) & 0xfff));
      return { ...step, across };
    };
  }

  /** Where computed branches went at least so often, as far as the jump cache remembers. */
  observed(context: number, often: number): number[] {
    const { i32 } = this.#memory;
    const found: number[] = [];
    const first = (context + Context.JUMP) >>> 2;
    for (let at = first; at < first + 4 * Context.JUMPS; at += 4) {
      if (i32[at + (Context.COUNT >> 2)]! >>> 0 < often) continue;
      const record = i32[at + (Context.RECORD >> 2)]! >>> 0;
      if (record !== 0 && this.#regions.formOf(record) !== Steering.STOP) found.push(record);
    }
    return found;
  }

  #step(record: number, frame: number, flat: boolean): Step | undefined {
    const number = this.#regions.formOf(record);
    const form = this.#interpreter.form(number);
    if (!form) return undefined;
    const info = (this.#infos[number] ??= probe(form));
    if (info.leaves) return undefined;
    const behind = record + RECORD_SIZE;
    const steering = this.#regions.formOf(behind);
    const next =
      steering === Steering.LINK ? this.#linked(behind, frame, form) : this.#interpreter.form(steering) === undefined ? 0 : behind;
    const crossing =
      info.falls && steering === Steering.CROSS && (form.mode === 64 || (form.mode === 32 && flat))
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
    if (link !== 0 && this.#regions.formOf(link) !== Steering.STOP) return link;
    return this.#code.known(frame, Number(view.getBigInt64(record + Record.DISPLACEMENT, true)), mode);
  }
}
