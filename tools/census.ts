// How much of what a real guest executes leaves WebAssembly for a routine of the processor. The census is that of Debian's Linux
// 6.1 booting to a shell script as an SEV-ES guest: iced Codes with an example encoding and how often each was executed.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { I32, I64 } from '../src/wasm/function.ts';
import { FunctionBuilder } from '../src/wasm/function.ts';
import { InstructionDecoder } from '../src/x86/decode.ts';
import type { Form } from '../src/x86/form.ts';
import { OpenOperands } from '../src/x86/open.ts';
import { semanticsOf } from '../src/x86/semantics/all.ts';

type Row = readonly [code: string, example: string, executions: number];

const IMPORTS = { load: 0, store: 1, modify: 2, commit: 3, limit: 4, system: 5 } as const;
/** Offset in its page at which examples are decoded. */
const PLACE = 0x800;

/** Notes calls of routines that no condition stands before. */
class Witness extends FunctionBuilder {
  leaves = false;
  override call(index: number, ...args: readonly (I32 | I64)[]): I32 {
    if (index === IMPORTS.system && this.depth === 0) this.leaves = true;
    return super.call(index, ...args);
  }
}

function leaves(form: Form): boolean {
  const f = new Witness(2);
  const end = (): void => f.unreachable();
  const semantics = semanticsOf(form);
  if (!semantics) return true;
  semantics(new OpenOperands(f, form, IMPORTS, { next: end, fault: end, leave: end }));
  return f.leaves;
}

/** Executed instructions in all, and those that leave, by Code, most first. */
export function leavingInstructions(): {
  readonly executed: number;
  readonly leaving: readonly (readonly [code: string, executions: number])[];
} {
  const file = join(dirname(fileURLToPath(import.meta.url)), 'census.json');
  const rows = JSON.parse(readFileSync(file, 'utf8')) as readonly Row[];
  const decoder = new InstructionDecoder();
  const leaving: [string, number][] = [];
  let executed = 0;
  for (const [code, example, executions] of rows) {
    executed += executions;
    decoder.decode(new Uint8Array(Buffer.from(example, 'hex')), PLACE, 64, ({ form }) => {
      if (leaves(form)) leaving.push([code, executions]);
      return false;
    });
  }
  return { executed, leaving: leaving.sort((a, b) => b[1] - a[1]) };
}
