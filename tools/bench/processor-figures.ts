// Figures of the processor that no workload shows by itself.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InstructionDecoder } from '../../src/x86/decode.ts';
import { leavingInstructions } from '../census.ts';
import { elfPath, root } from '../guest-manifest.ts';

const DECODED = 50_000;
/** Where the workload's code lies in its file. */
const CODE = { start: 0x1000, end: 0x2000 };

/** Nanoseconds to turn one instruction of compiled C into what its record will hold. */
export function decoding(): () => number {
  const bytes = new Uint8Array(readFileSync(join(root, elfPath('bench-mix'))));
  const code = bytes.subarray(CODE.start, CODE.end);
  const decoder = new InstructionDecoder();
  return () => {
    let decoded = 0;
    const started = performance.now();
    while (decoded < DECODED)
      for (let at = 0; at < code.length; at++)
        decoder.decode(code.subarray(at), at, 64, (_, offset) => {
          decoded++;
          at = offset;
          return true;
        });
    return ((performance.now() - started) * 1e6) / decoded;
  };
}

/** Per cent of what a Linux boot executes that a TypeScript routine does. */
export function leaving(): number {
  const census = leavingInstructions();
  return (100 * census.leaving.reduce((sum, [, executions]) => sum + executions, 0)) / census.executed;
}
