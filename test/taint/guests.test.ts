// No correct guest gives a finding, and to be followed changes nothing of a run.

import { join } from 'node:path';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { launch, type RunResult, type TraceEvent } from '../../src/cbit.ts';
import type { Finding } from '../../src/sanitizer/finding.ts';
import { attachSanitizer } from '../../src/sanitizer/sanitizer.ts';
import { Taint } from '../../src/taint/taint.ts';
import { openDisk } from '../../src/cli/disk.ts';
import { kernel } from '../system/runs.ts';

type Options = Partial<Parameters<typeof launch>[0]>;
type Judged = { readonly findings: readonly Finding[]; readonly result: RunResult; readonly events: readonly TraceEvent[] };

function judged(name: string, options: Options = {}, sanitized = false): Judged {
  const events: TraceEvent[] = [];
  const vcpus = name.startsWith('smp') ? 3 : 1;
  const followed = options.tier === undefined;
  const vm = launch({
    image: kernel(name),
    maxInstructions: 3_000_000,
    vcpus,
    ...options,
    tier: options.tier ?? 'labels',
    onEvent: (event) => void events.push(event),
  });
  try {
    const sanitizer = sanitized ? attachSanitizer(vm) : null;
    const taint = followed ? new Taint(vm) : null;
    while (!vm.advance(1_000_000));
    taint?.finish();
    sanitizer?.finish();
    return { findings: taint?.findings ?? [], result: vm.result(), events };
  } finally {
    vm.dispose();
  }
}

const guests =
  'bounce cpuid cr-trap cr-vc dma dr7 fault flip hello mmio msr mwait negotiate nmi pio rdtsc smp string-io terminate timer user vmmcall bench-vc-cpuid'.split(
    ' ',
  );

describe('a correct guest', () => {
  it.each(guests)('%s gives no finding, and runs as it always does', (name) => {
    const followed = judged(name);
    const plain = judged(name, { tier: 'interpreter' });
    expect(followed.findings).toEqual([]);
    expect(followed.result).toEqual(plain.result);
    expect(followed.events).toEqual(plain.events);
  });

  it.each(['naples', 'turin'])('gives none on %s either', (cpu) => {
    for (const name of ['hello', 'flip', 'bounce']) expect(judged(name, { cpu }).findings).toEqual([]);
  });

  it('gives none where the host encrypts its memory', () => {
    expect(judged('mmio', { sme: true }).findings).toEqual([]);
  });

  it('gives none while the sanitizer looks on, too', () => {
    for (const name of ['user', 'nmi']) expect(judged(name, {}, true).findings).toEqual([]);
  });

  it('gives none with a disk over MMIO', () => {
    const folder = mkdtempSync(join(tmpdir(), 'cbit-'));
    try {
      const path = join(folder, 'disk');
      writeFileSync(path, '');
      truncateSync(path, 1 << 20);
      expect(judged('virtio-blk', { disks: [openDisk(path)], virtio: 'mmio' }).findings).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('a guest with a known mistake', () => {
  it.each([
    ['register-leak', 'taint-private-to-shared'],
    ['whole-register-file', 'taint-private-to-shared'],
    ['over-copy', 'taint-private-to-shared'],
    ['shared-neighbour', 'taint-private-to-shared'],
    ['answer-table', 'taint-address'],
    ['count-from-answer', 'taint-address'],
    ['scratch-from-answer', 'taint-address'],
    ['jump-table-unchecked', 'taint-address'],
  ])('%s is found by %s', (name, rule) => {
    expect(judged(`bugs/${name}`).findings.map((finding) => finding.rule)).toContain(rule);
  });
});
