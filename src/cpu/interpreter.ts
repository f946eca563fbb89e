// The interpreter, generated from the semantics. Hot forms stand as arms of one WebAssembly function behind br_table; all
// others are functions of small modules, reached by call_indirect from its default arm (measured: calls, not meaning,
// dominate; one function is 2 to 3 times as fast as one function per form).

import type { EngineMemory } from '../memory/map.ts';
import { FunctionBuilder, type I32, type Label, Type } from '../wasm/function.ts';
import { ModuleBuilder, NAMESPACE } from '../wasm/module.ts';
import { type Form, formKey } from '../x86/form.ts';
import { importLabelFunctions } from '../x86/label-algebra.ts';
import type { Embedding, Imports } from '../x86/handler.ts';
import { OpenOperands } from '../x86/open.ts';
import { Record, Steering } from '../x86/record.ts';
import { semanticsOf } from '../x86/semantics/all.ts';
import { TaintedBuilder } from '../x86/tainted-builder.ts';
import { TaintedOperands } from '../x86/tainted.ts';
import { Leave, State } from '../memory/state.ts';
import { hotForms } from './hot-forms.ts';
import { type PreparedCore, preparedCore } from './prepared-core.ts';

/** What generated code calls. Addresses travel as 32-bit halves; `flags` are AccessFlag. */
export type Callbacks = {
  /** Host address to read from, 0 if a fault is recorded. */
  load(state: number, low: number, high: number, size: number, flags: number): number;
  store(state: number, low: number, high: number, size: number, flags: number): number;
  modify(state: number, low: number, high: number, size: number, flags: number): number;
  commit(state: number): number;
  /** 1 if a segment admits an access that the fast check does not (SegmentCheck), else 0 and a fault is recorded. */
  limit(state: number, segment: number, offset: number, size: number): number;
  /** A SystemResult. */
  system(state: number, record: number, routine: number, low: number, high: number): number;
};

const TABLE_SIZE = 16_384;
/** Numbers from here on are entries of compiled regions, up to what a record's form holds. */
export const FIRST_REGION = TABLE_SIZE;
export const END_OF_REGIONS = 65_536;
/** So many modules are made anew as one: a module and its instances keep some 60 KiB (measured), whatever they hold. */
const SMALL_MODULES = 32;

/** Runs from a record until something must leave; returns a Leave. State.FUEL says what is left of the fuel. */
type Run = (state: number, record: number, fuel: number) => number;

/** The first numbers are no instructions. */
const STEERING = Object.values(Steering).map(() => undefined);

const shared = new Map<number, FormSet>();
/** In the place of a threshold: forms that follow labels. */
const LABELLED = -1;

/** Forms, and the modules made for them: the same for every engine of the process, unless one is handed in. */
export class FormSet {
  readonly forms: (Form | undefined)[] = [...STEERING];
  readonly #index = new Map<string, number>();
  /** Of forms as objects: a decoder gives the same one for the same form. */
  readonly #numbers = new WeakMap<Form, number>();
  readonly core: WebAssembly.Module;
  /** Each so many executions of a branch its target is reported (a power of two); 0: they are not counted. */
  readonly #threshold: number;
  readonly hot: number;
  /** Modules of cold forms, oldest first; `serial` says how new one is. */
  readonly modules: { readonly serial: number; readonly from: number; readonly module: WebAssembly.Module }[] = [];
  serial = 0;
  readonly #labels: boolean;
  #small = 0;
  #compiled: number;

  /**
   * `hot`: the forms that stand in the one function. None: all are reached by call_indirect, which must make no difference.
   * `prepared`: what was emitted for them before, and for more. `labels`: handlers follow labels, too; then none stands in the one function.
   */
  constructor(hot: readonly Form[] = hotForms(), threshold = 0, prepared: PreparedCore | null = null, labels = false) {
    this.#threshold = threshold;
    this.#labels = labels;
    for (const form of hot) this.#add(form);
    this.hot = this.forms.length;
    this.#compiled = this.hot;
    const modules = prepared?.modules.get(threshold);
    this.core = new WebAssembly.Module(modules?.hot ?? emitCore(this.forms, threshold));
    if (!prepared || !modules) return;
    for (const form of prepared.common) this.#add(form);
    this.#compiled = this.forms.length;
    this.modules.push({ serial: ++this.serial, from: this.hot, module: new WebAssembly.Module(modules.common) });
  }

