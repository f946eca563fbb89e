// A run of a guest with the sanitizer and, if it is asked for, the label reader looking on.

import { type GuestOptions, launch, type Run } from '../../src/cbit.ts';
import { Findings } from '../../src/sanitizer/finding.ts';
import { attachSanitizer } from '../../src/sanitizer/sanitizer.ts';
import { Taint } from '../../src/taint/taint.ts';
import { SLICE } from '../../src/virtual-machine.ts';

type Judged = { readonly findings: readonly string[]; readonly result: Omit<Run, 'traceHash'> };

/** What both of them find, in words. */
export function judged(options: GuestOptions, { taint: followed }: { readonly taint: boolean }): Judged {
  const sent: number[] = [];
  const onSerial = (byte: number): void => void sent.push(byte);
  const vm = launch({ ...options, onSerial, ...(followed ? { tier: 'labels' as const } : {}) });
  try {
    const findings = new Findings();
    const sanitizer = attachSanitizer(vm, findings);
    const taint = followed ? new Taint(vm, [], findings) : null;
    while (!vm.advance(SLICE));
    sanitizer.finish();
    taint?.finish();
    const inWords = findings.list.map(({ rule, exit, rip, text }) => `${rule} ${exit} at 0x${rip.toString(16)}: ${text}`);
    return { findings: inWords, result: { ...vm.result(), serial: new TextDecoder().decode(Uint8Array.from(sent)) } };
  } finally {
    vm.dispose();
  }
}
