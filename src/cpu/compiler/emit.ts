// Emits the function of one region: (state, record entered at) -> the record to go on at; 0: RIP must be looked up. It keeps the protocol
// of a handler (interpreter.ts), so a region is entered like any form: its number stands in the record.

import { Context } from '../../memory/map.ts';
import { Leave, type Segment, State } from '../../memory/state.ts';
import type { I32, I64, Label, Local } from '../../wasm/function.ts';
import { Type } from '../../wasm/function.ts';
import { FilledBuilder } from '../../x86/filled-builder.ts';
import { FilledOperands, jumpIndex, type Surroundings } from '../../x86/filled.ts';
import { CARRIED, type Flags, LazyFlags } from '../../x86/lazy-flags.ts';
import type { Imports } from '../../x86/handler.ts';
import { FIRST_REGION } from '../interpreter.ts';
import { Record } from '../../x86/record.ts';
import { semanticsOf } from '../../x86/semantics/all.ts';
import { type Budget, budgetOf } from './budget.ts';
import { type FlagLiveness, flagLiveness } from './flag-liveness.ts';
import { emitNotFlat } from './flat-segments.ts';
import type { Block, Graph, Step } from './graph.ts';
import { carries, inlineChild, leadsBack, type Node, type Structure, structure, viaRoot } from './structure.ts';
import { WaysOut } from './ways-out.ts';

/** More than any budget. */
const WITHHELD = 0x4000_0000;

export type RegionPlan = {
  readonly graph: Graph;
  /** Number of the first entry's form; the others follow. */
  readonly firstForm: number;
  /** For a record that the region is entered at: one that holds the instruction itself. */
  readonly insteadOf: (record: number) => number;
  /** How often regions were left at a record for want of a TLB entry. */
  readonly misses: (record: number) => number;
  /** Where all records begin, and where a word for each counts that. */
  readonly records: number;
  readonly missesAt: number;
  readonly manyMisses: number;
  /** Segments that cover all of 32 bits now, and probably when the region is entered. */
  readonly flat: ReadonlySet<Segment>;
  /** Each so many times that it goes to a place which is not compiled, that is reported. */
  readonly threshold: number;
};

export class RegionEmitter implements Surroundings {
  readonly #f: FilledBuilder;
  readonly #plan: RegionPlan;
  readonly #imports: Imports;
  readonly #shape: Structure;
  readonly #budget: Budget;
  readonly #live: FlagLiveness;
  readonly flags: LazyFlags;
  readonly #fuel: Local<I32>;
  readonly #entry: Local<I32>;
  readonly #out: WaysOut;
  readonly #assumed = new Set<Segment>();
  readonly #forward = new Map<Node, Label>();
  readonly #loops = new Map<Node, Label>();
  readonly #flagsInto = new Map<Node, Flags>();
  // The instruction being emitted.
  #node!: Node;
  #index = 0;
  #operands!: FilledOperands;
  #next: Label | null = null;
  #changesBefore = 0;
  #changedNext = false;

  constructor(view: DataView, plan: RegionPlan, imports: Imports, compute: number) {
    const f = new FilledBuilder(view);
    this.#f = f;
    this.#plan = plan;
    this.#imports = imports;
    this.#fuel = f.fixed<I32>(Type.I32);
    this.#entry = f.fixed<I32>(Type.I32);
    this.#out = new WaysOut(f, plan, this.#fuel);
    this.flags = new LazyFlags(f, compute);
    this.#shape = structure(plan.graph);
    this.#budget = budgetOf(this.#shape);
    this.#live = flagLiveness(this.#shape, this.#budget);
  }

  emit(): FilledBuilder {
    const f = this.#f;
    this.#out.around(() =>
      f.plainLoop((again) => {
        this.#loops.set(this.#shape.root, again);
        this.#within(this.#shape.root);
      }),
    );
    f.epilogue();
    this.flags.finish();
    f.store64(f.state, this.flags.result.get, State.FLAG_RESULT);
    f.store64(f.state, this.flags.second.get, State.FLAG_CARRY);
    // What was withheld from the budget, so that nothing is executed, belongs to it.
    const withheld = this.#assumed.size > 0 ? f.fixed<I32>(Type.I32) : undefined;
    f.store32(f.state, withheld ? f.i32.add(this.#fuel.get, withheld.get) : this.#fuel.get, State.FUEL);
    f.result(this.#out.exit.get);
    // Only now is it known what the region uses.
    const body = f.code.length;
    f.prologue();
    f.set(this.flags.result, f.load64(f.state, State.FLAG_RESULT));
    f.set(this.flags.second, f.load64(f.state, State.FLAG_CARRY));
    // The interpreter has counted the record it entered at.
    f.set(this.#fuel, f.i32.add(f.load32(f.state, State.FUEL), f.const32(1)));
    if (withheld) {
      const odd = [...this.#assumed].map((segment) => emitNotFlat(f, f.state, segment)).reduce((all, one) => f.i32.or(all, one));
      f.set(withheld, f.i32.select(odd, f.const32(WITHHELD), f.const32(0)));
      f.set(this.#fuel, f.i32.sub(this.#fuel.get, withheld.get));
    }
    f.set(this.#entry, f.i32.sub(f.loadU16(f.entered, Record.FORM), f.const32(this.#plan.firstForm)));
    f.code.toFront(body);
    return f;
  }

  // --- control flow ---

  #tree(node: Node): void {
    if (!node.isLoop) return this.#within(node);
    this.#f.plainLoop((label) => {
      this.#loops.set(node, label);
      this.#within(node);
    });
  }

  /** A node, and behind it those that it dominates: each where the blocks end that lead to it. */
  #within(node: Node): void {
    const inline = inlineChild(node);
    const others = node.children.filter((child) => child !== inline);
    const nest = (k: number): void => {
      const child = others[k];
      if (!child) return this.#code(node, inline);
      this.#f.plainBlock((label) => {
        this.#forward.set(child, label);
        nest(k - 1);
      });
      this.#tree(child);
    };
    nest(others.length - 1);
  }

