// One state in every way: what is wrong with it, in words; and the first instruction at which two ways part.

import { Lab, type Outcome } from './lab.ts';
import { machineState, type MachineState } from './machine-state.ts';
import { layoutOfState } from './names.ts';
import { steps } from './steps.ts';
import { type Way, ways } from './ways.ts';

export type Verdict = { readonly kind: string; readonly retired: number; readonly faults: readonly string[] };

export class Judge {
  readonly #labs: readonly Lab[];

  constructor(chosen: readonly Way[] = ways) {
    this.#labs = chosen.map((way) => new Lab(way));
  }

  judge(seed: string, number: number): Verdict {
    const state = machineState(seed, number);
    const faults: string[] = [];
    let first: Outcome | null = null;
    for (const lab of this.#labs) {
      const outcome = attempt(lab, state);
      if (typeof outcome === 'string') {
        faults.push(`${lab.way.name}: ${outcome}`);
        continue;
      }
      if (outcome.problem !== null && first === null) faults.push(outcome.problem);
      if (first === null) first = outcome;
      else {
        const difference = differs(first, outcome);
        if (difference === null) continue;
        faults.push(`${lab.way.name}: ${difference}; parts ${this.#parting(lab, state)}`);
        // Looking for the place overwrote the first outcome's memory.
        const again = attempt(this.#labs[0]!, state);
        if (typeof again !== 'string') first = again;
      }
    }
    return { kind: `${state.name}`, retired: first?.retired ?? 0, faults };
  }

  /** What happened in one way, for whoever looks into a fault. */
  explain(seed: string, number: number, way = 0, budget?: number): string {
    const lab = this.#labs[way]!;
    const state = machineState(seed, number);
    lab.tracing = true;
    const outcome = attempt(lab, state, budget);
    lab.tracing = false;
    const text = JSON.stringify(lab.trace, (_, value: unknown) => (typeof value === 'bigint' ? value.toString(16) : value)).replaceAll(
      '},',
      '},\n',
    );
    return typeof outcome === 'string'
      ? `${text}\n${outcome}`
      : `${text}\n${outcome.log}\nretired ${outcome.retired}\n${outcome.problem ?? ''}`;
  }

  /** Instruction by instruction in one way. */
  steps(seed: string, number: number, way: number, from: number, to: number): string {
    return steps(this.#labs[way]!, machineState(seed, number), from, to);
  }

  /** The least budget with which a way ends differently, and how. */
  #parting(lab: Lab, state: MachineState): string {
    const usual = this.#labs[0]!;
    const at = (budget: number): string | null => {
      const [a, b] = [attempt(usual, state, budget), attempt(lab, state, budget)];
      return typeof a === 'string' || typeof b === 'string' ? 'throws' : differs(a, b);
    };
    let low = 0;
    let high = state.budget;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (at(middle) === null) low = middle;
      else high = middle;
    }
    return `after ${low}: ${at(high) ?? 'not with a smaller budget'}`;
  }
}

function attempt(lab: Lab, state: MachineState, budget?: number): Outcome | string {
  try {
    return lab.run(state, budget);
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

/** How two outcomes differ: the first thing that does. */
function differs(a: Outcome, b: Outcome): string | null {
  if (Buffer.compare(a.block, b.block) !== 0) {
    const at = a.block.findIndex((byte, n) => byte !== b.block[n]);
    const field = layoutOfState(at);
    const hex = (block: Uint8Array): string => new DataView(block.buffer).getBigUint64(at & ~7, true).toString(16);
    return `${field} ${hex(a.block)}, ${hex(b.block)}${a.retired === b.retired ? '' : `; retired ${a.retired}, ${b.retired}`}`;
  }
  if (a.log !== b.log) return `exits: ${firstLine(a.log, b.log)}`;
  if (a.retired !== b.retired) return `retired ${a.retired}, ${b.retired}`;
  if (Buffer.compare(a.memory, b.memory) !== 0) {
    const at = a.memory.findIndex((byte, n) => byte !== b.memory[n]);
    return `memory at ${at.toString(16)}: ${a.memory[at]?.toString(16)}, ${b.memory[at]?.toString(16)}`;
  }
  return null;
}

function firstLine(a: string, b: string): string {
  const [left, right] = [a.split('\n'), b.split('\n')];
  const n = left.findIndex((line, k) => line !== right[k]);
  return `${n}: ${left[n] ?? ''} | ${right[n] ?? ''}`;
}