  /** That of all processors which report branches at the same threshold. */
  static shared(threshold: number): FormSet {
    let set = shared.get(threshold);
    if (!set) shared.set(threshold, (set = new FormSet(preparedCore?.hot, threshold, preparedCore)));
    return set;
  }

  /** That of all processors which follow labels. */
  static labelled(): FormSet {
    let set = shared.get(LABELLED);
    if (!set) shared.set(LABELLED, (set = new FormSet([], 0, null, true)));
    return set;
  }

  indexOf(form: Form): number {
    const known = this.#numbers.get(form);
    if (known !== undefined) return known;
    const index = this.#index.get(keyOf(form)) ?? this.#add(form);
    this.#numbers.set(form, index);
    return index;
  }

  /** Compiles the forms that came since the last call into one module. */
  compile(): void {
    if (this.#compiled === this.forms.length) return;
    this.#publish(this.#compiled);
    this.#compiled = this.forms.length;
    if (++this.#small < SMALL_MODULES) return;
    const [first] = this.modules.splice(-SMALL_MODULES);
    this.#publish(first?.from ?? this.hot);
    this.#small = 0;
  }

  #publish(from: number): void {
    this.modules.push({
      serial: ++this.serial,
      from,
      module: new WebAssembly.Module(emitCold(this.forms, from, this.#threshold, this.#labels)),
    });
  }

  #add(form: Form): number {
    const index = this.forms.length;
    if (index >= TABLE_SIZE) throw new RangeError('more instruction forms than the table holds');
    this.forms.push(form);
    this.#index.set(keyOf(form), index);
    return index;
  }
}

/**
 * Whatever operands an instruction without semantics has, it is #UD: one form for each mnemonic, or a guest that tries out all
 * of AVX-512 would fill the table. Those with semantics are some 10,000 in all.
 */
const keyOf = (form: Form): string => (semanticsOf(form) === undefined ? `${form.mnemonic}/${form.mode}` : formKey(form));

export class Interpreter {
  readonly #set: FormSet;
  readonly #table: WebAssembly.Table;
  readonly #imports: WebAssembly.Imports;
  #serial = 0;
  readonly run: Run;

  /** `labels`: what forms that follow labels import besides. */
  constructor(memory: EngineMemory, callbacks: Callbacks, forms = FormSet.shared(0), labels: WebAssembly.ModuleImports = {}) {
    this.#set = forms;
    this.#table = new WebAssembly.Table({ element: 'anyfunc', initial: TABLE_SIZE });
    this.#imports = { [NAMESPACE]: { memory: memory.memory, table: this.#table, ...callbacks, ...labels } };
    this.run = new WebAssembly.Instance(this.#set.core, this.#imports).exports['run'] as Run;
    this.sync();
  }

  /** The number of a form, for a record. New forms run after the next `sync`. */
  formIndex(form: Form): number {
    return this.#set.indexOf(form);
  }

  form(index: number): Form | undefined {
    return this.#set.forms[index];
  }

  /** Instantiates a module of regions, whose exports are named by the first of so many form numbers. */
  addRegions(bytes: Uint8Array<ArrayBuffer>, counts: ReadonlyMap<number, number>): void {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), this.#imports);
    if (this.#table.length === TABLE_SIZE) this.#table.grow(END_OF_REGIONS - TABLE_SIZE);
    for (const [name, region] of Object.entries(exports)) {
      const first = Number(name);
      for (let k = 0; k < (counts.get(first) ?? 0); k++) this.#table.set(first + k, region);
    }
  }

  /** Lets go of regions: no record may name one of these numbers any more. */
  dropRegions(first: number, count: number): void {
    for (let k = first; k < first + count; k++) this.#table.set(k, null);
  }

  /** Makes handlers for the forms that were numbered since the last call. */
  sync(): void {
    this.#set.compile();
    for (const { serial, module } of this.#set.modules) {
      if (serial <= this.#serial) continue;
      const { exports } = new WebAssembly.Instance(module, this.#imports);
      for (const [name, handler] of Object.entries(exports)) this.#table.set(Number(name), handler);
    }
    this.#serial = this.#set.serial;
  }
}

/** What a bundle can bring along, so that no start has to emit it. `common`: further forms that guests often have. */
export function prepareCore(thresholds: readonly number[], common: readonly Form[]): PreparedCore {
  const hot = hotForms();
  const known = new Set(hot.map(keyOf));
  const others = [...new Map(common.map((form) => [keyOf(form), form]))].flatMap(([key, form]) => (known.has(key) ? [] : [form]));
  const core = [...STEERING, ...hot];
  const modules = thresholds.map((threshold) => {
    const bytes = { hot: emitCore(core, threshold), common: emitCold([...core, ...others], core.length, threshold) };
    return [threshold, bytes] as const;
  });
  return { hot, common: others, modules: new Map(modules) };
}

/** The imports of both kinds of module, in one order. */
export function declareImports(m: ModuleBuilder): Imports {
  const { I32 } = Type;
  const access = m.type([I32, I32, I32, I32, I32], [I32]);
  const one = m.type([I32], [I32]);
  const four = m.type([I32, I32, I32, I32], [I32]);
  const imports = {
    load: m.importFunction('load', access),
    store: m.importFunction('store', access),
    modify: m.importFunction('modify', access),
    commit: m.importFunction('commit', one),
    limit: m.importFunction('limit', four),
    system: m.importFunction('system', access),
  };
  m.importMemory('memory');
  return imports;
}

/** A function for one form: (state, record) -> the next record; 0: leave, State is set; 1: the instruction faulted. */
const COLD_LEAVE = 0;
const COLD_FAULT = 1;

function emitCold(forms: readonly (Form | undefined)[], from: number, threshold: number, labels = false): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  const imports = declareImports(m);
  const functions = labels ? importLabelFunctions(m) : null;
  const type = m.type([Type.I32, Type.I32], [Type.I32]);
  for (let k = from; k < forms.length; k++) {
    const form = forms[k] as Form;
    if (functions === null) m.function(type, emitOne(form, imports, threshold), String(k));
    else {
      const f = new TaintedBuilder(functions);
      emitAlone(f, new TaintedOperands(f, form, imports, alone(f, 0)), form);
      m.function(type, f, String(k));
    }
  }
  return m.build();
}

function emitOne(form: Form, imports: Imports, threshold: number): FunctionBuilder {
  const f = new FunctionBuilder(2);
  return emitAlone(f, new OpenOperands(f, form, imports, alone(f, threshold)), form);
}

function emitAlone(f: FunctionBuilder, b: OpenOperands, form: Form): FunctionBuilder {
  emitMeaning(b, form);
  f.unreachable();
  return f;
}

/** How a function for one form ends. */
function alone(f: FunctionBuilder, threshold: number): Embedding {
  return {
    next: (record) => f.return(record),
    fault: () => f.return(f.const32(COLD_FAULT)),
    leave: () => f.return(f.const32(COLD_LEAVE)),
    threshold,
    fuel: {
      left: f.load32(f.parameter(0), State.FUEL),
      spend: (units) => f.store32(f.parameter(0), f.i32.sub(f.load32(f.parameter(0), State.FUEL), units), State.FUEL),
    },
  };
}

function emitMeaning(b: OpenOperands, form: Form): void {
  const semantics = semanticsOf(form);
  if (semantics) semantics(b);
  else b.system('notImplemented');
  b.finish();
}

/**
 * The one hot function: run(state, record, fuel). Its arms hold what nearly every execution needs. For the rest (a TLB that misses, a fault, a branch
 * without its link) an instruction begins anew as a cold form, so the hot ones have functions in the table, too. V8 (Node 20) allocates registers
 * by a faster method in functions of more than 8,192 virtual ones, and what comes of that is a fifth to a third slower.
 */
function emitCore(forms: readonly (Form | undefined)[], threshold: number): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  const imports = declareImports(m);
  m.importTable('table', TABLE_SIZE);
  const cold = m.type([Type.I32, Type.I32], [Type.I32]);
  const missing = new Set<Form>();
  const f = new FunctionBuilder(3);
  const state = f.parameter(0);
  const record = f.parameter(1);
  const fuel = f.parameter(2);
  const setRecord = (to: I32): void => f.setParameter(1, to);
  const addFuel = (n: number): void => f.setParameter(2, f.i32.add(fuel, f.const32(n)));

  f.block((leave) => {
    f.block((fault) => {
      f.block((spent) => {
        f.loop((next) => {
          addFuel(-1);
          f.brIf(spent, f.i32.ltS(fuel, f.const32(0)));
          const embedding = {
            next: (to: I32): void => {
              setRecord(to);
              f.br(next);
            },
            fault: () => f.br(fault),
            leave: () => f.br(leave),
            fuel: { left: fuel, spend: (units: I32): void => f.setParameter(2, f.i32.sub(fuel, units)) },
            threshold,
          };
          f.block((isCold) => {
            // Arms are blocks nested around the br_table: leaving block k arrives at the code of form k.
            const open = (k: number, labels: Label[]): void => {
              if (k < 0) {
                f.brTable(f.loadU16(record, Record.FORM), labels, isCold);
                return;
              }
              f.block((label) => {
                labels[k] = label;
                open(k - 1, labels);
              });
              f.scope(() => {
                const form = forms[k];
                const elsewhere = (): void => {
                  if (form) missing.add(form);
                  f.br(isCold);
                };
                if (form) emitMeaning(new OpenOperands(f, form, imports, { ...embedding, elsewhere }), form);
                else emitSteering(k, f, imports, embedding, () => addFuel(1));
              });
            };
            open(forms.length - 1, []);
          });
          f.loop((call) => {
            f.store32(state, fuel, State.FUEL);
            f.scope(() => {
              const to = f.let32(f.callIndirect(cold, f.loadU16(record, Record.FORM), state, record));
              f.setParameter(2, f.load32(state, State.FUEL));
              f.brIf(leave, f.i32.eqz(to));
              f.brIf(fault, f.i32.eq(to, f.const32(COLD_FAULT)));
              setRecord(to);
              // From one region to the next.
              f.brIf(next, f.i32.ltU(f.loadU16(record, Record.FORM), f.const32(FIRST_REGION)));
              addFuel(-1);
              f.brIf(spent, f.i32.ltS(fuel, f.const32(0)));
              f.br(call);
            });
          });
        });
      });
      // The budget is used up before this record. That of a crossing stands for an instruction on another page.
      f.setParameter(2, f.const32(0));
      f.if(
        f.i32.eq(f.loadU16(record, Record.FORM), f.const32(Steering.CROSS)),
        () => f.store64(state, f.i64.add(f.load64(state, State.PAGE), f.load64(record, Record.DISPLACEMENT)), State.RIP),
        () => storeRip(f),
      );
      f.store32(state, f.const32(Leave.FUEL), State.LEAVE);
      f.br(leave);
    });
    // A fault: the instruction is not retired.
    addFuel(1);
    storeRip(f);
    f.store32(state, f.const32(Leave.FAULT), State.LEAVE);
  });
  f.store32(state, fuel, State.FUEL);
  f.result(f.load32(state, State.LEAVE));
  m.function(m.type([Type.I32, Type.I32, Type.I32], [Type.I32]), f, 'run');
  for (const [k, form] of forms.entries()) if (form && missing.has(form)) m.element(k, m.function(cold, emitOne(form, imports, threshold)));
  return m.build();
}

/** RIP = PAGE + page offset of the record. */
function storeRip(f: FunctionBuilder): void {
  const offset = f.i32.and(f.loadU16(f.parameter(1), Record.PLACE), f.const32(0xfff));
  f.store64(f.parameter(0), f.i64.add(f.load64(f.parameter(0), State.PAGE), f.extendU(offset)), State.RIP);
}

// biome-ignore format: a table
const steeringForm: Form = {
  name: 'steering', mnemonic: 0, mode: 64, operands: [], memory: 'none', addressSize: 8, memoryBytes: 0, writesMemory: false, operandSize: 8, condition: -1, repeat: 'none', special: undefined, branch: 'none',
};

function emitSteering(
  k: number,
  f: FunctionBuilder,
  imports: Imports,
  embedding: ConstructorParameters<typeof OpenOperands>[3],
  giveBack: () => void,
): void {
  giveBack();
  const branch = k === Steering.CROSS ? 'cross' : k === Steering.LINK ? 'page' : 'none';
  const b = new OpenOperands(f, { ...steeringForm, branch }, imports, embedding);
  if (k === Steering.STOP) b.stop();
  else b.jump();
}
