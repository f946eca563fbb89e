// Programs of a few instructions for several virtual CPUs: messages between their local APICs in x2APIC mode, and a list of results in the shared page.

import { ExitCode } from '../../src/arch/exit-code.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { type GuestOptions, launch } from '../../src/cbit.ts';
import { readMemory } from './runs.ts';
import { assembleGuest, MEMORY, type Served, SHARED } from './small-guest.ts';

const served: readonly Served[] = [{ instruction: 'wrmsr', exitCode: ExitCode.MSR, info1: 1, sends: ['rax', 'rcx', 'rdx'], takes: [] }];
export const wrmsr = (msr: number, low: number, high = 0): string => `mov ecx, ${msr}\n mov eax, ${low}\n mov edx, ${high}\n wrmsr\n`;
/** x2APIC mode, software enable. */
export const START = `${wrmsr(0x1b, 0xfee0_0d00)}${wrmsr(0x80f, 0x1ff)}`;
export const send = (low: number, to = 1): string => wrmsr(0x830, 0x4000 + low, to);
export const INIT = send(0x500);
export const startup = (page: number): string => send(0x600 + page);
export const NMI = send(0x400);

/** The boot processor waits for others: turns are shorter than this. */
let labels = 0;
export const wait = (): string => {
  const label = `wait${labels++}`;
  return `mov ecx, 20000\n ${label}: dec ecx\n jnz ${label}\n`;
};
/** Until a doubleword is not zero. */
export const until = (at: number | string): string => {
  const label = `until${labels++}`;
  return `${label}: pause\n cmp dword [${at}], 0\n je ${label}\n`;
};
/** A doubleword into the list of results. */
let results = 0;
export const keep = (at: number | string): string => `mov eax, [${at}]\n mov [${SHARED + 4 * results++}], eax\n`;

/** Runs to the end, with two virtual CPUs unless there are more; gives the results. */
export function play(source: string, options: Partial<GuestOptions>, gates: Readonly<Record<number, string>> = {}) {
  const { bytes } = assembleGuest(source, served, gates);
  const vm = launch({ image: { name: 'test', bytes }, memory: MEMORY, vcpus: 2, maxInstructions: 2_000_000, ...options });
  try {
    while (!vm.advance(1_000_000));
    const page = new Uint8Array(4096);
    readMemory(vm, SHARED, page);
    const { outcome, warnings } = vm.result();
    return { list: [...new Uint32Array(page.buffer, 0, results)], outcome, warnings };
  } finally {
    vm.dispose();
    results = 0;
  }
}

/** Code for a processor that begins in real mode: at so much, with five counters of 32 bits behind it that begin at 0. */
export const COUNTERS = 0x100;
export function placed(code: string, at: number): string {
  const { bytes } = assemble(code, { bits: 16 });
  const stores = [...bytes].map((byte, n) => `mov byte [${at + n}], ${byte}\n`).join('');
  return `${stores} ${[0, 4, 8, 12, 16].map((offset) => `mov dword [${at + COUNTERS + offset}], 0\n`).join('')}`;
}
