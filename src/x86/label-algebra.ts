// The algebra of labels (label-table.ts) as modules of handlers import it.

import { type ModuleBuilder, NAMESPACE } from '../wasm/module.ts';
import { labelModule } from './label-functions.ts';
import { type LabelCallbacks, type LabelFunction, labelFunctions } from './label-table.ts';

/** The functions as imports of a module of handlers, in the order of the table. */
export function importLabelFunctions(m: ModuleBuilder): Readonly<Record<LabelFunction, number>> {
  const entries = Object.entries(labelFunctions).map(([name, [from, to]]) => [name, m.importFunction(`label-${name}`, m.type(from, to))]);
  return Object.fromEntries(entries) as Readonly<Record<LabelFunction, number>>;
}

/** What a module of handlers imports besides the keeper's callbacks. */
export function instantiateLabels(memory: WebAssembly.Memory, labels: number, callbacks: LabelCallbacks): WebAssembly.ModuleImports {
  const module = new WebAssembly.Module(labelModule(labels));
  const { exports } = new WebAssembly.Instance(module, { [NAMESPACE]: { memory, ...callbacks } });
  return Object.fromEntries(Object.entries(exports).map(([name, value]) => [`label-${name}`, value])) as WebAssembly.ModuleImports;
}
