// Programs of a few instructions that are the host: at CPL 0 in long mode, with gates of their own, and a page for results.

import type { Machine } from '../../src/machine/machine.ts';
import { type GuestOptions, launch, type TraceEvent, type VirtualMachine } from '../../src/cbit.ts';
import { assembleGuest, MEMORY, SHARED } from '../system/small-guest.ts';

export const RESULTS = SHARED;
export const wrmsr = (msr: number, value: number): string => `mov ecx, ${msr}\n mov eax, ${value}\n xor edx, edx\n wrmsr`;
/** Counts in R10 the #GP and #UD that it meets; each is behind an instruction of so many bytes. */
const fault = (vector: number, length: number, pushed: number): string =>
  `h${vector}: add rsp, ${pushed}\n add qword [rsp], ${length}\n inc r10d\n iretq`;

export type Played = {
  readonly vm: VirtualMachine;
  readonly machine: Machine;
  readonly view: DataView<ArrayBuffer>;
  readonly events: readonly TraceEvent[];
  readonly result: ReturnType<VirtualMachine['result']>;
};

/** Runs a program to its end. `gates`: labels of handlers by vector; RCX, RDX and instructions of 2 or 3 bytes may fault by `faults`. */
export function play<T>(
  code: string,
  look: (played: Played) => T,
  { gates = {}, faults, ...options }: GuestOptions & { readonly gates?: Readonly<Record<number, string>>; readonly faults?: number } = {},
): T {
  const handlers = faults === undefined ? '' : `${fault(13, faults, 8)}\n ${fault(6, faults, 0)}`;
  const all = faults === undefined ? gates : { 6: 'h6', 13: 'h13', ...gates };
  const { bytes } = assembleGuest(`xor r10d, r10d\n ${code}\n jmp over\n ${handlers}\n over: cli`, [], all);
  const events: TraceEvent[] = [];
  const vm = launch({
    image: { name: 'test', bytes },
    technology: 'none',
    bare: true,
    memory: MEMORY,
    maxInstructions: 1_000_000,
    ...options,
    onEvent: (event) => events.push(event),
  });
  try {
    while (!vm.advance(1_000_000));
    const page = new Uint8Array(4096);
    vm.bare?.memory.read(BigInt(RESULTS), page);
    return look({ vm, machine: vm.machine, view: new DataView(page.buffer), events, result: vm.result() });
  } finally {
    vm.dispose();
  }
}

/** The doublewords that it left. */
export const results =
  (count: number) =>
  (played: Played): number[] =>
    Array.from({ length: count }, (_, n) => played.view.getUint32(4 * n, true));
/** Stores a register there. */
export const keep = (n: number, register: string): string => `mov [${RESULTS + 4 * n}], ${register}`;