  #code(node: Node, inline: Node | null): void {
    const f = this.#f;
    if (!node.block) return this.#dispatch();
    const { steps } = node.block;
    this.#node = node;
    this.#index = 0;
    this.flags.now = this.#flagsInto.get(node) ?? CARRIED;
    this.#look(node, this.#budget.within(node));
    f.set(this.#fuel, f.i32.sub(this.#fuel.get, f.const32(steps.length)));
    let ended = false;
    for (const step of steps) {
      f.scope(() => {
        ended = this.#instruction(step);
      });
      this.#index++;
    }
    const last = steps.at(-1) as Step;
    if (ended) return;
    const { falls } = node.block;
    if (!falls && last.crossing !== 0) return this.#cross(last);
    if (!falls) return this.#leaveAt(last.next || last.exit, 0);
    const next = this.#shape.nodeOf.get(falls) as Node;
    if (next !== inline) return this.#goTo(next);
    this.#handOver(next);
    this.#tree(next);
  }

  /** To the entry that control arrived at. */
  #dispatch(): void {
    const f = this.#f;
    const { entries } = this.#shape;
    this.flags.now = CARRIED;
    const labels: Label[] = [];
    const open = (k: number): void => {
      if (k < 0) return f.brTable(this.#entry.get, labels, labels[0] as Label);
      const to = entries[k] as Node;
      const forward = this.#forward.get(to) as Label;
      const ahead = this.#budget.ahead(to);
      if (ahead === 0) {
        labels[k] = forward;
        return open(k - 1);
      }
      f.plainBlock((label) => {
        labels[k] = label;
        open(k - 1);
      });
      this.#look(to, ahead);
      f.br(forward);
    };
    open(entries.length - 1);
  }

