// The interpreter's one function as it was emitted when this code was bundled, and with it the functions of other forms that guests often
// have: bundles bring them along in place of this file (tools/prepared-core.mjs), because to emit them takes as long as a short run.
// Where the sources run as they are there is none.

import type { Form } from '../x86/form.ts';

type Bytes = Uint8Array<ArrayBuffer>;

export type PreparedCore = {
  /** The hot forms in the order of their numbers, and those that follow. */
  readonly hot: readonly Form[];
  readonly common: readonly Form[];
  /** The modules of both, by the threshold at which branches are reported. */
  readonly modules: ReadonlyMap<number, { readonly hot: Bytes; readonly common: Bytes }>;
};

export const preparedCore: PreparedCore | null = null;
