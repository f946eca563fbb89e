// A run as its trace tells it, for tests of readers: one CPUID through a GHCB page, some I/O, an end.

import type { TraceEvent, TraceNote } from '../../src/util/trace.ts';

export const at = (when: number, note: TraceNote): TraceEvent => ({ at: when, ...note }) as TraceEvent;

export const cpuidThroughPage: readonly TraceEvent[] = [
  at(100, { kind: 'vc', exitCode: 0x72, rip: 0x10_0432n, instruction: 'CPUID' }),
  at(100, { kind: 'exception', vector: 29, errorCode: 0x72, rip: 0x10_0432n, cr2: null }),
  at(180, { kind: 'exit', exitCode: 0x403, exitInfo1: 0n, exitInfo2: 0n }),
  at(180, {
    kind: 'ghcb',
    from: 'guest',
    gpa: 0x7_f000,
    fields: { rax: 0x0n, rcx: 0x0n, swExitCode: 0x72n, swExitInfo1: 0n, swExitInfo2: 0n },
  }),
  at(180, {
    kind: 'ghcb',
    from: 'hypervisor',
    gpa: 0x7_f000,
    fields: { rax: 0x10n, rcx: 0x444d_4163n, rdx: 0x6974_6e65n, rbx: 0x6874_7541n },
  }),
  at(180, { kind: 'vmrun', vmcb: 0x3000 }),
];

export const cpuidThroughMsr: readonly TraceEvent[] = [
  at(10, { kind: 'vc', exitCode: 0x72, rip: 0x10_0010n, instruction: 'CPUID' }),
  at(20, { kind: 'exit', exitCode: 0x403, exitInfo1: 0n, exitInfo2: 0n }),
  at(20, { kind: 'ghcb-msr', from: 'guest', value: 0x8000_001f_0000_0004n }),
  at(20, { kind: 'ghcb-msr', from: 'hypervisor', value: 0x0000_000a_0000_0005n }),
  at(20, { kind: 'vmrun', vmcb: 0x3000 }),
  at(30, { kind: 'exit', exitCode: 0x403, exitInfo1: 0n, exitInfo2: 0n }),
  at(30, { kind: 'ghcb-msr', from: 'guest', value: 0x8000_001f_4000_0004n }),
  at(30, { kind: 'ghcb-msr', from: 'hypervisor', value: 0x0000_0033_4000_0005n }),
  at(30, { kind: 'vmrun', vmcb: 0x3000 }),
];

export const plainCpuid: readonly TraceEvent[] = [
  at(5, { kind: 'exit', exitCode: 0x72, exitInfo1: 0n, exitInfo2: 0n }),
  at(5, { kind: 'vmrun', vmcb: 0x3000 }),
];

export const launchCommands: readonly TraceEvent[] = [
  ['INIT', {}],
  ['LAUNCH_START', { handle: 1 }],
  ['LAUNCH_UPDATE_DATA', { length: 4096 }],
  ['LAUNCH_UPDATE_DATA', { length: 8192 }],
  ['LAUNCH_MEASURE', { measurement: 'ab'.repeat(32) + 'cd'.repeat(16) }],
].map(([command, detail]) =>
  at(0, { kind: 'asp', command: command as string, status: 'SUCCESS', detail: detail as Record<string, string> }),
);

export const out = at(200, { kind: 'vc', exitCode: 0x7b, rip: 0x10_0500n, instruction: 'out dx,al' });
export const ended = at(300, { kind: 'end', outcome: 'ended', detail: 'the guest ended itself with 0' });