  /** Leaves before a node unless so much of the budget is left. */
  #look(node: Node, fuel: number): void {
    if (fuel === 0) return;
    const { record } = (node.block as Block).steps[0] as Step;
    this.#f.plainIf(this.#f.i32.ltS(this.#fuel.get, this.#f.const32(fuel)), () => this.#leaveAt(this.#plan.insteadOf(record), 0));
  }

  /** What is known of the flags goes into a node. */
  #handOver(to: Node): void {
    if (!this.#live.into(to)) this.#flagsInto.set(to, CARRIED);
    else if (carries(to)) this.#flagsInto.set(to, this.flags.now);
    else this.flags.emitStore(this.#operands);
  }

  /** Runs on to the next page: through the jump cache, or by the record that leads there. */
  #cross(step: Step): void {
    const f = this.#f;
    const sum = f.i64.add(f.page.get, f.const64(BigInt(step.crossing)));
    const target = f.let64(step.form.mode === 64 ? sum : f.i64.and(sum, f.const64(0xffff_ffffn)));
    const entry = f.let32(f.i32.add(f.context.get, jumpIndex(f, target)));
    f.plainIf(f.i64.ne(f.load64(entry, Context.JUMP + Context.TARGET), target), () => this.#leaveAt(step.exit, 0));
    this.#goOn(entry, target, 0);
  }

  /** Returns whether control never goes on behind it. */
  #instruction(step: Step): boolean {
    const f = this.#f;
    f.record = step.record;
    const meaning = (): FilledOperands => {
      const b = new FilledOperands(f, step.form, this.#imports, this);
      this.#operands = b;
      semanticsOf(step.form)?.(b);
      b.finish();
      return b;
    };
    if (!step.info.nextInside) return meaning().ended;
    this.#changesBefore = this.flags.changes;
    this.#changedNext = false;
    f.plainBlock((label) => {
      this.#next = label;
      const b = meaning();
      if (!b.ended && this.#changedNext) this.flags.store(b);
    });
    if (this.#changedNext) this.flags.now = CARRIED;
    return false;
  }

  #goTo(to: Node): void {
    const f = this.#f;
    const from = this.#node;
    if (viaRoot(from, to)) {
      this.flags.emitStore(this.#operands);
      f.set(this.#entry, f.const32(to.entry));
      return f.br(this.#loops.get(this.#shape.root) as Label);
    }
    const back = leadsBack(from, to);
    if (back) this.#look(to, this.#budget.ahead(to));
    this.#handOver(to);
    f.br((back ? this.#loops.get(to) : this.#forward.get(to)) as Label);
  }

  /** Leaves for a record, with fuel given back for what was not done of the block. */
  #leaveAt(record: number, undone: number): void {
    this.flags.emitStore(this.#operands);
    this.#out.to(record, undone);
  }

  get #undone(): number {
    return (this.#node.block?.steps.length ?? 0) - this.#index;
  }

  // --- for the instruction ---

  get flagsUnwanted(): boolean {
    const step = this.#node.block?.steps[this.#index] as Step;
    return !step.info.readsOwnFlags && !this.#live.behind(this.#node, this.#index);
  }

  get callsSlowPath(): boolean {
    return this.#plan.misses(this.#f.record) >= this.#plan.manyMisses;
  }

  assumeFlat(segment: Segment): boolean {
    const flat = this.#plan.flat.has(segment);
    if (flat) this.#assumed.add(segment);
    return flat;
  }

  budget(): I32 {
    return this.#f.i32.add(this.#fuel.get, this.#f.const32(this.#undone - 1));
  }

  noteStanding(): void {
    const f = this.#f;
    f.store32(f.state, f.const32(this.#plan.insteadOf(f.record)), State.RECORD);
    f.store32(f.state, this.budget(), State.FUEL);
    f.storePage();
  }

  leaveBefore(miss: boolean): void {
    const step = this.#node.block?.steps[this.#index] as Step;
    if (!step.info.mayLeave) throw new RangeError(`${step.form.name} leaves, which its probe did not say`);
    this.flags.emitStore(this.#operands);
    const record = this.#plan.insteadOf(this.#f.record);
    if (miss) this.#out.missed(record, this.#undone);
    else this.#out.to(record, this.#undone);
  }

  leaveFaulted(): void {
    this.flags.emitStore(this.#operands);
    this.#out.faulted(this.#plan.insteadOf(this.#f.record), this.#undone);
  }

  leaveTo(rip: I64, link: number): void {
    this.#leaveTo(rip, link, this.#undone - 1, Leave.LOOKUP);
  }

  #leaveTo(rip: I64, link: number, undone: number, why: Leave): void {
    const f = this.#f;
    f.store64(f.state, rip, State.RIP);
    f.store32(f.state, f.const32(link), State.LINK);
    f.store32(f.state, f.const32(why), State.LEAVE);
    this.flags.emitStore(this.#operands);
    this.#out.toComputed(f.const32(0), undone);
  }

  goOn(entry: I32, target: I64): void {
    this.#goOn(entry, target, this.#undone - 1);
  }

  /** On to the record in an entry of the jump cache, on the page in execution. */
  #goOn(entry: I32, target: I64, undone: number): void {
    const f = this.#f;
    this.flags.emitStore(this.#operands);
    const record = f.let32(f.load32(entry, Context.JUMP + Context.RECORD));
    const offset = f.i32.and(f.loadU16(record, Record.PLACE), f.const32(0xfff));
    f.setPage(f.i64.sub(target, f.extendU(offset)));
    f.set(this.#entry, f.i32.sub(f.loadU16(record, Record.FORM), f.const32(this.#plan.firstForm)));
    const entries = this.#plan.graph.entries.length;
    f.brIf(this.#loops.get(this.#shape.root) as Label, f.i32.ltU(this.#entry.get, f.const32(entries)));
    this.#count(entry, Context.JUMP + Context.COUNT, record, target, undone);
    this.#out.toComputed(record, undone);
  }

  /** It goes to a record outside: if that is not compiled, it may become hot. */
  #count(p: I32, offset: number, record: I32, target: I64, undone: number): void {
    const f = this.#f;
    f.plainIf(f.i32.ltU(f.loadU16(record, Record.FORM), f.const32(FIRST_REGION)), () => {
      const n = f.let32(f.i32.add(f.load32(p, offset), f.const32(1)));
      f.store32(p, n, offset);
      f.plainIf(f.i32.eqz(f.i32.and(n, f.const32(this.#plan.threshold - 1))), () => this.#leaveTo(target, 0, undone, Leave.HOT));
    });
  }

  branch(rip: I64): void {
    const { taken, steps } = this.#node.block as NonNullable<Node['block']>;
    const step = steps[this.#index] as Step;
    if (taken) this.#goTo(this.#shape.nodeOf.get(taken) as Node);
    else if (step.target !== 0) {
      this.flags.emitStore(this.#operands);
      this.#count(this.#f.const32(step.record), Record.COUNT, this.#f.const32(step.target), rip, this.#undone - 1);
      this.#leaveAt(step.target, this.#undone - 1);
    } else this.leaveTo(rip, step.record);
  }

  next(): void {
    if (this.flags.changes !== this.#changesBefore) {
      this.#changedNext = true;
      this.flags.emitStore(this.#operands);
    }
    this.#f.br(this.#next as Label);
  }
}
