// The workloads: guests/bench-NAME, each of which marks begin and end of its work on the debug console and prints PASS if its
// checksum is right. docs/benchmarks.md says what each of them does.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { elf32Path, elfPath, root } from '../guest-manifest.ts';

/** compute: what a processor does by itself; system: what it does for a kernel; round trips: to the hypervisor and back. */
type Kind = 'compute' | 'system' | 'round trips';

export type Workload = {
  readonly name: string;
  readonly kind: Kind;
  /** The file from which every 64-bit machine boots. */
  readonly path: string;
  /** The 32-bit Multiboot build of the same sources; null: there is none. */
  readonly path32: string | null;
};

const named = (kind: Kind, names: readonly string[]): Workload[] =>
  names.map((name) => ({
    name,
    kind,
    path: join(root, elfPath(`bench-${name}`)),
    path32: kind === 'compute' ? join(root, elf32Path(`bench-${name}`)) : null,
  }));

export const workloads: readonly Workload[] = [
  ...named('compute', ['mix', 'sha256', 'sort', 'chase', 'copy', 'bytecode', 'matrix']),
  ...named('system', ['page-fault', 'syscall', 'context-switch']),
  ...named('round trips', ['vc-cpuid', 'vc-msr', 'vc-pio']),
];

export const readImage = (path: string): Uint8Array => new Uint8Array(readFileSync(path));

/** What is wrong with the output of a workload; null: it passed. */
export function failureOf(output: string): string | null {
  const lines = output.split(/\r?\n/);
  const failed = lines.find((line) => line.startsWith('FAIL'));
  if (failed !== undefined) return failed;
  return lines.some((line) => line.startsWith('PASS')) ? null : 'it printed no PASS';
}

/** The count that a workload of round trips prints. */
export function roundTripsOf(output: string): number | null {
  const found = /^(\d+) round trips$/m.exec(output);
  return found ? Number(found[1]) : null;
}
