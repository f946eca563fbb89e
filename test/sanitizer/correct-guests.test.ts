// No correct guest gives a finding, and looking on changes nothing of a run.

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { launch, type RunResult, type TraceEvent } from '../../src/cbit.ts';
import type { Finding } from '../../src/sanitizer/finding.ts';
import { attachSanitizer } from '../../src/sanitizer/sanitizer.ts';
import { elfPath, root } from '../../tools/guest-manifest.ts';
import { kernel } from '../system/runs.ts';

/** Guests that show a mistake of memory, which is no matter of the protocol, and one that sends wrong requests on purpose. */
const left: ReadonlySet<string> = new Set(['flip-no-flush', 'smp-race', 'refusals']);
const guests = readdirSync(join(root, 'guests'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !left.has(entry.name) && existsSync(join(root, elfPath(entry.name))))
  .map(({ name }) => name);

type Options = Partial<Parameters<typeof launch>[0]>;
type Judged = { readonly findings: readonly Finding[]; readonly result: RunResult; readonly events: readonly TraceEvent[] };

function judged(name: string, options: Options = {}, sanitized = true): Judged {
  const events: TraceEvent[] = [];
  const onEvent = (event: TraceEvent): void => void events.push(event);
  const vcpus = name.startsWith('smp') ? 2 : 1;
  const vm = launch({ image: kernel(name), maxInstructions: 3_000_000, vcpus, ...options, ...(options.onEvent ? { onEvent } : {}) });
  try {
    const sanitizer = sanitized ? attachSanitizer(vm) : null;
    while (!vm.advance(1_000_000));
    sanitizer?.finish();
    return { findings: sanitizer?.findings ?? [], result: vm.result(), events };
  } finally {
    vm.dispose();
  }
}

const inWords = (findings: readonly Finding[]): string[] => findings.map(({ rule, exit, text }) => `${rule} ${exit}: ${text}`);

describe('a correct guest', () => {
  it.each(guests)('%s gives no finding', (name) => {
    expect(inWords(judged(name).findings)).toEqual([]);
  });

  it.each(['naples', 'genoa'])('gives none on %s either', (cpu) => {
    for (const name of ['hello', 'mmio', 'nmi', 'flip']) expect(inWords(judged(name, { cpu }).findings)).toEqual([]);
  });

  it('gives none where the host encrypts its memory, or the hypervisor speaks version 1', () => {
    expect(inWords(judged('mmio', { sme: true }).findings)).toEqual([]);
    expect(inWords(judged('mmio', { ghcbVersion: 1 }).findings)).toEqual([]);
  });

  it.each(['none', 'sev'] as const)('gives none under %s, where there is nothing to judge', (technology) => {
    expect(judged('hello', { technology }).findings).toEqual([]);
  });
});

it('a guest that sends wrong requests on purpose is told of each', () => {
  expect(inWords(judged('refusals').findings)).toEqual([
    'request-incomplete CPUID: not marked valid: RCX',
    'request-incomplete VMMCALL: not marked valid: CPL',
    'request-incomplete CR0 read: not marked valid: SW_EXITCODE, SW_EXITINFO1, SW_EXITINFO2',
    expect.stringMatching(/^scratch-bounds OUTS: 1 bytes at 0x[0-9a-f]+ are not in the shared buffer of the GHCB$/),
  ]);
});

describe('a run that is looked at', () => {
  it.each(['hello', 'user', 'nmi', 'smp'])('is the run that it would have been: %s', (name) => {
    const onEvent = (): void => undefined;
    const plain = judged(name, { onEvent }, false);
    for (const tier of ['interpreter', 'compiler'] as const) {
      const looked = judged(name, { onEvent, tier });
      expect(looked.result).toEqual(plain.result);
      expect(looked.events).toEqual(plain.events);
    }
  });
});
