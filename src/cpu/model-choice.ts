// A processor as a person asks for it, in QEMU's notation: `milan`, `milan,-pcid,+x2apic`. A feature can be taken away, and given back;
// none can be given to a model that has not got it.

import { type CpuidFeature, reportsFeature } from '../arch/cpuid.ts';
import { UserError } from '../util/errors.ts';
import { processorCpuid, type ProcessorModel, processorModel, processorModels } from './cpuid.ts';
import { apicFeatureNames, canonicalName, featureNames } from './feature-names.ts';

export type ModelChoice = {
  readonly model: ProcessorModel;
  /** Features of the hypervisor's local APIC that the guest shall not have. */
  readonly withheld: readonly CpuidFeature[];
};

/** Models and names, for `--cpu help`. */
export const modelChoiceHelp = (): string =>
  [
    `models: ${processorModels.map(({ name }) => name).join(', ')}`,
    `features, to be taken away (MODEL,-NAME) or left (MODEL,+NAME): ${[...Object.keys(featureNames), ...Object.keys(apicFeatureNames)].join(', ')}`,
  ].join('\n');

export function chooseModel(text: string): ModelChoice {
  const [name = '', ...parts] = text.split(',').map((part) => part.trim());
  const found = processorModel(name.toLowerCase());
  if (found === undefined) throw new UserError(`--cpu ${text}: give one of ${processorModels.map((known) => known.name).join(', ')}`);
  const removed = new Map<string, CpuidFeature>();
  const withheld = new Map<string, CpuidFeature>();
  for (const part of parts) {
    const [, sign, feature] = /^([+-])(.+)$/.exec(part) ?? [];
    if (feature === undefined)
      throw new UserError(`--cpu ${text}: '${part}' has no sign: write -NAME to take a feature away, +NAME to leave it`);
    const known = canonicalName(feature);
    const ofApic = Object.hasOwn(apicFeatureNames, known) ? apicFeatureNames[known] : undefined;
    const ofModel = Object.hasOwn(featureNames, known) ? featureNames[known] : undefined;
    const place = ofApic ?? ofModel;
    if (place === undefined) throw new UserError(`--cpu ${text}: no feature is called '${feature}': --cpu help lists all names`);
    const list = ofApic === undefined ? removed : withheld;
    if (sign === '-') list.set(known, place);
    else if (ofModel !== undefined && !reportsFeature(processorCpuid(found), ofModel))
      throw new UserError(`--cpu ${text}: ${found.name} has no ${feature}${firstWith(ofModel)}`);
    else list.delete(known);
  }
  const model = removed.size === 0 ? found : { ...found, without: [...removed.values()] };
  return { model, withheld: [...withheld.values()] };
}

/** Which model one could take instead. */
function firstWith(feature: CpuidFeature): string {
  const first = processorModels.find((model) => reportsFeature(processorCpuid(model), feature));
  return first === undefined ? ', and no other model has' : `: the first model that has it is ${first.name}`;
}
