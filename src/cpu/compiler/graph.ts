// What a region is made of: the instructions that can be reached from a hot one along direct branches, as far as records of them exist, cut
// into blocks. Which of these are entered from outside follows from the shape: heads of loops, and places that calls return to.

import type { Form } from '../../x86/form.ts';
import type { FormInfo } from './probe.ts';

/** One instruction. Records are addresses; 0 is none. */
export type Step = {
  readonly record: number;
  readonly form: Form;
  readonly info: FormInfo;
  /** Record of the direct branch's target, of the instruction behind; where that is not known, a record to go on at all the same. */
  readonly target: number;
  readonly next: number;
  readonly exit: number;
  /** Where it goes on another page, by its branch or by running on, if that is known: such ways go through the jump cache. */
  readonly across: number;
  /** Does `exit` name the way on to the next page, and how far is that from this one; 0: no. */
  readonly crossing: number;
};

export type Block = {
  readonly steps: readonly Step[];
  taken: Block | null;
  falls: Block | null;
};

/** Where steps come from: the code cache. undefined: not an instruction that can be compiled. */
export type StepSource = (record: number) => Step | undefined;

export type Graph = {
  /** Blocks that are entered from outside; the first is where the region began. */
  readonly entries: readonly Block[];
  readonly blocks: readonly Block[];
  readonly instructions: number;
};

/** What decides how far a region reaches. */
export type Bounds = {
  /** Most instructions. */
  readonly most: number;
  /** Records that are hot, too: where they are met they become entries. */
  readonly wanted: (record: number) => boolean;
  /** Places that belong to a record that was met, because control often comes from there: taken in as far as there is room. */
  readonly related: (step: Step) => readonly number[];
};

/** The graph from a record on; null if that cannot be compiled. */
export function discover(head: number, source: StepSource, { most, wanted, related }: Bounds): Graph | null {
  const steps = new Map<number, Step>();
  const leaders = new Set<number>([head]);
  const entered: number[] = [];
  const work = [head];
  const later: number[] = [];
  const enter = (record: number): void => {
    leaders.add(record);
    entered.push(record);
  };
  for (let at = work.shift() ?? later.shift(); at !== undefined; at = work.shift() ?? later.shift()) {
    let record = at;
    while (record !== 0 && !steps.has(record) && steps.size < most) {
      const step = source(record);
      if (!step) break;
      steps.set(record, step);
      if (wanted(record)) enter(record);
      for (const other of related(step)) {
        enter(other);
        later.push(other);
      }
      const { direct, indirect, falls, returns } = step.info;
      if (step.across !== 0) {
        enter(step.across);
        work.push(step.across);
      }
      if (direct && step.target !== 0) {
        leaders.add(step.target);
        work.push(step.target);
      }
      if (returns && step.next !== 0) {
        enter(step.next);
        work.push(step.next);
      }
      if ((direct || indirect) && falls && step.next !== 0) leaders.add(step.next);
      record = falls ? step.next : 0;
    }
    // Something else runs into it.
    if (steps.has(record)) leaders.add(record);
  }
  if (!steps.has(head)) return null;
  const blocks = cut(steps, leaders);
  const entries = new Set([blocks.get(head) as Block]);
  for (const loop of loopHeads(blocks)) entries.add(loop);
  for (const record of entered) {
    const block = blocks.get(record);
    if (block) entries.add(block);
  }
  return { entries: [...entries], blocks: [...blocks.values()], instructions: steps.size };
}

function cut(steps: ReadonlyMap<number, Step>, leaders: ReadonlySet<number>): Map<number, Block> {
  const blocks = new Map<number, Block>();
  for (const leader of leaders) {
    const list: Step[] = [];
    for (let step = steps.get(leader); step; step = steps.get(step.next)) {
      list.push(step);
      const { direct, indirect, falls } = step.info;
      if (direct || indirect || !falls || leaders.has(step.next)) break;
    }
    if (list.length > 0) blocks.set(leader, { steps: list, taken: null, falls: null });
  }
  for (const block of blocks.values()) {
    const last = block.steps.at(-1) as Step;
    if (last.info.direct) block.taken = blocks.get(last.target) ?? null;
    if (last.info.falls) block.falls = blocks.get(last.next) ?? null;
  }
  return blocks;
}

/** Targets of edges that lead back, as a search in depth finds them. */
function loopHeads(blocks: ReadonlyMap<number, Block>): Set<Block> {
  const found = new Set<Block>();
  const open = new Set<Block>();
  const seen = new Set<Block>();
  for (const root of blocks.values()) {
    if (seen.has(root)) continue;
    const stack: { readonly block: Block; readonly left: (Block | null)[] }[] = [];
    const enter = (block: Block): void => {
      seen.add(block);
      open.add(block);
      stack.push({ block, left: [block.falls, block.taken] });
    };
    enter(root);
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      if (top.left.length === 0) {
        open.delete(top.block);
        stack.pop();
        continue;
      }
      const next = top.left.pop();
      if (!next) continue;
      if (open.has(next)) found.add(next);
      else if (!seen.has(next)) enter(next);
    }
  }
  return found;
}
